// Gaussian dither as a pure function of (seed, sample index): the same noise whether a stretch of
// samples is read alone, in a batch or in a stream.
#pragma once

#include <cstdint>

namespace avts {

// Adds amplitude x noise to `samples`, of which the first has index `first` >= 0.
template <typename T>
void add_dither(double amplitude, int64_t seed, int64_t first, int64_t count, T* samples);

}  // namespace avts
