// Draws of negatives by their distance: one function of the pair's rows, on CPU and GPU.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/philox.h"

namespace avts::sync_loss {

// A number in (0, 1] that belongs to a pair of the caller's rows, seen from one side.
AVTS_HOST_DEVICE inline double uniform_of(uint64_t seed, int64_t self, int64_t other,
                                          bool from_audio) {
  const Philox random =
      philox(static_cast<uint32_t>(self), static_cast<uint32_t>(other), from_audio, 0, seed);
  return (static_cast<double>(random.pair(0) >> 11) + 1) * 0x1p-53;
}

// Logarithm of the density of distances on the unit sphere of `dim` dimensions, with d from 0.5
// (Wu et al., "Sampling matters in deep embedding learning", ICCV 2017).
AVTS_HOST_DEVICE inline double log_density(double d2, int64_t dim) {
  const double n = static_cast<double>(dim), near = d2 > 0.25 ? d2 : 0.25;
  const double rest = 1 - near / 4;
  return 0.5 * (n - 2) * std::log(near) + 0.5 * (n - 3) * std::log(rest > 1e-8 ? rest : 1e-8);
}

// Exponential race: of all pairs of a row the one with the least key is a draw with probability
// proportional to 1 / density.
AVTS_HOST_DEVICE inline double race_key(uint64_t seed, int64_t self, int64_t other, bool from_audio,
                                        double d2, int64_t dim) {
  return std::log(-std::log(uniform_of(seed, self, other, from_audio))) + log_density(d2, dim);
}

}  // namespace avts::sync_loss
