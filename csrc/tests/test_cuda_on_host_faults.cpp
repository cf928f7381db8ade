// Kernels with one planted fault each, which the sanitizer of this build must report: ctest runs
// the program once for each and looks for the report. With the fault "none" it must be silent.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <vector>

#include "core/cuda_kernel.h"

namespace {

enum class Fault {
  none,
  shared_write_out_of_bounds,
  global_write_out_of_bounds,
  missing_barrier,
  missing_syncwarp,
  cross_block_race,
};
constexpr const char* kNames[] = {"none",
                                  "shared_write_out_of_bounds",
                                  "global_write_out_of_bounds",
                                  "missing_barrier",
                                  "missing_syncwarp",
                                  "cross_block_race"};
constexpr unsigned kThreads = 64;

// Sum of each block's numbers, by warps and then over the block, and the sum of all.
__global__ void sums(const float* in, float* of_blocks, float* of_all, Fault fault) {
  float* values = avts::dynamic_shared<float>();
  const unsigned thread = threadIdx.x;
  values[thread] = in[blockIdx.x * kThreads + thread];
  if (fault != Fault::missing_syncwarp) __syncwarp();
  if (thread % 32 == 0) {
    for (unsigned i = 1; i < 32; ++i) values[thread] += values[thread + i];
  }
  if (fault != Fault::missing_barrier) __syncthreads();
  if (thread == 0) {
    const float sum = values[0] + values[32];
    of_blocks[blockIdx.x] = sum;
    if (fault == Fault::shared_write_out_of_bounds) values[kThreads] = sum;
    if (fault == Fault::global_write_out_of_bounds) of_blocks[gridDim.x + blockIdx.x] = sum;
    if (fault == Fault::cross_block_race) {
      *of_all += sum;
    } else {
      atomicAdd(of_all, sum);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  constexpr unsigned kBlocks = 6;
  for (size_t i = 0; argc == 2 && i < std::size(kNames); ++i) {
    if (std::strcmp(argv[1], kNames[i])) continue;
    std::vector<float> in(kBlocks * kThreads, 1), of_blocks(kBlocks);
    float of_all = 0;
    avts::launch("sums", sums, {kBlocks, kThreads, kThreads * sizeof(float)}, nullptr, in.data(),
                 of_blocks.data(), &of_all, static_cast<Fault>(i));
    std::printf("sum %g\n", of_all);
    return 0;
  }
  std::fprintf(stderr, "expected the name of one fault\n");
  return 2;
}
