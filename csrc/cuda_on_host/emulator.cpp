#include "cuda_on_host/emulator.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <numeric>
#include <thread>
#include <unordered_map>
#include <vector>

#include "cuda_on_host/cuda_runtime.h"
#include "cuda_on_host/fiber.h"
#include "cuda_on_host/graph.h"
#include "cuda_on_host/sanitizers.h"

__thread uint3 threadIdx, blockIdx;
__thread dim3 blockDim, gridDim;

namespace cuda_on_host {
namespace {

constexpr int kWarp = 32;
constexpr int kMaxThreads = 1024;
constexpr size_t kSharedWithoutAsking = 48 * 1024;

uint64_t environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text && *text ? std::strtoull(text, nullptr, 10) : otherwise;
}

// SplitMix64 (Steele et al., OOPSLA 2014).
struct Random {
  uint64_t state;
  uint64_t next() {
    uint64_t z = state += 0x9E3779B97F4A7C15;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return z ^ z >> 31;
  }
};

bool same_place(const Call& a, const Call& b) {
  return a.line == b.line && !std::strcmp(a.file, b.file) && !std::strcmp(a.name, b.name);
}

std::string text_of(const Call& call) {
  return std::string(call.name) + " at " + call.file + ":" + std::to_string(call.line);
}

std::string text_of(const uint3& index) {
  return "(" + std::to_string(index.x) + ", " + std::to_string(index.y) + ", " +
         std::to_string(index.z) + ")";
}

std::string hexadecimal(unsigned mask) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%08x", mask);
  return text;
}

struct Launch {
  const LaunchShape& shape;
  const std::function<void()>& kernel;
  uint64_t seed;
  std::atomic<bool> failed{false};
  std::mutex mutex;
  std::string why;  // guarded by mutex

  void fail(const std::string& reason) {
    std::lock_guard<std::mutex> lock(mutex);
    if (why.empty()) why = reason;
    failed.store(true, std::memory_order_relaxed);
  }
};

enum class State { ready, waiting, ended };

struct Thread {
  explicit Thread(void (*entry)()) : fiber(entry) {}
  Fiber fiber;
  uint3 index;
  State state = State::ended;
  Call call;        // that it waits in
  uint64_t value;   // given to a collective
  int source;       // lane that a shuffle reads
  uint64_t result;  // of a collective or barrier
};

// A collective that some lanes of its mask have reached.
struct Meeting {
  Collective kind;
  Call call;
  Ordering* ordering;
  unsigned mask, arrived;
};

// A lane may be in the next meeting before others have left this one. Were both ordered by the same
// object, these would seem to see what the fast lane did in between, and its race would be missed.
struct Warp {
  unsigned lanes, ready;    // masks
  Meeting meetings[kWarp];  // the first meeting_count; an array, because ThreadSanitizer would see
  int meeting_count;        // the accesses of library functions
  Ordering orderings[2 * kWarp];
  size_t meetings_begun = 0;

  Meeting& meeting_of(unsigned mask, const Call& call, Collective kind);
};

// Runs blocks, one after the other, on the OS thread that calls run().
class Worker {
 public:
  void run(Launch& launch, const std::vector<uint64_t>& blocks, size_t first, size_t step);

  Thread& thread() { return *threads_[current_]; }
  int lane() const { return current_ % kWarp; }
  void* shared() const { return shared_.get(); }
  int sync_block(bool predicate, const Call& call);
  uint64_t meet(Collective kind, unsigned mask, uint64_t value, int source, const Call& call);
  void report(const std::string& why);
  [[noreturn]] void end_block();

 private:
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };

  static void run_thread();
  void run_block(uint64_t block);
  void set_up_threads();
  void set_up_shared();
  void leave();
  int next_thread();
  unsigned pick(unsigned mask);
  void make_ready(int thread);
  void complete(const Meeting& meeting, int warp);
  std::string stuck_threads() const;

  Launch* launch_ = nullptr;
  Fiber* root_ = nullptr;  // the OS thread's own flow, which starts blocks
  std::vector<std::unique_ptr<Thread>> threads_;
  Warp warps_[kMaxThreads / kWarp];
  unsigned ready_warps_ = 0;
  int count_ = 0, ended_ = 0, current_ = 0;
  std::unique_ptr<char, Free> shared_;
  size_t shared_bytes_ = SIZE_MAX;
  Random random_{0};

  Call barrier_;  // that the threads counted next wait in
  int at_barrier_ = 0, predicates_ = 0;
  uint64_t barriers_ = 0;
  Ordering barrier_ordering_[2];  // by turns, as in Warp
  Ordering begin_ordering_, end_ordering_;
};

thread_local Worker* t_worker = nullptr;

