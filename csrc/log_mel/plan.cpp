#include "log_mel/plan.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <type_traits>

#include "log_mel/mel_filterbank.h"
#include "log_mel/options.h"
#include "log_mel/turn.h"

namespace avts {
namespace {

// exp(-2 pi i k / n)
template <typename T>
void push_root_of_unity(std::vector<T>& table, int64_t k, int64_t n) {
  table.push_back(static_cast<T>(cos_of_turn(k, n)));
  table.push_back(static_cast<T>(-sin_of_turn(k, n)));
}

int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

std::vector<int64_t> radices_of(int64_t n) {
  std::vector<int64_t> radices;
  for (int64_t radix : {4, 2, 3, 5}) {
    for (; n % radix == 0; n /= radix) radices.push_back(radix);
  }
  for (int64_t prime = 7; n > 1; prime += 2) {
    if (prime * prime > n) prime = n;
    for (; n % prime == 0; n /= prime) radices.push_back(prime);
  }
  return radices;
}

// Rows of a two-pass transform of n points, for which there are codelets; 0 if there are none.
int64_t two_pass_rows(int64_t n) {
  int64_t best = 0;
  for (int64_t rows : {16, 32}) {
    for (int64_t columns : {15, 16, 20, 25, 30, 32, 64}) {
      const bool coprime = std::gcd(rows, columns) == 1;
      if (rows * columns == n && (best == 0 || coprime)) best = rows;
    }
  }
  return best;
}

double window_sample(const LogMelOptions& options, int64_t n) {
  if (options.window == "given") return options.window_samples[n];
  if (options.window == "rectangular" || options.win_length == 1) return 1;
  const double cosine = cos_of_turn(n, options.win_length - (options.periodic ? 0 : 1));
  if (options.window == "hamming") return 0.54 - 0.46 * cosine;
  const double hann = 0.5 - 0.5 * cosine;
  return options.window == "povey" ? std::pow(hann, 0.85) : hann;
}

// The inverse of a modulo n, both coprime.
int64_t inverse_modulo(int64_t a, int64_t n) {
  int64_t inverse = 0;
  while (a * inverse % n != 1 % n) ++inverse;
  return inverse;
}

}  // namespace

template <typename T>
LogMelTables<T>::LogMelTables(const LogMelOptions& options, int64_t lanes)
    : plan_{}, lanes_(lanes) {
  plan_.n_fft = options.n_fft;
  plan_.n_bins = options.n_fft / 2 + 1;
  plan_.hop_length = options.hop_length;
  // A window shorter than its frame stands in the frame's middle. Power is blind to shifts in time,
  // so the kernels transform the window's samples from index 0 on.
  plan_.first_sample = (frame_samples(options) - options.win_length) / 2 - padding(options);
  plan_.reflect = options.pad_mode == "reflect";
  plan_.conditioned = options.remove_dc || options.preemphasis != 0;
  plan_.remove_dc = options.remove_dc;
  plan_.preemphasis = static_cast<T>(options.preemphasis);
  plan_.power = static_cast<T>(options.power);
  plan_.time_mel = options.layout == "time_mel";
  build_window(options);
  build_columns();
  // The kernels have codelets for float alone.
  const int64_t rows = std::is_same_v<T, float> ? two_pass_rows(options.n_fft) : 0;
  if (rows > 0) {
    build_two_pass(rows, options.n_fft / rows);
  } else {
    build_stockham();
  }
  plan_.place = place_.data();
  build_filters(options);
  build_log(options);
}

template <typename T>
void LogMelTables<T>::build_window(const LogMelOptions& options) {
  plan_.win_length = options.win_length;
  for (int64_t n = 0; n < options.win_length; ++n) {
    window_.push_back(static_cast<T>(window_sample(options, n)));
  }
  plan_.window = window_.data();
}

template <typename T>
void LogMelTables<T>::build_columns() {
  ColumnLayout& columns = plan_.columns;
  plan_.hop_samples = std::min(plan_.hop_length, plan_.win_length);
  columns.rows = round_up(plan_.hop_samples, lanes_);
  const int64_t later_hops = (plan_.win_length - 1) / plan_.hop_length;  // after a frame's first
  columns.carried = round_up(later_hops, ColumnLayout::kCarriedStep);
  columns.stride = columns.carried + lanes_;
  columns.first = columns.carried - later_hops;
  for (int64_t n = 0; n < plan_.win_length; ++n) {
    const int64_t row = n % plan_.hop_length, hop = n / plan_.hop_length;
    offset_.push_back(static_cast<int32_t>(row * columns.stride + columns.first + hop));
  }
  columns.offset = offset_.data();
}

template <typename T>
void LogMelTables<T>::build_two_pass(int64_t rows, int64_t columns) {
  const int64_t n_fft = plan_.n_fft, win_length = plan_.win_length;
  const bool coprime = std::gcd(rows, columns) == 1;
  for (int64_t j = 0; j < columns; ++j) {
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t n = coprime ? (columns * i + rows * j) % n_fft : columns * i + j;
      const bool inside = n < win_length;
      // Known zeros are read from a row of zeros: a window of zero would let NaN through.
      const int64_t zeros =
          plan_.conditioned ? win_length * lanes_ : plan_.columns.rows * plan_.columns.stride;
      const int64_t at = plan_.conditioned ? n * lanes_ : (inside ? offset_[n] : 0);
      source_.push_back(static_cast<int32_t>(inside ? at : zeros));
      two_pass_window_.push_back(inside ? (plan_.conditioned ? T(1) : window_[n]) : T(0));
      sample_.push_back(static_cast<int32_t>(inside ? n : win_length + 1));
    }
    for (int64_t k = 1; k <= rows / 2; ++k) push_root_of_unity(two_pass_twiddles_, j * k, n_fft);
  }
  const int64_t row_step = coprime ? columns * inverse_modulo(columns, rows) : 1;
  // An odd stride, so that a column's elements do not compete for the same sets of the L1 cache.
  const int64_t row_stride = columns | 1;
  place_.resize(plan_.n_bins);
  const int64_t column_step = coprime ? rows * inverse_modulo(rows, columns) : rows;
  for (int64_t row = 0; row <= rows / 2; ++row) {
    const bool mirrored_within = row == rows / 2 && !coprime;
    // A real row's outputs are those up to the middle alone.
    const bool real = row == 0 || (row == rows / 2 && coprime);
    const int64_t row_begin = row == 0 ? 0 : (2 * row - 1) * row_stride;
    for (int64_t column = 0; column < columns; ++column) {
      const int64_t bin = (row * row_step + column * column_step) % n_fft;
      const int64_t folded = 2 * bin <= n_fft ? bin : mirrored_within ? plan_.n_bins : n_fft - bin;
      bins_.push_back(static_cast<int32_t>(folded));
      if (folded < plan_.n_bins && !(real && 2 * column > columns)) {
        place_[folded] = static_cast<int32_t>(row_begin + column);
      }
    }
  }
  const int64_t used_rows = (win_length + columns - 1) / columns;
  plan_.two_pass = {rows,
                    columns,
                    used_rows,
                    row_stride,
                    !coprime,
                    source_.data(),
                    two_pass_window_.data(),
                    sample_.data(),
                    two_pass_twiddles_.data(),
                    bins_.data()};
}

