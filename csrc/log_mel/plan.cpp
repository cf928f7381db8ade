#include "log_mel/plan.h"

#include <cmath>

#include "log_mel/mel_filterbank.h"

namespace avts {
namespace {

constexpr double kPi = 3.14159265358979323846;

template <typename T>
void push_root_of_unity(std::vector<T>& table, int64_t k, int64_t n) {
  const double angle = -2 * kPi * static_cast<double>(k % n) / static_cast<double>(n);
  table.push_back(static_cast<T>(std::cos(angle)));
  table.push_back(static_cast<T>(std::sin(angle)));
}

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

// Sample n of a periodic window of `length` samples.
double window_sample(const std::string& window, int64_t n, int64_t length) {
  const double cosine = std::cos(2 * kPi * static_cast<double>(n) / static_cast<double>(length));
  if (window == "hann") return 0.5 - 0.5 * cosine;
  if (window == "hamming") return 0.54 - 0.46 * cosine;
  return 1;
}

LogKind log_kind_of(const std::string& log) {
  if (log == "ln_add") return LogKind::ln_add;
  if (log == "ln_clamp") return LogKind::ln_clamp;
  if (log == "log10_clamp") return LogKind::log10_clamp;
  return LogKind::none;
}

}  // namespace

template <typename T>
LogMelTables<T>::LogMelTables(const LogMelOptions& options) : plan_{} {
  plan_.n_fft = options.n_fft;
  plan_.n_bins = options.n_fft / 2 + 1;
  plan_.fft_size = options.n_fft % 2 ? options.n_fft : options.n_fft / 2;
  plan_.win_length = options.win_length;
  plan_.hop_length = options.hop_length;
  // A window shorter than n_fft stands in its middle. Power is blind to shifts in time, so the
  // kernels transform the window's samples from index 0 on.
  plan_.first_sample =
      (options.n_fft - options.win_length) / 2 - (options.center ? options.n_fft / 2 : 0);
  plan_.reflect = options.pad_mode == "reflect";
  plan_.magnitude = options.power == 1;
  for (int64_t n = 0; n < options.win_length; ++n) {
    window_.push_back(static_cast<T>(window_sample(options.window, n, options.win_length)));
  }
  plan_.window = window_.data();
  plan_.log = log_kind_of(options.log);
  plan_.eps = static_cast<T>(options.eps);
  build_fft();
  build_filters(options);
}

template <typename T>
void LogMelTables<T>::build_fft() {
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
}

template <typename T>
void LogMelTables<T>::build_filters(const LogMelOptions& options) {
  filter_offset_.push_back(0);
  for (const MelFilter& filter : mel_filterbank(options)) {
    filter_first_bin_.push_back(filter.first_bin);
    for (double weight : filter.weights) filter_weights_.push_back(static_cast<T>(weight));
    filter_offset_.push_back(static_cast<int64_t>(filter_weights_.size()));
  }
  plan_.n_mels = options.n_mels;
  plan_.filter_first_bin = filter_first_bin_.data();
  plan_.filter_offset = filter_offset_.data();
  plan_.filter_weights = filter_weights_.data();
}

template class LogMelTables<float>;
template class LogMelTables<double>;

}  // namespace avts