void Worker::run(Launch& launch, const std::vector<uint64_t>& blocks, size_t first, size_t step) {
  Fiber root;
  launch_ = &launch;
  root_ = &root;
  t_worker = this;
  for (size_t i = first; i < blocks.size(); i += step) {
    if (launch.failed.load(std::memory_order_relaxed)) break;
    run_block(blocks[i]);
  }
  t_worker = nullptr;
}

void Worker::run_block(uint64_t block) {
  const LaunchShape& shape = launch_->shape;
  const auto dimensions = [](const uint64_t* size) {
    return dim3(static_cast<unsigned>(size[0]), static_cast<unsigned>(size[1]),
                static_cast<unsigned>(size[2]));
  };
  gridDim = dimensions(shape.grid);
  blockDim = dimensions(shape.block);
  blockIdx = {static_cast<unsigned>(block % shape.grid[0]),
              static_cast<unsigned>(block / shape.grid[0] % shape.grid[1]),
              static_cast<unsigned>(block / shape.grid[0] / shape.grid[1])};
  random_.state = launch_->seed * 0xD1342543DE82EF95 + block;
  set_up_threads();
  set_up_shared();
  at_barrier_ = predicates_ = ended_ = 0;
  begin_ordering_.release();
  current_ = static_cast<int>(pick(ready_warps_)) * kWarp;
  current_ = next_thread();
  threadIdx = thread().index;
  root_->switch_to(thread().fiber);
  end_ordering_.acquire();
}

void Worker::set_up_threads() {
  count_ = static_cast<int>(blockDim.x * blockDim.y * blockDim.z);
  while (static_cast<int>(threads_.size()) < count_) {
    threads_.push_back(std::make_unique<Thread>(&run_thread));
  }
  ready_warps_ = 0;
  for (int w = 0; w * kWarp < count_; ++w) {
    const int lanes = std::min(kWarp, count_ - w * kWarp);
    warps_[w].lanes = warps_[w].ready = ~0u >> (kWarp - lanes);
    warps_[w].meeting_count = 0;
    ready_warps_ |= 1u << w;
  }
  for (int t = 0; t < count_; ++t) {
    // Threads of a block that failed stand where they were, for ever.
    if (threads_[t]->state != State::ended) threads_[t] = std::make_unique<Thread>(&run_thread);
    Thread& thread = *threads_[t];
    const auto index = static_cast<unsigned>(t);
    thread.index = {index % blockDim.x, index / blockDim.x % blockDim.y,
                    index / blockDim.x / blockDim.y};
    thread.fiber.start_over();
    thread.state = State::ready;
  }
}

// Every byte 0xff: a NaN in every floating-point type, -1 in every signed integer.
void Worker::set_up_shared() {
  const size_t bytes = launch_->shape.shared_bytes;
  if (bytes != shared_bytes_) {
    shared_.reset(static_cast<char*>(std::malloc(std::max<size_t>(bytes, 1))));
    shared_bytes_ = bytes;
  }
  std::memset(shared_.get(), 0xff, bytes);
}

void Worker::run_thread() {
  Worker& worker = *t_worker;
  worker.begin_ordering_.acquire();
  worker.launch_->kernel();
  worker.thread().state = State::ended;
  ++worker.ended_;
  worker.leave();
}

// A set bit of the mask: the lowest one, or with a seed any.
unsigned Worker::pick(unsigned mask) {
  const unsigned turn = launch_->seed ? static_cast<unsigned>(random_.next() % kWarp) : 0;
  const unsigned turned = mask >> turn | mask << (kWarp - turn) % kWarp;
  return (static_cast<unsigned>(__builtin_ctz(turned)) + turn) % kWarp;
}

// The running thread's warp as long as it can go on, which keeps few stacks in the cache; -1: none.
int Worker::next_thread() {
  unsigned warp = static_cast<unsigned>(current_ / kWarp);
  if (!ready_warps_) return -1;
  if (!(ready_warps_ >> warp & 1)) warp = pick(ready_warps_);
  return static_cast<int>(warp * kWarp + pick(warps_[warp].ready));
}

void Worker::make_ready(int t) {
  threads_[t]->state = State::ready;
  warps_[t / kWarp].ready |= 1u << t % kWarp;
  ready_warps_ |= 1u << t / kWarp;
}

// Lets another thread run. The calling one has ended or waits; it returns once it is ready again.
void Worker::leave() {
  Thread& me = thread();
  end_ordering_.release();  // here, because after a failure nothing returns to this thread
  const int left = current_;
  warps_[left / kWarp].ready &= ~(1u << left % kWarp);
  if (!warps_[left / kWarp].ready) ready_warps_ &= ~(1u << left / kWarp);
  const int next = next_thread();
  if (next < 0) {
    if (ended_ < count_) report("threads wait for others that never come:" + stuck_threads());
    end_block();
  }
  current_ = next;
  threadIdx = thread().index;
  me.fiber.switch_to(thread().fiber);
}

