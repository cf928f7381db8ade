// Cosine and sine of fractions of a turn, also at compile time. Multiples of an eighth turn come
// out exact or correctly rounded, which lets a code generator see 0, 1 and equal components.
#pragma once

#include <cstdint>

namespace avts {

constexpr double kTwoPi = 6.283185307179586476925;

namespace turn {

// First term 1 (cosine) or x (sine); |x| <= pi / 4.
static constexpr double alternating_series(double first, double x, int step) {
  double sum = 0, term = first;
  double terms[12] = {};
  for (int i = 0; i < 12; ++i) {
    terms[i] = term;
    term = -term * x * x / ((2 * i + step) * (2 * i + step + 1));
  }
  for (int i = 11; i >= 0; --i) sum += terms[i];  // small ones first
  return sum;
}

static constexpr double cosine(double x) { return alternating_series(1, x, 1); }
static constexpr double sine(double x) { return alternating_series(x, x, 2); }

}  // namespace turn

// cos(2 pi k / n).
static constexpr double cos_of_turn(int64_t k, int64_t n) {
  k = (k % n + n) % n;
  if (2 * k > n) k = n - k;
  if (4 * k > n) return -cos_of_turn(n - 2 * k, 2 * n);
  if (8 * k > n) {
    return turn::sine(kTwoPi * static_cast<double>(n - 4 * k) / static_cast<double>(4 * n));
  }
  return turn::cosine(kTwoPi * static_cast<double>(k) / static_cast<double>(n));
}

// sin(2 pi k / n).
static constexpr double sin_of_turn(int64_t k, int64_t n) { return cos_of_turn(4 * k - n, 4 * n); }

}  // namespace avts
