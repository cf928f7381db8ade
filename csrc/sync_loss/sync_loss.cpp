#include "sync_loss/sync_loss.h"

#include <algorithm>
#include <cmath>

#include "core/parallel.h"

namespace avts::sync_loss {

#define AVTS_DECLARE(level)         \
  namespace level {                 \
  extern const AllKernels kKernels; \
  }
AVTS_FOR_EACH_LEVEL(AVTS_DECLARE)
#undef AVTS_DECLARE

namespace {

const AllKernels& all_kernels() {
#define AVTS_SELECT(level) \
  if (active_cpu_level() == CpuLevel::level) return level::kKernels;
  AVTS_FOR_EACH_LEVEL(AVTS_SELECT)
#undef AVTS_SELECT
  return base::kKernels;
}

template <typename T>
const Kernels<T>& kernels();
template <>
const Kernels<float>& kernels<float>() {
  return all_kernels().f32;
}
template <>
const Kernels<double>& kernels<double>() {
  return all_kernels().f64;
}

// Runs body(begin, end) over the rows of `self` in chunks of about 2^18 multiplications.
template <typename T, typename Body>
void for_rows(const Side<T>& self, const Side<T>& other, int threads, const Body& body) {
  const int64_t row_work = std::max<int64_t>(1, other.count * std::max<int64_t>(1, self.dim));
  const int64_t grain = std::max<int64_t>(4, (int64_t{1} << 18) / row_work);
  parallel_for(self.count, grain, threads, body);
}

double inverse_or_zero(int64_t count) { return count ? 1.0 / static_cast<double>(count) : 0.0; }

template <typename T>
std::vector<MarginRow> margin_pass(const Side<T>& self, const Side<T>& other, const PairRule& rule,
                                   double margin, bool hardest, int threads) {
  const Panels<T> panels(other);
  std::vector<MarginRow> rows(self.count);
  for_rows(self, other, threads, [&](int64_t begin, int64_t end) {
    kernels<T>().margin_rows(self, other, panels.elements.data(), rule, margin, hardest, begin, end,
                             rows.data());
  });
  return rows;
}

// Sum of the hinges of the mined negatives, whose indices go to `hardest`.
double mined_hinges(const std::vector<MarginRow>& rows, double margin, int64_t* hardest) {
  double sum = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    hardest[i] = rows[i].hardest;
    if (rows[i].hardest >= 0) sum += squared_hinge(std::sqrt(rows[i].hardest_d2), margin);
  }
  return sum;
}

template <typename T>
std::vector<InfoNceRow> infonce_pass(const Side<T>& self, const Side<T>& other,
                                     const PairRule& rule, double temperature, int threads) {
  const Panels<T> panels(other);
  std::vector<InfoNceRow> rows(self.count);
  for_rows(self, other, threads, [&](int64_t begin, int64_t end) {
    kernels<T>().infonce_rows(self, other, panels.elements.data(), rule, 1 / temperature, begin,
                              end, rows.data());
  });
  return rows;
}

// Mean over rows with a positive of lse - mean of the positives' logits.
double infonce_mean(const std::vector<InfoNceRow>& rows, double* lse, int64_t* positives) {
  double sum = 0;
  int64_t terms = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    const InfoNceRow& row = rows[i];
    lse[i] = row.peak + std::log(row.sum);
    positives[i] = row.positives;
    if (!row.positives) continue;
    sum += lse[i] - row.positive_sum / static_cast<double>(row.positives);
    terms += 1;
  }
  return sum * inverse_or_zero(terms);
}

double infonce_weight(const int64_t* positives, int64_t count, double scale) {
  const int64_t without = std::count(positives, positives + count, int64_t{0});
  return 0.5 * scale * inverse_or_zero(count - without);
}

}  // namespace

