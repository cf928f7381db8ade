// What all kernels of the sync losses share: a batch on the device, and numbers kept per row.
#pragma once

#include <limits>

#include "core/cuda_kernel.h"
#include "sync_loss/cuda/sync_loss_cuda.h"

namespace avts::sync_loss {

// std::numeric_limits has functions, which device code may not call.
template <typename T>
struct Limits {
  static constexpr T kEpsilon = std::numeric_limits<T>::epsilon();
  static constexpr T kLeastNormal = std::numeric_limits<T>::min();
  static constexpr T kGreatest = std::numeric_limits<T>::max();
  static constexpr T kInfinity = std::numeric_limits<T>::infinity();
};

constexpr int kWarps = 8;  // of a block whose warps take a row each
constexpr unsigned kThreads = kWarps * kWarpSize;

// Sums of a side's rows. Those of pairs are counted once, by the video side; those of anchors, each
// side counts its own.
enum RowSum {
  kPresent,     // not silent
  kNotFinite,   // holds an element that is not
  kLoss,        // negatives' terms, without their common factor; infonce: the whole term
  kActive,      // negatives' terms above zero
  kWeight,      // of mined negatives
  kNoNegative,  // mining found none
  kCountOf,     // pairs by kind
  kDistanceOf = kCountOf + kKinds,
  kPositives = kDistanceOf + kKinds,  // positives of this row, seen from either side
  kHasPositive,
  kPositiveSquares,  // of distance
  kPull,             // derivative of kLoss by the row's reach
  kLogSum,           // infonce: logarithm of the sum of the row's exponentials
  kByLogit,          // sum over pairs of the loss's derivative by the logit, times the logit
  kByBias,
  kRowSums
};

// One side's memory in the workspace.
struct RowMemory {
  double* sums;                           // (kRowSums, count)
  double* totals;                         // (kRowSums)
  double *far_d2, *mined_d2, *mined_key;  // (count), (count, k) twice
  int64_t* far;                           // (count) farthest positive, -1: none
  double *far_slope, *mined_slope;        // (count), (count, k)
};

// One side against the other: the rows of `self` are owned, those of `other` are met.
template <typename T>
struct View {
  Side<T> self, other;
  RowMemory own, others;
  bool from_audio;

  __device__ double& sum(RowSum which, int64_t i) const { return own.sums[which * self.count + i]; }
  __device__ double other_sum(RowSum which, int64_t j) const {
    return others.sums[which * other.count + j];
  }
  // Totals that video's rows hold for both sides.
  __device__ const double* video_totals() const { return from_audio ? others.totals : own.totals; }
  __device__ const double* audio_totals() const { return from_audio ? own.totals : others.totals; }
};

// Options that need no host, with the learned numbers where they are.
struct CudaOptions {
  PairRule rule;
  Objective objective;
  Mining mining;
  int64_t k;
  bool video_anchors, audio_anchors, squared, want_gradient, want_statistics;
  double margin;
  uint64_t seed;
  const double *temperature, *bias;

