// The objectives, of one batch whose gradients and statistics are zero.
#pragma once

#include <vector>

#include "sync_loss/pairing.h"

namespace avts::sync_loss {

// Margin and triplet. `finite`: no element is NaN or infinite; else only what is mined is of use.
template <typename T>
void distance_loss(const Pairing<T>& pairing, const Options& options, bool finite, Outputs<T>* out);

// InfoNCE and sigmoid, of finite elements.
template <typename T>
void product_loss(const Pairing<T>& pairing, const Options& options, Outputs<T>* out);

inline double inverse_or_zero(double count) { return count > 0 ? 1 / count : 0.0; }
inline double sum_of(const std::vector<double>& values) {
  double sum = 0;
  for (double x : values) sum += x;
  return sum;
}

}  // namespace avts::sync_loss
