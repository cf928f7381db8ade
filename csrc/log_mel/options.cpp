#include "log_mel/options.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>

#include "core/check.h"
#include "log_mel/mel_filterbank.h"

namespace avts {
namespace {

constexpr int64_t kMaxSize = 1 << 20;  // of n_fft, hop_length and n_mels: keeps products exact

void check_size(const char* name, int64_t value) {
  check_argument(value >= 1 && value <= kMaxSize, name, value, "1 to ", kMaxSize);
}

void check_choice(const char* name, const std::string& value,
                  std::initializer_list<const char*> choices) {
  std::string names;
  for (const char* choice : choices) {
    if (value == choice) return;
    names += (names.empty() ? "" : ", ") + std::string(choice);
  }
  throw ArgumentError(std::string(name) + " is '" + value + "', expected one of: " + names);
}

void check_frames(const LogMelOptions& o) {
  check_size("n_fft", o.n_fft);
  check_argument(o.win_length >= 1 && o.win_length <= o.n_fft, "win_length", o.win_length,
                 "1 to n_fft = ", o.n_fft);
  check_size("hop_length", o.hop_length);
  check_choice("window", o.window, {"hann", "hamming", "povey", "rectangular", "given"});
  const int64_t given = static_cast<int64_t>(o.window_samples.size());
  check_argument(given == (o.window == "given" ? o.win_length : 0), "window",
                 std::to_string(given) + " samples long", "win_length = ", o.win_length);
  for (double sample : o.window_samples) {
    check_argument(std::isfinite(sample), "window", sample, "finite samples");
  }
  check_choice("pad_mode", o.pad_mode, {"reflect", "constant"});
  check_choice("frame_span", o.frame_span, {"n_fft", "win_length"});
  check_argument(o.preemphasis >= 0 && o.preemphasis <= 1, "preemphasis", o.preemphasis, "0 to 1");
  check_argument(std::isfinite(o.dither) && o.dither >= 0, "dither", o.dither, "a number >= 0");
}

// Filters that no bin falls into.
std::string empty_filters(const LogMelOptions& options) {
  const MelFilterbank bank = mel_filterbank(options);
  std::vector<bool> used(static_cast<size_t>(options.n_mels) + 2);
  for (int64_t segment = 0; segment <= options.n_mels; ++segment) {
    for (int64_t bin = bank.segment_begin[segment]; bin < bank.segment_begin[segment + 1]; ++bin) {
      used[segment] = used[segment] || bank.falling[bin] > 0;
      used[segment + 1] = used[segment + 1] || bank.rising[bin] > 0;
    }
  }
  std::string names;
  for (int64_t m = 0; m < options.n_mels; ++m) {
    if (!used[m + 1]) names += (names.empty() ? "" : ", ") + std::to_string(m);
  }
  return names;
}

void check_filters(const LogMelOptions& o) {
  const double nyquist = o.sample_rate / 2;
  check_size("n_mels", o.n_mels);
  check_argument(o.f_min >= 0 && o.f_min < nyquist, "f_min", o.f_min, "0 <= f_min < ", nyquist);
  check_argument(o.f_max > o.f_min && o.f_max <= nyquist, "f_max", o.f_max, "f_min = ", o.f_min,
                 " < f_max <= sample_rate / 2 = ", nyquist);
  check_choice("mel_scale", o.mel_scale, {"htk", "slaney"});
  check_choice("mel_slopes", o.mel_slopes, {"hz", "mel"});
  check_choice("norm", o.norm, {"none", "slaney"});
  if (o.n_mels > o.n_fft / 2 + 1) {
    check_argument(false, "n_mels", o.n_mels, "at most n_fft / 2 + 1 = ", o.n_fft / 2 + 1,
                   "; no bin falls into the filters ", empty_filters(o));
  }
}

}  // namespace

void check_log_mel_options(const LogMelOptions& o) {
  check_argument(std::isfinite(o.sample_rate) && o.sample_rate > 0, "sample_rate", o.sample_rate,
                 "a positive number of Hz");
  check_frames(o);
  check_argument(std::isfinite(o.power) && o.power > 0, "power", o.power, "a number > 0");
  check_filters(o);
  check_choice("log", o.log, {"none", "ln_add", "ln_clamp", "log10_clamp", "db"});
  check_argument(std::isfinite(o.eps) && o.eps >= 0, "eps", o.eps, "a number >= 0");
  check_argument(std::isfinite(o.mean), "mean", o.mean, "a finite number");
  check_argument(std::isfinite(o.std) && o.std > 0, "std", o.std, "a number > 0");
  check_choice("layout", o.layout, {"mel_time", "time_mel"});
}

int64_t frame_samples(const LogMelOptions& options) {
  return options.frame_span == "n_fft" ? options.n_fft : options.win_length;
}

int64_t padding(const LogMelOptions& options) {
  return options.center ? frame_samples(options) / 2 : 0;
}

int64_t samples_needed(const LogMelOptions& options) {
  const int64_t pad = padding(options);
  const bool reflect = pad > 0 && options.pad_mode == "reflect";
  const int64_t without_padding = frame_samples(options) - 2 * pad;
  const int64_t dropped = options.drop_last ? options.hop_length : 0;
  return std::max<int64_t>(reflect ? pad + 1 : 1, without_padding + dropped);
}

int64_t frames_of(const LogMelOptions& options, int64_t samples) {
  const int64_t beyond_first = samples + 2 * padding(options) - frame_samples(options);
  return beyond_first / options.hop_length + (options.drop_last ? 0 : 1);
}

}  // namespace avts