  __host__ __device__ bool anchors(bool audio) const {
    return audio ? audio_anchors : video_anchors;
  }
  __host__ __device__ bool by_distance() const {
    return objective == Objective::margin || objective == Objective::triplet;
  }
};

template <typename T>
__device__ bool is_silent(const Side<T>& side, int64_t i) {
  return side.silent && side.silent[i];
}

// Apart, because few pairs need it and every pair's code would hold it.
template <typename T>
__device__ AVTS_NOINLINE Kind kind_within_medium(const PairRule& rule, const Side<T>& a, int64_t i,
                                                 const Side<T>& b, int64_t j) {
  const bool same_group = a.groups && a.groups[i] >= 0 && a.groups[i] == b.groups[j];
  return kind_of_pair(rule, true, a.start_s[i] - b.start_s[j], same_group);
}

template <typename T>
__device__ Kind kind_of(const PairRule& rule, const View<T>& view, int64_t i, int64_t j) {
  const Side<T>&a = view.self, &b = view.other;
  if (is_silent(a, i) || is_silent(b, j)) return kIgnored;
  if (a.ids[i] == b.ids[j]) return kind_within_medium(rule, a, i, b, j);
  return a.groups && a.groups[i] >= 0 && a.groups[i] == b.groups[j] ? kIgnored : kEasy;
}

// The sum over a group of lanes, the same bits in each of them.
template <int kLanes = kWarpSize>
__device__ double lanes_sum(double value) {
  for (int lanes = 1; lanes < kLanes; lanes *= 2) {
    value += __shfl_xor_sync(kWholeWarp, value, lanes);
  }
  return value;
}

// Sum over a block of kThreads threads, in one order, for its first one. Takes kSumBytes of shared
// memory.
constexpr size_t kSumBytes = kWarps * sizeof(double);
__device__ inline double block_sum(double value) {
  double* parts = dynamic_shared<double>();
  value = lanes_sum(value);
  if (threadIdx.x % kWarpSize == 0) parts[threadIdx.x / kWarpSize] = value;
  __syncthreads();
  value = 0;
  for (int warp = 0; threadIdx.x == 0 && warp < kWarps; ++warp) value += parts[warp];
  return value;
}

// Exact to a few 2^-53, by a group of kLanes lanes; all of a warp must call.
template <int kLanes, typename T>
__device__ double exact_squared_distance(const View<T>& view, int64_t i, int64_t j) {
  const int64_t dim = view.self.dim;
  const T *a = view.self.rows + i * dim, *b = view.other.rows + j * dim;
  double sum = 0;
  for (int64_t d = threadIdx.x % kLanes; d < dim; d += kLanes) {
    const double difference = static_cast<double>(a[d]) - b[d];
    sum += difference * difference;
  }
  return lanes_sum<kLanes>(sum);
}

template <typename T>
__device__ double exact_product(const View<T>& view, int64_t i, int64_t j) {
  const int64_t dim = view.self.dim;
  const T *a = view.self.rows + i * dim, *b = view.other.rows + j * dim;
  double sum = 0;
  for (int64_t d = threadIdx.x % kWarpSize; d < dim; d += kWarpSize) {
    sum += static_cast<double>(a[d]) * b[d];
  }
  return lanes_sum(sum);
}

// Calls body(j) with a whole warp for each positive of row i, in order, and see(j, kind) with one
// lane for each pair.
template <typename T, typename Body, typename See>
__device__ void scan_row(const PairRule& rule, const View<T>& view, int64_t i, const Body& body,
                         const See& see) {
  const int lane = threadIdx.x % kWarpSize;
  for (int64_t first = 0; first < view.other.count; first += kWarpSize) {
    const int64_t j = first + lane;
    const Kind kind = j < view.other.count ? kind_of(rule, view, i, j) : kIgnored;
    see(j, kind);
    unsigned positives = __ballot_sync(kWholeWarp, kind == kPositive);
    for (; positives; positives &= positives - 1) body(first + __ffs(positives) - 1);
  }
}
template <typename T, typename Body>
__device__ void for_each_positive(const PairRule& rule, const View<T>& view, int64_t i,
                                  const Body& body) {
  scan_row(rule, view, i, body, [](int64_t, Kind) {});
}

__device__ inline double inverse_or_zero(double count) { return count > 0 ? 1 / count : 0; }

// Pairs that are negatives, and the sum of their weights.
struct Negatives {
  double count = 0, weight = 0;
  __device__ Negatives(const CudaOptions& options, const double* video_totals) {
    for (int kind = kEasy; kind < kKinds; ++kind) {
      count += video_totals[kCountOf + kind];
      weight += options.rule.weight[kind] * video_totals[kCountOf + kind];
    }
  }
};

// Number of the negatives' terms of the losses by distance.
template <typename T>
__device__ double negative_terms(const CudaOptions& options, const View<T>& view) {
  const bool v = options.video_anchors, a = options.audio_anchors;
  if (options.mining == Mining::all) {
    return (v + a) * Negatives(options, view.video_totals()).count;
  }
  return static_cast<double>(options.k) *
         (v * view.video_totals()[kPresent] + a * view.audio_totals()[kPresent]);
}

// What a negative's term is multiplied by: the margin loss is half positives, half negatives.
template <typename T>
__device__ double negative_factor(const CudaOptions& options, const View<T>& view) {
  const double share = options.objective == Objective::triplet ? 1 : 0.5;
  return share * inverse_or_zero(negative_terms(options, view));
}

// Infonce: what a row's term is multiplied by.
__device__ inline double row_weight(const CudaOptions& options, bool audio, const double* totals) {
  if (!options.anchors(audio)) return 0;
  const double share = options.anchors(!audio) ? 0.5 : 1;
  return share * inverse_or_zero(totals[kHasPositive]);
}

// Sigmoid: what the sum over pairs is multiplied by, two over the number of rows.
template <typename T>
__device__ double pair_factor(const View<T>& view) {
  return inverse_or_zero(0.5 * (view.own.totals[kPresent] + view.others.totals[kPresent]));
}

// Distance below which a negative of row i costs something; negative for a row without terms.
__device__ inline double reach_of(const CudaOptions& options, bool anchors, const RowMemory& side,
                                  int64_t i) {
  if (!anchors) return -1;
  if (options.objective != Objective::triplet) return options.margin;
  return side.far[i] < 0 ? -1 : options.margin + std::sqrt(side.far_d2[i]);
}

template <typename T>
__device__ T hinge(bool squared, T gap) {
  if (gap <= 0) return 0;
  return squared ? gap * gap : gap;
}
template <typename T>
__device__ T hinge_derivative(bool squared, T gap) {
  if (gap <= 0) return 0;
  return squared ? 2 * gap : 1;
}
template <typename T>
__device__ T softplus(T z) {
  return (z > 0 ? z : T(0)) + std::log1p(std::exp(-std::fabs(z)));
}
template <typename T>
__device__ T sigmoid(T z) {
  return 1 / (1 + std::exp(-z));
}

template <typename T>
LaunchShape warp_per_row(const Side<T>& side) {
  return {dim3(static_cast<unsigned>((side.count + kWarps - 1) / kWarps)), kThreads, 0};
}

}  // namespace avts::sync_loss
