// The widest vectors of the level, their functions, and the tile product. For cpu/*.cpp only.
#pragma once

#include <cstdint>
#include <cstring>

#include "sync_loss/kernels.h"

namespace avts::sync_loss {
namespace AVTS_LEVEL {
namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64, kTileVectors = 4;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32, kTileVectors = 2;
#else
constexpr int kVectorBytes = 16, kTileVectors = 2;
#endif

template <typename T>
struct VectorOf;
template <>
struct VectorOf<float> {
  typedef float Type __attribute__((vector_size(kVectorBytes)));
  typedef int32_t Int __attribute__((vector_size(kVectorBytes)));
  static constexpr float kLog2E = 0x1.715476p0f, kLn2High = 0x1.62e4p-1f, kLn2Low = 0x1.7f7d1cp-20f;
  static constexpr float kShift = 0x1.8p23f, kLeast = -87, kGreatest = 88;
  static constexpr int kMantissaBits = 23, kBias = 127, kExpTerms = 7, kLogTerms = 8;
};
template <>
struct VectorOf<double> {
  typedef double Type __attribute__((vector_size(kVectorBytes)));
  typedef int64_t Int __attribute__((vector_size(kVectorBytes)));
  static constexpr double kLog2E = 0x1.71547652b82fep0, kLn2High = 0x1.62e42fefap-1;
  static constexpr double kLn2Low = 0x1.cf79abc9e3b3ap-40, kShift = 0x1.8p52;
  static constexpr double kLeast = -708, kGreatest = 709;
  static constexpr int kMantissaBits = 52, kBias = 1023, kExpTerms = 13, kLogTerms = 16;
};

template <typename T>
using Vec = typename VectorOf<T>::Type;
template <typename T>
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));
template <typename T>
constexpr int kTileColumns = kTileVectors * kLanes<T>;

#define AVTS_INLINE static inline __attribute__((always_inline))

template <typename T>
AVTS_INLINE Vec<T> load(const T* from) {
  Vec<T> v;
  std::memcpy(&v, from, sizeof(v));
  return v;
}
template <typename T>
AVTS_INLINE void store(T* to, const Vec<T>& v) {
  std::memcpy(to, &v, sizeof(v));
}
template <typename T>
AVTS_INLINE void add_to(T* to, const Vec<T>& v) {
  store<T>(to, load(to) + v);
}
template <typename T>
AVTS_INLINE Vec<T> fill(T x) {
  return x - Vec<T>{};
}
template <typename T>
AVTS_INLINE T sum_of(const Vec<T>& v) {
  T lanes[kLanes<T>], sum = 0;
  std::memcpy(lanes, &v, sizeof(v));
#pragma omp simd reduction(+ : sum)
  for (int l = 0; l < kLanes<T>; ++l) sum += lanes[l];
  return sum;
}
template <typename T>
AVTS_INLINE T greatest_of(const Vec<T>& v) {
  T lanes[kLanes<T>], most = v[0];
  std::memcpy(lanes, &v, sizeof(v));
#pragma omp simd reduction(max : most)
  for (int l = 0; l < kLanes<T>; ++l) most = lanes[l] > most ? lanes[l] : most;
  return most;
}
template <typename T>
AVTS_INLINE Vec<T> larger(const Vec<T>& a, const Vec<T>& b) {
  return a > b ? a : b;
}
template <typename T>
AVTS_INLINE Vec<T> smaller(const Vec<T>& a, const Vec<T>& b) {
  return a < b ? a : b;
}
// values[begin, end), as far as there are, to infinity.
template <typename T>
AVTS_INLINE void leave_out(int begin, int end, int count, T* values) {
  for (int l = begin < 0 ? 0 : begin; l < (end < count ? end : count); ++l) {
    values[l] = static_cast<T>(__builtin_inf());
  }
}
template <typename T>
AVTS_INLINE Vec<T> root(const Vec<T>& x) {
  T lanes[kLanes<T>];
  std::memcpy(lanes, &x, sizeof(x));
#pragma omp simd
  for (int l = 0; l < kLanes<T>; ++l) {
    lanes[l] = sizeof(T) == 4 ? __builtin_sqrtf(lanes[l]) : __builtin_sqrt(lanes[l]);
  }
  return load(lanes);
}

