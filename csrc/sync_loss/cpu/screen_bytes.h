// The screen in eight-bit integers, where the machine multiplies them (AVX-512 VNNI): a quarter of
// the multiplications of float32. For cpu/kernels.cpp only.
#pragma once

#include "sync_loss/kernels.h"

#if defined(__AVX512BW__)
#include <immintrin.h>
#endif

namespace avts::sync_loss {
namespace AVTS_LEVEL {

#if defined(__AVX512BW__)

bool has_byte_products() { return __builtin_cpu_supports("avx512vnni"); }

namespace {

#define AVTS_VNNI __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))

constexpr int kByteVectors = kPanel / 16;

// The plain intrinsics pass an undefined vector as what an all-ones mask keeps, of which GCC 12
// warns in its own header. The zero-masking forms are compiled to the same instructions.
AVTS_VNNI static inline __attribute__((always_inline)) __m512 to_float(__m512i x) {
  return _mm512_maskz_cvtepi32_ps(0xffff, x);
}
AVTS_VNNI static inline __attribute__((always_inline)) __m512 larger_of(__m512 a, __m512 b) {
  return _mm512_maskz_max_ps(0xffff, a, b);
}

AVTS_VNNI static inline __attribute__((always_inline)) void multiply_bytes(
    const uint8_t* video, const int8_t* audio, int64_t quads, const int32_t* offset,
    __m512i (&c)[kTileRows][kByteVectors]) {
  __m512i sums[kTileRows][kByteVectors];
#pragma GCC unroll 6
  for (int r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 4
    for (int q = 0; q < kByteVectors; ++q) sums[r][q] = _mm512_loadu_si512(offset + 16 * q);
  }
  for (int64_t k = 0; k < quads; ++k) {
    __m512i x[kByteVectors];
#pragma GCC unroll 4
    for (int q = 0; q < kByteVectors; ++q) {
      x[q] = _mm512_loadu_si512(audio + (k * kPanel + 16 * q) * 4);
    }
#pragma GCC unroll 6
    for (int r = 0; r < kTileRows; ++r) {
      int32_t quad;
      __builtin_memcpy(&quad, video + (k * kTileRows + r) * 4, sizeof(quad));
      const __m512i y = _mm512_set1_epi32(quad);
#pragma GCC unroll 4
      for (int q = 0; q < kByteVectors; ++q) sums[r][q] = _mm512_dpbusd_epi32(sums[r][q], y, x[q]);
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 4
    for (int q = 0; q < kByteVectors; ++q) c[r][q] = sums[r][q];
  }
}

template <bool kFloors>
AVTS_VNNI static void screen_byte_tiles(const Block<float>& block, const ScreenBlock<float>& s) {
  Hit<float> hits[kPanel];
  for (int c = 0; c < block.columns; c += kPanel) {
    const int8_t* panel = s.audio_bytes + c * s.quads * 4;
    for (int r = 0; r < block.rows; r += kTileRows) {
      __m512i sums[kTileRows][kByteVectors];
      multiply_bytes(s.video_bytes + r * s.quads * 4, panel, s.quads, s.audio_offset + c, sums);
      for (int i = 0; i < kTileRows && r + i < block.rows; ++i) {
        const __m512 scale = _mm512_set1_ps(-2 * s.video_scale[r + i]);
        const __m512 term = _mm512_set1_ps(s.video_term[r + i]);
        const __m512 threshold = _mm512_set1_ps(s.video_threshold[r + i]);
        __m512 d2[kByteVectors];
        __mmask16 near[kByteVectors];
        unsigned any = 0;
#pragma GCC unroll 4
        for (int q = 0; q < kByteVectors; ++q) {
          const int at = c + 16 * q;
          const __m512 factor = _mm512_mul_ps(scale, _mm512_loadu_ps(s.audio_scale + at));
          const __m512 terms = _mm512_add_ps(term, _mm512_loadu_ps(s.audio_term + at));
          d2[q] = _mm512_fmadd_ps(to_float(sums[i][q]), factor, terms);
          const __m512 limit = _mm512_loadu_ps(s.audio_threshold + at);
          if (kFloors) {
            const __m512 floor = _mm512_set1_ps(s.video_floor[r + i]);
            const __mmask16 above = _mm512_cmp_ps_mask(d2[q], floor, _CMP_GE_OQ);
            near[q] = _mm512_mask_cmp_ps_mask(above, d2[q], threshold, _CMP_LE_OQ);
            const __m512 least = _mm512_loadu_ps(s.audio_floor + at);
            const __mmask16 higher = _mm512_cmp_ps_mask(d2[q], least, _CMP_GE_OQ);
            near[q] |= _mm512_mask_cmp_ps_mask(higher, d2[q], limit, _CMP_LE_OQ);
          } else {
            near[q] = _mm512_cmp_ps_mask(d2[q], larger_of(threshold, limit), _CMP_LE_OQ);
          }
          any |= near[q];
        }
        if (__builtin_expect(any == 0, 1)) continue;
        int count = 0;
        for (int q = 0; q < kByteVectors; ++q) {
          float lanes[16];
          _mm512_storeu_ps(lanes, d2[q]);
          for (unsigned left = near[q]; left; left &= left - 1) {
            const int l = __builtin_ctz(left);
            hits[count++] = {r + i, c + 16 * q + l, lanes[l]};
          }
        }
        s.take(s.context, hits, count);
      }
    }
  }
}

void screen_bytes(const Block<float>& block, const ScreenBlock<float>& s) {
  s.video_floor ? screen_byte_tiles<true>(block, s) : screen_byte_tiles<false>(block, s);
}

constexpr auto kScreenBytes = &screen_bytes;

}  // namespace

#else

bool has_byte_products() { return false; }

namespace {
constexpr void (*kScreenBytes)(const Block<float>&, const ScreenBlock<float>&) = nullptr;
}

#endif

}  // namespace AVTS_LEVEL
}  // namespace avts::sync_loss
