// The log-mel spectrogram on a GPU: options, layouts and results of log_mel/log_mel.h.
//
// A warp transforms a frame, a block a few neighbouring ones, whose samples it reads once. Samples,
// Fourier transform and mel sums stay in shared memory; where a frame does not fit there, the same
// kernel works in global memory. Every frame is computed by the same instructions wherever it
// stands, and gradients of overlapping frames are added in order: results repeat bit for bit.
#pragma once

#include <cstdint>
#include <vector>

#include "log_mel/log_mel.h"
#include "log_mel/plan.h"

namespace avts {

// What the kernels know of a set of options. The pointers are to a copy of the tables on the
// device.
template <typename T>
struct CudaLogMelPlan {
  static constexpr int kMaxStages = 16;
  struct Stage {
    int radix, blocks, stride;
    const T *twiddles, *roots;  // see FftStage
  };
  Stage stages[kMaxStages];
  int n_stages, fft_size, n_fft, n_bins, n_mels;
  int win_length, hop_length, first_sample;
  int beyond_first, frames_more;  // frames of n samples: (n + beyond_first) / hop + frames_more
  int samples_needed;
  const T *window, *half_twiddles, *weights;
  const int32_t *segment_begin, *segment_of_bin;  // -1: no filter has the bin
  bool reflect, remove_dc, time_mel;
  T preemphasis, power, eps, scale, shift;
  LogKind log;
  double dither;
  int64_t dither_seed;
};

// How the frames of a call are shared out. A block works on `tile_frames` frames at a time.
struct CudaLogMelShape {
  int tile_frames;
  int64_t tiles_per_item, blocks;
  size_t block_bytes;  // working memory of a block
  bool in_shared;      // where that is
};

class CudaLogMel {
 public:
  // Throws ArgumentError naming the first option that is out of its range.
  explicit CudaLogMel(const LogMelOptions& options);

  const LogMelOptions& options() const { return options_; }

  // The bytes that a caller must place on the device, for computing in double or in float.
  std::vector<char> tables(bool in_double) const;
  int64_t tables_bytes(bool in_double) const;

  // Bytes on the current device that a call needs beside its tensors.
  int64_t workspace_bytes(int64_t items, int64_t frames, bool in_double, bool backward) const;

  // LogMel::forward and backward on memory of the current device. Nothing waits for the kernels.
  // Where the CPU throws ArgumentError for an item that does not lie within its row, they trap.
  void forward(const void* tables, const Waveforms& waveforms, int64_t row_length,
               const LogMelOutput& out, void* mel, void* workspace, void* stream) const;
  void backward(const void* tables, const Waveforms& waveforms, int64_t row_length, const void* mel,
                const void* grad_out, int64_t out_frames, void* grad_waveform, void* workspace,
                void* stream) const;

 private:
  template <typename T>
  CudaLogMelPlan<T> plan(const void* tables) const;
  CudaLogMelShape shape(int64_t items, int64_t frames, size_t element_bytes) const;
  int64_t tile_span(const CudaLogMelShape& shape) const;

  template <typename T>
  void forward_in(const void* tables, const Waveforms&, int64_t row_length, const LogMelOutput&,
                  T* mel, void* workspace, void* stream) const;
  template <typename T>
  void backward_in(const void* tables, const Waveforms&, int64_t row_length, const T* mel,
                   const T* grad_out, int64_t out_frames, T* grad_waveform, void* workspace,
                   void* stream) const;

  LogMelOptions options_;
  LogMelTables<double> exact_;  // double has Stockham's transform for every length
};

}  // namespace avts
