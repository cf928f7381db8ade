// Per-channel energy normalisation (Wang et al., arXiv:1607.05666) of mel energies and its
// gradient: each energy is divided by a power of its filter's recent mean, and the quotient
// compressed.
#pragma once

#include <cstdint>

namespace avts {

struct PcenOptions {
  double smoothing;  // mean(t) = (1 - smoothing) mean(t - 1) + smoothing energy(t)
  double gain, bias, power, eps;
  double mean, std;  // value = (pcen - mean) / std
};

// (items, n_mels, frames), or with the last two exchanged. Item i has `present[i]` frames, all
// if `present` is null; the values and gradients of the others are zero.
struct MelShape {
  int64_t items, n_mels, frames;
  bool time_mel;
  const int64_t* present;
};

// `means` holds the mean of each filter, (items, n_mels): before the first frame, and afterwards
// after the last one.
template <typename T>
void pcen(const PcenOptions& options, const MelShape& shape, const T* energies, double* means,
          T* values, int threads);

// The gradient where each mean began at `first_mean`.
template <typename T>
void pcen_gradient(const PcenOptions& options, const MelShape& shape, double first_mean,
                   const T* energies, const T* grad_values, T* grad_energies, int threads);

}  // namespace avts
