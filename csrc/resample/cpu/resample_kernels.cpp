#include <cstring>

#include "resample/kernels.h"

namespace avts {
namespace AVTS_LEVEL {
namespace {

constexpr int kLanes = kTapsAtATime;
typedef float Lanes __attribute__((vector_size(kLanes * sizeof(float))));

float dot(const float* a, const float* b, int64_t count) {
  Lanes sum = {};
  for (int64_t i = 0; i < count; i += kLanes) {
    Lanes x, y;
    std::memcpy(&x, a + i, sizeof(x));
    std::memcpy(&y, b + i, sizeof(y));
    sum += x * y;
  }
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int lane = 0; lane < half; ++lane) sum[lane] += sum[lane + half];
  }
  return sum[0];
}

void resample(const ResampleShape& shape, const float* in, const float* filters, float* out) {
  const int64_t whole = shape.step / shape.phases, part = shape.step % shape.phases;
  int64_t first = 0, rest = 0, phase = 0;  // output j lies at first + rest / phases
  for (int64_t j = 0; j < shape.out_count; ++j) {
    out[j] = dot(in + first, filters + phase * shape.taps, shape.taps);
    first += whole;
    rest += part;
    if (rest >= shape.phases) rest -= shape.phases, ++first;
    if (++phase == shape.phases) phase = 0;
  }
}

}  // namespace

extern const ResampleKernels kResampleKernels;
const ResampleKernels kResampleKernels{&resample};

}  // namespace AVTS_LEVEL
}  // namespace avts
