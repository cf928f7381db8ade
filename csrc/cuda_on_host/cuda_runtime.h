// Stands in for NVIDIA's <cuda_runtime.h> where kernels are compiled for the host emulator: the
// part of CUDA C++ that our kernels use, with the same names. What is missing here does not
// compile,
// __shared__ variables among it: static shared memory can be neither bounded nor filled with NaN.
// Kernels take dynamic shared memory, through core/cuda_kernel.h.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <type_traits>
#include <utility>

#include "cuda_on_host/emulator.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__

// --- Types
// ----------------------------------------------------------------------------------------

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) double2 {
  double x, y;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline double2 make_double2(double x, double y) { return {x, y}; }

// Objects and not macros, because cudaLaunchConfig_t has members of the same names.
extern __thread uint3 threadIdx, blockIdx;
extern __thread dim3 blockDim, gridDim;
constexpr int warpSize = 32;

// --- What threads do together
// ---------------------------------------------------------------------

// Where a call stands is a default argument: the emulator compares it between threads.
#define CUDA_ON_HOST_PLACE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(CUDA_ON_HOST_PLACE) {
  cuda_on_host::sync_block(false, {"__syncthreads", file, line});
}
inline int __syncthreads_count(int predicate, CUDA_ON_HOST_PLACE) {
  return cuda_on_host::sync_block(predicate, {"__syncthreads_count", file, line});
}
inline int __syncthreads_or(int predicate, CUDA_ON_HOST_PLACE) {
  return cuda_on_host::sync_block(predicate, {"__syncthreads_or", file, line}) > 0;
}
inline int __syncthreads_and(int predicate, CUDA_ON_HOST_PLACE) {
  return cuda_on_host::sync_block(!predicate, {"__syncthreads_and", file, line}) == 0;
}
inline void __syncwarp(unsigned mask = 0xffffffff, CUDA_ON_HOST_PLACE) {
  cuda_on_host::meet(cuda_on_host::Collective::sync, mask, 0, 0, {"__syncwarp", file, line});
}
inline unsigned __ballot_sync(unsigned mask, int predicate, CUDA_ON_HOST_PLACE) {
  const auto ballots = cuda_on_host::meet(cuda_on_host::Collective::ballot, mask, predicate != 0, 0,
                                          {"__ballot_sync", file, line});
  return static_cast<unsigned>(ballots);
}
inline int __any_sync(unsigned mask, int predicate, CUDA_ON_HOST_PLACE) {
  return __ballot_sync(mask, predicate, file, line) != 0;
}
inline int __all_sync(unsigned mask, int predicate, CUDA_ON_HOST_PLACE) {
  return __ballot_sync(mask, predicate, file, line) == mask;
}

namespace cuda_on_host {

template <typename T>
T shuffle(unsigned mask, T value, int source, const Call& call) {
  static_assert(std::is_arithmetic<T>::value && (sizeof(T) == 4 || sizeof(T) == 8),
                "CUDA shuffles arithmetic types of 4 or 8 bytes");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = meet(Collective::shuffle, mask, bits, source, call);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// `source` where it lies in the calling lane's segment of `width` lanes, else the calling lane.
inline int within_segment(int source, int width) {
  return source / width == lane() / width && source >= 0 ? source : lane();
}

}  // namespace cuda_on_host

template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, CUDA_ON_HOST_PLACE) {
  const int first = cuda_on_host::lane() / width * width;
  return cuda_on_host::shuffle(mask, value, first + (source & (width - 1)),
                               {"__shfl_sync", file, line});
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, CUDA_ON_HOST_PLACE) {
  const int source = cuda_on_host::lane() ^ lanes;
  return cuda_on_host::shuffle(mask, value, cuda_on_host::within_segment(source, width),
                               {"__shfl_xor_sync", file, line});
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned lanes, int width = 32, CUDA_ON_HOST_PLACE) {
  const int source = cuda_on_host::lane() - static_cast<int>(lanes);
  return cuda_on_host::shuffle(mask, value, cuda_on_host::within_segment(source, width),
                               {"__shfl_up_sync", file, line});
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned lanes, int width = 32, CUDA_ON_HOST_PLACE) {
  const int source = cuda_on_host::lane() + static_cast<int>(lanes);
  return cuda_on_host::shuffle(mask, value, cuda_on_host::within_segment(source, width),
                               {"__shfl_down_sync", file, line});
}

#undef CUDA_ON_HOST_PLACE

// --- Atomics: relaxed, as on the device
// -----------------------------------------------------------

namespace cuda_on_host {

template <typename T, typename... Allowed>
constexpr bool is_one_of = (std::is_same<T, Allowed>::value || ...);

// Stores change(old) and returns old.
template <typename T, typename Change>
T exchange_by(T* address, const Change& change) {
  T old, desired;
  __atomic_load(address, &old, __ATOMIC_RELAXED);
  do {
    desired = change(old);
  } while (!__atomic_compare_exchange(address, &old, &desired, true, __ATOMIC_RELAXED,
                                      __ATOMIC_RELAXED));
  return old;
}

}  // namespace cuda_on_host

