// The screen in eight-bit integers, where the machine multiplies them (AVX-512 VNNI): a quarter of
// the multiplications of float32. For cpu/kernels.cpp only.
#pragma once

#include <cfloat>

#include "sync_loss/cpu/vectors.h"
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
// The smaller of the two, but b where a is not beyond the limit.
AVTS_VNNI static inline __attribute__((always_inline)) __m512 smaller_beyond(__m512 limit, __m512 a,
                                                                             __m512 b) {
  return _mm512_mask_min_ps(b, _mm512_cmp_ps_mask(a, limit, _CMP_GT_OQ), a, b);
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

// Calls visit(r, c, d2) for every tile row, as for_each_tile_row does.
template <typename Visit>
AVTS_VNNI static inline __attribute__((always_inline)) void for_each_byte_tile_row(
    const Block<float>& block, const ScreenBlock<float>& s, const Visit& visit) {
  for (int c = 0; c < block.columns; c += kPanel) {
    const int8_t* panel = s.audio_bytes + c * s.quads * 4;
    for (int r = 0; r < block.rows; r += kTileRows) {
      __m512i sums[kTileRows][kByteVectors];
      multiply_bytes(s.video_bytes + r * s.quads * 4, panel, s.quads, s.audio_offset + c, sums);
      for (int i = 0; i < kTileRows && r + i < block.rows; ++i) {
        const __m512 scale = _mm512_set1_ps(-2 * s.video_scale[r + i]);
        const __m512 term = _mm512_set1_ps(s.video_term[r + i]);
        __m512 d2[kByteVectors];
#pragma GCC unroll 4
        for (int q = 0; q < kByteVectors; ++q) {
          const int at = c + 16 * q;
          const __m512 factor = _mm512_mul_ps(scale, _mm512_loadu_ps(s.audio_scale + at));
          const __m512 terms = _mm512_add_ps(term, _mm512_loadu_ps(s.audio_term + at));
          d2[q] = _mm512_fmadd_ps(to_float(sums[i][q]), factor, terms);
        }
        visit(r + i, c, d2);
      }
    }
  }
}

AVTS_VNNI static void find_byte_minima(const Block<float>& block, const ScreenBlock<float>& s,
                                       Minima<float>* minima) {
  for_each_byte_tile_row(block, s, [&](int r, int c, const __m512* d2) AVTS_VNNI {
    float found[kPanel];
    for (int q = 0; q < kByteVectors; ++q) _mm512_storeu_ps(found + 16 * q, d2[q]);
    leave_out(minima->begin[r] - c, minima->end[r] - c, kPanel, found);
    const __m512 video_sure = _mm512_set1_ps(s.video_sure[r]);
    float* const kept = minima->video + r * Minima<float>::kVideoSets;
    __m512 of_video = _mm512_loadu_ps(kept);
    float* const audio = minima->audio + r % Minima<float>::kAudioSets * minima->audio_stride + c;
    for (int q = 0; q < kByteVectors; ++q) {
      const __m512 x = _mm512_loadu_ps(found + 16 * q);
      float* const of_audio = audio + 16 * q;
      const __m512 audio_sure = _mm512_loadu_ps(s.audio_sure + c + 16 * q);
      of_video = smaller_beyond(video_sure, x, of_video);
      _mm512_storeu_ps(of_audio, smaller_beyond(audio_sure, x, _mm512_loadu_ps(of_audio)));
    }
    _mm512_storeu_ps(kept, of_video);
  });
}

template <bool kFloors>
AVTS_VNNI static void screen_byte_tiles(const Block<float>& block, const ScreenBlock<float>& s) {
  HitList<float> hits;
  for_each_byte_tile_row(block, s, [&](int r, int c, const __m512* d2) AVTS_VNNI {
    const __m512 threshold = _mm512_set1_ps(s.video_threshold[r]);
    uint64_t near = 0;
#pragma GCC unroll 4
    for (int q = 0; q < kByteVectors; ++q) {
      const __m512 limit = _mm512_loadu_ps(s.audio_threshold + c + 16 * q);
      uint64_t mask;
      if (kFloors) {
        const __m512 floor = _mm512_set1_ps(s.video_floor[r]);
        const __mmask16 above = _mm512_cmp_ps_mask(d2[q], floor, _CMP_GE_OQ);
        mask = _mm512_mask_cmp_ps_mask(above, d2[q], threshold, _CMP_LE_OQ);
        const __m512 least = _mm512_loadu_ps(s.audio_floor + c + 16 * q);
        const __mmask16 higher = _mm512_cmp_ps_mask(d2[q], least, _CMP_GE_OQ);
        mask |= _mm512_mask_cmp_ps_mask(higher, d2[q], limit, _CMP_LE_OQ);
      } else {
        mask = _mm512_cmp_ps_mask(d2[q], larger_of(threshold, limit), _CMP_LE_OQ);
      }
      near |= mask << (16 * q);
    }
    if (__builtin_expect(near == 0, 1)) return;
    float lanes[kPanel];
#pragma GCC unroll 4
    for (int q = 0; q < kByteVectors; ++q) _mm512_storeu_ps(lanes + 16 * q, d2[q]);
    for (; near; near &= near - 1) {
      const int l = __builtin_ctzll(near);
      hits.add(r, c + l, lanes[l]);
    }
    hits.give(s, HitList<float>::kMost - kPanel);
  });
  hits.give(s, 0);
}

void screen_bytes(const Block<float>& block, const ScreenBlock<float>& s) {
  s.video_floor ? screen_byte_tiles<true>(block, s) : screen_byte_tiles<false>(block, s);
}

static double square_of(const float* row, int64_t dim) {
  double square = 0;
  for (int64_t k = 0; k < dim; ++k)
    square += static_cast<double>(row[k]) * static_cast<double>(row[k]);
  return square;
}

// In units of the step, so that squares do not underflow. Of the lengths' slack: x / step is wrong
// by less than 127 * 2^-22 = 3.1e-5, the float sums by less than 1e-4 of themselves.
AVTS_VNNI ByteRow to_bytes(const float* row, int64_t dim, int bias, int64_t stride, uint8_t* out) {
  __m512 most = _mm512_setzero_ps();
  for (int64_t k = 0; k < dim; k += 16) {
    most = larger_of(most, _mm512_abs_ps(_mm512_loadu_ps(row + k)));
  }
  const float step = greatest_of<float>(most) / 127;
  const bool normal = step >= FLT_MIN;  // else all of the row is rest
  const __m512 inverse = _mm512_set1_ps(normal ? 1 / step : 0);
  __m512 rest2 = _mm512_setzero_ps(), length2 = rest2;
  __m512i sum = _mm512_setzero_si512();
  for (int64_t k = 0; k < dim; k += 16) {
    const __m512 x = _mm512_mul_ps(_mm512_loadu_ps(row + k), inverse);
    const __m512i byte = _mm512_maskz_cvtps_epi32(0xffff, x);
    const __m512 whole = to_float(byte), left = _mm512_sub_ps(x, whole);
    rest2 = _mm512_fmadd_ps(left, left, rest2);
    length2 = _mm512_fmadd_ps(whole, whole, length2);
    sum = _mm512_add_epi32(sum, byte);
    const __m128i bytes =
        _mm512_maskz_cvtepi32_epi8(0xffff, _mm512_add_epi32(byte, _mm512_set1_epi32(bias)));
    for (int q = 0; q < 4; ++q) {
      __builtin_memcpy(out + (k / 4 + q) * stride, reinterpret_cast<const char*>(&bytes) + 4 * q,
                       4);
    }
  }
  int32_t sums[16], total = 0;
  _mm512_storeu_si512(sums, sum);
  for (int32_t x : sums) total += x;
  if (!normal) return {0, __builtin_sqrt(square_of(row, dim)), 0, 0};
  const double n = static_cast<double>(dim), scale = 1.0002 * static_cast<double>(step);
  return {step,
          scale * (__builtin_sqrt(static_cast<double>(sum_of<float>(rest2))) +
                   3.2e-5 * __builtin_sqrt(n)),
          scale * __builtin_sqrt(static_cast<double>(sum_of<float>(length2))), total};
}

constexpr auto kFindByteMinima = &find_byte_minima;
constexpr auto kScreenBytes = &screen_bytes;
constexpr auto kToBytes = &to_bytes;

}  // namespace

#else

bool has_byte_products() { return false; }

namespace {
constexpr void (*kFindByteMinima)(const Block<float>&, const ScreenBlock<float>&,
                                  Minima<float>*) = nullptr;
constexpr void (*kScreenBytes)(const Block<float>&, const ScreenBlock<float>&) = nullptr;
constexpr ByteRow (*kToBytes)(const float*, int64_t, int, int64_t, uint8_t*) = nullptr;
}  // namespace

#endif

}  // namespace AVTS_LEVEL
}  // namespace avts::sync_loss
