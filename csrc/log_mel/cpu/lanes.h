// Vectors with one frame per lane, and the few functions on them. For cpu/*.cpp only.
#pragma once

#include <cstdint>
#include <cstring>

namespace avts {
namespace AVTS_LEVEL {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <typename T>
struct FloatFormat;

template <>
struct FloatFormat<float> {
  using Int = int32_t;
  static constexpr int kMantissaBits = 23;
  static constexpr Int kSqrtHalf = 0x3f3504f3;  // bits of sqrt(1/2)
  static constexpr float kSmallestNormal = 0x1p-126f, kTwoToMantissa = 0x1p23f;
  static constexpr float kLn2High = 0x1.62e4p-1f, kLn2Low = 0x1.7f7d1cp-20f;
  static constexpr int kLogTerms = 5;
};

template <>
struct FloatFormat<double> {
  using Int = int64_t;
  static constexpr int kMantissaBits = 52;
  static constexpr Int kSqrtHalf = 0x3fe6a09e667f3bcd;
  static constexpr double kSmallestNormal = 0x1p-1022, kTwoToMantissa = 0x1p52;
  static constexpr double kLn2High = 0x1.62e42fefap-1, kLn2Low = 0x1.cf79abc9e3b3ap-40;
  static constexpr int kLogTerms = 11;
};

template <typename T>
struct Lanes {
  static constexpr int kCount = kVectorBytes / static_cast<int>(sizeof(T));
  using Int = typename FloatFormat<T>::Int;
  typedef T Vector __attribute__((vector_size(kVectorBytes)));
  typedef Int IntVector __attribute__((vector_size(kVectorBytes)));
};

template <typename T>
using Vec = typename Lanes<T>::Vector;

template <typename T>
inline Vec<T> load(const T* from) {
  Vec<T> v;
  std::memcpy(&v, from, sizeof(v));
  return v;
}

template <typename T>
inline void store(T* to, Vec<T> v) {
  std::memcpy(to, &v, sizeof(v));
}

// The first `count` lanes from memory, zero in the others.
template <typename T>
inline Vec<T> load_partial(const T* from, int64_t count) {
  if (count >= Lanes<T>::kCount) return load(from);
  Vec<T> v{};
  std::memcpy(&v, from, static_cast<size_t>(count) * sizeof(T));
  return v;
}

template <typename T>
inline void store_partial(T* to, Vec<T> v, int64_t count) {
  if (count >= Lanes<T>::kCount) return store(to, v);
  std::memcpy(to, &v, static_cast<size_t>(count) * sizeof(T));
}

// Transposes a square of vectors: log2(lanes) rounds, each interleaving the halves.
template <typename T>
inline void transpose(Vec<T>* rows) {
  constexpr int n = Lanes<T>::kCount;
  typename Lanes<T>::IntVector low, high;
  for (int i = 0; i < n; ++i) {
    low[i] = i / 2 + (i % 2) * n;
    high[i] = low[i] + n / 2;
  }
  for (int round = 1; round < n; round *= 2) {
    Vec<T> mixed[n];
    for (int i = 0; i < n / 2; ++i) {
      mixed[2 * i] = __builtin_shuffle(rows[i], rows[i + n / 2], low);
      mixed[2 * i + 1] = __builtin_shuffle(rows[i], rows[i + n / 2], high);
    }
    for (int i = 0; i < n; ++i) rows[i] = mixed[i];
  }
}

// Natural logarithm of x >= 0; NaN and +Inf pass through. x = 2^e m with m around 1, and
// ln m = 2 artanh((m - 1) / (m + 1)) by its series, whose argument stays below 0.172.
template <typename T>
inline Vec<T> log_of(Vec<T> x) {
  using Format = FloatFormat<T>;
  using IntVector = typename Lanes<T>::IntVector;
  const IntVector tiny = x < Format::kSmallestNormal;
  const Vec<T> normal = tiny ? x * Format::kTwoToMantissa : x;
  IntVector bits;
  std::memcpy(&bits, &normal, sizeof(bits));
  const IntVector exponent = (bits - Format::kSqrtHalf) >> Format::kMantissaBits;
  bits -= exponent << Format::kMantissaBits;
  Vec<T> m;
  std::memcpy(&m, &bits, sizeof(m));
  const IntVector shift = tiny & Format::kMantissaBits;
  const Vec<T> e = __builtin_convertvector(exponent - shift, Vec<T>);
  const Vec<T> s = (m - 1) / (m + 1), s2 = s * s;
  Vec<T> series = s2 * 0;
  for (int term = Format::kLogTerms; term > 0; --term)
    series = (series + T(2) / (2 * term + 1)) * s2;
  // m - 1 is exact; written as f - s (f - series) the leading term carries no rounding of s.
  const Vec<T> f = m - 1;
  const Vec<T> ln = e * Format::kLn2High + (f - (s * (f - series) - e * Format::kLn2Low));
  const T infinity = static_cast<T>(__builtin_inf());
  return x == 0 ? x - infinity : (x < infinity ? ln : x);
}

}  // namespace AVTS_LEVEL
}  // namespace avts
