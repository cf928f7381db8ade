// The emulator that runs our CUDA kernels in tests. What it must catch with a sanitizer's help is
// in test_cuda_on_host_faults.cpp.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "core/cuda_device.h"
#include "core/cuda_kernel.h"
#include "cuda_on_host/graph.h"
#include "tests/expect.h"

// A thread costs ThreadSanitizer about a megabyte.
#if defined(__SANITIZE_THREAD__)
constexpr unsigned kManyThreads = 96;
#else
constexpr unsigned kManyThreads = 1024;
#endif

using avts::launch;
using avts::LaunchShape;

namespace {

void schedule(int seed, int workers) {
  setenv("CUDA_ON_HOST_SEED", std::to_string(seed).c_str(), 1);
  setenv("CUDA_ON_HOST_WORKERS", std::to_string(workers).c_str(), 1);
}

// Runs the body under several schedules.
template <typename Body>
void for_schedules(const Body& body) {
  for (int seed : {0, 1, 2, 3})
    for (int workers : {1, 3}) {
      schedule(seed, workers);
      body();
    }
}

template <typename Launch>
std::string error_of(const Launch& launch) {
  try {
    launch();
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// --- Shapes

__global__ void count_visits(int* visits) {
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  const unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  visits[block * blockDim.x * blockDim.y * blockDim.z + thread] += 1;
}

void every_thread_of_a_grid_runs_once() {
  for_schedules([] {
    std::vector<int> visits(2 * 3 * 4 * 5 * 6 * 7, 0);
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(2, 3, 4);
    config.blockDim = dim3(5, 6, 7);
    EXPECT(cudaLaunchKernelEx(&config, count_visits, visits.data()) == cudaSuccess);
    EXPECT(std::count(visits.begin(), visits.end(), 1) == static_cast<int>(visits.size()));
  });
}

__global__ void do_nothing() {}

cudaError_t launch_nothing(dim3 grid, dim3 block, size_t shared_bytes = 0) {
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  return cudaLaunchKernelEx(&config, do_nothing);
}

void limits_of_a_launch_are_enforced() {
  EXPECT(launch_nothing(1, kManyThreads) == cudaSuccess);
  EXPECT(launch_nothing(1, dim3(1, 1, 64)) == cudaSuccess);
  EXPECT(launch_nothing(0, 1) == cudaErrorInvalidConfiguration);
  EXPECT(launch_nothing(1, 0) == cudaErrorInvalidConfiguration);
  EXPECT(launch_nothing(1, 1025) == cudaErrorInvalidConfiguration);
  EXPECT(launch_nothing(1, dim3(512, 3)) == cudaErrorInvalidConfiguration);
  EXPECT(launch_nothing(1, dim3(1, 1, 65)) == cudaErrorInvalidConfiguration);
  EXPECT(launch_nothing(dim3(1, 65536), 1) == cudaErrorInvalidConfiguration);
  EXPECT(launch_nothing(dim3(1, 1, 65536), 1) == cudaErrorInvalidConfiguration);
  EXPECT(launch_nothing(0x80000000u, 1) == cudaErrorInvalidConfiguration);

  const auto allow = [](int bytes) {
    return cudaFuncSetAttribute(do_nothing, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  };
  EXPECT(launch_nothing(1, 1, 48 * 1024) == cudaSuccess);
  EXPECT(launch_nothing(1, 1, 48 * 1024 + 1) == cudaErrorInvalidValue);
  EXPECT(allow(64 * 1024 + 1) == cudaErrorInvalidValue);
  EXPECT(allow(64 * 1024) == cudaSuccess);
  EXPECT(launch_nothing(1, 1, 64 * 1024) == cudaSuccess);
  EXPECT(launch_nothing(1, 1, 64 * 1024 + 1) == cudaErrorInvalidValue);
  EXPECT(contains(error_of([] { launch("nothing", do_nothing, {1, 1025, 0}, nullptr); }),
                  "nothing: invalid configuration"));
}

// --- Shared memory and barriers

__global__ void read_unwritten(float* out) {
  out[blockIdx.x * blockDim.x + threadIdx.x] = avts::dynamic_shared<float>()[threadIdx.x];
  avts::dynamic_shared<float>()[threadIdx.x] = 1;
}

void shared_memory_begins_as_nan_in_every_block() {
  std::vector<float> out(20 * 64, 0);
  launch("read", read_unwritten, {20, 64, 64 * sizeof(float)}, nullptr, out.data());
  for (float x : out) EXPECT(std::isnan(x));
}

// A tree in shared memory, for any number of threads.
__global__ void sum_of_block(const int* in, int* out) {
  int* partial = avts::dynamic_shared<int>();
  const unsigned thread = threadIdx.x;
  partial[thread] = in[blockIdx.x * blockDim.x + thread];
  for (unsigned width = blockDim.x; width > 1;) {
    const unsigned half = (width + 1) / 2;
    __syncthreads();
    if (thread < width / 2) partial[thread] += partial[thread + half];
    width = half;
  }
  if (thread == 0) out[blockIdx.x] = partial[0];
}

void barriers_order_shared_memory() {
  for_schedules([] {
    for (unsigned threads : {1u, 31u, 33u, kManyThreads - 7}) {
      const unsigned blocks = 7;
      std::vector<int> in(blocks * threads), out(blocks, -1);
      for (size_t i = 0; i < in.size(); ++i) in[i] = static_cast<int>(i * 7 % 101);
      launch("sum", sum_of_block, {blocks, threads, threads * sizeof(int)}, nullptr, in.data(),
             out.data());
      for (unsigned b = 0; b < blocks; ++b) {
        int expected = 0;
        for (unsigned t = 0; t < threads; ++t) expected += in[b * threads + t];
        EXPECT(out[b] == expected);
      }
    }
  });
}

__global__ void reduce_predicates(int* out) {
  const int thread = static_cast<int>(threadIdx.x);
  const int counts[] = {__syncthreads_count(thread % 3 == 0), __syncthreads_or(thread == 69),
                        __syncthreads_or(thread == 70),       __syncthreads_and(thread < 70),
                        __syncthreads_and(thread < 69),       __syncthreads_count(0)};
  for (int i = 0; i < 6; ++i) out[thread * 6 + i] = counts[i];
}

void barriers_reduce_predicates() {
  for_schedules([] {
    std::vector<int> out(70 * 6, -1);
    launch("predicates", reduce_predicates, {1, 70, 0}, nullptr, out.data());
    const int expected[] = {24, 1, 0, 1, 0, 0};
    for (size_t i = 0; i < out.size(); ++i) EXPECT(out[i] == expected[i % 6]);
  });
}

__global__ void some_leave_before_the_barrier() {
  if (threadIdx.x < 40) __syncthreads();
}

__global__ void two_barriers_for_two_halves() {
  if (threadIdx.x < 40) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}

__global__ void refuse_block_five() {
  AVTS_DEVICE_CHECK(blockIdx.x != 5 || threadIdx.x != 3, "block five is refused");
}

void divergent_barriers_are_reported() {
  for_schedules([] {
    const std::string left =
        error_of([] { launch("left", some_leave_before_the_barrier, {3, 64, 0}, nullptr); });
    EXPECT(contains(left, "threads wait for others that never come"));
    EXPECT(contains(left, "threads 0 to 39: wait in __syncthreads at "));
    EXPECT(contains(left, "test_cuda_on_host.cpp:"));
    EXPECT(contains(left, "threads 40 to 63: ended"));
    const std::string two =
        error_of([] { launch("two", two_barriers_for_two_halves, {3, 64, 0}, nullptr); });
    EXPECT(contains(two, "divergent barrier: it is in __syncthreads at "));
    EXPECT(error_of([] { launch("nothing", do_nothing, {3, 64, 0}, nullptr); }).empty());
  });
}

void a_failed_device_check_names_block_and_thread() {
  const std::string error =
      error_of([] { launch("refuse", refuse_block_five, {9, 64, 0}, nullptr); });
  EXPECT(error == "refuse: block (5, 0, 0), thread (3, 0, 0): block five is refused");
}

// --- Warps

__global__ void shuffles(int* out) {
  const int lane = static_cast<int>(threadIdx.x) % 32, thread = static_cast<int>(threadIdx.x);
  const unsigned all = avts::kWholeWarp;
  int* mine = out + thread * 6;
  mine[0] = __shfl_sync(all, thread, (lane + 5) % 32);
  mine[1] = __shfl_sync(all, thread, 3, 8);
  mine[2] = __shfl_xor_sync(all, thread, 16);
  mine[3] = __shfl_up_sync(all, thread, 3, 16);
  mine[4] = __shfl_down_sync(all, thread, 3, 16);
  mine[5] = static_cast<int>(__shfl_xor_sync(all, thread + 0.5, 1) * 2);
}

void shuffles_follow_the_manual() {
  for_schedules([] {
    std::vector<int> out(96 * 6);
    launch("shuffles", shuffles, {1, 96, 0}, nullptr, out.data());
    for (int thread = 0; thread < 96; ++thread) {
      const int lane = thread % 32, warp = thread - lane;
      const int* mine = &out[thread * 6];
      EXPECT(mine[0] == warp + (lane + 5) % 32);
      EXPECT(mine[1] == warp + lane / 8 * 8 + 3);
      EXPECT(mine[2] == (thread ^ 16));
      EXPECT(mine[3] == (lane % 16 >= 3 ? thread - 3 : thread));
      EXPECT(mine[4] == (lane % 16 + 3 < 16 ? thread + 3 : thread));
      EXPECT(mine[5] == 2 * (thread ^ 1) + 1);
    }
  });
}

// Odd and even lanes are in different collectives at the same time, and in different numbers of
// them.
__global__ void two_halves(unsigned* out) {
  const unsigned lane = threadIdx.x % 32, odd = lane % 2;
  const unsigned mask = odd ? 0xaaaaaaaa : 0x55555555;
  unsigned votes = 0;
  if (odd) {
    for (unsigned turn = 0; turn < 5; ++turn) votes += __ballot_sync(mask, lane > 4 * turn);
    votes += __any_sync(mask, lane == 31) + __all_sync(mask, lane > 1);
  } else {
    votes = __ballot_sync(mask, lane < 8) + __all_sync(mask, lane < 31);
  }
  __syncwarp();
  out[threadIdx.x] = votes;
}

void masks_keep_parts_of_a_warp_apart() {
  for_schedules([] {
    std::vector<unsigned> out(64, 0);
    launch("halves", two_halves, {1, 64, 0}, nullptr, out.data());
    unsigned odd = 1;
    for (unsigned turn = 0; turn < 5; ++turn) odd += 0xaaaaaaaa & ~((2u << 4 * turn) - 1);
    for (int thread = 0; thread < 64; ++thread) EXPECT(out[thread] == (thread % 2 ? odd : 0x56));
  });
}

__global__ void mask_without_own_lane() { __syncwarp(0xfffffffe); }
__global__ void mask_with_missing_lanes() { __syncwarp(); }
__global__ void shuffle_from_outside() {
  if (threadIdx.x < 8) __shfl_sync(0xff, 1, 8);
}
__global__ void lanes_with_different_masks() {
  if (threadIdx.x < 16) {
    __syncwarp();
  } else {
    __syncwarp(0xffff0000);
  }
}
__global__ void lanes_at_different_places() {
  if (threadIdx.x < 16) {
    __syncwarp();
  } else {
    __syncwarp();
  }
}
__global__ void a_lane_ends_early() {
  if (threadIdx.x != 7) __syncwarp();
}

void misuse_of_masks_is_reported() {
  for_schedules([] {
    const auto error = [](void (*kernel)(), unsigned threads = 32) {
      return error_of([&] { launch("kernel", kernel, {1, threads, 0}, nullptr); });
    };
    EXPECT(contains(error(mask_without_own_lane), "expected one with its own lane 0"));
    EXPECT(contains(error(mask_with_missing_lanes, 40), "no other lanes than 0x000000ff"));
    EXPECT(contains(error(shuffle_from_outside), "reads lane 8, which mask 0x000000ff leaves out"));
    EXPECT(contains(error(lanes_with_different_masks), "threads 0 to 15: wait in __syncwarp at"));
    EXPECT(contains(error(lanes_at_different_places), "divergent warp: it is in __syncwarp at"));
    EXPECT(contains(error(a_lane_ends_early), "threads 7 to 7: ended"));
  });
}

// --- Atomics

struct Totals {
  int sum, least;
  unsigned wrapped, greatest, taken;
  unsigned long long wide;
  float single;
  double twofold;
  float last;
};

__global__ void add_up(Totals* totals) {
  const auto i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  atomicAdd(&totals->sum, i);
  atomicAdd(&totals->wrapped, 0x10000001u);
  atomicAdd(&totals->wide, 1ull << 33);
  atomicAdd(&totals->single, 1.0f);
  atomicAdd(&totals->twofold, 0.5);
  atomicMin(&totals->least, -i);
  atomicMax(&totals->greatest, static_cast<unsigned>(i) * 2);
  atomicExch(&totals->last, 8.0f);
  atomicCAS(&totals->taken, 0u, static_cast<unsigned>(i) + 1);
}

void atomics_lose_nothing() {
  for_schedules([] {
    Totals totals{};
    launch("add", add_up, {50, 40, 0}, nullptr, &totals);
    EXPECT(totals.sum == 1999 * 1000);
    EXPECT(totals.wrapped == 2000u * 0x10000001u);
    EXPECT(totals.wide == 2000ull << 33);
    EXPECT(totals.single == 2000 && totals.twofold == 1000);
    EXPECT(totals.least == -1999 && totals.greatest == 2 * 1999);
    EXPECT(totals.last == 8 && totals.taken >= 1 && totals.taken <= 2000);
  });
}

// --- Schedules

__global__ void note_order(int* next, int* order) {
  for (int turn = 0; turn < 2; ++turn) {
    const int place = atomicAdd(next, 1);
    order[place] = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    __syncthreads();
  }
}

std::vector<int> order_of(int seed) {
  schedule(seed, 1);
  int next = 0;
  std::vector<int> order(2 * 4 * 70, -1);
  launch("order", note_order, {4, 70, 0}, nullptr, &next, order.data());
  return order;
}

void a_seed_fixes_an_order_and_another_seed_another() {
  const std::vector<int> in_order = order_of(0);
  EXPECT(std::is_sorted(in_order.begin(), in_order.begin() + 70));
  EXPECT(order_of(0) == in_order);
  EXPECT(order_of(1) == order_of(1) && order_of(2) == order_of(2));
  EXPECT(order_of(1) != in_order && order_of(1) != order_of(2));
  const std::vector<int> first = order_of(1);
  EXPECT(first[0] / 70 != 0 || order_of(2)[0] / 70 != 0);  // blocks are shuffled too
}

void several_threads_may_launch_at_once() {
  schedule(1, 2);
  std::vector<std::thread> callers;
  for (int c = 0; c < 3; ++c) {
    callers.emplace_back([c] {
      for (int turn = 0; turn < 10; ++turn) {
        Totals totals{};
        launch("add", add_up, {10, 32, 0}, nullptr, &totals);
        EXPECT(totals.single == 320);
        const std::string error =
            error_of([] { launch("refuse", refuse_block_five, {9, 64, 0}, nullptr); });
        EXPECT(contains(error, "block five is refused") && c >= 0);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
}

// --- Devices

int current_device() {
  int device = -1;
  EXPECT(cudaGetDevice(&device) == cudaSuccess);
  return device;
}

void a_guard_makes_a_device_current_and_gives_the_former_back() {
  {
    const avts::CudaDeviceGuard second(1);
    EXPECT(current_device() == 1);
    const avts::CudaDeviceGuard first(0);
    EXPECT(current_device() == 0);
  }
  EXPECT(current_device() == 0);
  EXPECT(error_of([] { avts::CudaDeviceGuard(7); }) == "cudaSetDevice: invalid device ordinal");
  EXPECT(current_device() == 0);
}

// --- Graphs

__global__ void add_to(int* total, const int* amount) { atomicAdd(total, *amount); }

void a_capture_runs_nothing_until_it_is_replayed() {
  cuda_on_host::Graph graph;
  int total = 0, amount = 1;
  graph.begin_capture();
  for (int turn = 0; turn < 2; ++turn) {
    launch("add", add_to, {4, 32, 0}, cuda_on_host::Graph::stream(), &total, &amount);
  }
  std::thread([&] { launch("add", add_to, {1, 1, 0}, nullptr, &total, &amount); }).join();
  EXPECT(total == 1);  // another thread's is no part of the capture
  const std::string error =
      error_of([&] { launch("add", add_to, {1, 1, 0}, nullptr, &total, &amount); });
  EXPECT(error == "add: launched on another stream than the one that is captured");
  graph.end_capture();
  amount = 10;
  EXPECT(total == 1);
  EXPECT(graph.replay() == cuda_on_host::LaunchStatus::success && total == 1 + 256 * 10);
  EXPECT(graph.replay() == cuda_on_host::LaunchStatus::success && total == 1 + 512 * 10);
}

void a_replay_stops_at_the_kernel_that_fails() {
  cuda_on_host::Graph graph;
  int total = 0, amount = 1;
  graph.begin_capture();
  launch("refuse", refuse_block_five, {9, 64, 0}, cuda_on_host::Graph::stream());
  launch("add", add_to, {1, 1, 0}, cuda_on_host::Graph::stream(), &total, &amount);
  graph.end_capture();
  EXPECT(graph.replay() == cuda_on_host::LaunchStatus::failed && total == 0);
  EXPECT(contains(cuda_on_host::last_failure(), "block five is refused"));
}

__global__ void recurse(volatile int* depth) {
  volatile char frame[1024];
  frame[0] = frame[1023] = 1;
  if (++*depth < 1000000) recurse(depth);
  frame[1] = frame[0];
}

[[maybe_unused]] void a_stack_that_is_too_small_ends_the_process() {
  const pid_t child = fork();
  EXPECT(child >= 0);
  if (child == 0) {
    std::freopen("/dev/null", "w", stderr);
    schedule(0, 1);
    volatile int depth = 0;
    launch("recurse", recurse, {1, 1, 0}, nullptr, &depth);
    _exit(0);
  }
  int status = 0;
  EXPECT(waitpid(child, &status, 0) == child);
  EXPECT(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
}

}  // namespace

int main() {
  every_thread_of_a_grid_runs_once();
  limits_of_a_launch_are_enforced();
  shared_memory_begins_as_nan_in_every_block();
  barriers_order_shared_memory();
  barriers_reduce_predicates();
  divergent_barriers_are_reported();
  a_failed_device_check_names_block_and_thread();
  shuffles_follow_the_manual();
  masks_keep_parts_of_a_warp_apart();
  misuse_of_masks_is_reported();
  atomics_lose_nothing();
  a_seed_fixes_an_order_and_another_seed_another();
  several_threads_may_launch_at_once();
  a_guard_makes_a_device_current_and_gives_the_former_back();
  a_capture_runs_nothing_until_it_is_replayed();
  a_replay_stops_at_the_kernel_that_fails();
#if !defined(__SANITIZE_THREAD__)  // ThreadSanitizer does not support threads after a fork
  a_stack_that_is_too_small_ends_the_process();
#endif
  std::puts("ok");
}
