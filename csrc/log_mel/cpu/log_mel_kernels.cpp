// A tile of frames, one per vector lane, from samples to log-mel values and back.
#include "log_mel/cpu/fft.h"
#include "log_mel/cpu/lanes.h"
#include "log_mel/kernels.h"

namespace avts {
namespace AVTS_LEVEL {
namespace {

template <typename T>
constexpr int64_t kLanes = Lanes<T>::kCount;

template <typename T>
int64_t padded_window(const LogMelPlan<T>& plan) {
  return (plan.win_length + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
}

// The tile's working memory.
template <typename T>
struct Buffers {
  Planes<T> a, b;      // fft_size points each
  Planes<T> spectrum;  // n_bins
  Vec<T>* power;       // n_bins
  Vec<T>* grad_power;  // n_bins
  T* frames;           // (lanes, padded window): frames that touch the signal's ends

  // Planes a power of two apart would compete for the same sets of the L1 cache.
  static constexpr int64_t kPlaneGap = 3;

  static int64_t vectors(const LogMelPlan<T>& plan) {
    return 4 * (plan.fft_size + kPlaneGap) + 4 * plan.n_bins + padded_window(plan);
  }
  Buffers(const LogMelPlan<T>& plan, T* scratch) {
    Vec<T>* next = reinterpret_cast<Vec<T>*>(scratch);
    const auto take = [&next](int64_t n) { return (next += n) - n; };
    const int64_t plane = plan.fft_size + kPlaneGap;
    a = {take(plane), take(plane)};
    b = {take(plane), take(plane)};
    spectrum = {take(plan.n_bins), take(plan.n_bins)};
    power = take(plan.n_bins);
    grad_power = take(plan.n_bins);
    frames = reinterpret_cast<T*>(next);
  }
};

template <typename T>
int64_t scratch_size(const LogMelPlan<T>& plan) {
  return Buffers<T>::vectors(plan) * kLanes<T>;
}

// Index of the sample that the padded position `t` shows, or -1 for a padding zero.
template <typename T>
int64_t padded_index(const LogMelPlan<T>& plan, int64_t t, int64_t samples) {
  if (t >= 0 && t < samples) return t;
  if (!plan.reflect) return -1;
  return t < 0 ? -t : 2 * (samples - 1) - t;
}

// Where the lane's frame can be read, `padded_window` samples long: in the waveform itself, or in
// `frames` after a copy. Lanes beyond the last frame are zero.
template <typename T>
const T* frame_of_lane(const LogMelPlan<T>& plan, const T* waveform, int64_t samples, int64_t frame,
                       int64_t n_frames, int64_t lane, T* frames) {
  const int64_t length = padded_window(plan);
  const int64_t start = (frame + lane) * plan.hop_length + plan.first_sample;
  const bool exists = frame + lane < n_frames;
  if (exists && start >= 0 && start + length <= samples) return waveform + start;
  T* copy = frames + lane * length;
  for (int64_t n = 0; n < length; ++n) {
    const bool inside = exists && n < plan.win_length;
    const int64_t index = inside ? padded_index(plan, start + n, samples) : -1;
    copy[n] = index >= 0 ? waveform[index] : T(0);
  }
  return copy;
}

// Row n of the packed real signal: even samples are real parts, odd ones imaginary.
template <typename T>
Vec<T>* packed_row(const LogMelPlan<T>& plan, Planes<T> z, int64_t n) {
  if (plan.n_fft % 2) return z.re + n;
  return (n % 2 ? z.im : z.re) + n / 2;
}

template <typename T>
void load_transposed(const T* const* source, int64_t n0, Vec<T>* rows) {
  for (int64_t lane = 0; lane < kLanes<T>; ++lane) rows[lane] = load(source[lane] + n0);
  transpose<T>(rows);
}

// Whole blocks have a loop of their own, whose indices the compiler knows: it keeps the block in
// registers.
template <bool EvenLength, typename T>
void window_rows(const LogMelPlan<T>& plan, const T* const* source, Planes<T> z) {
  int64_t n0 = 0;
  for (; n0 + kLanes<T> <= plan.win_length; n0 += kLanes<T>) {
    Vec<T> rows[kLanes<T>];
    load_transposed(source, n0, rows);
    for (int64_t i = 0; i < kLanes<T>; ++i) {
      Vec<T>* to = EvenLength ? (i % 2 ? z.im : z.re) + n0 / 2 + i / 2 : z.re + n0 + i;
      *to = rows[i] * plan.window[n0 + i];
    }
  }
  if (n0 == plan.win_length) return;
  Vec<T> rows[kLanes<T>];
  load_transposed(source, n0, rows);
  for (int64_t n = n0; n < plan.win_length; ++n) {
    *packed_row(plan, z, n) = rows[n - n0] * plan.window[n];
  }
}

template <typename T>
void load_windowed(const LogMelPlan<T>& plan, const T* waveform, int64_t samples, int64_t frame,
                   int64_t n_frames, T* frames, Planes<T> z) {
  const T* source[kLanes<T>];
  for (int64_t lane = 0; lane < kLanes<T>; ++lane) {
    source[lane] = frame_of_lane(plan, waveform, samples, frame, n_frames, lane, frames);
  }
  if (plan.n_fft % 2) {
    window_rows<false>(plan, source, z);
  } else {
    window_rows<true>(plan, source, z);
  }
  for (int64_t n = plan.win_length; n < plan.n_fft; ++n) *packed_row(plan, z, n) = Vec<T>{};
  if (plan.n_fft % 2) {
    for (int64_t n = 0; n < plan.fft_size; ++n) z.im[n] = Vec<T>{};
  }
}

float square_root(float x) { return __builtin_sqrtf(x); }
double square_root(double x) { return __builtin_sqrt(x); }

template <typename T>
Vec<T> square_roots(Vec<T> x) {
  for (int64_t lane = 0; lane < kLanes<T>; ++lane) x[lane] = square_root(x[lane]);
  return x;
}

template <typename T>
Vec<T> power_of(const LogMelPlan<T>& plan, Vec<T> re, Vec<T> im) {
  const Vec<T> square = re * re + im * im;
  return plan.magnitude ? square_roots<T>(square) : square;
}

template <typename T>
Vec<T> mel_of(const LogMelPlan<T>& plan, const Vec<T>* power, int64_t m) {
  const Vec<T>* bins = power + plan.filter_first_bin[m];
  const T* weights = plan.filter_weights + plan.filter_offset[m];
  const int64_t count = plan.filter_offset[m + 1] - plan.filter_offset[m];
  Vec<T> even{}, odd{};  // two sums, so that one addition need not wait for the other
  int64_t k = 0;
  for (; k + 1 < count; k += 2) {
    even += bins[k] * weights[k];
    odd += bins[k + 1] * weights[k + 1];
  }
  if (k < count) even += bins[k] * weights[k];
  return even + odd;
}

constexpr double kLog10OfE = 0.43429448190325182765;

// Written so that NaN is not clamped away: a comparison with NaN is false.
template <typename T>
Vec<T> clamp_below(Vec<T> x, T eps) {
  return x < eps ? x * 0 + eps : x;
}

template <typename T>
Vec<T> apply_log(const LogMelPlan<T>& plan, Vec<T> x) {
  switch (plan.log) {
    case LogKind::ln_add:
      return log_of<T>(x + plan.eps);
    case LogKind::ln_clamp:
      return log_of<T>(clamp_below<T>(x, plan.eps));
    case LogKind::log10_clamp:
      return log_of<T>(clamp_below<T>(x, plan.eps)) * static_cast<T>(kLog10OfE);
    default:
      return x;
  }
}

// Gradient with respect to x of apply_log(x), times grad.
template <typename T>
Vec<T> apply_log_backward(const LogMelPlan<T>& plan, Vec<T> x, Vec<T> grad) {
  switch (plan.log) {
    case LogKind::ln_add:
      return grad / (x + plan.eps);
    case LogKind::ln_clamp:
      return x < plan.eps ? Vec<T>{} : grad / x;
    case LogKind::log10_clamp:
      return x < plan.eps ? Vec<T>{} : grad * static_cast<T>(kLog10OfE) / x;
    default:
      return grad;
  }
}

template <typename T>
void forward(const LogMelPlan<T>& plan, const T* waveform, int64_t samples, int64_t frame,
             int64_t n_frames, T* out, T* scratch) {
  const Buffers<T> buffers(plan, scratch);
  load_windowed(plan, waveform, samples, frame, n_frames, buffers.frames, buffers.a);
  unpack_real(plan, fft(plan, buffers.a, buffers.b),
              [&](int64_t k, Vec<T> re, Vec<T> im) { buffers.power[k] = power_of(plan, re, im); });
  for (int64_t m = 0; m < plan.n_mels; ++m) {
    const Vec<T> value = apply_log(plan, mel_of(plan, buffers.power, m));
    store_partial(out + m * n_frames + frame, value, n_frames - frame);
  }
}

// power and grad_out -> grad_power.
template <typename T>
void backward_mel(const LogMelPlan<T>& plan, const T* grad_out, int64_t frame, int64_t n_frames,
                  const Buffers<T>& buffers) {
  for (int64_t k = 0; k < plan.n_bins; ++k) buffers.grad_power[k] = Vec<T>{};
  for (int64_t m = 0; m < plan.n_mels; ++m) {
    const Vec<T> grad = load_partial(grad_out + m * n_frames + frame, n_frames - frame);
    const Vec<T> grad_mel = apply_log_backward(plan, mel_of(plan, buffers.power, m), grad);
    Vec<T>* bins = buffers.grad_power + plan.filter_first_bin[m];
    const T* weights = plan.filter_weights + plan.filter_offset[m];
    const int64_t count = plan.filter_offset[m + 1] - plan.filter_offset[m];
    for (int64_t k = 0; k < count; ++k) bins[k] += grad_mel * weights[k];
  }
}

// grad_power -> spectrum, in place: half the gradient of each bin that stands for a conjugate pair
// (the pair shares it), the whole one of those that stand alone.
template <typename T>
void backward_power(const LogMelPlan<T>& plan, const Buffers<T>& buffers) {
  for (int64_t k = 0; k < plan.n_bins; ++k) {
    const bool alone = k == 0 || 2 * k == plan.n_fft;
    Vec<T> scale = buffers.grad_power[k] * T(alone ? 2 : 1);
    if (plan.magnitude) {
      const Vec<T> magnitude = buffers.power[k];
      scale = magnitude == 0 ? Vec<T>{} : scale / (magnitude * 2);
    }
    buffers.spectrum.re[k] *= scale;
    buffers.spectrum.im[k] *= scale;
  }
}

// Window, and add each lane's frame to the samples it was read from, lanes in order.
template <typename T>
void overlap_add(const LogMelPlan<T>& plan, Planes<T> z, int64_t samples, int64_t frame,
                 int64_t n_frames, T* frames, T* grad_waveform) {
  const int64_t length = padded_window(plan);
  for (int64_t n0 = 0; n0 < plan.win_length; n0 += kLanes<T>) {
    Vec<T> rows[kLanes<T>] = {};
    for (int64_t i = 0; i < kLanes<T> && n0 + i < plan.win_length; ++i) {
      rows[i] = *packed_row(plan, z, n0 + i) * plan.window[n0 + i];
    }
    transpose<T>(rows);
    for (int64_t lane = 0; lane < kLanes<T>; ++lane) {
      store(frames + lane * length + n0, rows[lane]);
    }
  }
  for (int64_t lane = 0; lane < kLanes<T> && frame + lane < n_frames; ++lane) {
    const int64_t start = (frame + lane) * plan.hop_length + plan.first_sample;
    const T* values = frames + lane * length;
    if (start >= 0 && start + plan.win_length <= samples) {
      for (int64_t n = 0; n < plan.win_length; ++n) grad_waveform[start + n] += values[n];
    } else {
      for (int64_t n = 0; n < plan.win_length; ++n) {
        const int64_t index = padded_index(plan, start + n, samples);
        if (index >= 0) grad_waveform[index] += values[n];
      }
    }
  }
}

template <typename T>
void backward(const LogMelPlan<T>& plan, const T* grad_out, const T* waveform, int64_t samples,
              int64_t frame, int64_t n_frames, T* grad_waveform, T* scratch) {
  const Buffers<T> buffers(plan, scratch);
  load_windowed(plan, waveform, samples, frame, n_frames, buffers.frames, buffers.a);
  unpack_real(plan, fft(plan, buffers.a, buffers.b), [&](int64_t k, Vec<T> re, Vec<T> im) {
    buffers.spectrum.re[k] = re;
    buffers.spectrum.im[k] = im;
    buffers.power[k] = power_of(plan, re, im);
  });
  backward_mel(plan, grad_out, frame, n_frames, buffers);
  backward_power(plan, buffers);
  pack_hermitian(plan, buffers.spectrum, buffers.a);
  const Planes<T> result =
      fft(plan, Planes<T>{buffers.a.im, buffers.a.re}, Planes<T>{buffers.b.im, buffers.b.re});
  overlap_add(plan, Planes<T>{result.im, result.re}, samples, frame, n_frames, buffers.frames,
              grad_waveform);
}

template <typename T>
constexpr LogMelKernel<T> kKernel = {kLanes<T>, scratch_size<T>, forward<T>, backward<T>};

}  // namespace

extern const LogMelKernels kLogMelKernels = {kKernel<float>, kKernel<double>};

}  // namespace AVTS_LEVEL
}  // namespace avts
