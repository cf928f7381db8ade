#include "sync_loss/cuda/kernels.h"

namespace avts::sync_loss {
namespace {

__device__ int64_t own_row() {
  return static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarpSize;
}
__device__ int own_lane() { return static_cast<int>(threadIdx.x) % kWarpSize; }

template <typename T>
__global__ void __launch_bounds__(kThreads)
    inspect(const __grid_constant__ View<T> view, const __grid_constant__ CudaOptions options) {
  const int64_t i = own_row();
  if (i >= view.self.count) return;
  AVTS_DEVICE_CHECK(!(*options.temperature <= 0), "temperature is not a positive number");
  const bool present = !is_silent(view.self, i);
  double rest = 0;  // zero times an element is zero unless the element is not finite
  if (present) {
    const T* row = view.self.rows + i * view.self.dim;
    for (int64_t d = own_lane(); d < view.self.dim; d += kWarpSize) {
      rest += 0 * static_cast<double>(row[d]);
    }
  }
  rest = lanes_sum(rest);
  if (own_lane() != 0) return;
  for (int which = 0; which < kRowSums; ++which) view.sum(static_cast<RowSum>(which), i) = 0;
  view.sum(kPresent, i) = present;
  view.sum(kNotFinite, i) = rest != 0;  // as is a NaN
  view.own.far[i] = -1;
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    scan(const __grid_constant__ View<T> view, const __grid_constant__ CudaOptions options) {
  const int64_t i = own_row();
  if (i >= view.self.count) return;
  const bool measure = options.by_distance() || options.want_statistics;
  double positives = 0, squares = 0, distances = 0, far_d2 = 0, counts[kKinds] = {};
  int64_t far = -1;
  scan_row(
      options.rule, view, i,
      [&](int64_t j) {
        positives += 1;
        if (!measure) return;
        const double d2 = exact_squared_distance<kWarpSize>(view, i, j);
        squares += d2;
        distances += std::sqrt(d2);
        if (far >= 0 && d2 <= far_d2) return;
        far = j;
        far_d2 = d2;
      },
      [&](int64_t, Kind kind) {
        if (kind > kPositive && options.rule.weight[kind] > 0) counts[kind] += 1;
      });
  for (double& count : counts) count = lanes_sum(count);
  if (own_lane() != 0) return;
  view.own.far[i] = far;
  view.own.far_d2[i] = far_d2;
  view.sum(kPositives, i) = positives;
  view.sum(kHasPositive, i) = positives > 0;
  // Pairs count once. Of a triplet the farthest positives count, of mined losses the mined ones.
  const bool triplet = options.objective == Objective::triplet;
  if (triplet && options.anchors(view.from_audio) && far >= 0) {
    view.sum(kCountOf, i) = 1;
    view.sum(static_cast<RowSum>(kDistanceOf), i) = std::sqrt(far_d2);
  }
  if (view.from_audio) return;
  if (!triplet) {
    view.sum(kCountOf, i) = positives;
    view.sum(static_cast<RowSum>(kDistanceOf), i) = distances;
    view.sum(kPositiveSquares, i) = squares;
  }
  if (options.mining != Mining::all) return;
  for (int kind = kEasy; kind < kKinds; ++kind) {
    view.sum(static_cast<RowSum>(kCountOf + kind), i) = counts[kind];
  }
}

// One block for each sum.
template <typename T>
__global__ void __launch_bounds__(kThreads) add_up(const __grid_constant__ View<T> view) {
  const auto which = static_cast<RowSum>(blockIdx.x);
  double sum = 0;
  for (int64_t i = threadIdx.x; i < view.self.count; i += kThreads) sum += view.sum(which, i);
  sum = block_sum(sum);
  if (threadIdx.x == 0) view.own.totals[which] = sum;
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    terms_of_mined(const __grid_constant__ View<T> view,
                   const __grid_constant__ CudaOptions options, const int64_t* negative) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= view.self.count) return;
  const bool anchors = options.anchors(view.from_audio);
  const double factor = negative_factor(options, view);
  const double reach = reach_of(options, anchors, view.own, i);
  if (anchors && options.k > 0 && negative[i * options.k] < 0 && !is_silent(view.self, i)) {
    view.sum(kNoNegative, i) = 1;
  }
  for (int64_t n = i * options.k; n < (i + 1) * options.k; ++n) {
    view.own.mined_slope[n] = 0;
    if (negative[n] < 0 || !anchors) continue;
    const Kind kind = kind_of(options.rule, view, i, negative[n]);
    const double weight = options.rule.weight[kind], d = std::sqrt(view.own.mined_d2[n]);
    const double gap = reach - d, slope = weight * hinge_derivative(options.squared, gap);
    view.sum(kLoss, i) += weight * hinge(options.squared, gap);
    view.sum(kActive, i) += gap > 0;
    view.sum(kWeight, i) += weight;
    view.sum(kPull, i) += slope;
    view.sum(static_cast<RowSum>(kCountOf + kind), i) += 1;
    view.sum(static_cast<RowSum>(kDistanceOf + kind), i) += d;
    view.own.mined_slope[n] = d == 0 ? 0 : -factor * slope / d;
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    slopes_of_farthest(const __grid_constant__ View<T> view,
                       const __grid_constant__ CudaOptions options) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= view.self.count) return;
  const double d = view.own.far[i] < 0 ? 0 : std::sqrt(view.own.far_d2[i]);
  view.own.far_slope[i] = d == 0 ? 0 : negative_factor(options, view) * view.sum(kPull, i) / d;
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    softmax_terms(const __grid_constant__ View<T> view,
                  const __grid_constant__ CudaOptions options) {
  const int64_t i = own_row();
  if (i >= view.self.count) return;
  const double scale = 1 / *options.temperature, log_sum = view.sum(kLogSum, i);
  double logits = 0, peak = log_sum, positives = 0;
  for_each_positive(options.rule, view, i, [&](int64_t j) {
    const double logit = exact_product(view, i, j) * scale;
    peak = logit > peak ? logit : peak;
    logits += logit;
    positives += 1;
  });
  if (positives == 0) return;
  double sum = std::exp(log_sum - peak);
  for_each_positive(options.rule, view, i,
                    [&](int64_t j) { sum += std::exp(exact_product(view, i, j) * scale - peak); });
  __syncwarp();  // every lane has read the sum without the positives
  if (own_lane() != 0) return;
  view.sum(kLogSum, i) = peak + std::log(sum);
  view.sum(kLoss, i) = peak + std::log(sum) - logits / positives;
}

// Derivative of the loss by the logit (infonce, sigmoid) or, divided by d, by the distance of a
// positive.
template <typename T>
struct PositiveSlope {
  const View<T>& view;
  const CudaOptions& options;

  __device__ double of_row(double weight, double positives, double log_sum, double logit) const {
    if (weight == 0 || positives == 0) return 0;
    return weight * (std::expm1(logit - log_sum) + 1 - 1 / positives);
  }
  __device__ double operator()(int64_t i, int64_t j, double logit) const {
    if (options.objective == Objective::margin) {
      return inverse_or_zero(view.video_totals()[kCountOf]);
    }
    if (options.objective == Objective::sigmoid) {
      return -pair_factor(view) * sigmoid(-logit - *options.bias);
    }
    const bool audio = view.from_audio;
    return of_row(row_weight(options, audio, view.own.totals), view.sum(kPositives, i),
                  view.sum(kLogSum, i), logit) +
           of_row(row_weight(options, !audio, view.others.totals), view.other_sum(kPositives, j),
                  view.other_sum(kLogSum, j), logit);
  }
};

template <typename T>
__global__ void __launch_bounds__(kThreads)
    positives(const __grid_constant__ View<T> view, const __grid_constant__ CudaOptions options,
              T* gradient) {
  const int64_t i = own_row();
  if (i >= view.self.count) return;
  const int64_t dim = view.self.dim;
  const PositiveSlope<T> slope_of{view, options};
  const bool products = !options.by_distance();
  const double scale = 1 / *options.temperature;
  double loss = 0, by_logit = 0, by_bias = 0;
  for_each_positive(options.rule, view, i, [&](int64_t j) {
    const double logit = products ? exact_product(view, i, j) * scale : 0;
    const double slope = slope_of(i, j, logit);
    by_logit += slope * logit;
    by_bias += slope;
    if (options.objective == Objective::sigmoid) loss += softplus(-logit - *options.bias);
    if (!gradient) return;
    const T *own = view.self.rows + i * dim, *other = view.other.rows + j * dim;
    for (int64_t d = own_lane(); d < dim; d += kWarpSize) {
      const double direction =
          products ? scale * other[d] : static_cast<double>(own[d]) - static_cast<double>(other[d]);
      gradient[i * dim + d] += static_cast<T>(slope * direction);
    }
  });
  if (own_lane() != 0 || view.from_audio || !products) return;
  if (options.objective == Objective::sigmoid) {
    const double factor = pair_factor(view);  // which the sums leave out
    view.sum(kLoss, i) += loss;
    view.sum(kByLogit, i) += factor > 0 ? by_logit / factor : 0;
    view.sum(kByBias, i) += factor > 0 ? by_bias / factor : 0;
  } else {
    view.sum(kByLogit, i) += by_logit;
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    spoil(const __grid_constant__ View<T> view, T* gradient) {
  if (view.own.totals[kNotFinite] + view.others.totals[kNotFinite] == 0) return;
  const int64_t n = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (n < view.self.count * view.self.dim) gradient[n] = static_cast<T>(NAN);
}

// --- The results --------------------------------------------------------------------------------

template <typename T>
struct Finish {
  const View<T>& view;
  const CudaOptions& options;
  const CudaOutputs<T>& out;

  __device__ double both(int which) const {
    return view.own.totals[which] + view.others.totals[which];
  }

  __device__ double by_distance() const {
    const double loss = negative_factor(options, view) * both(kLoss);
    if (options.objective == Objective::triplet) return loss;
    return loss +
           0.5 * inverse_or_zero(view.own.totals[kCountOf]) * view.own.totals[kPositiveSquares];
  }
  __device__ double by_product(double* by_temperature, double* by_bias) const {
    const double* own = view.own.totals;
    if (options.objective == Objective::infonce) {
      *by_temperature = -own[kByLogit] / *options.temperature;
      return row_weight(options, false, own) * own[kLoss] +
             row_weight(options, true, view.others.totals) * view.others.totals[kLoss];
    }
    const double factor = pair_factor(view);
    *by_temperature = -factor * own[kByLogit] / *options.temperature;
    *by_bias = factor * own[kByBias];
    return factor * own[kLoss];
  }

  __device__ void write() const {
    double by_temperature = 0, by_bias = 0;
    double loss = options.by_distance() ? by_distance() : by_product(&by_temperature, &by_bias);
    if (both(kNotFinite) > 0) loss = by_temperature = by_bias = NAN;
    *out.loss = static_cast<T>(loss);
    *out.by_temperature = by_temperature;
    *out.by_bias = by_bias;
    double* statistics = out.statistics;
    for (int kind = 0; kind < kKinds; ++kind) {
      statistics[kind] = both(kCountOf + kind);
      statistics[kKinds + kind] = both(kDistanceOf + kind);
    }
    const bool all = options.mining == Mining::all;
    const Negatives negatives(options, view.own.totals);
    const double anchors =
        options.by_distance() ? options.video_anchors + options.audio_anchors : 1;
    statistics[8] = options.by_distance() ? negative_terms(options, view) : negatives.count;
    statistics[9] = options.by_distance() ? both(kActive) : 0;
    statistics[10] = all ? anchors * negatives.weight : both(kWeight);
    statistics[11] = both(kPresent);
    statistics[12] = both(kNoNegative);
  }
};

template <typename T>
__global__ void finish(const __grid_constant__ View<T> view,
                       const __grid_constant__ CudaOptions options,
                       const __grid_constant__ CudaOutputs<T> out) {
  Finish<T>{view, options, out}.write();
}

LaunchShape thread_per(int64_t count) {
  return {dim3(static_cast<unsigned>((count + kThreads - 1) / kThreads)), kThreads, 0};
}

}  // namespace

template <typename T>
void inspect_rows(const View<T>& view, const CudaOptions& options, void* stream) {
  if (view.self.count == 0) return;
  launch("sync_loss: rows", inspect<T>, warp_per_row(view.self), stream, view, options);
}
template <typename T>
void scan_rows(const View<T>& view, const CudaOptions& options, void* stream) {
  if (view.self.count == 0) return;
  launch("sync_loss: pairs", scan<T>, warp_per_row(view.self), stream, view, options);
}
template <typename T>
void add_up_rows(const View<T>& view, void* stream) {
  launch("sync_loss: totals", add_up<T>, {kRowSums, kThreads, kSumBytes}, stream, view);
}
template <typename T>
void mined_terms(const View<T>& view, const CudaOptions& options, const int64_t* negative,
                 void* stream) {
  if (view.self.count == 0) return;
  launch("sync_loss: mined terms", terms_of_mined<T>, thread_per(view.self.count), stream, view,
         options, negative);
}
template <typename T>
void farthest_slopes(const View<T>& view, const CudaOptions& options, void* stream) {
  if (view.self.count == 0) return;
  launch("sync_loss: farthest", slopes_of_farthest<T>, thread_per(view.self.count), stream, view,
         options);
}
template <typename T>
void finish_softmax(const View<T>& view, const CudaOptions& options, void* stream) {
  if (view.self.count == 0) return;
  launch("sync_loss: softmax terms", softmax_terms<T>, warp_per_row(view.self), stream, view,
         options);
}
template <typename T>
void add_positives(const View<T>& view, const CudaOptions& options, T* gradient, void* stream) {
  if (view.self.count == 0) return;
  launch("sync_loss: positives", positives<T>, warp_per_row(view.self), stream, view, options,
         gradient);
}
template <typename T>
void spoil_gradient(const View<T>& view, T* gradient, void* stream) {
  const int64_t elements = view.self.count * view.self.dim;
  if (elements == 0) return;
  launch("sync_loss: spoil", spoil<T>, thread_per(elements), stream, view, gradient);
}
template <typename T>
void finish_loss(const View<T>& view, const CudaOptions& options, const CudaOutputs<T>& out,
                 void* stream) {
  launch("sync_loss: finish", finish<T>, {1, 1, 0}, stream, view, options, out);
}

#define AVTS_INSTANTIATE(T)                                                             \
  template void inspect_rows(const View<T>&, const CudaOptions&, void*);                \
  template void scan_rows(const View<T>&, const CudaOptions&, void*);                   \
  template void add_up_rows(const View<T>&, void*);                                     \
  template void mined_terms(const View<T>&, const CudaOptions&, const int64_t*, void*); \
  template void farthest_slopes(const View<T>&, const CudaOptions&, void*);             \
  template void finish_softmax(const View<T>&, const CudaOptions&, void*);              \
  template void add_positives(const View<T>&, const CudaOptions&, T*, void*);           \
  template void spoil_gradient(const View<T>&, T*, void*);                              \
  template void finish_loss(const View<T>&, const CudaOptions&, const CudaOutputs<T>&, void*);
AVTS_INSTANTIATE(float)
AVTS_INSTANTIATE(double)
#undef AVTS_INSTANTIATE

}  // namespace avts::sync_loss
