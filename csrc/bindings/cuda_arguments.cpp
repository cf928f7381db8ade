#include "bindings/cuda_arguments.h"

#include "bindings/dlpack.h"
#include "core/check.h"

#if defined(AVTS_CUDA_ON_HOST)
#include "cuda_on_host/graph.h"
#endif

namespace avts {
namespace {

#if defined(AVTS_CUDA_ON_HOST)
constexpr int kDeviceType = dlpack::kCpu;
void* stream_of(pybind11::handle, const TensorView&) { return cuda_on_host::Graph::stream(); }
// On a GPU the memory of a captured call is in a pool of PyTorch's that lives as long as the graph.
void keep_for_graph(pybind11::handle tensor) {
  if (auto* graph = cuda_on_host::Graph::capturing()) {
    graph->keep(
        std::make_shared<pybind11::object>(pybind11::reinterpret_borrow<pybind11::object>(tensor)));
  }
}
#else
constexpr int kDeviceType = dlpack::kCuda;
void* stream_of(pybind11::handle tensor, const TensorView& view) {
  return current_stream(tensor, view);
}
void keep_for_graph(pybind11::handle) {}
#endif

}  // namespace

TensorView CudaArguments::view(pybind11::handle tensor, const char* name) {
  const TensorView view = view_on_any_device(tensor, name);
  check_argument(view.device_type == kDeviceType, name, "not in GPU memory", "a CUDA tensor");
  if (!guard_) {
    guard_.emplace(view.device_id);
    device_ = view.device_id;
    stream_ = stream_of(tensor, view);
  }
  check_argument(view.device_id == device_, name, "on device " + std::to_string(view.device_id),
                 "that of the arguments before it, ", device_);
  keep_for_graph(tensor);
  return view;
}

}  // namespace avts
