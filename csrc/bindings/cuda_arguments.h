// Tensors of one call to a CUDA kernel. In the host emulator's module they are CPU tensors.
#pragma once

#include <optional>

#include "bindings/tensor_view.h"
#include "core/cuda_device.h"

namespace avts {

// Views of the call's tensors, which must all be on one device. It is current while this lives.
class CudaArguments {
 public:
  // Throws ArgumentError if the tensor is not on a GPU, or not on that of the tensors before.
  TensorView view(pybind11::handle tensor, const char* name);

  // PyTorch's current stream on the tensors' device.
  void* stream() const { return stream_; }

 private:
  int device_ = -1;
  void* stream_ = nullptr;
  std::optional<CudaDeviceGuard> guard_;
};

}  // namespace avts
