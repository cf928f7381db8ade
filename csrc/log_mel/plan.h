// Everything about a set of options that does not depend on the waveform, computed once in double.
#pragma once

#include <cstdint>
#include <vector>

#include "log_mel/log_mel.h"

namespace avts {

enum class LogKind { none, ln_add, ln_clamp, log10_clamp };

// One pass of a Stockham FFT: `blocks` twiddled butterflies of size `radix`, each over `stride`
// interleaved transforms.
template <typename T>
struct FftStage {
  int64_t radix, blocks, stride;
  const T* twiddles;  // (blocks, radix - 1) complex
  const T* roots;     // radix complex roots of unity, for radices without a butterfly of their own
};

// What the kernels read: plain pointers, so that no standard library template is instantiated in
// code that is compiled for one instruction set.
template <typename T>
struct LogMelPlan {
  int64_t n_fft, n_bins, fft_size;  // fft_size: complex; n_fft / 2 if n_fft is even, else n_fft
  int64_t win_length, hop_length, first_sample;  // first sample of frame 0's window, may be < 0
  bool reflect, magnitude;
  const T* window;
  const FftStage<T>* stages;
  int64_t n_stages;
  const T* half_twiddles;  // exp(-2 pi i k / n_fft), k = 0 ... fft_size
  int64_t n_mels;
  const int64_t* filter_first_bin;
  const int64_t* filter_offset;  // n_mels + 1 offsets into filter_weights
  const T* filter_weights;
  LogKind log;
  T eps;
};

// Owns the tables that its plan points into.
template <typename T>
class LogMelTables {
 public:
  explicit LogMelTables(const LogMelOptions& options);
  LogMelTables(const LogMelTables&) = delete;
  LogMelTables& operator=(const LogMelTables&) = delete;
  const LogMelPlan<T>& plan() const { return plan_; }

 private:
  void build_fft();
  void build_filters(const LogMelOptions& options);

  LogMelPlan<T> plan_;
  std::vector<T> window_, half_twiddles_, filter_weights_;
  std::vector<FftStage<T>> stages_;
  std::vector<std::vector<T>> stage_tables_;
  std::vector<int64_t> filter_first_bin_, filter_offset_;
};

}  // namespace avts
