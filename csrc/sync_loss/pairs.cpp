// The loss on pairs that the caller has chosen.
#include <algorithm>
#include <cmath>
#include <vector>

#include "core/parallel.h"
#include "sync_loss/kernels.h"
#include "sync_loss/sync_loss.h"

namespace avts::sync_loss {

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
      const double gap = margin - std::sqrt(d2);
      terms[p] = labels[p] * d2 + (1 - labels[p]) * (gap <= 0 ? 0 : gap * gap);
    }
  });
  double sum = 0;
  for (double term : terms) sum += term;
  return pair_count ? sum / static_cast<double>(pair_count) : 0;
}

template <typename T>
void pair_backward(const Side<T>& video, const Side<T>& audio, const int64_t* pairs,
                   const double* labels, int64_t pair_count, double margin, double scale,
                   T* video_gradient, T* audio_gradient) {
  const int64_t dim = video.dim;
  const double weight = scale / static_cast<double>(std::max<int64_t>(1, pair_count));
  for (int64_t p = 0; p < pair_count; ++p) {  // in order: pairs may share rows
    const int64_t i = pairs[2 * p] * dim, j = pairs[2 * p + 1] * dim;
    const T *a = video.rows + i, *b = audio.rows + j;
    const double d = std::sqrt(kernels<T>().squared_distance(a, b, dim));
    // At d = 0 a hinge has no derivative; zero stands for it.
    const double hinge_slope = d == 0 || d >= margin ? 0.0 : -2 * (margin - d) / d;
    const double slope = weight * (2 * labels[p] + (1 - labels[p]) * hinge_slope);
    kernels<T>().add_difference(a, b, slope, dim, video_gradient + i);
    kernels<T>().add_difference(b, a, slope, dim, audio_gradient + j);
  }
}

#define AVTS_INSTANTIATE(T)                                                                   \
  template double pair_forward(const Side<T>&, const Side<T>&, const int64_t*, const double*, \
                               int64_t, double, int);                                         \
  template void pair_backward(const Side<T>&, const Side<T>&, const int64_t*, const double*,  \
                              int64_t, double, double, T*, T*);
AVTS_INSTANTIATE(float)
AVTS_INSTANTIATE(double)
#undef AVTS_INSTANTIATE

}  // namespace avts::sync_loss
