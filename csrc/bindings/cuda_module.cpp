// The Python module avts_ext._cuda, apart from _C so that a fault here never breaks CPU users.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "core/cuda_info.h"

namespace py = pybind11;

PYBIND11_MODULE(_cuda, m) {
  m.attr("version") = AVTS_VERSION;
  m.attr("targets") = AVTS_CUDA_TARGETS;
  m.def("info", [] {
    const avts::CudaInfo info = avts::cuda_info();
    return py::dict(py::arg("runtime_version") = info.runtime_version,
                    py::arg("driver_version") = info.driver_version,
                    py::arg("devices") = info.devices, py::arg("error") = info.error);
  });
}