template <typename T>
Panels<T>::Panels(const Side<T>& side)
    : elements((side.count + kLanes - 1) / kLanes * kLanes * side.dim) {
  for (int64_t j = 0; j < side.count; ++j) {
    T* panel = elements.data() + j / kLanes * kLanes * side.dim + j % kLanes;
    for (int64_t k = 0; k < side.dim; ++k) panel[k * kLanes] = side.rows[j * side.dim + k];
  }
}

template <typename T>
MarginResult margin_forward(const Side<T>& video, const Side<T>& audio, const PairRule& rule,
                            double margin, bool hardest, int threads, int64_t* video_hardest,
                            int64_t* audio_hardest) {
  const auto rows = margin_pass(video, audio, rule, margin, hardest, threads);
  double positive_sum = 0, negative_sum = 0;
  int64_t positives = 0, negatives = 0;
  for (const MarginRow& row : rows) {
    positive_sum += row.positive_sum;
    positives += row.positives;
    negative_sum += row.negative_sum;
    negatives += row.negatives;
  }
  if (hardest) {
    const auto columns = margin_pass(audio, video, rule, margin, hardest, threads);
    negative_sum = mined_hinges(rows, margin, video_hardest);
    negative_sum += mined_hinges(columns, margin, audio_hardest);
    negatives = video.count + audio.count;
  } else {
    std::fill_n(video_hardest, video.count, -1);
    std::fill_n(audio_hardest, audio.count, -1);
  }
  MarginResult result{0, 0.5 * inverse_or_zero(positives), 0.5 * inverse_or_zero(negatives)};
  result.loss = result.positive_weight * positive_sum + result.negative_weight * negative_sum;
  return result;
}

template <typename T>
void margin_backward(const Side<T>& video, const Side<T>& audio, const PairRule& rule,
                     const MarginWeights& weights, bool hardest, const int64_t* video_hardest,
                     const int64_t* audio_hardest, int threads, T* video_gradient,
                     T* audio_gradient) {
  const auto one_side = [&](const Side<T>& self, const Side<T>& other, const int64_t* self_hardest,
                            const int64_t* other_hardest, T* gradient) {
    std::fill_n(gradient, self.count * self.dim, T{0});
    if (hardest) {
      for_rows(self, other, threads, [&](int64_t begin, int64_t end) {
        kernels<T>().margin_hardest_gradient(self, other, rule, weights, self_hardest,
                                             other_hardest, begin, end, gradient);
      });
      return;
    }
    const Panels<T> panels(other);
    for_rows(self, other, threads, [&](int64_t begin, int64_t end) {
      kernels<T>().margin_all_gradient(self, other, panels.elements.data(), rule, weights, begin,
                                       end, gradient);
    });
  };
  one_side(video, audio, video_hardest, audio_hardest, video_gradient);
  one_side(audio, video, audio_hardest, video_hardest, audio_gradient);
}

template <typename T>
double infonce_forward(const Side<T>& video, const Side<T>& audio, const PairRule& rule,
                       double temperature, int threads, double* video_lse, int64_t* video_positives,
                       double* audio_lse, int64_t* audio_positives) {
  const auto rows = infonce_pass(video, audio, rule, temperature, threads);
  const auto columns = infonce_pass(audio, video, rule, temperature, threads);
  return 0.5 * (infonce_mean(rows, video_lse, video_positives) +
                infonce_mean(columns, audio_lse, audio_positives));
}

