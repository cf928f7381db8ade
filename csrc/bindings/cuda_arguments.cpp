#include "bindings/cuda_arguments.h"

#include "bindings/dlpack.h"
#include "core/check.h"

namespace avts {

#if defined(AVTS_CUDA_ON_HOST)
constexpr int kDeviceType = dlpack::kCpu;
#else
constexpr int kDeviceType = dlpack::kCuda;
#endif

TensorView CudaArguments::view(pybind11::handle tensor, const char* name) {
  const TensorView view = view_on_any_device(tensor, name);
  check_argument(view.device_type == kDeviceType, name, "not in GPU memory", "a CUDA tensor");
  if (!guard_) {
    guard_.emplace(view.device_id);
    device_ = view.device_id;
    stream_ = kDeviceType == dlpack::kCuda ? current_stream(tensor, view) : nullptr;
  }
  check_argument(view.device_id == device_, name, "on device " + std::to_string(view.device_id),
                 "that of the arguments before it, ", device_);
  return view;
}

}  // namespace avts
