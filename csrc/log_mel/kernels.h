// What each instruction set's copy of cpu/log_mel_kernels.cpp exports.
#pragma once

#include "core/cpu_level.h"
#include "log_mel/plan.h"

namespace avts {

// A stretch of one item's samples; `count` is the item's whole length, which padding depends on.
template <typename T>
struct Signal {
  const T* data;  // of sample `begin`
  int64_t begin, end, count;
  const T* next = nullptr;  // what will be read after it, for the caches; it need not exist
};

// One item's part of a LogMelOutput, with the strides of its mels and frames in elements.
struct FrameOutput {
  void* data;
  SampleType type;
  int64_t mel_stride, frame_stride;
};

template <typename T>
struct LogMelKernel {
  int64_t lanes;  // frames in a tile
  // Scratch that a call needs, in elements; it must be aligned to 64 bytes.
  int64_t (*scratch_size)(const LogMelPlan<T>& plan);
  // Frames [begin, end) of one item. `mel` may be null; its rows stand `mel_frames` apart.
  void (*forward)(const LogMelPlan<T>& plan, const Signal<T>& signal, int64_t begin, int64_t end,
                  const FrameOutput& out, T* mel, int64_t mel_frames, T* scratch);
  // All of an item's frames; adds to grad_waveform, its `signal.count` samples. grad_out has the
  // strides of the output; mel is what forward gave.
  void (*backward)(const LogMelPlan<T>& plan, const Signal<T>& signal, int64_t n_frames,
                   const T* grad_out, const T* mel, int64_t mel_frames, T* grad_waveform,
                   T* scratch);
  // Over an item's first `n_frames` frames, see dynamic_range.h.
  void (*limit_range)(const FrameOutput& out, int64_t n_mels, int64_t n_frames, T range);
  // Samples of any type to T; int16 becomes -1 to 1.
  void (*convert)(const void* from, SampleType type, int64_t count, T* to);
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
