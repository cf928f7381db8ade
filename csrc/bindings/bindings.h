// One function per core header that Python can see; module.cpp is their table of contents.
#pragma once

#include <pybind11/pybind11.h>

namespace avts {

void bind_build_info(pybind11::module_& m);
void bind_log_mel(pybind11::module_& m);
void bind_pcen(pybind11::module_& m);
void bind_clip_offset(pybind11::module_& m);
void bind_resample(pybind11::module_& m);
void bind_sync_loss(pybind11::module_& m);

}  // namespace avts