template <typename T>
double infonce_backward(const Side<T>& video, const Side<T>& audio, const PairRule& rule,
                        double temperature, double scale, const double* video_lse,
                        const int64_t* video_positives, const double* audio_lse,
                        const int64_t* audio_positives, int threads, T* video_gradient,
                        T* audio_gradient) {
  const double video_weight = infonce_weight(video_positives, video.count, scale);
  const double audio_weight = infonce_weight(audio_positives, audio.count, scale);
  std::vector<double> sums(std::max(video.count, audio.count));
  const auto one_side = [&](const Side<T>& self, const Side<T>& other, InfoNceWeights weights,
                            const double* self_lse, const int64_t* self_positives,
                            const double* other_lse, const int64_t* other_positives, T* gradient) {
    const Panels<T> panels(other);
    std::fill_n(gradient, self.count * self.dim, T{0});
    for_rows(self, other, threads, [&](int64_t begin, int64_t end) {
      kernels<T>().infonce_gradient(self, other, panels.elements.data(), rule, weights, self_lse,
                                    self_positives, other_lse, other_positives, begin, end,
                                    gradient, sums.data());
    });
  };
  one_side(audio, video, {audio_weight, video_weight, 1 / temperature}, audio_lse, audio_positives,
           video_lse, video_positives, audio_gradient);
  one_side(video, audio, {video_weight, audio_weight, 1 / temperature}, video_lse, video_positives,
           audio_lse, audio_positives, video_gradient);
  double logit_gradient_sum = 0;  // from the video's pass, which has seen every pair once
  for (int64_t i = 0; i < video.count; ++i) logit_gradient_sum += sums[i];
  return -logit_gradient_sum / temperature;
}

template <typename T>
double pair_forward(const Side<T>& video, const Side<T>& audio, const int64_t* pairs,
                    const double* labels, int64_t pair_count, double margin, int threads) {
  const int64_t dim = video.dim;
  std::vector<double> terms(pair_count);
  const int64_t grain = std::max<int64_t>(1, (int64_t{1} << 18) / std::max<int64_t>(1, dim));
  parallel_for(pair_count, grain, threads, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const double d2 = kernels<T>().squared_distance(video.rows + pairs[2 * p] * dim,
                                                      audio.rows + pairs[2 * p + 1] * dim, dim);
      terms[p] = labels[p] * d2 + (1 - labels[p]) * squared_hinge(std::sqrt(d2), margin);
    }
  });
  double sum = 0;
  for (double term : terms) sum += term;
  return sum * inverse_or_zero(pair_count);
}

template <typename T>
void pair_backward(const Side<T>& video, const Side<T>& audio, const int64_t* pairs,
                   const double* labels, int64_t pair_count, double margin, double scale,
                   T* video_gradient, T* audio_gradient) {
  const int64_t dim = video.dim;
  const double weight = scale * inverse_or_zero(pair_count);
  for (int64_t p = 0; p < pair_count; ++p) {  // in order: pairs may share rows
    const int64_t i = pairs[2 * p] * dim, j = pairs[2 * p + 1] * dim;
    const T *a = video.rows + i, *b = audio.rows + j;
    const double d = std::sqrt(kernels<T>().squared_distance(a, b, dim));
    const double slope = weight * (2 * labels[p] + (1 - labels[p]) * hinge_slope(d, margin));
    kernels<T>().add_difference(a, b, slope, dim, video_gradient + i);
    kernels<T>().add_difference(b, a, slope, dim, audio_gradient + j);
  }
}

#define AVTS_INSTANTIATE(T)                                                                      \
  template MarginResult margin_forward(const Side<T>&, const Side<T>&, const PairRule&, double,  \
                                       bool, int, int64_t*, int64_t*);                           \
  template void margin_backward(const Side<T>&, const Side<T>&, const PairRule&,                 \
                                const MarginWeights&, bool, const int64_t*, const int64_t*, int, \
                                T*, T*);                                                         \
  template double infonce_forward(const Side<T>&, const Side<T>&, const PairRule&, double, int,  \
                                  double*, int64_t*, double*, int64_t*);                         \
  template double infonce_backward(const Side<T>&, const Side<T>&, const PairRule&, double,      \
                                   double, const double*, const int64_t*, const double*,         \
                                   const int64_t*, int, T*, T*);                                 \
  template double pair_forward(const Side<T>&, const Side<T>&, const int64_t*, const double*,    \
                               int64_t, double, int);                                            \
  template void pair_backward(const Side<T>&, const Side<T>&, const int64_t*, const double*,     \
                              int64_t, double, double, T*, T*);
AVTS_INSTANTIATE(float)
AVTS_INSTANTIATE(double)
#undef AVTS_INSTANTIATE

}  // namespace avts::sync_loss