template <typename T>
void LogMelTables<T>::build_stockham() {
  plan_.fft_size = plan_.n_fft % 2 ? plan_.n_fft : plan_.n_fft / 2;
  int64_t length = plan_.fft_size, stride = 1;
  for (int64_t radix : radices_of(plan_.fft_size)) {
    const int64_t blocks = length / radix;
    std::vector<T> twiddles, roots;
    for (int64_t block = 0; block < blocks; ++block) {
      for (int64_t k = 1; k < radix; ++k) push_root_of_unity(twiddles, block * k, length);
    }
    for (int64_t k = 0; k < radix; ++k) push_root_of_unity(roots, k, radix);
    stages_.push_back({radix, blocks, stride, twiddles.data(), roots.data()});
    stage_tables_.push_back(std::move(twiddles));
    stage_tables_.push_back(std::move(roots));
    length = blocks;
    stride *= radix;
  }
  for (int64_t k = 0; k <= plan_.fft_size; ++k) {
    push_root_of_unity(half_twiddles_, k, plan_.n_fft);
  }
  plan_.stages = stages_.data();
  plan_.n_stages = static_cast<int64_t>(stages_.size());
  plan_.half_twiddles = half_twiddles_.data();
  for (int64_t bin = 0; bin < plan_.n_bins; ++bin) place_.push_back(static_cast<int32_t>(bin));
}

template <typename T>
void LogMelTables<T>::build_filters(const LogMelOptions& options) {
  const MelFilterbank bank = mel_filterbank(options);
  segment_begin_ = bank.segment_begin;
  for (int64_t bin = 0; bin < plan_.n_bins; ++bin) {
    weights_.push_back(static_cast<T>(bank.rising[bin]));
    weights_.push_back(static_cast<T>(bank.falling[bin]));
  }
  plan_.n_mels = options.n_mels;
  plan_.segment_begin = segment_begin_.data();
  plan_.weights = weights_.data();
}

template <typename T>
void LogMelTables<T>::build_log(const LogMelOptions& options) {
  constexpr double kLog10OfE = 0.43429448190325182765;
  double factor = 1;  // from the natural logarithm to the one asked for
  if (options.log == "log10_clamp") factor = kLog10OfE;
  if (options.log == "db") factor = 10 * kLog10OfE;
  plan_.log = options.log == "none"     ? LogKind::none
              : options.log == "ln_add" ? LogKind::ln_add
                                        : LogKind::ln_clamp;
  plan_.eps = static_cast<T>(options.eps);
  plan_.eps_is_normal = plan_.eps >= std::numeric_limits<T>::min();
  plan_.scale = static_cast<T>(factor / options.std);
  plan_.shift = static_cast<T>(-options.mean / options.std);
}

template class LogMelTables<float>;
template class LogMelTables<double>;

}  // namespace avts
