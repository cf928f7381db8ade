#include "log_mel/dither.h"

#include <algorithm>
#include <cmath>

#include "core/philox.h"

namespace avts {
namespace {

constexpr int64_t kPerDraw = 4;  // normal numbers from a draw of four words

// Box and Muller, twice.
void draw_normals(int64_t seed, uint64_t counter, double* normals) {
  const Philox random = philox(static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32),
                               0, 0, static_cast<uint64_t>(seed));
  for (int i = 0; i < kPerDraw; i += 2) {
    const double uniform = (random.word[i] + 0.5) * 0x1p-32;  // never 0
    const double radius = std::sqrt(-2 * std::log(uniform));
    const double angle = random.word[i + 1] * (6.283185307179586 * 0x1p-32);
    normals[i] = radius * std::cos(angle);
    normals[i + 1] = radius * std::sin(angle);
  }
}

}  // namespace

template <typename T>
void add_dither(double amplitude, int64_t seed, int64_t first, int64_t count, T* samples) {
  int64_t i = 0;
  while (i < count) {
    const int64_t index = first + i, skip = index % kPerDraw;
    double normals[kPerDraw];
    draw_normals(seed, static_cast<uint64_t>(index / kPerDraw), normals);
    const int64_t taken = std::min(kPerDraw - skip, count - i);
    for (int64_t j = 0; j < taken; ++j) {
      samples[i + j] += static_cast<T>(amplitude * normals[skip + j]);
    }
    i += taken;
  }
}

template void add_dither(double, int64_t, int64_t, int64_t, float*);
template void add_dither(double, int64_t, int64_t, int64_t, double*);

}  // namespace avts
