// One function per operator of the module _cuda; cuda_module.cpp is their table of contents.
#pragma once

#include <pybind11/pybind11.h>

namespace avts {

void bind_cuda_log_mel(pybind11::module_& m);
void bind_cuda_clip_offset(pybind11::module_& m);
void bind_cuda_sync_loss(pybind11::module_& m);

}  // namespace avts
