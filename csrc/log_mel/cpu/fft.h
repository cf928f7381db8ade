// FFT of any length over vector lanes (Stockham, mixed radix), and its real-input wrappers, for the
// lengths that two_pass.h does not serve. For cpu/*.cpp only.
//
// Real input of even length N is transformed as N / 2 complex numbers x[2m] + i x[2m + 1]; odd N as
// N complex numbers with zero imaginary part. Two frames are never put into one complex transform:
// a frame's rounding, and its NaN, would reach the other.
#pragma once

#include "log_mel/cpu/butterflies.h"
#include "log_mel/cpu/lanes.h"
#include "log_mel/plan.h"

namespace avts {
namespace AVTS_LEVEL {

template <typename T>
struct Planes {
  Vec<T>* re;
  Vec<T>* im;
};

template <int R, bool Twiddled, typename T>
inline void run_block(const FftStage<T>& stage, int64_t block, Planes<T> from, Planes<T> to) {
  const int64_t step = stage.blocks * stage.stride;
  const int64_t in = block * stage.stride, out = in * R;
  const T* twiddles = stage.twiddles + block * (R - 1) * 2;
  for (int64_t q = 0; q < stage.stride; ++q) {
    Vec<T> re[R], im[R];
    for (int j = 0; j < R; ++j) {
      re[j] = from.re[in + q + j * step];
      im[j] = from.im[in + q + j * step];
    }
    butterfly<R, T>(re, im);
    for (int k = 0; k < R; ++k) {
      Vec<T> y_re = re[k], y_im = im[k];
      if (Twiddled && k > 0) {
        const T c = twiddles[2 * k - 2], s = twiddles[2 * k - 1];
        y_re = re[k] * c - im[k] * s;
        y_im = re[k] * s + im[k] * c;
      }
      to.re[out + q + k * stage.stride] = y_re;
      to.im[out + q + k * stage.stride] = y_im;
    }
  }
}

template <int R, typename T>
void run_stage(const FftStage<T>& stage, Planes<T> from, Planes<T> to) {
  run_block<R, false>(stage, 0, from, to);
  for (int64_t block = 1; block < stage.blocks; ++block) run_block<R, true>(stage, block, from, to);
}

// Any other radix, by the definition of the DFT.
template <typename T>
void run_stage_of_any_radix(const FftStage<T>& stage, Planes<T> from, Planes<T> to) {
  const int64_t radix = stage.radix, step = stage.blocks * stage.stride;
  for (int64_t i = 0; i < step; ++i) {
    const int64_t block = i / stage.stride, q = i % stage.stride;
    for (int64_t k = 0; k < radix; ++k) {
      Vec<T> re = from.re[i], im = from.im[i];
      for (int64_t j = 1, turn = k; j < radix; ++j, turn = (turn + k) % radix) {
        const T c = stage.roots[2 * turn], s = stage.roots[2 * turn + 1];
        const Vec<T> x_re = from.re[i + j * step], x_im = from.im[i + j * step];
        re += x_re * c - x_im * s;
        im += x_re * s + x_im * c;
      }
      const T* twiddle = stage.twiddles + (block * (radix - 1) + k - 1) * 2;
      const T c = k > 0 ? twiddle[0] : T(1), s = k > 0 ? twiddle[1] : T(0);
      const int64_t out = (block * radix + k) * stage.stride + q;
      to.re[out] = re * c - im * s;
      to.im[out] = re * s + im * c;
    }
  }
}

// Complex FFT of plan.fft_size points, not scaled. Uses both buffers; returns the one that holds
// the result. With the planes of both swapped it is the inverse (with exp(+...)).
template <typename T>
Planes<T> fft(const LogMelPlan<T>& plan, Planes<T> data, Planes<T> other) {
  for (int64_t i = 0; i < plan.n_stages; ++i) {
    const FftStage<T>& stage = plan.stages[i];
    switch (stage.radix) {
      case 2:
        run_stage<2>(stage, data, other);
        break;
      case 3:
        run_stage<3>(stage, data, other);
        break;
      case 4:
        run_stage<4>(stage, data, other);
        break;
      case 5:
        run_stage<5>(stage, data, other);
        break;
      default:
        run_stage_of_any_radix(stage, data, other);
    }
    const Planes<T> result = other;
    other = data;
    data = result;
  }
  return data;
}

// Calls emit(k, re, im) for each bin k = 0 ... n_fft / 2 of the real transform whose packed complex
// transform is z.
template <typename T, typename Emit>
inline void unpack_real(const LogMelPlan<T>& plan, Planes<T> z, Emit emit) {
  const int64_t n = plan.fft_size;
  if (plan.n_fft % 2) {
    for (int64_t k = 0; k < plan.n_bins; ++k) emit(k, z.re[k], z.im[k]);
    return;
  }
  emit(0, z.re[0] + z.im[0], z.re[0] * 0);
  emit(n, z.re[0] - z.im[0], z.re[0] * 0);
  for (int64_t k = 1; k <= n / 2; ++k) {
    const int64_t mirror = n - k;
    // Spectra of the even samples, (e), and of the odd ones turned by the twiddle, (t).
    const Vec<T> e_re = (z.re[k] + z.re[mirror]) * T(0.5), e_im = (z.im[k] - z.im[mirror]) * T(0.5);
    const Vec<T> o_re = (z.im[k] + z.im[mirror]) * T(0.5), o_im = (z.re[mirror] - z.re[k]) * T(0.5);
    const T c = plan.half_twiddles[2 * k], s = plan.half_twiddles[2 * k + 1];
    const Vec<T> t_re = o_re * c - o_im * s, t_im = o_re * s + o_im * c;
    emit(k, e_re + t_re, e_im + t_im);
    if (mirror != k) emit(mirror, e_re - t_re, t_im - e_im);
  }
}

// The packed complex spectrum whose inverse FFT is the real signal sum_k h[k] exp(2 pi i k n / N)
// over all N bins, given bins 0 ... N / 2 of the Hermitian h.
template <typename T>
inline void pack_hermitian(const LogMelPlan<T>& plan, Planes<T> h, Planes<T> z) {
  const int64_t n = plan.fft_size;
  if (plan.n_fft % 2) {
    for (int64_t k = 0; k < plan.n_bins; ++k) z.re[k] = h.re[k], z.im[k] = h.im[k];
    for (int64_t k = plan.n_bins; k < n; ++k) z.re[k] = h.re[n - k], z.im[k] = -h.im[n - k];
    return;
  }
  for (int64_t k = 0; k < n; ++k) {
    const int64_t mirror = n - k;  // h[k + n] = conj(h[mirror])
    const Vec<T> sum_re = h.re[k] + h.re[mirror], sum_im = h.im[k] - h.im[mirror];
    const Vec<T> d_re = h.re[k] - h.re[mirror], d_im = h.im[k] + h.im[mirror];
    const T c = plan.half_twiddles[2 * k], s = -plan.half_twiddles[2 * k + 1];
    z.re[k] = sum_re - (d_re * s + d_im * c);
    z.im[k] = sum_im + (d_re * c - d_im * s);
  }
}

}  // namespace AVTS_LEVEL
}  // namespace avts
