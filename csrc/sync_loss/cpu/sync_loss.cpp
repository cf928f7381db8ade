// The passes over all pairs, in tiles of kRows rows of one side and one panel of the other.
//
// Distances are summed from differences, not from inner products: identical rows are at distance
// exactly zero, near ties do not cancel, and a pair has the same distance from both sides.
#include "sync_loss/sync_loss.h"

#include <math.h>

namespace avts::sync_loss {
namespace AVTS_LEVEL {
extern const AllKernels kKernels;
namespace {

constexpr int kRows = 4;

template <typename T>
struct VectorOf;
template <>
struct VectorOf<float> {
  typedef float type __attribute__((vector_size(64)));
};
template <>
struct VectorOf<double> {
  typedef double type __attribute__((vector_size(64)));
};

// By reference: a vector wider than the level's registers has no settled calling convention.
struct SquaredDifference {
  template <typename V>
  static void add(const V& a, const V& b, V* sum) {
    *sum += (a - b) * (a - b);
  }
};
struct Product {
  template <typename V>
  static void add(const V& a, const V& b, V* sum) {
    *sum += a * b;
  }
};

template <typename T>
struct Tile {
  static constexpr int kLanes = Panels<T>::kLanes;
  T values[kRows][kLanes];
  int64_t first_column;
  int columns;
};

// Each pair is summed over the dimension in order: its value does not depend on the tile it is in.
template <typename Term, typename T>
static void compute_tile(const T* const* rows, const T* panel, int64_t dim, Tile<T>* tile) {
  using V = typename VectorOf<T>::type;
  constexpr int kHalf = Panels<T>::kLanes / 2;
  V sums[kRows][2] = {};
  for (int64_t k = 0; k < dim; ++k) {
    V low, high;
    __builtin_memcpy(&low, panel + k * 2 * kHalf, sizeof(V));
    __builtin_memcpy(&high, panel + k * 2 * kHalf + kHalf, sizeof(V));
    for (int r = 0; r < kRows; ++r) {
      const V x = rows[r][k] - V{};
      Term::add(x, low, &sums[r][0]);
      Term::add(x, high, &sums[r][1]);
    }
  }
  __builtin_memcpy(tile->values, sums, sizeof(sums));
}

// Calls visit(row, tile, r) for each row in [begin, end) and each panel, panels in order.
template <typename Term, typename T, typename Visit>
static void for_each_tile_row(const Side<T>& self, const Side<T>& other, const T* panels,
                              int64_t begin, int64_t end, const Visit& visit) {
  constexpr int kLanes = Panels<T>::kLanes;
  Tile<T> tile;
  for (int64_t i = begin; i < end; i += kRows) {
    const int rows = static_cast<int>(end - i < kRows ? end - i : kRows);
    const T* pointers[kRows];
    for (int r = 0; r < kRows; ++r) pointers[r] = self.rows + (i + (r < rows ? r : 0)) * self.dim;
    for (int64_t j = 0; j < other.count; j += kLanes) {
      tile.first_column = j;
      tile.columns = static_cast<int>(other.count - j < kLanes ? other.count - j : kLanes);
      compute_tile<Term>(pointers, panels + j * self.dim, self.dim, &tile);
      for (int r = 0; r < rows; ++r) visit(i + r, tile, r);
    }
  }
}

template <typename T>
static Kind kind_of(const Side<T>& self, int64_t i, const Side<T>& other, int64_t j,
                    const PairRule& rule) {
  constexpr double kSameTime = 1e-9;  // starts are sums of decimal fractions: allow their rounding
  if (self.ids[i] != other.ids[j]) return kEasy;
  const double shift = fabs(self.start_s[i] - other.start_s[j]) + kSameTime;
  if (shift <= 2 * kSameTime) return kPositive;
  if (shift >= rule.hard_from_s) return kHard;
  return shift >= rule.super_hard_from_s ? kSuperHard : kIgnored;
}

static bool admissible(Kind kind, const PairRule& rule) {
  return kind > kPositive && (rule.negatives >> kind & 1);
}

template <typename T>
static double squared_distance(const T* a, const T* b, int64_t dim) {
  T sum = 0;
  for (int64_t k = 0; k < dim; ++k) sum += (a[k] - b[k]) * (a[k] - b[k]);
  return static_cast<double>(sum);
}

template <typename T>
static void add_difference(const T* a, const T* b, double scale, int64_t dim, T* gradient_a) {
  const T factor = static_cast<T>(scale);
#pragma omp simd
  for (int64_t k = 0; k < dim; ++k) gradient_a[k] += factor * (a[k] - b[k]);
}

static void note_negative(double d2, int64_t j, double margin, MarginRow* row) {
  row->negatives += 1;
  row->negative_sum += squared_hinge(sqrt(d2), margin);
  // A NaN is the hardest of all, so that it reaches the loss; among equals the first stays.
  const bool harder = d2 < row->hardest_d2 || (d2 != d2 && row->hardest_d2 == row->hardest_d2);
  if (row->hardest >= 0 && !harder) return;
  row->hardest = j;
  row->hardest_d2 = d2;
}

template <typename T>
static void margin_rows(const Side<T>& self, const Side<T>& other, const T* panels,
                        const PairRule& rule, double margin, int64_t begin, int64_t end,
                        MarginRow* out) {
  for (int64_t i = begin; i < end; ++i) out[i] = MarginRow{0, 0, 0, 0, -1, 0};
  for_each_tile_row<SquaredDifference>(self, other, panels, begin, end,
                                       [&](int64_t i, const Tile<T>& tile, int r) {
                                         for (int c = 0; c < tile.columns; ++c) {
                                           const int64_t j = tile.first_column + c;
                                           const Kind kind = kind_of(self, i, other, j, rule);
                                           if (kind == kPositive) {
                                             out[i].positives += 1;
                                             out[i].positive_sum += tile.values[r][c];
                                           } else if (admissible(kind, rule)) {
                                             note_negative(tile.values[r][c], j, margin, &out[i]);
                                           }
                                         }
                                       });
}

template <typename T>
static void margin_all_gradient(const Side<T>& self, const Side<T>& other, const T* panels,
                                const PairRule& rule, const MarginWeights& weights, int64_t begin,
                                int64_t end, T* gradient) {
  const int64_t dim = self.dim;
  for_each_tile_row<SquaredDifference>(
      self, other, panels, begin, end, [&](int64_t i, const Tile<T>& tile, int r) {
        for (int c = 0; c < tile.columns; ++c) {
          const int64_t j = tile.first_column + c;
          const Kind kind = kind_of(self, i, other, j, rule);
          double slope = 0;
          if (kind == kPositive) {
            slope = 2 * weights.positive;
          } else if (admissible(kind, rule)) {
            slope = weights.negative * hinge_slope(sqrt((double)tile.values[r][c]), weights.margin);
          }
          if (slope == 0) continue;
          add_difference(self.rows + i * dim, other.rows + j * dim, slope, dim, gradient + i * dim);
        }
      });
}

template <typename T>
static void margin_hardest_gradient(const Side<T>& self, const Side<T>& other, const PairRule& rule,
                                    const MarginWeights& weights, const int64_t* self_hardest,
                                    const int64_t* other_hardest, int64_t begin, int64_t end,
                                    T* gradient) {
  const int64_t dim = self.dim;
  for (int64_t i = begin; i < end; ++i) {
    const T* a = self.rows + i * dim;
    for (int64_t j = 0; j < other.count; ++j) {
      const T* b = other.rows + j * dim;
      const int mined = (self_hardest[i] == j) + (other_hardest[j] == i);
      if (mined) {
        const double d = sqrt(squared_distance(a, b, dim));
        const double slope = mined * weights.negative * hinge_slope(d, weights.margin);
        add_difference(a, b, slope, dim, gradient + i * dim);
      } else if (kind_of(self, i, other, j, rule) == kPositive) {
        add_difference(a, b, 2 * weights.positive, dim, gradient + i * dim);
      }
    }
  }
}

// Adds one logit to a log-sum-exp that is kept as peak + log(sum).
static void add_logit(double logit, InfoNceRow* row) {
  if (logit > row->peak) {
    row->sum = row->sum * exp(row->peak - logit) + 1;
    row->peak = logit;
  } else {
    row->sum += exp(logit - row->peak);
  }
}

template <typename T>
static void infonce_rows(const Side<T>& self, const Side<T>& other, const T* panels,
                         const PairRule& rule, double inverse_temperature, int64_t begin,
                         int64_t end, InfoNceRow* out) {
  for (int64_t i = begin; i < end; ++i) out[i] = InfoNceRow{-HUGE_VAL, 0, 0, 0};
  for_each_tile_row<Product>(
      self, other, panels, begin, end, [&](int64_t i, const Tile<T>& tile, int r) {
        for (int c = 0; c < tile.columns; ++c) {
          const Kind kind = kind_of(self, i, other, tile.first_column + c, rule);
          if (kind != kPositive && !admissible(kind, rule)) continue;
          const double logit = tile.values[r][c] * inverse_temperature;
          add_logit(logit, &out[i]);
          if (kind != kPositive) continue;
          out[i].positives += 1;
          out[i].positive_sum += logit;
        }
      });
}

// The derivative by one logit of the term lse - mean of the positives' logits; zero where there is
// no term because there is no positive.
static double logit_slope(double logit, bool positive, double lse, int64_t positives) {
  if (positives == 0) return 0;
  return exp(logit - lse) - (positive ? 1.0 / static_cast<double>(positives) : 0.0);
}

template <typename T>
static void infonce_gradient(const Side<T>& self, const Side<T>& other, const T* panels,
                             const PairRule& rule, const InfoNceWeights& weights,
                             const double* self_lse, const int64_t* self_positives,
                             const double* other_lse, const int64_t* other_positives, int64_t begin,
                             int64_t end, T* gradient, double* logit_gradient_sums) {
  const int64_t dim = self.dim;
  for (int64_t i = begin; i < end; ++i) logit_gradient_sums[i] = 0;
  for_each_tile_row<Product>(
      self, other, panels, begin, end, [&](int64_t i, const Tile<T>& tile, int r) {
        T* out = gradient + i * dim;
        for (int c = 0; c < tile.columns; ++c) {
          const int64_t j = tile.first_column + c;
          const Kind kind = kind_of(self, i, other, j, rule);
          const bool positive = kind == kPositive;
          if (!positive && !admissible(kind, rule)) continue;
          const double logit = tile.values[r][c] * weights.inverse_temperature;
          const double slope =
              weights.self * logit_slope(logit, positive, self_lse[i], self_positives[i]) +
              weights.other * logit_slope(logit, positive, other_lse[j], other_positives[j]);
          logit_gradient_sums[i] += slope * logit;
          const T factor = static_cast<T>(slope * weights.inverse_temperature);
          const T* row = other.rows + j * dim;
#pragma omp simd
          for (int64_t k = 0; k < dim; ++k) out[k] += factor * row[k];
        }
      });
}

template <typename T>
static constexpr Kernels<T> kernels_of() {
  return {margin_rows<T>,      margin_all_gradient<T>, margin_hardest_gradient<T>, infonce_rows<T>,
          infonce_gradient<T>, squared_distance<T>,    add_difference<T>};
}

}  // namespace

const AllKernels kKernels{kernels_of<float>(), kernels_of<double>()};

}  // namespace AVTS_LEVEL
}  // namespace avts::sync_loss
