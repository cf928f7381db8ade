// Contrastive losses over the pairs (video row, audio row) of a batch, without a matrix of pairs.
#pragma once

#include <cmath>
#include <cstdint>

#include "core/philox.h"

namespace avts::sync_loss {

// Numbered as in Python. An ignored pair takes part in nothing.
enum Kind : int { kIgnored = -1, kPositive = 0, kEasy = 1, kHard = 2, kSuperHard = 3 };
constexpr int kKinds = 4;

// One modality: `count` rows of `dim` elements, the medium and the window start of each.
template <typename T>
struct Side {
  const T* rows;
  const int64_t* ids;     // null: the row's number
  const double* start_s;  // null: all zero
  const int64_t* groups;  // rows of one group, unless negative, are no negatives; null: no groups
  const bool* silent;     // rows that take part in nothing; null: none
  int64_t count, dim;
};

// Which pairs are what, and what a term of each kind of negative is multiplied by; 0: not admitted.
struct PairRule {
  double hard_from_s, super_hard_from_s;
  double weight[kKinds];
};

AVTS_HOST_DEVICE inline Kind kind_of_pair(const PairRule& rule, bool same_medium, double shift_s,
                                          bool same_group) {
  constexpr double kSameTime = 1e-9;  // starts are sums of decimal fractions: allow their rounding
  const double shift = std::fabs(shift_s);
  if (same_medium && shift <= kSameTime) return kPositive;
  if (same_group) return kIgnored;
  if (!same_medium) return kEasy;
  if (shift + kSameTime >= rule.hard_from_s) return kHard;
  return shift + kSameTime >= rule.super_hard_from_s ? kSuperHard : kIgnored;
}

enum class Objective { margin, triplet, infonce, sigmoid };

// nearest: the k nearest negatives; semi_hard: the k nearest beyond the farthest positive;
// distance_weighted: k drawn without replacement, for rows of unit length.
enum class Mining { all, nearest, semi_hard, distance_weighted };

struct Options {
  PairRule rule;
  Objective objective;
  Mining mining;
  int64_t k;  // negatives per row; 0 for all
  bool video_anchors, audio_anchors;
  bool squared;
  double margin, temperature, bias;
  uint64_t seed;
  bool want_gradient, want_statistics;
  int threads;
};

// Over the pairs that are terms of the loss. Kinds are in the order of Kind.
struct Statistics {
  double count[kKinds], distance_sum[kKinds];
  double terms, active_terms, weight_sum;  // of negatives, active: above zero; weights of the kinds
  double rows, rows_without_negative;      // that take part
};
constexpr int kStatistics = sizeof(Statistics) / sizeof(double);

template <typename T>
struct Outputs {
  T *video_gradient, *audio_gradient;        // (count, dim) each, or null
  int64_t *video_negative, *audio_negative;  // (count, k), -1: none
  double loss, by_temperature, by_bias;
  Statistics statistics;
};

// The equations are those of avts_ext/ops/sync_loss.py. No result depends on the number of threads.
template <typename T>
void sync_loss(const Side<T>& video, const Side<T>& audio, const Options& options, Outputs<T>* out);

// Mean over pairs of y d^2 + (1 - y) max(margin - d, 0)^2; pairs are (video row, audio row).
template <typename T>
double pair_forward(const Side<T>& video, const Side<T>& audio, const int64_t* pairs,
                    const double* labels, int64_t pair_count, double margin, int threads);

// Adds to the gradients, which the caller has set to zero.
template <typename T>
void pair_backward(const Side<T>& video, const Side<T>& audio, const int64_t* pairs,
                   const double* labels, int64_t pair_count, double margin, double scale,
                   T* video_gradient, T* audio_gradient);

}  // namespace avts::sync_loss