template <typename T>
T atomicAdd(T* address, T value) {
  static_assert(cuda_on_host::is_one_of<T, int, unsigned, unsigned long long, float, double>,
                "CUDA has no atomicAdd of this type");
  return cuda_on_host::exchange_by(address, [value](T old) { return old + value; });
}
template <typename T>
T atomicMin(T* address, T value) {
  static_assert(cuda_on_host::is_one_of<T, int, unsigned, long long, unsigned long long>,
                "CUDA has no atomicMin of this type");
  return cuda_on_host::exchange_by(address, [value](T old) { return value < old ? value : old; });
}
template <typename T>
T atomicMax(T* address, T value) {
  static_assert(cuda_on_host::is_one_of<T, int, unsigned, long long, unsigned long long>,
                "CUDA has no atomicMax of this type");
  return cuda_on_host::exchange_by(address, [value](T old) { return old < value ? value : old; });
}
template <typename T>
T atomicExch(T* address, T value) {
  static_assert(cuda_on_host::is_one_of<T, int, unsigned, unsigned long long, float>,
                "CUDA has no atomicExch of this type");
  return cuda_on_host::exchange_by(address, [value](T) { return value; });
}
template <typename T>
T atomicCAS(T* address, T expected, T value) {
  static_assert(cuda_on_host::is_one_of<T, int, unsigned, unsigned long long>,
                "CUDA has no atomicCAS of this type");
  __atomic_compare_exchange(address, &expected, &value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}

// --- Arithmetic
// -----------------------------------------------------------------------------------

template <typename T>
T min(T a, T b) {
  return b < a ? b : a;
}
template <typename T>
T max(T a, T b) {
  return a < b ? b : a;
}
template <typename T>
T __ldg(const T* address) {
  return *address;
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
inline double rsqrt(double x) { return 1 / std::sqrt(x); }

// --- Runtime
// --------------------------------------------------------------------------------------

// Code that leaves one unchecked does not compile here.
enum [[nodiscard]] cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInvalidDevice = 101,
  cudaErrorLaunchFailure = 719,
  cudaErrorStreamCaptureImplicit = 906,
};
using cudaStream_t = struct CUstream_st*;

inline const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorLaunchFailure:
      return cuda_on_host::last_failure();
    case cudaErrorStreamCaptureImplicit:
      return "launched on another stream than the one that is captured";
    default:
      return "invalid argument";
  }
}

inline cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = 0;
  return cudaSuccess;
}
inline cudaError_t cudaDriverGetVersion(int* version) { return cudaRuntimeGetVersion(version); }
// Devices differ in their number alone.
namespace cuda_on_host {
constexpr int kDevices = 2;
inline thread_local int t_device = 0;
}  // namespace cuda_on_host
inline cudaError_t cudaGetDeviceCount(int* count) {
  *count = cuda_on_host::kDevices;
  return cudaSuccess;
}
struct cudaDeviceProp {
  char name[256];
  int major, minor;
};
inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {"host emulator", 7, 5};
  return cudaSuccess;
}
inline cudaError_t cudaGetLastError() { return cudaSuccess; }  // launches return their own

inline cudaError_t cudaGetDevice(int* device) {
  *device = cuda_on_host::t_device;
  return cudaSuccess;
}
inline cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= cuda_on_host::kDevices) return cudaErrorInvalidDevice;
  cuda_on_host::t_device = device;
  return cudaSuccess;
}

enum cudaDeviceAttr { cudaDevAttrMaxSharedMemoryPerBlockOptin = 97 };
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  *value = static_cast<int>(cuda_on_host::device_shared_bytes());
  return cudaSuccess;
}

enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
template <typename Kernel>
cudaError_t cudaFuncSetAttribute(Kernel* kernel, cudaFuncAttribute, int bytes) {
  const bool allowed =
      bytes >= 0 &&
      cuda_on_host::allow_shared(reinterpret_cast<const void*>(kernel), static_cast<size_t>(bytes));
  return allowed ? cudaSuccess : cudaErrorInvalidValue;
}

struct cudaLaunchAttribute;  // none is known here
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
  cudaLaunchAttribute* attrs;
  unsigned numAttrs;
};

// Every stream is in order with every other one, and unless it is captured (graph.h) the kernel has
// ended when this returns.
template <typename... Parameters, typename... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  static_assert(sizeof...(Parameters) == sizeof...(Arguments), "as many arguments as parameters");
  static_assert((std::is_trivially_copyable<Parameters>::value && ...), "parameters are copied");
  static_assert((sizeof(Parameters) + ... + 0) <= 4096, "CUDA's limit on parameters");
  const dim3 &grid = config->gridDim, &block = config->blockDim;
  const cuda_on_host::LaunchShape shape{
      {grid.x, grid.y, grid.z}, {block.x, block.y, block.z}, config->dynamicSmemBytes};
  const std::tuple<Parameters...> parameters{
      static_cast<Parameters>(std::forward<Arguments>(arguments))...};
  const auto run = [kernel, parameters] { std::apply(kernel, parameters); };
  switch (cuda_on_host::launch(shape, config->stream, reinterpret_cast<const void*>(kernel), run)) {
    case cuda_on_host::LaunchStatus::success:
      return cudaSuccess;
    case cuda_on_host::LaunchStatus::invalid_shape:
      return cudaErrorInvalidConfiguration;
    case cuda_on_host::LaunchStatus::too_much_shared:
      return cudaErrorInvalidValue;
    case cuda_on_host::LaunchStatus::not_captured:
      return cudaErrorStreamCaptureImplicit;
    default:
      return cudaErrorLaunchFailure;
  }
}