void Worker::report(const std::string& why) {
  launch_->fail("block " + text_of(blockIdx) + ", thread " + text_of(thread().index) + ": " + why);
}

// Nothing that is on the stacks of threads that have not ended is destroyed: own no memory there.
void Worker::end_block() {
  end_ordering_.release();
  thread().fiber.switch_to(*root_);
  __builtin_unreachable();
}

std::string Worker::stuck_threads() const {
  std::string text;
  const auto what = [&](int t) {
    const Thread& thread = *threads_[t];
    return thread.state == State::ended ? "ended" : "wait in " + text_of(thread.call);
  };
  for (int first = 0, next; first < count_; first = next) {
    for (next = first + 1; next < count_ && what(next) == what(first);) ++next;
    text += "\n  threads " + std::to_string(first) + " to " + std::to_string(next - 1) + ": " +
            what(first);
  }
  return text;
}

int Worker::sync_block(bool predicate, const Call& call) {
  Thread& me = thread();
  if (at_barrier_ == 0) barrier_ = call;
  if (!same_place(barrier_, call)) {
    report("divergent barrier: it is in " + text_of(call) + ", others are in " + text_of(barrier_));
    end_block();
  }
  Ordering& ordering = barrier_ordering_[barriers_ % 2];
  ordering.release();
  predicates_ += predicate;
  if (++at_barrier_ == count_) {
    for (int t = 0; t < count_; ++t) {
      threads_[t]->result = static_cast<uint64_t>(predicates_);
      make_ready(t);
    }
    at_barrier_ = predicates_ = 0;
    ++barriers_;
  } else {
    me.state = State::waiting;
    me.call = call;
    leave();
  }
  ordering.acquire();
  return static_cast<int>(me.result);
}

// The one that lanes wait in with this mask, or a new one.
Meeting& Warp::meeting_of(unsigned mask, const Call& call, Collective kind) {
  for (int i = 0; i < meeting_count; ++i) {
    if (meetings[i].mask == mask) return meetings[i];
  }
  Ordering* ordering = &orderings[meetings_begun++ % (2 * kWarp)];
  meetings[meeting_count] = {kind, call, ordering, mask, 0};
  return meetings[meeting_count++];
}

uint64_t Worker::meet(Collective kind, unsigned mask, uint64_t value, int source,
                      const Call& call) {
  Thread& me = thread();
  Warp& warp = warps_[current_ / kWarp];
  const unsigned own = 1u << lane();
  if (mask & ~warp.lanes || !(mask & own)) {
    report(text_of(call) + " has mask " + hexadecimal(mask) + ", expected one with its own lane " +
           std::to_string(lane()) + " and no other lanes than " + hexadecimal(warp.lanes));
    end_block();
  }
  if (kind == Collective::shuffle && !(mask >> source & 1)) {
    report(text_of(call) + " reads lane " + std::to_string(source) + ", which mask " +
           hexadecimal(mask) + " leaves out");
    end_block();
  }
  Meeting& meeting = warp.meeting_of(mask, call, kind);
  if (!same_place(meeting.call, call)) {
    report("divergent warp: it is in " + text_of(call) + ", others are in " +
           text_of(meeting.call) + ", all with mask " + hexadecimal(mask));
    end_block();
  }
  Ordering& ordering = *meeting.ordering;
  if (kind == Collective::sync) ordering.release();
  me.value = value;
  me.source = source;
  meeting.arrived |= own;
  if (meeting.arrived == mask) {
    complete(meeting, current_ / kWarp);
    meeting = warp.meetings[--warp.meeting_count];
  } else {
    me.state = State::waiting;
    me.call = call;
    leave();
  }
  if (kind == Collective::sync) ordering.acquire();
  return me.result;
}

// The last lane to arrive works out every lane's result: the values may change as soon as one runs.
void Worker::complete(const Meeting& meeting, int warp) {
  unsigned ballot = 0;
  const auto each_lane = [&](auto body) {
    for (unsigned rest = meeting.mask; rest; rest &= rest - 1) {
      const int lane = __builtin_ctz(rest);
      body(lane, *threads_[warp * kWarp + lane]);
    }
  };
  each_lane([&](int lane, Thread& t) { ballot |= t.value ? 1u << lane : 0; });
  each_lane([&](int lane, Thread& t) {
    const bool shuffle = meeting.kind == Collective::shuffle;
    t.result = shuffle ? threads_[warp * kWarp + t.source]->value : ballot;
    make_ready(warp * kWarp + lane);
  });
}

