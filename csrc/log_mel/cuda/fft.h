// Complex Fourier transforms by Stockham's algorithm, one frame per warp.
#pragma once

#include "core/cuda_kernel.h"
#include "log_mel/cuda/log_mel_cuda.h"

namespace avts {

template <typename T>
struct alignas(2 * sizeof(T)) Complex {
  T re, im;
};

template <typename T>
__device__ Complex<T> operator+(Complex<T> a, Complex<T> b) {
  return {a.re + b.re, a.im + b.im};
}
template <typename T>
__device__ Complex<T> operator-(Complex<T> a, Complex<T> b) {
  return {a.re - b.re, a.im - b.im};
}
template <typename T>
__device__ Complex<T> operator*(Complex<T> a, Complex<T> b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
template <typename T>
__device__ Complex<T> scaled(Complex<T> a, T factor) {
  return {a.re * factor, a.im * factor};
}
// -i a
template <typename T>
__device__ Complex<T> turned(Complex<T> a) {
  return {a.im, -a.re};
}
template <typename T>
__device__ Complex<T> complex_at(const T* table, int64_t i) {
  return {table[2 * i], table[2 * i + 1]};
}

template <typename T>
__device__ void butterfly(Complex<T> (&x)[2]) {
  const Complex<T> a = x[0];
  x[0] = a + x[1];
  x[1] = a - x[1];
}

template <typename T>
__device__ void butterfly(Complex<T> (&x)[3]) {
  const T sine = T(0.86602540378443864676);  // of a third of a turn
  const Complex<T> sum = x[1] + x[2], difference = turned(scaled(x[1] - x[2], sine));
  const Complex<T> middle = x[0] - scaled(sum, T(0.5));
  x[0] = x[0] + sum;
  x[1] = middle + difference;
  x[2] = middle - difference;
}

template <typename T>
__device__ void butterfly(Complex<T> (&x)[4]) {
  const Complex<T> a = x[0] + x[2], b = x[0] - x[2], c = x[1] + x[3], d = turned(x[1] - x[3]);
  x[0] = a + c;
  x[1] = b + d;
  x[2] = a - c;
  x[3] = b - d;
}

template <typename T>
__device__ void butterfly(Complex<T> (&x)[5]) {
  const T cosine1 = T(0.30901699437494742410), sine1 = T(0.95105651629515357212);
  const T cosine2 = T(-0.80901699437494742410), sine2 = T(0.58778525229247312917);
  const Complex<T> a = x[1] + x[4], b = x[1] - x[4], c = x[2] + x[3], d = x[2] - x[3];
  const Complex<T> even1 = x[0] + scaled(a, cosine1) + scaled(c, cosine2);
  const Complex<T> even2 = x[0] + scaled(a, cosine2) + scaled(c, cosine1);
  const Complex<T> odd1 = turned(scaled(b, sine1) + scaled(d, sine2));
  const Complex<T> odd2 = turned(scaled(b, sine2) - scaled(d, sine1));
  x[0] = x[0] + a + c;
  x[1] = even1 + odd1;
  x[2] = even2 + odd2;
  x[3] = even2 - odd2;
  x[4] = even1 - odd1;
}

// The work of one lane in one pass.
template <int kRadix, typename T>
__device__ void run_stage(const typename CudaLogMelPlan<T>::Stage& stage, const Complex<T>* from,
                          Complex<T>* to, int lane) {
  const int step = stage.blocks * stage.stride;
  for (int i = lane; i < step; i += kWarpSize) {
    const int block = i / stage.stride, within = i - block * stage.stride;
    Complex<T> x[kRadix];
#pragma unroll
    for (int k = 0; k < kRadix; ++k) x[k] = from[i + k * step];
    butterfly(x);
    Complex<T>* out = to + block * kRadix * stage.stride + within;
    out[0] = x[0];
#pragma unroll
    for (int k = 1; k < kRadix; ++k) {
      out[k * stage.stride] = x[k] * complex_at(stage.twiddles, block * (kRadix - 1) + k - 1);
    }
  }
}

// The same for radices without a butterfly of their own.
template <typename T>
__device__ void run_stage_of_any_radix(const typename CudaLogMelPlan<T>::Stage& stage,
                                       const Complex<T>* from, Complex<T>* to, int lane) {
  const int step = stage.blocks * stage.stride;
  for (int o = lane; o < step * stage.radix; o += kWarpSize) {
    const int within = o % stage.stride, k = o / stage.stride % stage.radix;
    const int block = o / stage.stride / stage.radix, i = block * stage.stride + within;
    Complex<T> sum = from[i];
    for (int j = 1, turn = k; j < stage.radix; ++j) {
      sum = sum + from[i + j * step] * complex_at(stage.roots, turn);
      turn = turn + k >= stage.radix ? turn + k - stage.radix : turn + k;
    }
    to[o] = k == 0 ? sum : sum * complex_at(stage.twiddles, block * (stage.radix - 1) + k - 1);
  }
}

// Transforms the fft_size points in `data`, which its warp has written; returns which of the two
// buffers holds the result.
template <typename T>
__device__ Complex<T>* warp_fft(const CudaLogMelPlan<T>& plan, Complex<T>* data, Complex<T>* other,
                                int lane) {
  __syncwarp();
  for (int s = 0; s < plan.n_stages; ++s) {
    const typename CudaLogMelPlan<T>::Stage& stage = plan.stages[s];
    switch (stage.radix) {
      case 2:
        run_stage<2>(stage, data, other, lane);
        break;
      case 3:
        run_stage<3>(stage, data, other, lane);
        break;
      case 4:
        run_stage<4>(stage, data, other, lane);
        break;
      case 5:
        run_stage<5>(stage, data, other, lane);
        break;
      default:
        run_stage_of_any_radix(stage, data, other, lane);
    }
    Complex<T>* const result = other;
    other = data;
    data = result;
    __syncwarp();
  }
  return data;
}

}  // namespace avts
