#include "log_mel/dither.h"

#include <algorithm>

namespace avts {

template <typename T>
void add_dither(double amplitude, int64_t seed, int64_t first, int64_t count, T* samples) {
  int64_t i = 0;
  while (i < count) {
    const int64_t index = first + i, skip = index % kNormalsPerDraw;
    const Philox random = dither_words(seed, static_cast<uint64_t>(index / kNormalsPerDraw));
    double normals[kNormalsPerDraw];
    two_normals(random.word[0], random.word[1], normals);
    two_normals(random.word[2], random.word[3], normals + 2);
    const int64_t taken = std::min(kNormalsPerDraw - skip, count - i);
    for (int64_t j = 0; j < taken; ++j) {
      samples[i + j] += static_cast<T>(amplitude * normals[skip + j]);
    }
    i += taken;
  }
}

template void add_dither(double, int64_t, int64_t, int64_t, float*);
template void add_dither(double, int64_t, int64_t, int64_t, double*);

}  // namespace avts
