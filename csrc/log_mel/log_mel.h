// Log-mel spectrogram of a batch of waveforms and its gradient, fused: a tile of frames goes from
// samples to output without leaving the L1 and L2 caches, and no spectrogram is ever in memory.
//
// Every frame is computed in a vector lane of its own by the same instructions wherever it stands,
// so an item's result is bit-identical alone, in any batch and at any number of threads, and a NaN
// reaches only the frames that contain it.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace avts {

// The one list of options in C++; avts_ext.ops.LogMelSpec, which has the same names, explains them
// and holds the defaults.
#define AVTS_LOG_MEL_OPTIONS(X)          \
  X(double, sample_rate)                 \
  X(int64_t, n_fft)                      \
  X(int64_t, win_length)                 \
  X(int64_t, hop_length)                 \
  X(std::string, window)                 \
  X(std::vector<double>, window_samples) \
  X(bool, periodic)                      \
  X(bool, center)                        \
  X(std::string, pad_mode)               \
  X(std::string, frame_span)             \
  X(bool, drop_last)                     \
  X(bool, remove_dc)                     \
  X(double, preemphasis)                 \
  X(double, dither)                      \
  X(int64_t, dither_seed)                \
  X(double, power)                       \
  X(int64_t, n_mels)                     \
  X(double, f_min)                       \
  X(double, f_max)                       \
  X(std::string, mel_scale)              \
  X(std::string, mel_slopes)             \
  X(std::string, norm)                   \
  X(std::string, log)                    \
  X(double, eps)                         \
  X(double, mean)                        \
  X(double, std)                         \
  X(std::string, layout)

struct LogMelOptions {
#define AVTS_MEMBER(type, name) type name{};
  AVTS_LOG_MEL_OPTIONS(AVTS_MEMBER)
#undef AVTS_MEMBER
};

enum class SampleType { f32, f64, f16, bf16, i16 };

static constexpr int64_t bytes_of(SampleType type) {
  return type == SampleType::f64 ? 8 : type == SampleType::f32 ? 4 : 2;
}

// Waveforms in the rows of one array. Item i is samples [starts[i], starts[i] + lengths[i]) of its
// row and knows nothing of the samples beside them.
struct Waveforms {
  const void* data;
  SampleType type;
  int64_t items, row_samples;  // a row stands `row_samples` after the one before
  const int64_t* starts;       // nullptr: all 0
  const int64_t* lengths;      // nullptr: all `samples`
  int64_t samples;

  int64_t start(int64_t item) const { return starts ? starts[item] : 0; }
  int64_t length(int64_t item) const { return lengths ? lengths[item] : samples; }
};

// Where an item's values go: (items, n_mels, frames) or (items, frames, n_mels), as `layout` says.
// Frames that an item is too short for become zero.
struct LogMelOutput {
  void* data;
  SampleType type;
  int64_t frames;
};

template <typename T>
class LogMelTables;

// One set of options, checked, with the tables that follow from it. Safe to use from many threads.
class LogMel {
 public:
  // Throws ArgumentError naming the first option that is out of its range.
  explicit LogMel(const LogMelOptions& options);
  ~LogMel();

  const LogMelOptions& options() const { return options_; }

  // Samples that a waveform must have to give a frame, and the frames of one that has them.
  int64_t samples_needed() const;
  int64_t frames(int64_t samples) const;

  // Computes in double if the waveforms are f64, else in float. `mel`, if not null, receives what
  // the logarithm is taken of, (items, n_mels, out.frames) in that precision: backward needs it.
  // What is further than `dynamic_range` below its item's largest value is raised to that; a NaN
  // makes its item NaN. Infinite: no such limit.
  void forward(const Waveforms& waveforms, const LogMelOutput& out, void* mel, double dynamic_range,
               int threads) const;

  // grad_out has the shape of the output; grad_waveform (items, row_samples). Both, and mel, are
  // of the precision of the computation.
  void backward(const Waveforms& waveforms, const void* mel, const void* grad_out,
                int64_t out_frames, void* grad_waveform, int threads) const;

 private:
  template <typename T>
  const LogMelTables<T>& tables(int64_t lanes) const;
  template <typename T>
  void forward_in(const Waveforms&, const LogMelOutput&, T* mel, T dynamic_range,
                  int threads) const;
  template <typename T>
  void backward_in(const Waveforms&, const T* mel, const T* grad_out, int64_t out_frames,
                   T* grad_waveform, int threads) const;

  LogMelOptions options_;
  mutable std::mutex mutex_;  // guards the two below
  mutable std::vector<std::unique_ptr<LogMelTables<float>>> tables_f32_;
  mutable std::vector<std::unique_ptr<LogMelTables<double>>> tables_f64_;
};

}  // namespace avts
