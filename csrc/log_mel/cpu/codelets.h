// Straight-line DFTs of fixed size on values in registers, built by templates from butterflies: a
// transform of N = R x M points is R transforms of M points, twiddles, and M butterflies of R
// points (Cooley and Tukey, decimation in time). For cpu/*.cpp only.
//
// The loops are expanded by the compiler's front end, not its optimiser, so that every index is a
// constant and every element a register from the start.
#pragma once

#include "log_mel/cpu/butterflies.h"
#include "log_mel/cpu/lanes.h"
#include "log_mel/turn.h"

#define AVTS_ALWAYS_INLINE inline __attribute__((always_inline))

namespace avts {
namespace AVTS_LEVEL {

template <int I>
struct Constant {
  static constexpr int value = I;
};

template <int From, int To, typename Body>
AVTS_ALWAYS_INLINE void unrolled(const Body& body) {
  if constexpr (From < To) {
    body(Constant<From>{});
    unrolled<From + 1, To>(body);
  }
}

#define AVTS_UNROLLED(index, from, to, ...)                                      \
  unrolled<from, to>([&](auto index##_constant) __attribute__((always_inline)) { \
    constexpr int index = decltype(index##_constant)::value;                     \
    __VA_ARGS__                                                                  \
  })

// The butterfly that a transform of n points ends with.
constexpr int radix_of_complex(int n) {
  if (n % 5 == 0) return 5;
  if (n % 3 == 0) return 3;
  return n % 4 == 0 ? 4 : 2;
}
constexpr int radix_of_real(int n) {
  if (n % 5 == 0) return 5;
  if (n % 3 == 0) return 3;
  return n >= 64 ? 4 : 2;
}

// (re, im) *= exp(-2 pi i K / N).
template <int K, int N, typename T>
AVTS_ALWAYS_INLINE void turn_by(Vec<T>& re, Vec<T>& im) {
  constexpr int k = (K % N + N) % N;
  if constexpr (k == 0) {
    return;
  } else if constexpr (4 * k == N) {
    const Vec<T> r = re;
    re = im, im = -r;
  } else if constexpr (2 * k == N) {
    re = -re, im = -im;
  } else if constexpr (4 * k == 3 * N) {
    const Vec<T> r = re;
    re = -im, im = r;
  } else if constexpr (8 * k == N) {
    constexpr T c = static_cast<T>(cos_of_turn(1, 8));
    const Vec<T> r = re;
    re = (r + im) * c, im = (im - r) * c;
  } else if constexpr (8 * k == 3 * N) {
    constexpr T c = static_cast<T>(cos_of_turn(1, 8));
    const Vec<T> r = re;
    re = (im - r) * c, im = (r + im) * -c;
  } else {
    constexpr T c = static_cast<T>(cos_of_turn(k, N)), s = static_cast<T>(sin_of_turn(k, N));
    const Vec<T> r = re;
    re = r * c + im * s, im = im * c - r * s;
  }
}

// y[k] = sum_n x[n Stride] exp(-2 pi i k n / N).
template <int N, int Stride, typename T>
AVTS_ALWAYS_INLINE void complex_dft(const Vec<T>* x_re, const Vec<T>* x_im, Vec<T>* re,
                                    Vec<T>* im) {
  if constexpr (N <= 5) {
    AVTS_UNROLLED(n, 0, N, re[n] = x_re[n * Stride]; im[n] = x_im[n * Stride];);
    butterfly<N, T>(re, im);
  } else {
    constexpr int R = radix_of_complex(N), M = N / R;
    Vec<T> sub_re[N], sub_im[N];
    AVTS_UNROLLED(q, 0, R,
                  complex_dft<M, Stride * R, T>(x_re + q * Stride, x_im + q * Stride,
                                                sub_re + q * M, sub_im + q * M););
    AVTS_UNROLLED(k, 0, M, {
      Vec<T> y_re[R];
      Vec<T> y_im[R];
      AVTS_UNROLLED(q, 0, R, {
        y_re[q] = sub_re[q * M + k], y_im[q] = sub_im[q * M + k];
        turn_by<q * k, N, T>(y_re[q], y_im[q]);
      });
      butterfly<R, T>(y_re, y_im);
      AVTS_UNROLLED(q, 0, R, re[k + M * q] = y_re[q]; im[k + M * q] = y_im[q];);
    });
  }
}

// Adjoint of complex_dft: its inverse times N. The roles of real and imaginary part are swapped.
template <int N, typename T>
AVTS_ALWAYS_INLINE void complex_dft_adjoint(const Vec<T>* x_re, const Vec<T>* x_im, Vec<T>* re,
                                            Vec<T>* im) {
  complex_dft<N, 1, T>(x_im, x_re, im, re);
}

// y[k] of real x for k = 0 ... N / 2. The imaginary parts of y[0], and of y[N / 2] for even N, are
// zero and not written.
template <int N, int Stride, typename T>
AVTS_ALWAYS_INLINE void real_dft(const Vec<T>* x, Vec<T>* re, Vec<T>* im) {
  if constexpr (N == 1) {
    re[0] = x[0];
  } else if constexpr (N == 2) {
    re[0] = x[0] + x[Stride];
    re[1] = x[0] - x[Stride];
  } else if constexpr (N == 3) {
    constexpr T s1 = static_cast<T>(sin_of_turn(1, 3));
    const Vec<T> sum = x[Stride] + x[2 * Stride];
    re[0] = x[0] + sum;
    re[1] = x[0] - sum * T(0.5);
    im[1] = (x[2 * Stride] - x[Stride]) * s1;
  } else if constexpr (N == 4) {
    const Vec<T> even = x[0] + x[2 * Stride], odd = x[Stride] + x[3 * Stride];
    re[0] = even + odd;
    re[1] = x[0] - x[2 * Stride];
    re[2] = even - odd;
    im[1] = x[3 * Stride] - x[Stride];
  } else if constexpr (N == 5) {
    constexpr T c1 = static_cast<T>(cos_of_turn(1, 5)), c2 = static_cast<T>(cos_of_turn(2, 5));
    constexpr T s1 = static_cast<T>(sin_of_turn(1, 5)), s2 = static_cast<T>(sin_of_turn(2, 5));
    const Vec<T> p = x[Stride] + x[4 * Stride], q = x[2 * Stride] + x[3 * Stride];
    const Vec<T> r = x[4 * Stride] - x[Stride], s = x[3 * Stride] - x[2 * Stride];
    re[0] = x[0] + p + q;
    re[1] = x[0] + p * c1 + q * c2, im[1] = r * s1 + s * s2;
    re[2] = x[0] + p * c2 + q * c1, im[2] = r * s2 - s * s1;
  } else {
    constexpr int R = radix_of_real(N), M = N / R, H = M / 2 + 1;
    Vec<T> sub_re[R * H], sub_im[R * H];
    AVTS_UNROLLED(q, 0, R,
                  real_dft<M, Stride * R, T>(x + q * Stride, sub_re + q * H, sub_im + q * H););
    Vec<T> first[R], first_re[R], first_im[R];
    AVTS_UNROLLED(q, 0, R, first[q] = sub_re[q * H];);
    real_dft<R, 1, T>(first, first_re, first_im);
    AVTS_UNROLLED(q, 0, R / 2 + 1, {
      re[M * q] = first_re[q];
      if constexpr (q > 0 && 2 * q < R) im[M * q] = first_im[q];
    });
    AVTS_UNROLLED(k, 1, H, {
      Vec<T> y_re[R];
      Vec<T> y_im[R];
      AVTS_UNROLLED(q, 0, R, {
        y_re[q] = sub_re[q * H + k];
        if constexpr (2 * k == M) {  // the middle one is real
          y_im[q] = y_re[q] * -static_cast<T>(sin_of_turn(q * k, N));
          y_re[q] = y_re[q] * static_cast<T>(cos_of_turn(q * k, N));
        } else {
          y_im[q] = sub_im[q * H + k];
          turn_by<q * k, N, T>(y_re[q], y_im[q]);
        }
      });
      butterfly<R, T>(y_re, y_im);
      AVTS_UNROLLED(q, 0, R, {
        constexpr int bin = k + M * q;
        if constexpr (2 * bin <= N) {
          re[bin] = y_re[q], im[bin] = y_im[q];
        } else if constexpr (2 * k != M) {
          re[N - bin] = y_re[q], im[N - bin] = -y_im[q];
        }
      });
    });
  }
}

// Adjoint of real_dft as a linear map of N real numbers to the 2 (N / 2) + 1 or so that it writes.
template <int N, int Stride, typename T>
AVTS_ALWAYS_INLINE void real_dft_adjoint(const Vec<T>* re, const Vec<T>* im, Vec<T>* x) {
  if constexpr (N == 1) {
    x[0] = re[0];
  } else if constexpr (N == 2) {
    x[0] = re[0] + re[1];
    x[Stride] = re[0] - re[1];
  } else if constexpr (N == 3) {
    constexpr T s1 = static_cast<T>(sin_of_turn(1, 3));
    const Vec<T> even = re[0] - re[1] * T(0.5);
    x[0] = re[0] + re[1];
    x[Stride] = even - im[1] * s1;
    x[2 * Stride] = even + im[1] * s1;
  } else if constexpr (N == 4) {
    const Vec<T> sum = re[0] + re[2], difference = re[0] - re[2];
    x[0] = sum + re[1];
    x[2 * Stride] = sum - re[1];
    x[Stride] = difference - im[1];
    x[3 * Stride] = difference + im[1];
  } else if constexpr (N == 5) {
    constexpr T c1 = static_cast<T>(cos_of_turn(1, 5)), c2 = static_cast<T>(cos_of_turn(2, 5));
    constexpr T s1 = static_cast<T>(sin_of_turn(1, 5)), s2 = static_cast<T>(sin_of_turn(2, 5));
    const Vec<T> p = re[0] + re[1] * c1 + re[2] * c2, q = re[0] + re[1] * c2 + re[2] * c1;
    const Vec<T> r = im[1] * s1 + im[2] * s2, s = im[1] * s2 - im[2] * s1;
    x[0] = re[0] + re[1] + re[2];
    x[Stride] = p - r, x[4 * Stride] = p + r;
    x[2 * Stride] = q - s, x[3 * Stride] = q + s;
  } else {
    constexpr int R = radix_of_real(N), M = N / R, H = M / 2 + 1;
    Vec<T> sub_re[R * H], sub_im[R * H];
    Vec<T> first[R], first_re[R], first_im[R];
    AVTS_UNROLLED(q, 0, R / 2 + 1, {
      first_re[q] = re[M * q];
      if constexpr (q > 0 && 2 * q < R) first_im[q] = im[M * q];
    });
    real_dft_adjoint<R, 1, T>(first_re, first_im, first);
    AVTS_UNROLLED(q, 0, R, sub_re[q * H] = first[q];);
    AVTS_UNROLLED(k, 1, H, {
      Vec<T> y_re[R];
      Vec<T> y_im[R];
      AVTS_UNROLLED(q, 0, R, {
        constexpr int bin = k + M * q;
        if constexpr (2 * bin <= N) {
          y_re[q] = re[bin];
          if constexpr (2 * bin < N) {
            y_im[q] = im[bin];
          } else {
            y_im[q] = Vec<T>{};
          }
        } else if constexpr (2 * k != M) {
          y_re[q] = re[N - bin], y_im[q] = -im[N - bin];
        } else {
          y_re[q] = Vec<T>{}, y_im[q] = Vec<T>{};
        }
      });
      butterfly<R, T>(y_im, y_re);
      AVTS_UNROLLED(q, 0, R, {
        if constexpr (2 * k == M) {
          sub_re[q * H + k] = y_re[q] * static_cast<T>(cos_of_turn(q * k, N)) -
                              y_im[q] * static_cast<T>(sin_of_turn(q * k, N));
        } else {
          turn_by<-q * k, N, T>(y_re[q], y_im[q]);
          sub_re[q * H + k] = y_re[q], sub_im[q * H + k] = y_im[q];
        }
      });
    });
    AVTS_UNROLLED(
        q, 0, R,
        real_dft_adjoint<M, Stride * R, T>(sub_re + q * H, sub_im + q * H, x + q * Stride););
  }
}

}  // namespace AVTS_LEVEL
}  // namespace avts
