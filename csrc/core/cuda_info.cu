#include <cuda_runtime.h>

#include "core/cuda_info.h"

namespace avts {

CudaInfo cuda_info() {
  // A missing GPU must not poison the next call: no error is left behind. The versions stay zero.
  const auto forget_error = [] { static_cast<void>(cudaGetLastError()); };
  CudaInfo info;
  if (cudaRuntimeGetVersion(&info.runtime_version) != cudaSuccess) forget_error();
  if (cudaDriverGetVersion(&info.driver_version) != cudaSuccess) forget_error();
  int count = 0;
  if (const cudaError_t status = cudaGetDeviceCount(&count); status != cudaSuccess) {
    info.error = cudaGetErrorString(status);
    forget_error();
    return info;
  }
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties;
    if (const cudaError_t status = cudaGetDeviceProperties(&properties, i); status != cudaSuccess) {
      info.error = cudaGetErrorString(status);
      forget_error();
      break;
    }
    info.devices.push_back(std::string(properties.name) + " (compute " +
                           std::to_string(properties.major) + "." +
                           std::to_string(properties.minor) + ")");
  }
  return info;
}

}  // namespace avts
