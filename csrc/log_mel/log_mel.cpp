#include "log_mel/log_mel.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <new>
#include <tuple>

#include "core/check.h"
#include "core/parallel.h"
#include "log_mel/kernels.h"
#include "log_mel/mel_filterbank.h"
#include "log_mel/plan.h"

namespace avts {
namespace {

constexpr size_t kMaxCachedPlans = 16;
constexpr int64_t kMaxSize = 1 << 20;     // of n_fft, hop_length and n_mels: keeps products exact
constexpr int64_t kGrainSamples = 65536;  // a chunk of about 50 microseconds

auto fields_of(const LogMelOptions& o) {
  return std::tie(o.sample_rate, o.n_fft, o.win_length, o.hop_length, o.window, o.power, o.center,
                  o.pad_mode, o.drop_last, o.n_mels, o.f_min, o.f_max, o.mel_scale, o.norm, o.log,
                  o.eps);
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

std::string empty_filters(const LogMelOptions& options) {
  std::string names;
  const std::vector<MelFilter> filters = mel_filterbank(options);
  for (size_t m = 0; m < filters.size(); ++m) {
    if (filters[m].weights.empty()) names += (names.empty() ? "" : ", ") + std::to_string(m);
  }
  return names;
}

template <typename T>
struct CachedPlan {
  LogMelOptions options;
  std::shared_ptr<const LogMelTables<T>> tables;
};

// The most recently used plans, newest first. Building one takes longer than many transforms.
template <typename T>
std::shared_ptr<const LogMelTables<T>> tables_for(const LogMelOptions& options) {
  static std::mutex mutex;
  static std::deque<CachedPlan<T>> cache;
  const auto same = [&](const CachedPlan<T>& entry) { return entry.options == options; };
  {
    std::lock_guard<std::mutex> lock(mutex);
    const auto found = std::find_if(cache.begin(), cache.end(), same);
    if (found != cache.end()) {
      std::rotate(cache.begin(), found, found + 1);
      return cache.front().tables;
    }
  }
  auto tables = std::make_shared<const LogMelTables<T>>(options);
  std::lock_guard<std::mutex> lock(mutex);
  cache.push_front({options, tables});
  if (cache.size() > kMaxCachedPlans) cache.pop_back();
  return tables;
}

const LogMelKernels& active_kernels() {
  switch (active_cpu_level()) {
#define AVTS_CASE(level) \
  case CpuLevel::level:  \
    return level::kLogMelKernels;
    AVTS_FOR_EACH_LEVEL(AVTS_CASE)
#undef AVTS_CASE
    default:
      return base::kLogMelKernels;
  }
}

template <typename T>
const LogMelKernel<T>& active_kernel() {
  if constexpr (sizeof(T) == sizeof(float)) {
    return active_kernels().f32;
  } else {
    return active_kernels().f64;
  }
}

// Each thread's working memory, kept between calls: fresh pages would cost as much as the FFT.
class Scratch {
 public:
  ~Scratch() { release(); }
  void* at_least(size_t bytes) {
    if (bytes > bytes_) {
      release();
      data_ = ::operator new(bytes, kAlignment);
      bytes_ = bytes;
    }
    return data_;
  }

 private:
  static constexpr std::align_val_t kAlignment{64};
  void release() {
    if (data_) ::operator delete(data_, kAlignment);
    data_ = nullptr;
    bytes_ = 0;
  }
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

template <typename T>
T* thread_scratch(int64_t elements) {
  thread_local Scratch scratch;
  return static_cast<T*>(scratch.at_least(static_cast<size_t>(elements) * sizeof(T)));
}

}  // namespace

bool operator==(const LogMelOptions& a, const LogMelOptions& b) {
  return fields_of(a) == fields_of(b);
}

void check_log_mel_options(const LogMelOptions& o) {
  const auto check_size = [](const char* name, int64_t value) {
    check_argument(value >= 1 && value <= kMaxSize, name, value, "1 to ", kMaxSize);
  };
  const double nyquist = o.sample_rate / 2;
  check_argument(std::isfinite(o.sample_rate) && o.sample_rate > 0, "sample_rate", o.sample_rate,
                 "a positive number of Hz");
  check_size("n_fft", o.n_fft);
  check_argument(o.win_length >= 1 && o.win_length <= o.n_fft, "win_length", o.win_length,
                 "1 to n_fft = ", o.n_fft);
  check_size("hop_length", o.hop_length);
  check_choice("window", o.window, {"hann", "hamming", "rectangular"});
  check_argument(o.power == 1 || o.power == 2, "power", o.power, "1 or 2");
  check_choice("pad_mode", o.pad_mode, {"reflect", "constant"});
  check_size("n_mels", o.n_mels);
  check_argument(o.f_min >= 0 && o.f_min < nyquist, "f_min", o.f_min, "0 <= f_min < ", nyquist);
  check_argument(o.f_max > o.f_min && o.f_max <= nyquist, "f_max", o.f_max, "f_min = ", o.f_min,
                 " < f_max <= sample_rate / 2 = ", nyquist);
  check_choice("mel_scale", o.mel_scale, {"htk", "slaney"});
  check_choice("norm", o.norm, {"none", "slaney"});
  check_choice("log", o.log, {"none", "ln_add", "ln_clamp", "log10_clamp"});
  check_argument(std::isfinite(o.eps) && o.eps >= 0, "eps", o.eps, "a number >= 0");
  if (o.n_mels > o.n_fft / 2 + 1) {
    check_argument(false, "n_mels", o.n_mels, "at most n_fft / 2 + 1 = ", o.n_fft / 2 + 1,
                   "; no bin falls into the filters ", empty_filters(o));
  }
}

int64_t log_mel_frames(const LogMelOptions& options, int64_t samples) {
  const int64_t pad = options.center ? options.n_fft / 2 : 0;
  const bool reflect = pad > 0 && options.pad_mode == "reflect";
  int64_t needed = std::max<int64_t>(reflect ? pad + 1 : 1, options.n_fft - 2 * pad);
  if (options.drop_last) {
    needed = std::max(needed, options.n_fft - 2 * pad + options.hop_length);
  }
  check_argument(samples >= needed, "waveform", std::to_string(samples) + " samples long",
                 "at least ", needed);
  return (samples + 2 * pad - options.n_fft) / options.hop_length + (options.drop_last ? 0 : 1);
}

template <typename T>
void log_mel(const LogMelOptions& options, const T* waveform, int64_t items, int64_t samples,
             T* out, int threads) {
  const auto tables = tables_for<T>(options);
  const LogMelPlan<T>& plan = tables->plan();
  const LogMelKernel<T>& kernel = active_kernel<T>();
  const int64_t n_frames = log_mel_frames(options, samples);
  const int64_t tiles = (n_frames + kernel.lanes - 1) / kernel.lanes;
  const int64_t grain = kGrainSamples / (kernel.lanes * plan.n_fft);
  parallel_for(items * tiles, grain, threads, [&](int64_t begin, int64_t end) {
    T* scratch = thread_scratch<T>(kernel.scratch_size(plan));
    for (int64_t i = begin; i < end; ++i) {
      const int64_t item = i / tiles, frame = i % tiles * kernel.lanes;
      kernel.forward(plan, waveform + item * samples, samples, frame, n_frames,
                     out + item * plan.n_mels * n_frames, scratch);
    }
  });
}

// Frames overlap, so one thread adds up all of an item's tiles, in order: deterministic.
template <typename T>
void log_mel_backward(const LogMelOptions& options, const T* grad_out, const T* waveform,
                      int64_t items, int64_t samples, T* grad_waveform, int threads) {
  const auto tables = tables_for<T>(options);
  const LogMelPlan<T>& plan = tables->plan();
  const LogMelKernel<T>& kernel = active_kernel<T>();
  const int64_t n_frames = log_mel_frames(options, samples);
  parallel_for(items, 1, threads, [&](int64_t item, int64_t) {
    T* scratch = thread_scratch<T>(kernel.scratch_size(plan));
    T* grad = grad_waveform + item * samples;
    std::fill(grad, grad + samples, T(0));
    for (int64_t frame = 0; frame < n_frames; frame += kernel.lanes) {
      kernel.backward(plan, grad_out + item * plan.n_mels * n_frames, waveform + item * samples,
                      samples, frame, n_frames, grad, scratch);
    }
  });
}

template void log_mel(const LogMelOptions&, const float*, int64_t, int64_t, float*, int);
template void log_mel(const LogMelOptions&, const double*, int64_t, int64_t, double*, int);
template void log_mel_backward(const LogMelOptions&, const float*, const float*, int64_t, int64_t,
                               float*, int);
template void log_mel_backward(const LogMelOptions&, const double*, const double*, int64_t, int64_t,
                               double*, int);

}  // namespace avts
