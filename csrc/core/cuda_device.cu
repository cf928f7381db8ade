#include "core/cuda_device.h"
#include "core/cuda_kernel.h"

namespace avts {

CudaDeviceGuard::CudaDeviceGuard(int device) : device_(device) {
  check_cuda(cudaGetDevice(&before_), "cudaGetDevice");
  if (device_ != before_) check_cuda(cudaSetDevice(device_), "cudaSetDevice");
}

CudaDeviceGuard::~CudaDeviceGuard() {
  if (device_ != before_) static_cast<void>(cudaSetDevice(before_));  // it was current a moment ago
}

size_t shared_bytes_per_block() {
  int device = 0, bytes = 0;
  check_cuda(cudaGetDevice(&device), "cudaGetDevice");
  check_cuda(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
             "cudaDeviceGetAttribute");
  return static_cast<size_t>(bytes);
}

}  // namespace avts
