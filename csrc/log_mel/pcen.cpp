#include "log_mel/pcen.h"

#include <cmath>
#include <vector>

#include "core/parallel.h"

namespace avts {
namespace {

constexpr int64_t kRowsPerChunk = 4;  // about 100 microseconds of two seconds of sound

// One filter's frames: element t stands at begin + t * stride.
struct Row {
  int64_t begin, stride, present, frames;
};

Row row_of(const MelShape& shape, int64_t row) {
  const int64_t item = row / shape.n_mels, mel = row % shape.n_mels;
  const int64_t present = shape.present ? shape.present[item] : shape.frames;
  const int64_t item_begin = item * shape.n_mels * shape.frames;
  if (shape.time_mel) return {item_begin + mel, shape.n_mels, present, shape.frames};
  return {item_begin + mel * shape.frames, 1, present, shape.frames};
}

double divisor(const PcenOptions& o, double mean) { return std::pow(o.eps + mean, -o.gain); }

// In double whatever T: the mean adds up rounding errors over the whole of a track.
template <typename T>
void normalise_row(const PcenOptions& o, const Row& row, const T* energies, double* mean,
                   T* values) {
  const double offset = std::pow(o.bias, o.power);
  for (int64_t t = 0; t < row.frames; ++t) {
    const int64_t at = row.begin + t * row.stride;
    if (t >= row.present) {
      values[at] = 0;
      continue;
    }
    const double energy = energies[at];
    *mean += o.smoothing * (energy - *mean);
    const double ratio = energy * divisor(o, *mean) / o.bias;
    // (ratio + 1)^power - 1 without its cancellation at small ratios.
    const double value = offset * std::expm1(o.power * std::log1p(ratio));
    values[at] = static_cast<T>((value - o.mean) / o.std);
  }
}

template <typename T>
void gradient_of_row(const PcenOptions& o, const Row& row, double mean, const T* energies,
                     const T* grad_values, std::vector<double>& means, T* grad_energies) {
  means.resize(row.frames);
  for (int64_t t = 0; t < row.present; ++t) {
    mean += o.smoothing * (energies[row.begin + t * row.stride] - mean);
    means[t] = mean;
  }
  double grad_mean = 0;  // of the frame's mean, through the later ones
  for (int64_t t = row.frames; t-- > 0;) {
    const int64_t at = row.begin + t * row.stride;
    if (t >= row.present) {
      grad_energies[at] = 0;
      continue;
    }
    const double scaled = energies[at] * divisor(o, means[t]);
    const double slope = o.power * std::pow(o.bias + scaled, o.power - 1);
    const double grad_scaled = grad_values[at] / o.std * slope;
    grad_mean -= grad_scaled * scaled * o.gain / (o.eps + means[t]);
    const double grad = grad_scaled * divisor(o, means[t]) + o.smoothing * grad_mean;
    grad_energies[at] = static_cast<T>(grad);
    grad_mean *= 1 - o.smoothing;
  }
}

}  // namespace

template <typename T>
void pcen(const PcenOptions& options, const MelShape& shape, const T* energies, double* means,
          T* values, int threads) {
  parallel_for(shape.items * shape.n_mels, kRowsPerChunk, threads, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      normalise_row(options, row_of(shape, row), energies, means + row, values);
    }
  });
}

template <typename T>
void pcen_gradient(const PcenOptions& options, const MelShape& shape, double first_mean,
                   const T* energies, const T* grad_values, T* grad_energies, int threads) {
  parallel_for(shape.items * shape.n_mels, kRowsPerChunk, threads, [&](int64_t begin, int64_t end) {
    std::vector<double> means;
    for (int64_t row = begin; row < end; ++row) {
      gradient_of_row(options, row_of(shape, row), first_mean, energies, grad_values, means,
                      grad_energies);
    }
  });
}

template void pcen(const PcenOptions&, const MelShape&, const float*, double*, float*, int);
template void pcen(const PcenOptions&, const MelShape&, const double*, double*, double*, int);
template void pcen_gradient(const PcenOptions&, const MelShape&, double, const float*, const float*,
                            float*, int);
template void pcen_gradient(const PcenOptions&, const MelShape&, double, const double*,
                            const double*, double*, int);

}  // namespace avts
