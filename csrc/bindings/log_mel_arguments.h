// What the log-mel bindings of CPU and CUDA read alike.
#pragma once

#include <pybind11/pybind11.h>

#include "bindings/tensor_view.h"
#include "log_mel/log_mel.h"

namespace avts {

// Every option must be there under its own name, so that no default is told twice. Throws
// ArgumentError, or a TypeError naming the option.
LogMelOptions log_mel_options(const pybind11::dict& values);

// Throws ArgumentError if samples cannot be of the view's type.
SampleType sample_type(const TensorView& view);

// What the computation is done in.
DType precision_of(SampleType type);

// The view, which must be of (items, n_mels, frames), or have the last two exchanged.
const TensorView& expect_values(const LogMelOptions& options, const TensorView& view, int64_t items,
                                int64_t frames);

}  // namespace avts
