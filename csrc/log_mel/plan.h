// Everything about a set of options that does not depend on the waveform, computed once in double.
#pragma once

#include <cstdint>
#include <vector>

#include "log_mel/log_mel.h"

namespace avts {

enum class LogKind { none, ln_add, ln_clamp };

// One pass of a Stockham FFT: `blocks` twiddled butterflies of size `radix`, each over `stride`
// interleaved transforms.
template <typename T>
struct FftStage {
  int64_t radix, blocks, stride;
  const T* twiddles;  // (blocks, radix - 1) complex
  const T* roots;     // radix complex roots of unity, for radices without a butterfly of their own
};

// A real FFT of n_fft = rows x columns points in two passes: `columns` real transforms of `rows`
// points, then rows / 2 + 1 transforms of `columns` points. If rows and columns are coprime the
// prime-factor map (Good and Thomas) needs no twiddles; else Cooley and Tukey's does.
template <typename T>
struct TwoPassFft {
  int64_t rows, columns;  // rows is 0 if there is none for n_fft
  int64_t used_rows;      // if twiddled: the samples of the rows from this one on are known zeros
  int64_t row_stride;     // of the work array, in vectors
  bool twiddled;
  // (columns, rows): where the input stands in the first pass's source, in elements; its window
  // sample; and its index in the frame, win_length + 1 for those that are known zeros.
  const int32_t* source;
  const T* window;
  const int32_t* sample;
  const T* twiddles;    // (columns, rows / 2) complex
  const int32_t* bins;  // (rows / 2 + 1, columns): n_bins for outputs that another one mirrors
};

// A tile's samples, transposed: rows of `stride` elements, row r holding sample r of consecutive
// hops. Sample n of the frame in lane l is element offset[n] + l, so that a hop that several frames
// share is transposed once.
struct ColumnLayout {
  static constexpr int64_t kCarriedStep = 4;
  int64_t rows;     // samples of a hop that a window sees, rounded up to a multiple of the lanes
  int64_t stride;   // carried + lanes
  int64_t carried;  // columns kept from the tile before, rounded up to a multiple of the step
  int64_t first;    // element of row 0 where the first frame's first hop stands
  const int32_t* offset;  // win_length
};

// What the kernels read: plain pointers, so that no standard library template is instantiated in
// code that is compiled for one instruction set.
template <typename T>
struct LogMelPlan {
  int64_t n_fft, n_bins, win_length, hop_length;
  int64_t first_sample;  // first sample of frame 0's window, may be < 0
  int64_t hop_samples;   // samples of a hop that a window sees
  bool reflect;
  ColumnLayout columns;
  const T* window;
  bool conditioned;  // remove_dc or preemphasis, which act on single frames
  bool remove_dc;
  T preemphasis;
  TwoPassFft<T> two_pass;
  int64_t fft_size;  // complex points of the Stockham FFT: n_fft / 2 if n_fft is even, else n_fft
  const FftStage<T>* stages;
  int64_t n_stages;
  const T* half_twiddles;  // exp(-2 pi i k / n_fft), k = 0 ... fft_size
  const int32_t* place;    // n_bins: which vector of the powers is a bin's
  T power;
  int64_t n_mels;
  const int64_t* segment_begin;  // see MelFilterbank
  const T* weights;              // (n_bins, 2): rising, falling
  LogKind log;
  T eps;
  bool eps_is_normal;  // the logarithm's argument is never zero or denormal
  T scale, shift;      // value = logarithm * scale + shift
  bool time_mel;
};

// Owns the tables that its plan points into.
template <typename T>
class LogMelTables {
 public:
  LogMelTables(const LogMelOptions& options, int64_t lanes);
  LogMelTables(const LogMelTables&) = delete;
  LogMelTables& operator=(const LogMelTables&) = delete;
  const LogMelPlan<T>& plan() const { return plan_; }
  int64_t lanes() const { return lanes_; }

 private:
  void build_window(const LogMelOptions& options);
  void build_columns();
  void build_two_pass(int64_t rows, int64_t columns);
  void build_stockham();
  void build_filters(const LogMelOptions& options);
  void build_log(const LogMelOptions& options);

  LogMelPlan<T> plan_;
  int64_t lanes_;
  std::vector<T> window_, half_twiddles_, weights_, two_pass_window_, two_pass_twiddles_;
  std::vector<int32_t> offset_, source_, sample_, bins_, place_;
  std::vector<FftStage<T>> stages_;
  std::vector<std::vector<T>> stage_tables_;
  std::vector<int64_t> segment_begin_;
};

}  // namespace avts
