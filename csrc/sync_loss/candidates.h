// The pairs of one side's rows that a screen cannot rule out.
#pragma once

#include <algorithm>
#include <cfloat>
#include <cstdint>
#include <cstring>
#include <vector>

#include "sync_loss/embeddings.h"
#include "sync_loss/pairing.h"

namespace avts::sync_loss {

// A place of the other side with the d^2 that the screen saw, in the order of that d^2: its bits
// above those of the place. No d^2 is below zero, so that its bits are in its order.
using Candidate = uint64_t;
constexpr Candidate kNoCandidate = ~uint64_t{0};  // behind all others

inline Candidate candidate_of(int64_t place, float d2) {
  d2 = std::max(d2, 0.0f);  // where the screen's error makes it less, zero is nearer the truth
  uint32_t bits;
  std::memcpy(&bits, &d2, sizeof(bits));
  return uint64_t{bits} << 32 | static_cast<uint32_t>(place);
}
inline int64_t place_of(Candidate candidate) { return static_cast<uint32_t>(candidate); }
inline float d2_of(Candidate candidate) {
  const uint32_t bits = static_cast<uint32_t>(candidate >> 32);
  float d2;
  std::memcpy(&d2, &bits, sizeof(d2));
  return d2;
}

class Candidates {
 public:
  struct Limits {
    float error;  // of the d^2 that the screen sees
    float floor;  // every pair below it is too near; semi-hard only
    float sure;   // every pair beyond it is far enough; semi-hard only
  };

  Candidates(const View<float>& view, int64_t k);

  // Before anything else. `floor`: pairs must be farther than this.
  void set_limits(int64_t p, double error, double floor);

  // Of places from p on; the kernels compare with whole vectors of them.
  const float* threshold(int64_t p) const { return &threshold_[p]; }
  const float* floor(int64_t p) const { return &floor_[p]; }
  const float* sure(int64_t p) const { return &sure_[p]; }

  static constexpr int64_t kMostLooked = 8;  // k up to which there is lower_threshold()

  // By d^2 of `count` different admissible pairs that are surely far enough, `step` apart; infinity
  // stands for none.
  void lower_threshold(int64_t p, const float* d2, int64_t count, int64_t step);

  // For a pair that will be added soon.
  void prefetch(int64_t p) const {
    __builtin_prefetch(&rows_[p]);
    __builtin_prefetch(list_of(p));
  }

  // Adds an admissible pair if it may be among the k nearest. Returns whether it was one too many.
  bool add(int64_t p, int64_t q, float d2) {
    Row& row = rows_[p];
    Candidate* list = list_of(p);
    const bool near = (d2 <= threshold_[p]) & (d2 >= row.limits.floor);
    Candidate candidate = candidate_of(q, d2) | (static_cast<uint64_t>(near) - 1);
    if (d2 > row.limits.sure) {
      candidate = push_out(list, candidate);
      threshold_[p] = std::min(threshold_[p], d2_of(list[k_ - 1]) + 2 * row.limits.error);
    }
    list[row.count] = candidate;
    row.count += candidate != kNoCandidate;
    return row.count == capacity_ && overflows(p);
  }

  // Whether the row had too many, so that the list says nothing.
  bool gave_up(int64_t p) const { return threshold_[p] == -FLT_MAX; }

  // The likeliest first. Among them are kNoCandidate, whose d^2 is NaN, and some that are beyond
  // the threshold by now.
  const Candidate* begin(int64_t p) const { return list_of(p); }
  const Candidate* end(int64_t p) const { return list_of(p) + rows_[p].count; }

  // No pair whose d^2 looks greater than this is as near as `d2`.
  float looks_beyond(int64_t p, double d2) const {
    return static_cast<float>(d2 * (1 + 0x1p-22)) + rows_[p].limits.error;
  }

 private:
  struct Row {
    Limits limits;
    int32_t count;
  };

  Candidate* list_of(int64_t p) const { return lists_.get() + p * capacity_; }

  // Puts a candidate among the k that head a list, and returns the one that leaves them. Without
  // branches, which would not be foretold.
  Candidate push_out(Candidate* list, Candidate candidate) const {
    for (int64_t n = 0; n < k_; ++n) {
      const uint64_t nearer = -static_cast<uint64_t>(candidate < list[n]);
      const Candidate change = (candidate ^ list[n]) & nearer;
      list[n] ^= change;
      candidate ^= change;
    }
    return candidate;
  }

  bool overflows(int64_t p);

  const View<float> view_;
  const int64_t k_, capacity_;
  Buffer<float> threshold_;  // no pair beyond it can be among the k nearest
  Buffer<float> floor_, sure_;
  std::vector<Row> rows_;
  // First the k nearest of the pairs that are surely far enough, or kNoCandidate, in their order;
  // the others behind them in none.
  Buffer<Candidate> lists_;
};

}  // namespace avts::sync_loss
