// DFTs of 2, 3, 4 and 5 complex points in registers. For cpu/*.cpp only.
#pragma once

#include "log_mel/cpu/lanes.h"

namespace avts {
namespace AVTS_LEVEL {

// y[k] = sum_j x[j] exp(-2 pi i j k / R), in place.
template <int R, typename T>
inline void butterfly(Vec<T>* re, Vec<T>* im) {
  if constexpr (R == 2) {
    const Vec<T> r = re[1], i = im[1];
    re[1] = re[0] - r, im[1] = im[0] - i;
    re[0] += r, im[0] += i;
  } else if constexpr (R == 3) {
    constexpr T kSin = static_cast<T>(0.86602540378443864676);
    const Vec<T> sum_re = re[1] + re[2], sum_im = im[1] + im[2];
    const Vec<T> turn_re = (im[1] - im[2]) * kSin, turn_im = (re[2] - re[1]) * kSin;
    const Vec<T> mid_re = re[0] - sum_re * T(0.5), mid_im = im[0] - sum_im * T(0.5);
    re[0] += sum_re, im[0] += sum_im;
    re[1] = mid_re + turn_re, im[1] = mid_im + turn_im;
    re[2] = mid_re - turn_re, im[2] = mid_im - turn_im;
  } else if constexpr (R == 4) {
    const Vec<T> a_re = re[0] + re[2], a_im = im[0] + im[2];
    const Vec<T> b_re = re[0] - re[2], b_im = im[0] - im[2];
    const Vec<T> c_re = re[1] + re[3], c_im = im[1] + im[3];
    const Vec<T> d_re = im[1] - im[3], d_im = re[3] - re[1];  // -i (x[1] - x[3])
    re[0] = a_re + c_re, im[0] = a_im + c_im;
    re[1] = b_re + d_re, im[1] = b_im + d_im;
    re[2] = a_re - c_re, im[2] = a_im - c_im;
    re[3] = b_re - d_re, im[3] = b_im - d_im;
  } else {
    static_assert(R == 5);
    // cos(2 pi / 5) and cos(4 pi / 5) are -1/4 +- kRoot; kRatio is sin(4 pi / 5) / sin(2 pi / 5).
    constexpr T kRoot = static_cast<T>(0.55901699437494742410);
    constexpr T kSin1 = static_cast<T>(0.95105651629515357212);
    constexpr T kRatio = static_cast<T>(0.61803398874989484820);
    const Vec<T> p_re = re[1] + re[4], p_im = im[1] + im[4];
    const Vec<T> q_re = re[2] + re[3], q_im = im[2] + im[3];
    const Vec<T> r_re = im[1] - im[4], r_im = re[4] - re[1];
    const Vec<T> s_re = im[2] - im[3], s_im = re[3] - re[2];
    const Vec<T> sum_re = p_re + q_re, sum_im = p_im + q_im;
    const Vec<T> mid_re = re[0] - sum_re * T(0.25), mid_im = im[0] - sum_im * T(0.25);
    const Vec<T> difference_re = p_re - q_re, difference_im = p_im - q_im;
    const Vec<T> a_re = mid_re + difference_re * kRoot, a_im = mid_im + difference_im * kRoot;
    const Vec<T> b_re = mid_re - difference_re * kRoot, b_im = mid_im - difference_im * kRoot;
    const Vec<T> c_re = r_re + s_re * kRatio, c_im = r_im + s_im * kRatio;
    const Vec<T> d_re = r_re * kRatio - s_re, d_im = r_im * kRatio - s_im;
    re[0] += sum_re, im[0] += sum_im;
    re[1] = a_re + c_re * kSin1, im[1] = a_im + c_im * kSin1;
    re[2] = b_re + d_re * kSin1, im[2] = b_im + d_im * kSin1;
    re[3] = b_re - d_re * kSin1, im[3] = b_im - d_im * kSin1;
    re[4] = a_re - c_re * kSin1, im[4] = a_im - c_im * kSin1;
  }
}

}  // namespace AVTS_LEVEL
}  // namespace avts
