// What the CUDA runtime says of this machine. Never throws for a missing driver or GPU.
#pragma once

#include <string>
#include <vector>

namespace avts {

struct CudaInfo {
  int runtime_version = 0;           // 1000 * major + 10 * minor, of the cudart linked in
  int driver_version = 0;            // the CUDA version the driver supports; 0: no driver
  std::vector<std::string> devices;  // name and compute capability of each GPU
  std::string error;                 // why there is no device, in the runtime's words
};

CudaInfo cuda_info();

}  // namespace avts
