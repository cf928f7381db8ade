// What every .cu file of ours begins with. <cuda_runtime.h> is NVIDIA's, or for the host compiler
// the emulator's in cuda_on_host/: kernels keep to what both have, and are launched without <<<>>>.
#pragma once

#if defined(__CUDACC__)
#undef NDEBUG  // AVTS_DEVICE_CHECK stays in release builds
#include <cassert>
#endif

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace avts {

constexpr unsigned kWholeWarp = 0xffffffff;
constexpr int kWarpSize = 32;

// The block's dynamic shared memory.
template <typename T>
__device__ __forceinline__ T* dynamic_shared() {
#if defined(__CUDACC__)
  extern __shared__ __align__(16) unsigned char avts_shared[];
  return reinterpret_cast<T*>(avts_shared);
#else
  return static_cast<T*>(cuda_on_host::dynamic_shared());
#endif
}

// Standard headers use the word __noinline__, so that it cannot be a macro of the emulator's.
#if defined(__CUDACC__)
#define AVTS_NOINLINE __noinline__
#else
#define AVTS_NOINLINE __attribute__((noinline))
#endif

// Ends the kernel, and with it every later use of the device by the process, as PyTorch's own
// kernels do where an index is out of range: a host check would have to wait for the device.
#if defined(__CUDACC__)
#define AVTS_DEVICE_CHECK(condition, message) assert((condition) && message)
#else
#define AVTS_DEVICE_CHECK(condition, message)      \
  do {                                             \
    if (!(condition)) cuda_on_host::fail(message); \
  } while (0)
#endif

// Becomes a Python RuntimeError at the binding.
inline void check_cuda(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(status));
}

struct LaunchShape {
  dim3 blocks;
  unsigned threads;
  size_t shared_bytes;
};

// Queues the kernel; throws if CUDA refuses it. What goes wrong later surfaces, as everywhere in
// CUDA, at the next call that waits for the stream.
template <typename... Parameters, typename... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), const LaunchShape& shape, void* stream,
            const Arguments&... arguments) {
  constexpr size_t kWithoutAsking = 48 * 1024;
  if (shape.shared_bytes > kWithoutAsking) {
    check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(shape.shared_bytes)),
               name);
  }
  cudaLaunchConfig_t config{};
  config.gridDim = shape.blocks;
  config.blockDim = dim3(shape.threads);
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = static_cast<cudaStream_t>(stream);
  check_cuda(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), name);
}

}  // namespace avts
