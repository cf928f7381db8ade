// The Python module avts_ext._C: raw, checked entry points of the CPU kernels. Private: users go
// through avts_ext.ops, where PyTorch's dispatcher resolves views, autograd and devices first.
#include "bindings/bindings.h"
#include "core/check.h"

namespace py = pybind11;

PYBIND11_MODULE(_C, m) {
  py::register_exception_translator([](std::exception_ptr p) {
    try {
      if (p) std::rethrow_exception(p);
    } catch (const avts::ArgumentError& error) {
      PyErr_SetString(PyExc_ValueError, error.what());
    }
  });
  avts::bind_build_info(m);
  avts::bind_log_mel(m);
  avts::bind_pcen(m);
  avts::bind_clip_offset(m);
  avts::bind_resample(m);
  avts::bind_sync_loss(m);
}
