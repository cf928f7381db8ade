#include "bindings/bindings.h"

namespace avts {

void bind_sync_loss(pybind11::module_&) {}

}  // namespace avts
