// Executes CUDA kernels on the host, for tests: a block is run by one OS thread at a time, each of
// its CUDA threads is a fiber, and fibers change places only where CUDA threads wait for each
// other.
//
// Faults that hardware would turn into wrong numbers or a hang (a barrier that not all threads
// reach, a collective whose mask is wrong, a shuffle from a lane that takes no part) end the launch
// with an error that says where. Races and accesses out of bounds are for the sanitizers: dynamic
// shared memory is a heap block of exactly the size asked for, filled with NaN, and
// ThreadSanitizer knows what each barrier orders. Not modelled: time, occupancy, registers, the
// reordering of real memory, approximate intrinsics, and progress of threads that wait by spinning.
//
// Read at each launch from the environment:
//   CUDA_ON_HOST_SEED       0 (default) runs threads, warps and blocks in order; any other number
//                           shuffles all three, the same way every time
//   CUDA_ON_HOST_WORKERS    OS threads that run blocks; default: one per core, at least 2
//   CUDA_ON_HOST_SHARED_KB  shared memory that a block of this device may ask for; default 64,
//                           which the smallest of our targets, compute capability 7.5, has
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace cuda_on_host {

// A call that threads make together, and where in the kernel's source it stands: threads that wait
// for each other must have made the same one.
struct Call {
  const char* name;
  const char* file;
  int line;
};

enum class Collective { sync, shuffle, ballot };

// For the calling CUDA thread: its lane, and the block's dynamic shared memory.
int lane();
void* dynamic_shared();

// A barrier of all threads of the block; returns how many of them gave a true predicate.
int sync_block(bool predicate, const Call& call);

// All lanes of `mask` give a value. shuffle: returns that of `source`. ballot: the lanes whose
// value is not zero. Only sync orders memory between the lanes.
uint64_t meet(Collective kind, unsigned mask, uint64_t value, int source, const Call& call);

// Ends the launch with an error.
[[noreturn]] void fail(const char* why);

struct LaunchShape {
  uint64_t grid[3], block[3];
  size_t shared_bytes;
};
enum class LaunchStatus { success, invalid_shape, too_much_shared, not_captured, failed };

// Runs the kernel, which holds its arguments, for every thread of the grid, and returns when all
// are done; while the calling thread captures a graph it notes the launch and returns. `function`
// tells kernels apart.
LaunchStatus launch(const LaunchShape& shape, const void* stream, const void* function,
                    std::function<void()> kernel);

// What cudaFuncAttributeMaxDynamicSharedMemorySize sets; false: more than the device has.
bool allow_shared(const void* function, size_t bytes);
size_t device_shared_bytes();

// Why this thread's last launch failed.
const char* last_failure();

}  // namespace cuda_on_host
