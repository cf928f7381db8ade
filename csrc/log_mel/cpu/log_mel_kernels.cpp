// Tiles of frames, one frame per vector lane, from samples to log-mel values and back.
#include "log_mel/cpu/columns.h"
#include "log_mel/cpu/dynamic_range.h"
#include "log_mel/cpu/fft.h"
#include "log_mel/cpu/lanes.h"
#include "log_mel/cpu/samples.h"
#include "log_mel/cpu/two_pass.h"
#include "log_mel/kernels.h"

namespace avts {
namespace AVTS_LEVEL {
namespace {

template <typename T>
constexpr int64_t kLanes = Lanes<T>::kCount;

// Codelets are compiled for float alone: double is for checking, where time matters less.
template <typename T>
constexpr bool kHasTwoPass = sizeof(T) == sizeof(float);

template <typename T>
bool uses_two_pass(const LogMelPlan<T>& plan) {
  return kHasTwoPass<T> && plan.two_pass.rows > 0;
}

// The working memory of a call.
template <typename T>
struct Buffers {
  T* columns;       // transposed samples, and in the gradient's case
  T* grad_columns;  // transposed gradients
  T* edge;          // hops that touch the signal's ends
  Vec<T>* frame;    // win_length windowed samples or their gradient, a zero, a place for the unused
  Vec<T>* work;     // of the two-pass FFT
  Planes<T> a, b;   // of the Stockham FFT, fft_size points each
  Planes<T> spectrum;  // n_bins
  Vec<T>* power;       // of the bins, at plan.place: in the work, to leave more of the L1 cache
  Vec<T>* squares;     // likewise, where the work is needed further
  Vec<T>* gain;        // n_bins + 1
  Vec<T>* mels;        // n_mels, rounded up to whole tiles

  // Planes a power of two apart would compete for the same sets of the L1 cache.
  static constexpr int64_t kPlaneGap = 3;

  // With `scratch` null only counts.
  Buffers(const LogMelPlan<T>& plan, T* scratch) {
    Vec<T>* const first = reinterpret_cast<Vec<T>*>(scratch);
    Vec<T>* next = first;
    const auto take = [&](int64_t n) {
      vectors += n;
      return first ? (next += n) - n : nullptr;
    };
    const auto take_elements = [&](int64_t n) {
      return reinterpret_cast<T*>(take((n + kLanes<T> - 1) / kLanes<T>));
    };
    columns = take_elements(column_elements(plan));
    grad_columns = take_elements(column_elements(plan));
    edge = take_elements(edge_elements(plan));
    frame = take(plan.win_length + 2);
    work = take(work_vectors(plan.two_pass));
    const int64_t plane = plan.fft_size + kPlaneGap;
    a = {take(plane), take(plane)};
    b = {take(plane), take(plane)};
    const int64_t spectrum_bins = plan.fft_size ? plan.n_bins : 0;
    spectrum = {take(spectrum_bins), take(spectrum_bins)};
    const int64_t powers = uses_two_pass(plan) ? work_vectors(plan.two_pass) : plan.n_bins;
    power = uses_two_pass(plan) ? work : take(powers);
    squares = take(plan.power == 2 ? 0 : powers);
    gain = take(plan.n_bins + 1);
    mels = take((plan.n_mels + kLanes<T> - 1) / kLanes<T> * kLanes<T>);
  }

