#include <cuda_runtime.h>

#include "core/cuda_info.h"

namespace avts {

CudaInfo cuda_info() {
  CudaInfo info;
  cudaRuntimeGetVersion(&info.runtime_version);
  cudaDriverGetVersion(&info.driver_version);
  int count = 0;
  if (const cudaError_t status = cudaGetDeviceCount(&count); status != cudaSuccess) {
    info.error = cudaGetErrorString(status);
    cudaGetLastError();  // not sticky: a missing GPU must not poison the next call
    return info;
  }
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties;
    if (const cudaError_t status = cudaGetDeviceProperties(&properties, i); status != cudaSuccess) {
      info.error = cudaGetErrorString(status);
      cudaGetLastError();
      break;
    }
    info.devices.push_back(std::string(properties.name) + " (compute " +
                           std::to_string(properties.major) + "." +
                           std::to_string(properties.minor) + ")");
  }
  return info;
}

}  // namespace avts
