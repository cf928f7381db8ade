#include <pybind11/stl.h>

#include "bindings/bindings.h"
#include "core/cpu_level.h"
#include "core/parallel.h"

namespace py = pybind11;

namespace avts {

void bind_build_info(py::module_& m) {
  m.attr("version") = AVTS_VERSION;
  m.attr("compiler") = AVTS_COMPILER;
  m.def("cpu_level", [] { return name_of(active_cpu_level()); });
  m.def("set_cpu_level", &set_cpu_level, py::arg("level"));
  m.def("cpu_levels", [] {
    std::vector<const char*> names;
    for (CpuLevel level : runnable_cpu_levels()) names.push_back(name_of(level));
    return names;
  });
  m.def("started_worker_threads", &started_worker_threads);
}

}  // namespace avts