// Workers keep their stacks between launches.
std::mutex g_mutex;
std::vector<std::unique_ptr<Worker>> g_idle_workers;             // guarded by g_mutex
std::unordered_map<const void*, size_t> g_allowed_shared_bytes;  // guarded by g_mutex
thread_local std::string t_last_failure;

std::unique_ptr<Worker> take_worker() {
  std::lock_guard<std::mutex> lock(g_mutex);
  if (g_idle_workers.empty()) return std::make_unique<Worker>();
  std::unique_ptr<Worker> worker = std::move(g_idle_workers.back());
  g_idle_workers.pop_back();
  return worker;
}

void return_worker(std::unique_ptr<Worker> worker) {
  std::lock_guard<std::mutex> lock(g_mutex);
  g_idle_workers.push_back(std::move(worker));
}

std::vector<uint64_t> block_order(uint64_t count, uint64_t seed) {
  std::vector<uint64_t> order(count);
  std::iota(order.begin(), order.end(), uint64_t{0});
  Random random{seed};
  for (uint64_t i = count; seed && i > 1; --i) std::swap(order[i - 1], order[random.next() % i]);
  return order;
}

uint64_t worker_count() {
  const unsigned cores = std::thread::hardware_concurrency();
  return std::max<uint64_t>(1, environment("CUDA_ON_HOST_WORKERS", std::max(2u, cores)));
}

bool valid(const LaunchShape& shape) {
  constexpr uint64_t kMaxGrid[] = {0x7fffffff, 65535, 65535}, kMaxBlock[] = {1024, 1024, 64};
  for (int i = 0; i < 3; ++i) {
    if (shape.grid[i] < 1 || shape.grid[i] > kMaxGrid[i]) return false;
    if (shape.block[i] < 1 || shape.block[i] > kMaxBlock[i]) return false;
  }
  return shape.block[0] * shape.block[1] * shape.block[2] <= kMaxThreads;
}

size_t allowed_shared_bytes(const void* function) {
  std::lock_guard<std::mutex> lock(g_mutex);
  const auto found = g_allowed_shared_bytes.find(function);
  return found == g_allowed_shared_bytes.end() ? kSharedWithoutAsking : found->second;
}

// Runs all blocks and returns when they are done.
LaunchStatus run(const LaunchShape& shape, const std::function<void()>& kernel) {
  const uint64_t count = shape.grid[0] * shape.grid[1] * shape.grid[2];
  Launch launch{shape, kernel, environment("CUDA_ON_HOST_SEED", 0), {}, {}, {}};
  const std::vector<uint64_t> blocks = block_order(count, launch.seed);
  // Blocks are dealt out beforehand, so that a run with one seed repeats in every detail but the
  // interleaving of workers.
  const uint64_t workers = std::min(worker_count(), count);
  const auto work = [&](uint64_t first) {
    std::unique_ptr<Worker> worker = take_worker();
    worker->run(launch, blocks, first, workers);
    return_worker(std::move(worker));
  };
  std::vector<std::thread> helpers;
  for (uint64_t first = 1; first < workers; ++first) helpers.emplace_back(work, first);
  work(0);
  for (std::thread& helper : helpers) helper.join();
  t_last_failure = launch.why;
  return launch.failed ? LaunchStatus::failed : LaunchStatus::success;
}

}  // namespace

int lane() { return t_worker->lane(); }
void* dynamic_shared() { return t_worker->shared(); }

void fail(const char* why) {
  t_worker->report(why);
  t_worker->end_block();
}

int sync_block(bool predicate, const Call& call) { return t_worker->sync_block(predicate, call); }

uint64_t meet(Collective kind, unsigned mask, uint64_t value, int source, const Call& call) {
  return t_worker->meet(kind, mask, value, source, call);
}

size_t device_shared_bytes() { return environment("CUDA_ON_HOST_SHARED_KB", 64) * 1024; }

bool allow_shared(const void* function, size_t bytes) {
  if (bytes > device_shared_bytes()) return false;
  std::lock_guard<std::mutex> lock(g_mutex);
  g_allowed_shared_bytes[function] = bytes;
  return true;
}

const char* last_failure() { return t_last_failure.c_str(); }

LaunchStatus launch(const LaunchShape& shape, const void* stream, const void* function,
                    std::function<void()> kernel) {
  if (!valid(shape)) return LaunchStatus::invalid_shape;
  if (shape.shared_bytes > allowed_shared_bytes(function)) return LaunchStatus::too_much_shared;
  Graph* const graph = Graph::capturing();
  if (!graph) return run(shape, kernel);
  return graph->note(stream, [shape, kernel = std::move(kernel)] { return run(shape, kernel); });
}

}  // namespace cuda_on_host
