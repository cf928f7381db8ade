#include "log_mel/log_mel.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>
#include <type_traits>

#include "core/check.h"
#include "core/parallel.h"
#include "log_mel/dither.h"
#include "log_mel/kernels.h"
#include "log_mel/options.h"
#include "log_mel/plan.h"

namespace avts {
namespace {

// An item's frames are done in runs, each by one thread. Where a run begins, the hops that it
// shares with the run before are transposed again; where it ends, its last tile may be partly
// empty. So runs are short only to spread few items over threads, or where samples are converted,
// of which a run's are in memory at a time.
constexpr int64_t kRunFrames = 64;  // a run's frames are a multiple of these
constexpr int64_t kRunSamples = 1 << 16;
constexpr int64_t kRunsPerThread = 4;

int64_t frames_of_run(const LogMelOptions& options, int64_t items, int64_t frames, int threads) {
  int64_t run = kRunSamples / options.hop_length;
  if (threads > 1) {
    const int64_t runs_of_item = (kRunsPerThread * threads - 1) / std::max<int64_t>(items, 1) + 1;
    run = std::min(run, (frames + runs_of_item - 1) / runs_of_item);
  }
  return std::max<int64_t>((run + kRunFrames - 1) / kRunFrames, 1) * kRunFrames;
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
  if constexpr (std::is_same_v<T, float>) {
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
T* kernel_scratch(int64_t elements) {
  thread_local Scratch scratch;
  return static_cast<T*>(scratch.at_least(static_cast<size_t>(elements) * sizeof(T)));
}

template <typename T>
T* sample_scratch(int64_t elements) {
  thread_local Scratch scratch;
  return static_cast<T*>(scratch.at_least(static_cast<size_t>(elements) * sizeof(T)));
}

template <typename T>
constexpr SampleType kTypeOf = std::is_same_v<T, float> ? SampleType::f32 : SampleType::f64;

const void* item_data(const Waveforms& waveforms, int64_t item) {
  const int64_t at = item * waveforms.row_samples + waveforms.start(item);
  return static_cast<const char*>(waveforms.data) + at * bytes_of(waveforms.type);
}

// The item's samples that frames [begin, end) see, as T: in place, or converted and dithered.
template <typename T>
Signal<T> signal_for(const LogMelOptions& options, const LogMelPlan<T>& plan,
                     const Waveforms& waveforms, int64_t item, int64_t begin, int64_t end) {
  const int64_t count = waveforms.length(item);
  const void* data = item_data(waveforms, item);
  if (waveforms.type == kTypeOf<T> && options.dither == 0) {
    const void* next = item + 1 < waveforms.items ? item_data(waveforms, item + 1) : nullptr;
    return {static_cast<const T*>(data), 0, count, count, static_cast<const T*>(next)};
  }
  int64_t from = begin * plan.hop_length + plan.first_sample;
  int64_t to = (end - 1) * plan.hop_length + plan.first_sample + plan.win_length;
  if (plan.reflect) {  // what the padding shows
    if (from < 0) to = std::max(to, 1 - from);
    if (to > count) from = std::min(from, 2 * (count - 1) - (to - 1));
  }
  from = std::max<int64_t>(from, 0);
  to = std::min(to, count);
  const int64_t length = std::max<int64_t>(to - from, 0);
  T* samples = sample_scratch<T>(length);
  active_kernel<T>().convert(static_cast<const char*>(data) + from * bytes_of(waveforms.type),
                             waveforms.type, length, samples);
  if (options.dither != 0) {
    add_dither(options.dither, options.dither_seed, from, length, samples);
  }
  return {samples, from, from + length, count};
}

FrameOutput output_of_item(const LogMelOptions& options, const LogMelOutput& out, int64_t item) {
  const int64_t bytes = item * options.n_mels * out.frames * bytes_of(out.type);
  const bool time_mel = options.layout == "time_mel";
  return {static_cast<char*>(out.data) + bytes, out.type, time_mel ? 1 : out.frames,
          time_mel ? options.n_mels : 1};
}

// Frames [begin, end) that an item does not have. Zero has zero bits in every type.
void fill_missing(const LogMelOptions& options, const FrameOutput& out, int64_t begin,
                  int64_t end) {
  const int64_t size = bytes_of(out.type);
  char* data = static_cast<char*>(out.data);
  for (int64_t m = 0; m < options.n_mels && begin < end; ++m) {
    for (int64_t t = begin; t < end; ++t) {
      std::memset(data + (m * out.mel_stride + t * out.frame_stride) * size, 0, size);
    }
  }
}

}  // namespace

LogMel::LogMel(const LogMelOptions& options) : options_(options) { check_log_mel_options(options); }

LogMel::~LogMel() = default;

int64_t LogMel::samples_needed() const { return avts::samples_needed(options_); }

int64_t LogMel::frames(int64_t samples) const { return frames_of(options_, samples); }

template <typename T>
const LogMelTables<T>& LogMel::tables(int64_t lanes) const {
  std::lock_guard<std::mutex> lock(mutex_);
  auto& all = [this]() -> auto& {
    if constexpr (std::is_same_v<T, float>) {
      return tables_f32_;
    } else {
      return tables_f64_;
    }
  }();
  for (const auto& built : all) {
    if (built->lanes() == lanes) return *built;
  }
  all.push_back(std::make_unique<LogMelTables<T>>(options_, lanes));
  return *all.back();
}

template <typename T>
void LogMel::forward_in(const Waveforms& waveforms, const LogMelOutput& out, T* mel,
                        T dynamic_range, int threads) const {
  const LogMelKernel<T>& kernel = active_kernel<T>();
  const LogMelPlan<T>& plan = tables<T>(kernel.lanes).plan();
  const int64_t scratch_size = kernel.scratch_size(plan);
  const int64_t run_frames = frames_of_run(options_, waveforms.items, out.frames, threads);
  const int64_t runs = (out.frames + run_frames - 1) / run_frames;
  const auto limit_item = [&](int64_t item) {
    kernel.limit_range(output_of_item(options_, out, item), plan.n_mels,
                       frames(waveforms.length(item)), dynamic_range);
  };
  const bool limited = dynamic_range < std::numeric_limits<T>::infinity();
  parallel_for(waveforms.items * runs, 1, threads, [&](int64_t unit, int64_t) {
    const int64_t item = unit / runs, begin = unit % runs * run_frames;
    const int64_t run_end = std::min(begin + run_frames, out.frames);
    const int64_t end = std::min(run_end, frames(waveforms.length(item)));
    const FrameOutput item_out = output_of_item(options_, out, item);
    if (begin < end) {
      const Signal<T> signal = signal_for(options_, plan, waveforms, item, begin, end);
      T* item_mel = mel ? mel + item * plan.n_mels * out.frames : nullptr;
      kernel.forward(plan, signal, begin, end, item_out, item_mel, out.frames,
                     kernel_scratch<T>(scratch_size));
    }
    fill_missing(options_, item_out, std::max(begin, end), run_end);
    if (limited && runs == 1) limit_item(item);  // while its values are in the cache
  });
  if (limited && runs > 1) {
    parallel_for(waveforms.items, 1, threads, [&](int64_t item, int64_t) { limit_item(item); });
  }
}

// Frames overlap, so one thread adds up all of an item's tiles, in order: deterministic.
template <typename T>
void LogMel::backward_in(const Waveforms& waveforms, const T* mel, const T* grad_out,
                         int64_t out_frames, T* grad_waveform, int threads) const {
  const LogMelKernel<T>& kernel = active_kernel<T>();
  const LogMelPlan<T>& plan = tables<T>(kernel.lanes).plan();
  const int64_t scratch_size = kernel.scratch_size(plan);
  parallel_for(waveforms.items, 1, threads, [&](int64_t item, int64_t) {
    T* row = grad_waveform + item * waveforms.row_samples;
    std::fill(row, row + waveforms.row_samples, T(0));
    const int64_t n_frames = frames(waveforms.length(item));
    const int64_t values = item * plan.n_mels * out_frames;
    kernel.backward(plan, signal_for(options_, plan, waveforms, item, 0, n_frames), n_frames,
                    grad_out + values, mel + values, out_frames, row + waveforms.start(item),
                    kernel_scratch<T>(scratch_size));
  });
}

void LogMel::forward(const Waveforms& waveforms, const LogMelOutput& out, void* mel,
                     double dynamic_range, int threads) const {
  if (waveforms.type == SampleType::f64) {
    forward_in(waveforms, out, static_cast<double*>(mel), dynamic_range, threads);
  } else {
    forward_in(waveforms, out, static_cast<float*>(mel), static_cast<float>(dynamic_range),
               threads);
  }
}

void LogMel::backward(const Waveforms& waveforms, const void* mel, const void* grad_out,
                      int64_t out_frames, void* grad_waveform, int threads) const {
  if (waveforms.type == SampleType::f64) {
    backward_in(waveforms, static_cast<const double*>(mel), static_cast<const double*>(grad_out),
                out_frames, static_cast<double*>(grad_waveform), threads);
  } else {
    backward_in(waveforms, static_cast<const float*>(mel), static_cast<const float*>(grad_out),
                out_frames, static_cast<float*>(grad_waveform), threads);
  }
}

}  // namespace avts
