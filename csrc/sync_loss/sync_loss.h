// Contrastive losses over all pairs of a batch, without a matrix of pairs.
//
// Every pass visits one row of one side against all rows of the other and keeps a few numbers per
// row. The audio side is the same pass with the two sides swapped, so each result belongs to one
// row, is written by one thread, and does not depend on the number of threads.
#pragma once

#include <cstdint>
#include <vector>

#include "core/cpu_level.h"

namespace avts::sync_loss {

// The kinds of negatives, numbered as in Python.
enum Kind { kEasy = 1, kHard = 2, kSuperHard = 3 };

// One modality: `count` rows of `dim` elements, the medium and the window start of each.
template <typename T>
struct Side {
  const T* rows;
  const int64_t* ids;
  const double* start_s;
  int64_t count, dim;
};

// Which pairs are what. `negatives` has bit `kind` set for each admissible kind of negative.
struct PairRule {
  double hard_from_s, super_hard_from_s;
  unsigned negatives;
};

// One side's rows in panels: within a panel the elements of `kLanes` rows lie side by side, so that
// a vector register holds the same element of many rows. The last panel is padded with zeros.
template <typename T>
struct Panels {
  static constexpr int kLanes = 128 / sizeof(T);
  explicit Panels(const Side<T>& side);
  std::vector<T> elements;
};

// The negatives' sum and count are kept without mining, the hardest one with it.
struct MarginRow {
  double positive_sum, negative_sum;  // of d^2, and of max(margin - d, 0)^2 over all negatives
  int64_t positives, negatives;       // how many of each
  int64_t hardest;                    // the nearest admissible negative, -1: there is none
  double hardest_d2;
};

struct InfoNceRow {
  double peak, sum;     // peak + log(sum) is the log-sum-exp over positives and negatives
  double positive_sum;  // of the logits of positives
  int64_t positives;
};

// What a backward pass multiplies with; the incoming gradient is a factor of both.
struct MarginWeights {
  double positive, negative, margin;
};
struct InfoNceWeights {
  double self, other, inverse_temperature;
};

template <typename T>
struct Kernels {
  void (*margin_rows)(const Side<T>& self, const Side<T>& other, const T* other_panels,
                      const PairRule&, double margin, bool hardest, int64_t begin, int64_t end,
                      MarginRow* out);
  void (*margin_all_gradient)(const Side<T>& self, const Side<T>& other, const T* other_panels,
                              const PairRule&, const MarginWeights&, int64_t begin, int64_t end,
                              T* gradient);
  // self_hardest[i] is the mined row of `other` for row i of `self`; other_hardest the reverse.
  void (*margin_hardest_gradient)(const Side<T>& self, const Side<T>& other, const PairRule&,
                                  const MarginWeights&, const int64_t* self_hardest,
                                  const int64_t* other_hardest, int64_t begin, int64_t end,
                                  T* gradient);
  void (*infonce_rows)(const Side<T>& self, const Side<T>& other, const T* other_panels,
                       const PairRule&, double inverse_temperature, int64_t begin, int64_t end,
                       InfoNceRow* out);
  // logit_gradient_sums[i] = sum over j of logit(i, j) times the loss's derivative by it.
  void (*infonce_gradient)(const Side<T>& self, const Side<T>& other, const T* other_panels,
                           const PairRule&, const InfoNceWeights&, const double* self_lse,
                           const int64_t* self_positives, const double* other_lse,
                           const int64_t* other_positives, int64_t begin, int64_t end, T* gradient,
                           double* logit_gradient_sums);
  double (*squared_distance)(const T* a, const T* b, int64_t dim);
  // gradient_a += scale * (a - b)
  void (*add_difference)(const T* a, const T* b, double scale, int64_t dim, T* gradient_a);
};

struct AllKernels {
  Kernels<float> f32;
  Kernels<double> f64;
};

// max(margin - d, 0)^2, not finite where d is not. Static: each level compiles its own.
[[maybe_unused]] static double squared_hinge(double d, double margin) {
  const double gap = margin - d;
  return gap <= 0 ? 0.0 : gap * gap;
}

// The derivative of squared_hinge by a row is this times the difference of the rows. At d = 0 there
// is none; zero stands for it.
[[maybe_unused]] static double hinge_slope(double d, double margin) {
  if (d == 0 || d >= margin) return 0.0;
  return -2 * (margin - d) / d;
}

struct MarginResult {
  double loss, positive_weight, negative_weight;
};

// The loss is positive_weight * sum of d^2 over positives + negative_weight * sum of squared hinges
// over negatives: with mining all admissible pairs, else the hardest of each row and column. The
// weights are half the inverse count of terms; a mined term that does not exist is zero and counts.
template <typename T>
MarginResult margin_forward(const Side<T>& video, const Side<T>& audio, const PairRule& rule,
                            double margin, bool hardest, int threads, int64_t* video_hardest,
                            int64_t* audio_hardest);

template <typename T>
void margin_backward(const Side<T>& video, const Side<T>& audio, const PairRule& rule,
                     const MarginWeights& weights, bool hardest, const int64_t* video_hardest,
                     const int64_t* audio_hardest, int threads, T* video_gradient,
                     T* audio_gradient);

// Returns the loss; the log-sum-exp and the count of positives of each row are for the backward.
template <typename T>
double infonce_forward(const Side<T>& video, const Side<T>& audio, const PairRule& rule,
                       double temperature, int threads, double* video_lse, int64_t* video_positives,
                       double* audio_lse, int64_t* audio_positives);

// Returns the derivative by the temperature. `scale` is the incoming gradient.
template <typename T>
double infonce_backward(const Side<T>& video, const Side<T>& audio, const PairRule& rule,
                        double temperature, double scale, const double* video_lse,
                        const int64_t* video_positives, const double* audio_lse,
                        const int64_t* audio_positives, int threads, T* video_gradient,
                        T* audio_gradient);

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
