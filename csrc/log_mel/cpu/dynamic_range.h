// The limit on how far an item's values lie below its largest. For cpu/*.cpp only.
#pragma once

#include "log_mel/cpu/lanes.h"
#include "log_mel/cpu/samples.h"
#include "log_mel/kernels.h"

namespace avts {
namespace AVTS_LEVEL {

// Calls each(values, count), count a whole number of vectors, for stretches that together cover
// `row` of `count` values; they may overlap. Values of other types than T are converted there and
// back.
template <typename T, typename Each>
inline void for_stretches(char* row, SampleType type, int64_t count, const Each& each) {
  constexpr int64_t kLanes = Lanes<T>::kCount, kStretch = 256;
  const bool in_place = type == (sizeof(T) == 4 ? SampleType::f32 : SampleType::f64);
  if (in_place && count >= kLanes) {
    T* values = reinterpret_cast<T*>(row);
    each(values, count / kLanes * kLanes);
    if (count % kLanes > 0) each(values + count - kLanes, kLanes);
    return;
  }
  for (int64_t at = 0; at < count; at += kStretch) {
    const int64_t here = count - at < kStretch ? count - at : kStretch;
    T values[kStretch];
    convert_samples(row + at * bytes_of(type), type, here, values);
    int64_t filled = here;
    for (; filled % kLanes > 0; ++filled) values[filled] = values[0];
    each(values, filled);
    write_values(values, here, row, type, at);
  }
}

// Raises the values of an item's frames that are further than `range` below the largest of them to
// that distance. A NaN among them makes all of them NaN.
template <typename T>
void limit_range(const FrameOutput& out, int64_t n_mels, int64_t n_frames, T range) {
  constexpr int64_t kLanes = Lanes<T>::kCount;
  const bool joined = out.mel_stride == 1 || out.mel_stride == n_frames;
  const int64_t rows = joined ? 1 : n_mels, count = joined ? n_mels * n_frames : n_frames;
  const auto each_stretch = [&](const auto& each) {
    for (int64_t row = 0; row < rows; ++row) {
      char* data = static_cast<char*>(out.data) + row * out.mel_stride * bytes_of(out.type);
      for_stretches<T>(data, out.type, count, each);
    }
  };
  Vec<T> largest = Vec<T>{} - static_cast<T>(__builtin_inf());
  typename Lanes<T>::IntVector undefined{};
  each_stretch([&](const T* values, int64_t n) {
    for (int64_t i = 0; i < n; i += kLanes) {
      const Vec<T> v = load(values + i);
      largest = v > largest ? v : largest;
      undefined |= v != v;
    }
  });
  T limit = largest[0];
  for (int64_t lane = 1; lane < kLanes; ++lane)
    limit = largest[lane] > limit ? largest[lane] : limit;
  limit -= range;
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    if (undefined[lane]) limit = static_cast<T>(__builtin_nan(""));
  }
  each_stretch([&](T* values, int64_t n) {
    for (int64_t i = 0; i < n; i += kLanes) {
      const Vec<T> v = load(values + i), lowest = Vec<T>{} + limit;
      store(values + i, v >= lowest ? v : lowest);
    }
  });
}

}  // namespace AVTS_LEVEL
}  // namespace avts
