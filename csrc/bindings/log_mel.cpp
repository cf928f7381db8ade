#include "bindings/bindings.h"

namespace avts {

void bind_log_mel(pybind11::module_&) {}

}  // namespace avts
