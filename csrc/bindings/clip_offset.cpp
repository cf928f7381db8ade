#include "bindings/bindings.h"

namespace avts {

void bind_clip_offset(pybind11::module_&) {}

}  // namespace avts
