// Band-limited interpolation of a waveform at the points of another grid of samples.
#pragma once

#include <cstdint>

namespace avts {

constexpr int kTapsAtATime = 16;

struct ResampleShape {
  int64_t out_count;
  int64_t phases;  // output sample j lies j * step / phases input samples after the first
  int64_t step;
  int64_t taps;  // of each phase's filter, a multiple of kTapsAtATime
};

// out[j] = sum over t of in[j * step / phases + t] * filters[j % phases][t], with the whole part of
// the quotient. The order of summation does not depend on j or on where `in` begins.
void resample(const ResampleShape& shape, const float* in, const float* filters, float* out);

}  // namespace avts
