// What each instruction set's copy of cpu/log_mel_kernels.cpp exports.
#pragma once

#include "core/cpu_level.h"
#include "log_mel/plan.h"

namespace avts {

template <typename T>
struct LogMelKernel {
  int64_t lanes;  // frames in a tile
  // Scratch a tile needs, in elements; it must be aligned to 64 bytes.
  int64_t (*scratch_size)(const LogMelPlan<T>& plan);
  // Frames [frame, frame + lanes) of one item, of which those below n_frames exist.
  void (*forward)(const LogMelPlan<T>& plan, const T* waveform, int64_t samples, int64_t frame,
                  int64_t n_frames, T* out, T* scratch);
  // Adds the tile's part to grad_waveform.
  void (*backward)(const LogMelPlan<T>& plan, const T* grad_out, const T* waveform, int64_t samples,
                   int64_t frame, int64_t n_frames, T* grad_waveform, T* scratch);
};

struct LogMelKernels {
  LogMelKernel<float> f32;
  LogMelKernel<double> f64;
};

#define AVTS_DECLARE(level)                  \
  namespace level {                          \
  extern const LogMelKernels kLogMelKernels; \
  }
AVTS_FOR_EACH_LEVEL(AVTS_DECLARE)
#undef AVTS_DECLARE

}  // namespace avts
