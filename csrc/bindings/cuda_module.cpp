// The Python module avts_ext._cuda, apart from _C so that a fault here never breaks CPU users. The
// same file makes the module that tests run on the host emulator.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "bindings/cuda_bindings.h"
#include "core/check.h"
#include "core/cuda_info.h"

#if defined(AVTS_CUDA_ON_HOST)
#include "cuda_on_host/graph.h"
#endif

namespace py = pybind11;

PYBIND11_MODULE(_cuda, m) {
  py::register_exception_translator([](std::exception_ptr p) {
    try {
      if (p) std::rethrow_exception(p);
    } catch (const avts::ArgumentError& error) {
      PyErr_SetString(PyExc_ValueError, error.what());
    }
  });
  m.attr("version") = AVTS_VERSION;
  m.attr("targets") = AVTS_CUDA_TARGETS;
  m.def("info", [] {
    const avts::CudaInfo info = avts::cuda_info();
    return py::dict(py::arg("runtime_version") = info.runtime_version,
                    py::arg("driver_version") = info.driver_version,
                    py::arg("devices") = info.devices, py::arg("error") = info.error);
  });
  avts::bind_cuda_log_mel(m);
  avts::bind_cuda_clip_offset(m);
  avts::bind_cuda_sync_loss(m);
#if defined(AVTS_CUDA_ON_HOST)
  py::class_<cuda_on_host::Graph>(m, "Graph", "What torch.cuda.CUDAGraph is on a GPU.")
      .def(py::init<>())
      .def("capture_begin", &cuda_on_host::Graph::begin_capture)
      .def("capture_end", &cuda_on_host::Graph::end_capture)
      .def("replay", [](const cuda_on_host::Graph& graph) {
        if (graph.replay() != cuda_on_host::LaunchStatus::success) {
          throw std::runtime_error(cuda_on_host::last_failure());
        }
      });
#endif
}
