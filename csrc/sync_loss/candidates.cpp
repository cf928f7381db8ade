#include "sync_loss/candidates.h"

#include <algorithm>
#include <limits>

namespace avts::sync_loss {
namespace {

Buffer<float> filled(int64_t count, float value) {
  const int64_t padded = round_up(count, kBlock);
  Buffer<float> buffer(padded, false);
  std::fill_n(buffer.get(), padded, value);
  return buffer;
}

float at_most_greatest(double x) { return static_cast<float>(std::min<double>(FLT_MAX, x)); }

}  // namespace

Candidates::Candidates(const View<float>& view, int64_t k)
    : view_(view),
      k_(k),
      capacity_(24 + 8 * k),
      threshold_(filled(view.self_rows.count(), -FLT_MAX)),
      floor_(filled(view.self_rows.count(), -FLT_MAX)),
      sure_(filled(view.self_rows.count(), -FLT_MAX)),
      rows_(view.self_rows.count(), Row{{0, -FLT_MAX, -FLT_MAX}, static_cast<int32_t>(k)}),
      lists_(view.self_rows.count() * capacity_, false) {
  std::fill_n(threshold_.get(), rows_.size(), FLT_MAX);
  for (size_t p = 0; p < rows_.size(); ++p) std::fill_n(list_of(p), k, kNoCandidate);
}

void Candidates::set_limits(int64_t p, double error, double floor) {
  Limits& limits = rows_[p].limits;
  limits.error = static_cast<float>(error);
  if (floor < 0) return;
  floor_[p] = limits.floor = at_most_greatest(floor * (1 - 1e-6) - 1.001 * error);
  sure_[p] = limits.sure = at_most_greatest(floor * (1 + 1e-6) + 1.001 * error);
}

void Candidates::lower_threshold(int64_t p, const float* d2, int64_t count, int64_t step) {
  float least[kMostLooked];
  std::fill_n(least, k_, std::numeric_limits<float>::infinity());
  for (int64_t n = 0; n < count; ++n) {
    float x = d2[n * step];
    for (int64_t m = 0; m < k_; ++m) {  // without branches, which would not be foretold
      const float smaller = std::min(least[m], x);
      x = std::max(least[m], x);
      least[m] = smaller;
    }
  }
  threshold_[p] = std::min(threshold_[p], least[k_ - 1] + 2 * rows_[p].limits.error);
}

// Exact distances of the list's first k lower the threshold. If that does not make room the row
// gives up.
bool Candidates::overflows(int64_t p) {
  Row& row = rows_[p];
  Candidate* list = list_of(p);
  double greatest = 0;
  for (int64_t n = 0; n < k_ && list[n] != kNoCandidate; ++n) {
    greatest =
        std::max(greatest, kernels<float>().squared_distance(
                               view_.row(p), view_.other_row(place_of(list[n])), view_.self.dim));
  }
  if (list[k_ - 1] != kNoCandidate)
    threshold_[p] = std::min(threshold_[p], looks_beyond(p, greatest));
  const auto beyond = [&](Candidate c) { return d2_of(c) > threshold_[p]; };
  row.count = static_cast<int32_t>(std::remove_if(list + k_, list + row.count, beyond) - list);
  if (row.count <= capacity_ * 3 / 4) return false;
  row.count = static_cast<int32_t>(k_);
  threshold_[p] = -FLT_MAX;
  return true;
}

}  // namespace avts::sync_loss