  int64_t vectors = 0;
};

template <typename T>
int64_t scratch_size(const LogMelPlan<T>& plan) {
  return Buffers<T>(plan, nullptr).vectors * kLanes<T>;
}

// --- Samples to power ----------------------------------------------------------------------------

// Kaldi's conditioning of a frame, then the window: the mean is taken off, and from each sample a
// part of the one before it, which for the first is itself.
template <typename T>
void condition_frame(const LogMelPlan<T>& plan, const T* columns, Vec<T>* frame) {
  Vec<T> mean{};
  if (plan.remove_dc) {
    for (int64_t n = 0; n < plan.win_length; ++n) mean += load(columns + plan.columns.offset[n]);
    mean /= static_cast<T>(plan.win_length);
  }
  Vec<T> before = load(columns + plan.columns.offset[0]) - mean;
  for (int64_t n = 0; n < plan.win_length; ++n) {
    const Vec<T> sample = load(columns + plan.columns.offset[n]) - mean;
    frame[n] = (sample - before * plan.preemphasis) * plan.window[n];
    before = sample;
  }
  frame[plan.win_length] = Vec<T>{};
}

// Adjoint of the conditioning; `frame` holds gradients that the window has been applied to.
template <typename T>
void condition_frame_adjoint(const LogMelPlan<T>& plan, Vec<T>* frame) {
  const Vec<T> first = frame[0];
  Vec<T> sum{};
  for (int64_t n = 0; n < plan.win_length; ++n) {
    if (n + 1 < plan.win_length) frame[n] -= frame[n + 1] * plan.preemphasis;
    if (n == 0) frame[0] -= first * plan.preemphasis;
    sum += frame[n];
  }
  if (!plan.remove_dc) return;
  const Vec<T> mean = sum / static_cast<T>(plan.win_length);
  for (int64_t n = 0; n < plan.win_length; ++n) frame[n] -= mean;
}

// Row n of the packed real signal: even samples are real parts, odd ones imaginary.
template <typename T>
Vec<T>* packed_row(const LogMelPlan<T>& plan, Planes<T> z, int64_t n) {
  if (plan.n_fft % 2) return z.re + n;
  return (n % 2 ? z.im : z.re) + n / 2;
}

// The spectrum's packed form by the Stockham FFT.
template <typename T>
Planes<T> stockham(const LogMelPlan<T>& plan, const Buffers<T>& buffers) {
  const Planes<T> z = buffers.a;
  for (int64_t n = 0; n < plan.win_length; ++n) {
    *packed_row(plan, z, n) = plan.conditioned
                                  ? buffers.frame[n]
                                  : load(buffers.columns + plan.columns.offset[n]) * plan.window[n];
  }
  for (int64_t n = plan.win_length; n < plan.n_fft; ++n) *packed_row(plan, z, n) = Vec<T>{};
  if (plan.n_fft % 2) {
    for (int64_t n = 0; n < plan.fft_size; ++n) z.im[n] = Vec<T>{};
  }
  return fft(plan, z, buffers.b);
}

// columns -> what the FFT's second half starts from: the two-pass FFT's work, or the spectrum.
template <typename T>
void transform(const LogMelPlan<T>& plan, const Buffers<T>& buffers, const Ahead& ahead) {
  if (plan.conditioned) condition_frame(plan, buffers.columns, buffers.frame);
  if constexpr (kHasTwoPass<T>) {
    if (uses_two_pass(plan)) {
      const T* frame = reinterpret_cast<const T*>(buffers.frame);
      two_pass_first(plan.two_pass, plan.conditioned ? frame : buffers.columns, buffers.work,
                     ahead);
    }
  }
  if (!uses_two_pass(plan)) {
    unpack_real(plan, stockham(plan, buffers), [&](int64_t k, Vec<T> re, Vec<T> im) {
      buffers.spectrum.re[k] = re;
      buffers.spectrum.im[k] = im;
    });
  }
}

template <typename T>
void squared_magnitudes(const LogMelPlan<T>& plan, const Buffers<T>& buffers, Vec<T>* power,
                        const Ahead& ahead) {
  if constexpr (kHasTwoPass<T>) {
    if (uses_two_pass(plan)) return two_pass_power(plan.two_pass, buffers.work, power, ahead);
  }
  for (int64_t k = 0; k < plan.n_bins; ++k) {
    const Vec<T> re = buffers.spectrum.re[k], im = buffers.spectrum.im[k];
    power[k] = re * re + im * im;
  }
}

inline float square_root(float x) { return __builtin_sqrtf(x); }
inline double square_root(double x) { return __builtin_sqrt(x); }
inline float raised(float x, float exponent) { return __builtin_powf(x, exponent); }
inline double raised(double x, double exponent) { return __builtin_pow(x, exponent); }

// |X|^2 -> |X|^power.
template <typename T>
void raise_to_power(const LogMelPlan<T>& plan, Vec<T>* power) {
  if (plan.power == 2) return;
  for (int64_t k = 0; k < plan.n_bins; ++k) {
    T* values = reinterpret_cast<T*>(power + plan.place[k]);
    if (plan.power == 1) {
      for (int64_t i = 0; i < kLanes<T>; ++i) values[i] = square_root(values[i]);
    } else {
      for (int64_t i = 0; i < kLanes<T>; ++i) values[i] = raised(values[i], plan.power / 2);
    }
  }
}

// --- Power to values -----------------------------------------------------------------------------

// Written so that NaN is not clamped away: a comparison with NaN is false.
template <typename T>
Vec<T> clamp_below(Vec<T> x, T eps) {
  return x < eps ? x * 0 + eps : x;
}

// What the logarithm is taken of -> values, in place. The options are asked for once per tile: the
// loop is bound by the number of its instructions.
template <typename T>
void take_logarithms(const LogMelPlan<T>& plan, Vec<T>* mels) {
  const T eps = plan.eps, scale = plan.scale, shift = plan.shift;
  const int64_t n_mels = plan.n_mels;
  const auto each = [&](const auto& logarithm) {
    for (int64_t m = 0; m < n_mels; ++m) mels[m] = logarithm(mels[m]) * scale + shift;
  };
  const auto each_argument = [&](const auto& argument) {
    if (plan.eps_is_normal) {
      each([&](Vec<T> mel) { return log_of<false, T>(argument(mel)); });
    } else {
      each([&](Vec<T> mel) { return log_of<true, T>(argument(mel)); });
    }
  };
  switch (plan.log) {
    case LogKind::none:
      return each([](Vec<T> mel) { return mel; });
    case LogKind::ln_add:
      return each_argument([eps](Vec<T> mel) { return mel + eps; });
    case LogKind::ln_clamp:
      return each_argument([eps](Vec<T> mel) { return clamp_below<T>(mel, eps); });
  }
}

// Gradient with respect to mel of its value, times grad.
template <typename T>
Vec<T> value_gradient(const LogMelPlan<T>& plan, Vec<T> mel, Vec<T> grad) {
  grad *= plan.scale;
  switch (plan.log) {
    case LogKind::ln_add:
      return grad / (mel + plan.eps);
    case LogKind::ln_clamp:
      return mel < plan.eps ? Vec<T>{} : grad / mel;
    default:
      return grad;
  }
}

// power -> mels.
template <typename T>
void apply_filters(const LogMelPlan<T>& plan, const Vec<T>* power, Vec<T>* mels) {
  const int64_t* begin = plan.segment_begin;
  const T* weight = plan.weights + 2 * begin[0];
  const int32_t* place = plan.place + begin[0];
  Vec<T> risen{};  // of filter m, from the segment before
  for (int64_t segment = 0; segment <= plan.n_mels; ++segment) {
    Vec<T> rising{}, falling{};
    for (int64_t left = begin[segment + 1] - begin[segment]; left > 0; --left) {
      rising += power[*place] * weight[0];
      falling += power[*place] * weight[1];
      ++place, weight += 2;
    }
    if (segment > 0) mels[segment - 1] = risen + falling;
    risen = rising;
  }
}

constexpr SampleType type_of(float) { return SampleType::f32; }
constexpr SampleType type_of(double) { return SampleType::f64; }

// The tile's values, frame by frame, each frame's mels one after the other.
template <typename T>
void write_frames(const LogMelPlan<T>& plan, Vec<T>* mels, int64_t frame, int64_t count,
                  const FrameOutput& out) {
  for (int64_t m = 0; m < plan.n_mels; m += kLanes<T>) {
    transpose<T>(mels + m);
    const int64_t width = plan.n_mels - m < kLanes<T> ? plan.n_mels - m : kLanes<T>;
    for (int64_t lane = 0; lane < count; ++lane) {
      write_values(reinterpret_cast<const T*>(mels + m + lane), width, out.data, out.type,
                   (frame + lane) * out.frame_stride + m);
    }
  }
}

// Each mel's frames one after the other.
template <typename T>
void write_mels(const LogMelPlan<T>& plan, const Vec<T>* mels, int64_t frame, int64_t count,
                const FrameOutput& out) {
  if (out.type == type_of(T()) && count == kLanes<T>) {
    T* to = static_cast<T*>(out.data) + frame;
    for (int64_t m = 0; m < plan.n_mels; ++m) store(to + m * out.mel_stride, mels[m]);
    return;
  }
  for (int64_t m = 0; m < plan.n_mels; ++m) {
    write_values(reinterpret_cast<const T*>(mels + m), count, out.data, out.type,
                 m * out.mel_stride + frame);
  }
}

// A tile's part of an array of values, of which the next mel stands `mel_stride` elements on.
template <typename T>
Ahead tile_ahead(const LogMelPlan<T>& plan, const void* values, SampleType type, int64_t mel_stride,
                 int64_t frame) {
  const int64_t bytes = bytes_of(type);
  const char* data = static_cast<const char*>(values);
  if (mel_stride == 1) {
    const int64_t tile_bytes = kLanes<T> * plan.n_mels * bytes;
    return {data + frame * plan.n_mels * bytes, kCacheLine, tile_bytes / kCacheLine};
  }
  // A row's first line was the tile before's last.
  return {data + (frame + kLanes<T> - 1) * bytes, mel_stride * bytes, plan.n_mels};
}

// power -> out, and mel if wanted, for `count` frames.
template <typename T>
void finish_tile(const LogMelPlan<T>& plan, const Buffers<T>& buffers, int64_t frame, int64_t count,
                 const FrameOutput& out, T* mel, int64_t mel_frames) {
  if (mel) tile_ahead(plan, mel, type_of(T()), mel_frames, frame).ask(0, 1);
  apply_filters(plan, buffers.power, buffers.mels);
  if (mel) write_mels(plan, buffers.mels, frame, count, {mel, type_of(T()), mel_frames, 1});
  take_logarithms(plan, buffers.mels);
  if (plan.time_mel) {
    write_frames(plan, buffers.mels, frame, count, out);
  } else {
    write_mels(plan, buffers.mels, frame, count, out);
  }
}

template <typename T>
void forward(const LogMelPlan<T>& plan, const Signal<T>& signal, int64_t begin, int64_t end,
             const FrameOutput& out, T* mel, int64_t mel_frames, T* scratch) {
  const Buffers<T> buffers(plan, scratch);
  for (int64_t frame = begin; frame < end; frame += kLanes<T>) {
    if (frame == begin) {
      start_columns(plan, signal, frame, buffers.columns, buffers.edge);
    } else {
      advance_columns(plan, signal, frame, buffers.columns, buffers.edge);
    }
    transform(plan, buffers, samples_ahead(plan, signal, frame));
    squared_magnitudes(plan, buffers, buffers.power,
                       tile_ahead(plan, out.data, out.type, out.mel_stride, frame));
    raise_to_power(plan, buffers.power);
    const int64_t count = end - frame < kLanes<T> ? end - frame : kLanes<T>;
    finish_tile(plan, buffers, frame, count, out, mel, mel_frames);
  }
}

// --- Gradient ------------------------------------------------------------------------------------

// grad_out of a tile -> mels, zero in lanes without a frame.
template <typename T>
void load_grad(const LogMelPlan<T>& plan, const T* grad_out, int64_t frame, int64_t count,
               int64_t n_frames, Vec<T>* mels) {
  if (!plan.time_mel) {
    for (int64_t m = 0; m < plan.n_mels; ++m) {
      mels[m] = load_partial(grad_out + m * n_frames + frame, count);
    }
    return;
  }
  for (int64_t m = 0; m < plan.n_mels; m += kLanes<T>) {
    for (int64_t lane = 0; lane < kLanes<T>; ++lane) {
      const T* row = grad_out + (frame + lane) * plan.n_mels + m;
      mels[m + lane] = lane < count ? load_partial(row, plan.n_mels - m) : Vec<T>{};
    }
    transpose<T>(mels + m);
  }
}

// grad_out and mel -> gain: the gradient with respect to |X|^2, doubled.
template <typename T>
void gain_of_tile(const LogMelPlan<T>& plan, const Buffers<T>& buffers, const T* grad_out,
                  const T* mel, int64_t frame, int64_t count, int64_t mel_frames) {
  load_grad(plan, grad_out, frame, count, mel_frames, buffers.mels);
  for (int64_t k = 0; k <= plan.n_bins; ++k) buffers.gain[k] = Vec<T>{};
  Vec<T> before{};
  for (int64_t segment = 0; segment <= plan.n_mels; ++segment) {
    Vec<T> here{};
    if (segment < plan.n_mels) {
      const Vec<T> energy = load_partial(mel + segment * mel_frames + frame, count);
      here = value_gradient(plan, energy, buffers.mels[segment]) * T(2);
      // Lanes without a frame may divide 0 by 0.
      if (count < kLanes<T>) {
        for (int64_t lane = count; lane < kLanes<T>; ++lane) here[lane] = 0;
      }
    }
    const int64_t end = plan.segment_begin[segment + 1];
    for (int64_t k = plan.segment_begin[segment]; k < end; ++k) {
      buffers.gain[k] = here * plan.weights[2 * k] + before * plan.weights[2 * k + 1];
    }
    before = here;
  }
}

// gain, given for |X|^power, -> gain for |X|^2. At X = 0 it is zero.
template <typename T>
void gain_of_square(const LogMelPlan<T>& plan, const Buffers<T>& buffers) {
  if (plan.power == 2) return;
  squared_magnitudes(plan, buffers, buffers.squares, {});
  const T half = plan.power / 2;
  for (int64_t k = 0; k < plan.n_bins; ++k) {
    const T* squares = reinterpret_cast<const T*>(buffers.squares + plan.place[k]);
    T* gain = reinterpret_cast<T*>(buffers.gain + k);
    for (int64_t i = 0; i < kLanes<T>; ++i) {
      gain[i] *= squares[i] == 0 ? T(0) : half * raised(squares[i], half - 1);
    }
  }
}

// Whether the two-pass FFT's adjoint adds to the columns itself. Not where it would come upon the
// same row of them twice within one column of its own: two hops of a row overlap in memory, and a
// load so soon after the store would have to wait for it.
template <typename T>
bool adds_to_columns(const LogMelPlan<T>& plan) {
  return uses_two_pass(plan) && !plan.two_pass.twiddled && !plan.conditioned &&
         plan.hop_length % plan.two_pass.columns != 0;
}

// gain -> the gradient with respect to the samples that the window sees, added to the columns.
template <typename T>
void transform_adjoint(const LogMelPlan<T>& plan, const Buffers<T>& buffers,
                       const Ahead& grad_ahead, const Ahead& mel_ahead) {
  if constexpr (kHasTwoPass<T>) {
    if (adds_to_columns(plan)) {
      return two_pass_gradient_added(plan.two_pass, buffers.work, buffers.gain,
                                     buffers.grad_columns, grad_ahead, mel_ahead);
    }
    if (uses_two_pass(plan)) {
      two_pass_gradient(plan.two_pass, buffers.work, buffers.gain, buffers.frame, grad_ahead,
                        mel_ahead);
      if (plan.conditioned) {
        // The first pass saw a window that had been applied before.
        for (int64_t n = 0; n < plan.win_length; ++n) buffers.frame[n] *= plan.window[n];
      }
    }
  }
  if (!uses_two_pass(plan)) {
    for (int64_t k = 0; k < plan.n_bins; ++k) {
      // Bins that stand for a conjugate pair share their gradient with the other one.
      const bool alone = k == 0 || 2 * k == plan.n_fft;
      const Vec<T> gain = buffers.gain[k] * T(alone ? 1 : 0.5);
      buffers.spectrum.re[k] *= gain;
      buffers.spectrum.im[k] *= gain;
    }
    pack_hermitian(plan, buffers.spectrum, buffers.a);
    const Planes<T> swapped =
        fft(plan, Planes<T>{buffers.a.im, buffers.a.re}, Planes<T>{buffers.b.im, buffers.b.re});
    const Planes<T> z{swapped.im, swapped.re};
    for (int64_t n = 0; n < plan.win_length; ++n) {
      buffers.frame[n] = *packed_row(plan, z, n) * plan.window[n];
    }
  }
  if (plan.conditioned) condition_frame_adjoint(plan, buffers.frame);
  add_to_columns(plan, buffers.frame, buffers.grad_columns);
}

template <typename T>
void backward(const LogMelPlan<T>& plan, const Signal<T>& signal, int64_t n_frames,
              const T* grad_out, const T* mel, int64_t mel_frames, T* grad_waveform, T* scratch) {
  const Buffers<T> buffers(plan, scratch);
  fill_zero(buffers.grad_columns, column_elements(plan));
  constexpr SampleType type = type_of(T());
  const int64_t grad_stride = plan.time_mel ? 1 : mel_frames;
  int64_t frame = 0;
  for (; frame < n_frames; frame += kLanes<T>) {
    if (frame == 0) {
      start_columns(plan, signal, frame, buffers.columns, buffers.edge);
    } else {
      advance_columns(plan, signal, frame, buffers.columns, buffers.edge);
    }
    transform(plan, buffers, samples_ahead(plan, signal, frame));
    const int64_t count = n_frames - frame < kLanes<T> ? n_frames - frame : kLanes<T>;
    gain_of_tile(plan, buffers, grad_out, mel, frame, count, mel_frames);
    gain_of_square(plan, buffers);
    const int64_t next = frame + kLanes<T>;
    transform_adjoint(plan, buffers, tile_ahead(plan, grad_out, type, grad_stride, next),
                      tile_ahead(plan, mel, type, mel_frames, next));
    flush_columns(plan, frame, signal.count, buffers.grad_columns, buffers.edge, grad_waveform);
  }
  for (int64_t left = plan.columns.carried - plan.columns.first; left > 0; left -= kLanes<T>) {
    flush_columns(plan, frame, signal.count, buffers.grad_columns, buffers.edge, grad_waveform);
    frame += kLanes<T>;
  }
}

template <typename T>
constexpr LogMelKernel<T> kKernel = {kLanes<T>,   scratch_size<T>, forward<T>,
                                     backward<T>, limit_range<T>,  convert_samples<T>};

}  // namespace

extern const LogMelKernels kLogMelKernels = {kKernel<float>, kKernel<double>};

}  // namespace AVTS_LEVEL
}  // namespace avts
