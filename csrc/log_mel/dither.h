// Gaussian dither as a pure function of (seed, sample index): the same noise whether a stretch of
// samples is read alone, in a batch or in a stream, on a CPU or on a GPU.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/philox.h"

namespace avts {

constexpr int kNormalsPerDraw = 4;  // from the four words of one draw of Philox

AVTS_HOST_DEVICE inline Philox dither_words(int64_t seed, uint64_t draw) {
  return philox(static_cast<uint32_t>(draw), static_cast<uint32_t>(draw >> 32), 0, 0,
                static_cast<uint64_t>(seed));
}

// Two normal numbers from two words (Box and Muller, 1958).
AVTS_HOST_DEVICE inline void two_normals(uint32_t word1, uint32_t word2, double* normals) {
  const double uniform = (word1 + 0.5) * 0x1p-32;  // never 0
  const double radius = std::sqrt(-2 * std::log(uniform));
  const double angle = word2 * (6.283185307179586 * 0x1p-32);
  normals[0] = radius * std::cos(angle);
  normals[1] = radius * std::sin(angle);
}

// Adds amplitude x noise to `samples`, of which the first has index `first` >= 0.
template <typename T>
void add_dither(double amplitude, int64_t seed, int64_t first, int64_t count, T* samples);

}  // namespace avts
