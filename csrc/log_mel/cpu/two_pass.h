// The real FFT in two passes of codelets (plan.h, TwoPassFft), from samples to power and, for the
// gradient, back. For cpu/*.cpp only.
//
// The work array holds the first pass's rows of `columns` values each: row 0 (real), then real and
// imaginary part of rows 1, 2, ... The last row, rows / 2, has an imaginary part only if twiddled.
#pragma once

#include "log_mel/cpu/codelets.h"
#include "log_mel/cpu/prefetch.h"
#include "log_mel/plan.h"

namespace avts {
namespace AVTS_LEVEL {

template <typename T>
int64_t work_vectors(const TwoPassFft<T>& fft) {
  return (fft.rows + 1) * fft.row_stride;
}

// A column's samples from the row Used on are known zeros, which lie behind a window shorter than
// n_fft.
template <int Rows, int Used, bool Twiddled, typename T>
void first_pass(const TwoPassFft<T>& fft, const T* samples, Vec<T>* work, const Ahead& ahead) {
  const int64_t stride = fft.row_stride;
  for (int64_t j = 0; j < fft.columns; ++j) {
    ahead.ask(j, fft.columns);
    const int32_t* source = fft.source + j * Rows;
    const T* window = fft.window + j * Rows;
    const T* twiddles = fft.twiddles + j * Rows;
    Vec<T> x[Rows], re[Rows / 2 + 1], im[Rows / 2 + 1];
    AVTS_UNROLLED(i, 0, Used, x[i] = load(samples + source[i]) * window[i];);
    AVTS_UNROLLED(i, Used, Rows, x[i] = Vec<T>{};);
    real_dft<Rows, 1, T>(x, re, im);
    work[j] = re[0];
    AVTS_UNROLLED(k, 1, Rows / 2 + 1, {
      Vec<T>* row = work + (2 * k - 1) * stride + j;
      if constexpr (!Twiddled) {
        row[0] = re[k];
        if constexpr (2 * k < Rows) row[stride] = im[k];
      } else {
        const T c = twiddles[2 * k - 2], s = twiddles[2 * k - 1];
        if constexpr (2 * k < Rows) {
          row[0] = re[k] * c - im[k] * s;
          row[stride] = re[k] * s + im[k] * c;
        } else {
          row[0] = re[k] * c;
          row[stride] = re[k] * s;
        }
      }
    });
  }
}

// Adjoint of first_pass: to[n] for each sample n of the window, or, if `Adds`, added to the columns
// `to` that the samples would be read from.
template <int Rows, int Used, bool Twiddled, bool Adds, typename T>
void first_pass_adjoint(const TwoPassFft<T>& fft, const Vec<T>* work, T* to, const Ahead& ahead) {
  const int64_t stride = fft.row_stride;
  for (int64_t j = 0; j < fft.columns; ++j) {
    ahead.ask(j, fft.columns);
    const int32_t* place = (Adds ? fft.source : fft.sample) + j * Rows;
    const T* window = fft.window + j * Rows;
    const T* twiddles = fft.twiddles + j * Rows;
    Vec<T> x[Rows], re[Rows / 2 + 1], im[Rows / 2 + 1];
    re[0] = work[j];
    AVTS_UNROLLED(k, 1, Rows / 2 + 1, {
      const Vec<T>* row = work + (2 * k - 1) * stride + j;
      if constexpr (!Twiddled) {
        re[k] = row[0];
        if constexpr (2 * k < Rows) im[k] = row[stride];
      } else {
        const T c = twiddles[2 * k - 2], s = twiddles[2 * k - 1];
        re[k] = row[0] * c + row[stride] * s;
        if constexpr (2 * k < Rows) im[k] = row[stride] * c - row[0] * s;
      }
    });
    real_dft_adjoint<Rows, 1, T>(re, im, x);
    AVTS_UNROLLED(i, 0, Used, {
      if constexpr (Adds) {
        store(to + place[i], load(to + place[i]) + x[i] * window[i]);
      } else {
        store(to + place[i] * Lanes<T>::kCount, x[i] * window[i]);
      }
    });
  }
}

template <int Rows, int Used, bool Twiddled, typename T>
void first_pass_adjoint_to_frame(const TwoPassFft<T>& fft, const Vec<T>* work, T* frame,
                                 const Ahead& ahead) {
  first_pass_adjoint<Rows, Used, Twiddled, false, T>(fft, work, frame, ahead);
}

template <int Columns, typename T>
void complex_row_power(const Vec<T>* re, const Vec<T>* im, Vec<T>* power) {
  Vec<T> y_re[Columns], y_im[Columns];
  complex_dft<Columns, 1, T>(re, im, y_re, y_im);
  AVTS_UNROLLED(k, 0, Columns, power[k] = y_re[k] * y_re[k] + y_im[k] * y_im[k];);
}

template <int Columns, typename T>
void real_row_power(const Vec<T>* x, Vec<T>* power) {
  Vec<T> re[Columns / 2 + 1], im[Columns / 2 + 1];
  real_dft<Columns, 1, T>(x, re, im);
  power[0] = re[0] * re[0];
  AVTS_UNROLLED(k, 1, Columns / 2 + 1, {
    if constexpr (2 * k < Columns) {
      power[k] = re[k] * re[k] + im[k] * im[k];
    } else {
      power[k] = re[k] * re[k];
    }
  });
}

// Each row's powers take the place of its real parts in `power`, which may be `work`.
template <int Columns, typename T>
void second_pass(const TwoPassFft<T>& fft, const Vec<T>* work, Vec<T>* power, const Ahead& ahead) {
  const int64_t stride = fft.row_stride, last = fft.rows / 2;
  real_row_power<Columns, T>(work, power);
  for (int64_t k = 1; k < last + fft.twiddled; ++k) {
    ahead.ask(k - 1, last - 1 + fft.twiddled);
    const int64_t begin = (2 * k - 1) * stride;
    complex_row_power<Columns, T>(work + begin, work + begin + stride, power + begin);
  }
  if (!fft.twiddled) {
    const int64_t begin = (2 * last - 1) * stride;
    real_row_power<Columns, T>(work + begin, power + begin);
  }
}

template <int Columns, typename T>
void complex_row_gain(Vec<T>* re, Vec<T>* im, const int32_t* bins, const Vec<T>* gain) {
  Vec<T> y_re[Columns], y_im[Columns];
  complex_dft<Columns, 1, T>(re, im, y_re, y_im);
  AVTS_UNROLLED(k, 0, Columns, {
    const Vec<T> g = gain[bins[k]];
    y_re[k] = y_re[k] * g, y_im[k] = y_im[k] * g;
  });
  complex_dft_adjoint<Columns, T>(y_re, y_im, re, im);
}

template <int Columns, typename T>
void real_row_gain(Vec<T>* x, const int32_t* bins, const Vec<T>* gain) {
  Vec<T> re[Columns / 2 + 1], im[Columns / 2 + 1];
  real_dft<Columns, 1, T>(x, re, im);
  re[0] = re[0] * gain[bins[0]];
  AVTS_UNROLLED(k, 1, Columns / 2 + 1, {
    const Vec<T> g = gain[bins[k]];
    re[k] = re[k] * g;
    if constexpr (2 * k < Columns) im[k] = im[k] * g;
  });
  real_dft_adjoint<Columns, 1, T>(re, im, x);
}

// The second pass, each output times gain[bin], and the second pass's adjoint, row by row in place.
template <int Columns, typename T>
void second_pass_gain(const TwoPassFft<T>& fft, Vec<T>* work, const Vec<T>* gain,
                      const Ahead& ahead) {
  const int64_t stride = fft.row_stride, last = fft.rows / 2;
  real_row_gain<Columns, T>(work, fft.bins, gain);
  for (int64_t k = 1; k < last + fft.twiddled; ++k) {
    ahead.ask(k - 1, last - 1 + fft.twiddled);
    Vec<T>* row = work + (2 * k - 1) * stride;
    complex_row_gain<Columns, T>(row, row + stride, fft.bins + k * Columns, gain);
  }
  if (!fft.twiddled) {
    real_row_gain<Columns, T>(work + (2 * last - 1) * stride, fft.bins + last * Columns, gain);
  }
}

// 10 and 13 used rows of 16 are those of 320 and 400 samples in 512.
#define AVTS_CALL_FOR_ROWS(pass, ...)                                 \
  if (fft.rows == 32) {                                               \
    return fft.twiddled ? pass<32, 32, true, T>(__VA_ARGS__)          \
                        : pass<32, 32, false, T>(__VA_ARGS__);        \
  }                                                                   \
  if (!fft.twiddled) return pass<16, 16, false, T>(__VA_ARGS__);      \
  if (fft.used_rows <= 10) return pass<16, 10, true, T>(__VA_ARGS__); \
  if (fft.used_rows <= 13) return pass<16, 13, true, T>(__VA_ARGS__); \
  return pass<16, 16, true, T>(__VA_ARGS__);

// The sizes that two_pass_rows() in plan.cpp chooses from.
#define AVTS_CALL_FOR_COLUMNS(pass, ...) \
  switch (fft.columns) {                 \
    case 15:                             \
      return pass<15, T>(__VA_ARGS__);   \
    case 16:                             \
      return pass<16, T>(__VA_ARGS__);   \
    case 20:                             \
      return pass<20, T>(__VA_ARGS__);   \
    case 25:                             \
      return pass<25, T>(__VA_ARGS__);   \
    case 30:                             \
      return pass<30, T>(__VA_ARGS__);   \
    case 32:                             \
      return pass<32, T>(__VA_ARGS__);   \
    case 64:                             \
      return pass<64, T>(__VA_ARGS__);   \
  }

// samples -> work, the first pass's result.
template <typename T>
void two_pass_first(const TwoPassFft<T>& fft, const T* samples, Vec<T>* work, const Ahead& ahead) {
  AVTS_CALL_FOR_ROWS(first_pass, fft, samples, work, ahead)
}

// work -> power[place[bin]] (plan.h); both may be the same.
template <typename T>
void two_pass_power(const TwoPassFft<T>& fft, const Vec<T>* work, Vec<T>* power,
                    const Ahead& ahead) {
  AVTS_CALL_FOR_COLUMNS(second_pass, fft, work, power, ahead)
}

template <typename T>
void two_pass_gain(const TwoPassFft<T>& fft, Vec<T>* work, const Vec<T>* gain, const Ahead& ahead) {
  AVTS_CALL_FOR_COLUMNS(second_pass_gain, fft, work, gain, ahead)
}

// The gradient of sum over bins of gain / 2 x power with respect to the windowed frame, from the
// first pass's result, which it destroys.
template <typename T>
void two_pass_gradient(const TwoPassFft<T>& fft, Vec<T>* work, const Vec<T>* gain, Vec<T>* frame,
                       const Ahead& gain_ahead, const Ahead& adjoint_ahead) {
  two_pass_gain(fft, work, gain, gain_ahead);
  T* to = reinterpret_cast<T*>(frame);
  AVTS_CALL_FOR_ROWS(first_pass_adjoint_to_frame, fft, work, to, adjoint_ahead)
}

// The same, added to the gradients' columns. Only if there are no twiddles.
template <typename T>
void two_pass_gradient_added(const TwoPassFft<T>& fft, Vec<T>* work, const Vec<T>* gain,
                             T* grad_columns, const Ahead& gain_ahead, const Ahead& adjoint_ahead) {
  two_pass_gain(fft, work, gain, gain_ahead);
  if (fft.rows == 32) {
    return first_pass_adjoint<32, 32, false, true, T>(fft, work, grad_columns, adjoint_ahead);
  }
  first_pass_adjoint<16, 16, false, true, T>(fft, work, grad_columns, adjoint_ahead);
}

}  // namespace AVTS_LEVEL
}  // namespace avts
