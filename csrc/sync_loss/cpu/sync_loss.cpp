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
  template <typename T, typename V>
  static void add_derivative(T factor, const V& a, const V& b, V* sum) {  // by a, halved
    *sum += factor * (a - b);
  }
};
struct Product {
  template <typename V>
  static void add(const V& a, const V& b, V* sum) {
    *sum += a * b;
  }
  template <typename T, typename V>
  static void add_derivative(T factor, const V&, const V& b, V* sum) {
    *sum += factor * b;
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

// What a pair is to the loss. As wide as ids and times, so that a row of a tile is one vector loop.
enum Role : int64_t { kUnused = 0, kNegative = 1, kPositive = 2 };

static int64_t role_of_kind(Kind kind, const PairRule& rule) {
  return rule.negatives >> kind & 1 ? kNegative : kUnused;
}

// Fills the roles of the pairs of row i with `columns` rows of the other side; returns their union.
template <typename T>
static int64_t assign_roles(const Side<T>& self, int64_t i, const Side<T>& other,
                            int64_t first_column, int columns, const PairRule& rule,
                            int64_t* roles) {
  constexpr double kSameTime = 1e-9;  // starts are sums of decimal fractions: allow their rounding
  const int64_t easy = role_of_kind(kEasy, rule), hard = role_of_kind(kHard, rule);
  const int64_t super_hard = role_of_kind(kSuperHard, rule);
  const int64_t id = self.ids[i];
  const double start_s = self.start_s[i];
  const int64_t* ids = other.ids + first_column;
  const double* starts_s = other.start_s + first_column;
  int64_t seen = 0;
#pragma omp simd reduction(| : seen)
  for (int c = 0; c < columns; ++c) {
    const double shift = fabs(start_s - starts_s[c]) + kSameTime;
    int64_t role = shift >= rule.super_hard_from_s ? super_hard : kUnused;
    role = shift >= rule.hard_from_s ? hard : role;
    role = shift <= 2 * kSameTime ? kPositive : role;
    role = ids[c] != id ? easy : role;
    roles[c] = role;
    seen |= role;
  }
  return seen;
}

static inline float root(float x) { return sqrtf(x); }
static inline double root(double x) { return sqrt(x); }

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

// gradient += sum over columns of factor * (a - row) or, for a product, factor * row. A block of
// the gradient stays in registers while the tile's rows pass. Zero factors are skipped, so that
// rows without a part in the loss may hold anything.
template <typename Term, typename T>
static void add_rows(const T* a, const Side<T>& other, const Tile<T>& tile, const T* factors,
                     T* gradient) {
  using V = typename VectorOf<T>::type;
  constexpr int kVector = sizeof(V) / sizeof(T), kVectors = 4, kBlock = kVectors * kVector;
  const int64_t dim = other.dim;
  int active[Tile<T>::kLanes], count = 0;
  for (int c = 0; c < tile.columns; ++c) {
    active[count] = c;
    count += factors[c] != 0;
  }
  const T* first_row = other.rows + tile.first_column * dim;
  int64_t k = 0;
  for (; k + kBlock <= dim; k += kBlock) {
    V sums[kVectors], own[kVectors], row[kVectors];
    __builtin_memcpy(sums, gradient + k, sizeof(sums));
    __builtin_memcpy(own, a + k, sizeof(own));
    for (int n = 0; n < count; ++n) {
      __builtin_memcpy(row, first_row + active[n] * dim + k, sizeof(row));
      const T factor = factors[active[n]];
      for (int q = 0; q < kVectors; ++q) Term::add_derivative(factor, own[q], row[q], &sums[q]);
    }
    __builtin_memcpy(gradient + k, sums, sizeof(sums));
  }
  for (int n = 0; n < count; ++n) {
    const T* row = first_row + active[n] * dim;
    const T factor = factors[active[n]];
    for (int64_t q = k; q < dim; ++q) Term::add_derivative(factor, a[q], row[q], &gradient[q]);
  }
}

// A NaN is the hardest of all, so that it reaches the loss; among equals the first stays. Before
// the first negative hardest_d2 is NaN.
static void note_negative(double d2, int64_t j, MarginRow* row) {
  const bool harder = d2 < row->hardest_d2 || (d2 != d2 && row->hardest_d2 == row->hardest_d2);
  if (row->hardest >= 0 && !harder) return;
  row->hardest = j;
  row->hardest_d2 = d2;
}

// Few tiles hold a nearer negative than those before: look closely only where one must be.
template <typename T>
static void mine(const T* d2, const int64_t* roles, int columns, int64_t first_column,
                 MarginRow* row) {
  const double nearest = row->hardest_d2;
  int candidates = 0;
#pragma omp simd reduction(| : candidates)
  for (int c = 0; c < columns; ++c) candidates |= roles[c] == kNegative && !(d2[c] >= nearest);
  if (!candidates) return;
  for (int c = 0; c < columns; ++c) {
    if (roles[c] == kNegative) note_negative(d2[c], first_column + c, row);
  }
}

template <typename T>
static void add_hinges(const T* d2, const int64_t* roles, int columns, T margin, MarginRow* row) {
  double sum = 0;
  int64_t count = 0;
#pragma omp simd reduction(+ : sum, count)
  for (int c = 0; c < columns; ++c) {
    const T gap = margin - root(d2[c]);
    const bool counts = roles[c] == kNegative;
    sum += counts && !(gap <= 0) ? gap * gap : T{0};
    count += counts;
  }
  row->negative_sum += sum;
  row->negatives += count;
}

template <typename T>
static void margin_rows(const Side<T>& self, const Side<T>& other, const T* panels,
                        const PairRule& rule, double margin, bool hardest, int64_t begin,
                        int64_t end, MarginRow* out) {
  for (int64_t i = begin; i < end; ++i) out[i] = MarginRow{0, 0, 0, 0, -1, __builtin_nan("")};
  for_each_tile_row<SquaredDifference>(
      self, other, panels, begin, end, [&](int64_t i, const Tile<T>& tile, int r) {
        int64_t roles[Tile<T>::kLanes];
        const int64_t first = tile.first_column;
        const int64_t seen = assign_roles(self, i, other, first, tile.columns, rule, roles);
        const T* d2 = tile.values[r];
        if (hardest) {
          mine(d2, roles, tile.columns, first, &out[i]);
        } else {
          add_hinges(d2, roles, tile.columns, static_cast<T>(margin), &out[i]);
        }
        if (!(seen & kPositive)) return;
        for (int c = 0; c < tile.columns; ++c) {
          if (roles[c] != kPositive) continue;
          out[i].positives += 1;
          out[i].positive_sum += d2[c];
        }
      });
}

template <typename T>
static void margin_all_gradient(const Side<T>& self, const Side<T>& other, const T* panels,
                                const PairRule& rule, const MarginWeights& weights, int64_t begin,
                                int64_t end, T* gradient) {
  const int64_t dim = self.dim;
  const T margin = static_cast<T>(weights.margin);
  for_each_tile_row<SquaredDifference>(
      self, other, panels, begin, end, [&](int64_t i, const Tile<T>& tile, int r) {
        int64_t roles[Tile<T>::kLanes];
        T slopes[Tile<T>::kLanes];
        assign_roles(self, i, other, tile.first_column, tile.columns, rule, roles);
#pragma omp simd
        for (int c = 0; c < tile.columns; ++c) {
          const T d = root(tile.values[r][c]);  // hinge_slope, for a whole row of the tile
          const T slope = d == 0 || d >= margin ? T{0} : -2 * (margin - d) / d;
          slopes[c] = roles[c] == kNegative ? static_cast<T>(weights.negative) * slope : T{0};
          slopes[c] = roles[c] == kPositive ? static_cast<T>(2 * weights.positive) : slopes[c];
        }
        add_rows<SquaredDifference>(self.rows + i * dim, other, tile, slopes, gradient + i * dim);
      });
}

template <typename T>
static void margin_hardest_gradient(const Side<T>& self, const Side<T>& other, const PairRule& rule,
                                    const MarginWeights& weights, const int64_t* self_hardest,
                                    const int64_t* other_hardest, int64_t begin, int64_t end,
                                    T* gradient) {
  constexpr int kBlock = 64;
  const int64_t dim = self.dim;
  int64_t roles[kBlock];
  for (int64_t i = begin; i < end; ++i) {
    const T* a = self.rows + i * dim;
    for (int64_t first = 0; first < other.count; first += kBlock) {
      const int columns =
          static_cast<int>(other.count - first < kBlock ? other.count - first : kBlock);
      int64_t seen = assign_roles(self, i, other, first, columns, rule, roles) & kPositive;
#pragma omp simd reduction(| : seen)
      for (int c = 0; c < columns; ++c) seen |= other_hardest[first + c] == i;
      if (!seen && !(self_hardest[i] >= first && self_hardest[i] < first + columns)) continue;
      for (int64_t j = first; j < first + columns; ++j) {
        const T* b = other.rows + j * dim;
        const int mined = (self_hardest[i] == j) + (other_hardest[j] == i);
        if (mined) {
          const double d = sqrt(squared_distance(a, b, dim));
          const double slope = mined * weights.negative * hinge_slope(d, weights.margin);
          add_difference(a, b, slope, dim, gradient + i * dim);
        } else if (roles[j - first] == kPositive) {
          add_difference(a, b, 2 * weights.positive, dim, gradient + i * dim);
        }
      }
    }
  }
}

// exp(x) for x <= 0 (a little above does no harm), to within 2 ulp, in a form that vectorises: the
// library's is a call per element. NaN stays NaN.
static inline double exp_nonpositive(double x) {
  constexpr double kShift = 6755399441055744.0;  // 1.5 * 2^52: adding it rounds to an integer
  constexpr double kLn2High = 6.93147180369123816490e-01, kLn2Low = 1.90821492927058770002e-10;
  const double shifted = x * 1.44269504088896340736 + kShift;
  const double n = shifted - kShift;
  const double r = (x - n * kLn2High) - n * kLn2Low;
  double p = 1.0 / 6227020800.0;  // Taylor's series to r^13; |r| <= ln(2) / 2
  p = p * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  uint64_t bits;
  __builtin_memcpy(&bits, &shifted, sizeof(bits));
  bits = (bits + 1023) << 52;  // the low bits of `shifted` are n: 2^n by its exponent
  double power;
  __builtin_memcpy(&power, &bits, sizeof(power));
  return x < -708 ? 0.0 : p * power;
}

// Adds the logits that are not unused to a log-sum-exp that is kept as peak + log(sum).
static void add_logits(const double* logits, const int64_t* roles, int columns, InfoNceRow* row) {
  double peak = row->peak;
#pragma omp simd reduction(max : peak)
  for (int c = 0; c < columns; ++c) {
    const double logit = roles[c] == kUnused ? -HUGE_VAL : logits[c];
    peak = logit > peak ? logit : peak;
  }
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int c = 0; c < columns; ++c) {
    sum += roles[c] == kUnused ? 0.0 : exp_nonpositive(logits[c] - peak);
  }
  row->sum = (row->sum == 0 ? 0.0 : row->sum * exp_nonpositive(row->peak - peak)) + sum;
  row->peak = peak;
}

template <typename T>
static void infonce_rows(const Side<T>& self, const Side<T>& other, const T* panels,
                         const PairRule& rule, double inverse_temperature, int64_t begin,
                         int64_t end, InfoNceRow* out) {
  for (int64_t i = begin; i < end; ++i) out[i] = InfoNceRow{-HUGE_VAL, 0, 0, 0};
  for_each_tile_row<Product>(
      self, other, panels, begin, end, [&](int64_t i, const Tile<T>& tile, int r) {
        int64_t roles[Tile<T>::kLanes];
        double logits[Tile<T>::kLanes];
        const int64_t seen =
            assign_roles(self, i, other, tile.first_column, tile.columns, rule, roles);
        for (int c = 0; c < tile.columns; ++c) logits[c] = tile.values[r][c] * inverse_temperature;
        if (seen) add_logits(logits, roles, tile.columns, &out[i]);
        if (!(seen & kPositive)) return;
        for (int c = 0; c < tile.columns; ++c) {
          if (roles[c] != kPositive) continue;
          out[i].positives += 1;
          out[i].positive_sum += logits[c];
        }
      });
}

// The derivative by one logit of the term lse - mean of the positives' logits; zero where there is
// no term because there is no positive.
static inline double logit_slope(double logit, bool positive, double lse, int64_t positives) {
  const double share = positive ? 1.0 / static_cast<double>(positives) : 0.0;
  return positives == 0 ? 0.0 : exp_nonpositive(logit - lse) - share;
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
        int64_t roles[Tile<T>::kLanes];
        T factors[Tile<T>::kLanes];
        const int64_t first = tile.first_column;
        if (!assign_roles(self, i, other, first, tile.columns, rule, roles)) return;
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int c = 0; c < tile.columns; ++c) {
          const bool positive = roles[c] == kPositive;
          const double logit = tile.values[r][c] * weights.inverse_temperature;
          double slope =
              weights.self * logit_slope(logit, positive, self_lse[i], self_positives[i]) +
              weights.other *
                  logit_slope(logit, positive, other_lse[first + c], other_positives[first + c]);
          slope = roles[c] == kUnused ? 0.0 : slope;
          sum += roles[c] == kUnused ? 0.0 : slope * logit;
          factors[c] = static_cast<T>(slope * weights.inverse_temperature);
        }
        logit_gradient_sums[i] += sum;
        add_rows<Product>(self.rows + i * dim, other, tile, factors, gradient + i * dim);
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
