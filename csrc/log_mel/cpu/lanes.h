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

// A vector's pieces of 16 bytes. Shuffles within pieces are one instruction everywhere; those
// across them are not, so that pieces are better moved by loads.
constexpr int kPieceBytes = 16;

template <typename T>
constexpr int kPieceLanes = kPieceBytes / static_cast<int>(sizeof(T));

// The vector whose pieces stand `at` elements after source[0], source[step], source[2 * step], ...
template <typename T>
inline Vec<T> load_pieces(const T* const* source, int step, int64_t at) {
  typedef double Piece __attribute__((vector_size(kPieceBytes)));
  const auto piece = [&](int i) {
    Piece value;
    std::memcpy(&value, source[i * step] + at, sizeof(value));
    return value;
  };
#if defined(__AVX512F__)
  const Vec<double> joined =
      __builtin_shufflevector(__builtin_shufflevector(piece(0), piece(1), 0, 1, 2, 3),
                              __builtin_shufflevector(piece(2), piece(3), 0, 1, 2, 3),  //
                              0, 1, 2, 3, 4, 5, 6, 7);
#elif defined(__AVX2__)
  const Vec<double> joined = __builtin_shufflevector(piece(0), piece(1), 0, 1, 2, 3);
#else
  const Vec<double> joined = piece(0);
#endif
  Vec<T> v;
  std::memcpy(&v, &joined, sizeof(v));
  return v;
}

// Transposes the squares that the pieces of kPieceLanes rows form.
template <typename T>
inline void transpose_pieces(Vec<T>* rows) {
  constexpr int n = kPieceLanes<T>, lanes = Lanes<T>::kCount;
  typename Lanes<T>::IntVector low, high;
  for (int i = 0; i < lanes; ++i) {
    low[i] = i / n * n + i % n / 2 + (i % 2) * lanes;
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

// (ln(1 + f) - f + f^2 / 2) / f^3 for 1 + f in [sqrt(1/2), sqrt(2)]. The float polynomial is a
// minimax fit; with it ln(1 + f) has a relative error of 6e-9 before rounding.
inline Vec<float> log_remainder(Vec<float> f) {
  constexpr float c[] = {0x1.555554p-2f, -0x1.000226p-2f, 0x1.99a008p-3f, -0x1.547244p-3f,
                         0x1.22da1cp-3f, -0x1.0d8544p-3f, 0x1.055b72p-3f, -0x1.38b582p-4f};
  Vec<float> sum = f * c[7] + c[6];
  for (int i = 5; i >= 0; --i) sum = sum * f + c[i];
  return sum;
}

// Natural logarithm of x >= 0; NaN and +Inf pass through. Without MayBeTiny x must not be zero or
// denormal. x = 2^e (1 + f).
template <bool MayBeTiny, typename T>
inline Vec<T> log_of(Vec<T> x) {
  using Format = FloatFormat<T>;
  using IntVector = typename Lanes<T>::IntVector;
  IntVector tiny{};
  Vec<T> normal = x;
  if constexpr (MayBeTiny) {
    tiny = x < Format::kSmallestNormal;
    normal = tiny ? x * Format::kTwoToMantissa : x;
  }
  IntVector bits;
  std::memcpy(&bits, &normal, sizeof(bits));
  IntVector exponent = (bits - Format::kSqrtHalf) >> Format::kMantissaBits;
  bits -= exponent << Format::kMantissaBits;
  if constexpr (MayBeTiny) exponent -= tiny & Format::kMantissaBits;
  Vec<T> m;
  std::memcpy(&m, &bits, sizeof(m));
  const Vec<T> e = __builtin_convertvector(exponent, Vec<T>);
  const Vec<T> f = m - 1;  // exact
  Vec<T> correction;       // f - ln(1 + f), which is small: f itself carries no rounding
  if constexpr (sizeof(T) == sizeof(float)) {
    correction = f * f * (T(0.5) - f * log_remainder(f));
  } else {
    // ln(1 + f) = 2 artanh(s), by its series; s stays below 0.172.
    const Vec<T> s = f / (m + 1), s2 = s * s;
    Vec<T> series = s2 * 0;
    for (int term = Format::kLogTerms; term > 0; --term) {
      series = (series + T(2) / (2 * term + 1)) * s2;
    }
    correction = s * (f - series);
  }
  const Vec<T> ln = e * Format::kLn2High + (f - (correction - e * Format::kLn2Low));
  const T infinity = static_cast<T>(__builtin_inf());
  const Vec<T> finite = x < infinity ? ln : x;
  if constexpr (MayBeTiny) {
    return x == 0 ? x - infinity : finite;
  } else {
    return finite;
  }
}

}  // namespace AVTS_LEVEL
}  // namespace avts