// 2^n e^r with |r| <= ln(2) / 2 and e^r by its series: a relative error below 2e-7 in float, 4e-16
// in double. Zero below kLeast, where it would not be a normal number.
template <typename T>
AVTS_INLINE Vec<T> exp_of(Vec<T> x) {
  using F = VectorOf<T>;
  const auto vanishes = x < F::kLeast;
  x = x < F::kLeast ? fill<T>(F::kLeast) : x;
  x = x > F::kGreatest ? fill<T>(F::kGreatest) : x;
  const Vec<T> shifted = x * F::kLog2E + F::kShift, n = shifted - F::kShift;
  const Vec<T> r = (x - n * F::kLn2High) - n * F::kLn2Low;
  Vec<T> p = fill<T>(1);
#pragma GCC unroll 16
  for (int term = F::kExpTerms; term > 0; --term) p = p * (r * (T(1) / static_cast<T>(term))) + 1;
  typename F::Int bits;
  std::memcpy(&bits, &shifted, sizeof(bits));
  bits = (bits + F::kBias) << F::kMantissaBits;  // the low bits of `shifted` are n
  Vec<T> power;
  std::memcpy(&power, &bits, sizeof(power));
  return vanishes ? Vec<T>{} : p * power;
}

// ln(1 + e) for e in [0, 1], as 2 artanh(e / (2 + e)) by its series.
template <typename T>
AVTS_INLINE Vec<T> log1p_of(const Vec<T>& e) {
  const Vec<T> y = e / (e + 2), y2 = y * y;
  Vec<T> series{};
#pragma GCC unroll 16
  for (int term = VectorOf<T>::kLogTerms; term > 0; --term) {
    series = (series + T(1) / static_cast<T>(2 * term + 1)) * y2;
  }
  return 2 * (y + y * series);
}

// c[r][q] = sum over k of a[k * a_step + r * a_stride] * (vector q of row k of b). Every sum runs
// over k in order: its value does not depend on the place in the tile.
template <typename T, int R, int Q>
AVTS_INLINE void multiply(const T* a, int64_t a_step, int64_t a_stride, const T* b, int64_t b_step,
                          int64_t length, Vec<T> (&c)[R][Q]) {
  Vec<T> sums[R][Q] = {};
  for (int64_t k = 0; k < length; ++k) {
    Vec<T> x[Q];
#pragma GCC unroll 4
    for (int q = 0; q < Q; ++q) {
      x[q] = load(b + k * b_step + q * kLanes<T>);
      __builtin_prefetch(b + (k + 4) * b_step + q * kLanes<T>);
    }
#pragma GCC unroll 6
    for (int r = 0; r < R; ++r) {
      const T y = a[k * a_step + r * a_stride];
#pragma GCC unroll 4
      for (int q = 0; q < Q; ++q) sums[r][q] += y * x[q];
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 4
    for (int q = 0; q < Q; ++q) c[r][q] = sums[r][q];
  }
}

// Calls visit(r, c, products) for every tile row: row r of the block, first column c, and
// kTileVectors vectors of products.
template <typename T, typename Visit>
AVTS_INLINE void for_each_tile_row(const Block<T>& block, const Visit& visit) {
  const int columns = (block.columns + kPanel - 1) / kPanel * kPanel;
  for (int c = 0; c < columns; c += kTileColumns<T>) {
    const T* panel = block.panels + c / kPanel * kPanel * block.dim + c % kPanel;
    for (int r = 0; r < block.rows; r += kTileRows) {
      Vec<T> products[kTileRows][kTileVectors];
      multiply<T>(block.video + r * block.dim, 1, block.dim, panel, kPanel, block.dim, products);
      for (int i = 0; i < kTileRows && r + i < block.rows; ++i) visit(r + i, c, products[i]);
    }
  }
}

// Hits on their way to the caller, many at a time.
template <typename T>
struct HitList {
  static constexpr int kMost = 512;
  Hit<T> hits[kMost];
  int count = 0;

  void add(int row, int column, T d2) { hits[count++] = {row, column, d2}; }
  void give(const ScreenBlock<T>& screen, int most_kept) {
    if (count <= most_kept) return;
    screen.take(screen.context, hits, count);
    count = 0;
  }
};

}  // namespace
}  // namespace AVTS_LEVEL
}  // namespace avts::sync_loss
