// The device that a call works on.
#pragma once

#include <cstddef>

namespace avts {

// Makes a device current for as long as it lives. Throws std::runtime_error if CUDA refuses.
class CudaDeviceGuard {
 public:
  explicit CudaDeviceGuard(int device);
  ~CudaDeviceGuard();
  CudaDeviceGuard(const CudaDeviceGuard&) = delete;
  CudaDeviceGuard& operator=(const CudaDeviceGuard&) = delete;

 private:
  int device_, before_ = 0;
};

// Shared memory that a block may ask for on the current device.
size_t shared_bytes_per_block();

}  // namespace avts
