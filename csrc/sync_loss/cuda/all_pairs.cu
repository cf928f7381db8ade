#include "sync_loss/cuda/kernels.h"
#include "sync_loss/cuda/tile.h"

namespace avts::sync_loss {
namespace {

// A sum of T over a tile's columns, of doubles over tiles.
template <typename T>
struct Sum {
  T part = 0;
  double whole = 0;
  __device__ void add(T x) { part += x; }
  __device__ void flush() {
    whole += static_cast<double>(part);
    part = 0;
  }
};

// What the kernels' terms have in common. Each has a Row of sums, and
//   own(i), others(j)  what the term needs of a row of either side
//   add(row, own, other, kind, weight, value)  a negative; returns its slope for the gradient
//   finish(...)        writes the rows' sums
template <typename T>
struct TermsOf {
  const CudaOptions& options;
  const View<T>& view;
};

template <typename T>
struct HingeTerms : TermsOf<T> {
  static constexpr Form kForm = Form::difference;
  struct Row {
    Sum<T> loss, active, pull;
    __device__ void flush() { loss.flush(), active.flush(), pull.flush(); }
  };
  T factor;

  __device__ HingeTerms(const CudaOptions& options, const View<T>& view)
      : TermsOf<T>{options, view}, factor(static_cast<T>(negative_factor(options, view))) {}

  __device__ T own(int64_t i) const {
    const View<T>& view = this->view;
    return static_cast<T>(
        reach_of(this->options, this->options.anchors(view.from_audio), view.own, i));
  }
  __device__ T others(int64_t j) const {
    const View<T>& view = this->view;
    return static_cast<T>(
        reach_of(this->options, this->options.anchors(!view.from_audio), view.others, j));
  }
  __device__ T add(Row& row, T own_reach, T other_reach, Kind, T weight, T d) const {
    const bool squared = this->options.squared;
    const T own_slope = weight * hinge_derivative(squared, own_reach - d);
    row.loss.add(weight * hinge(squared, own_reach - d));
    row.active.add(own_reach > d ? 1 : 0);
    row.pull.add(own_slope);
    const T slope = own_slope + weight * hinge_derivative(squared, other_reach - d);
    return d == 0 ? T(0) : -factor * slope / d;  // at d = 0 there is none: zero stands for it
  }
  template <typename Write>
  __device__ void finish(const Row (&rows)[kMicro], const Write& write) const {
    write(kLoss, rows, &Row::loss);
    write(kActive, rows, &Row::active);
    write(kPull, rows, &Row::pull);
  }
};

template <typename T>
struct SoftmaxSlopes : TermsOf<T> {
  static constexpr Form kForm = Form::product;
  struct Row {
    Sum<T> by_logit;
    __device__ void flush() { by_logit.flush(); }
  };
  double own_weight, other_weight;
  T scale;

  __device__ SoftmaxSlopes(const CudaOptions& options, const View<T>& view)
      : TermsOf<T>{options, view},
        own_weight(row_weight(options, view.from_audio, view.own.totals)),
        other_weight(row_weight(options, !view.from_audio, view.others.totals)),
        scale(static_cast<T>(1 / *options.temperature)) {}

  // What the gradient's exponentials subtract from the logits, the row's weight included.
  __device__ static T reference(double weight, double positives, double log_sum) {
    constexpr double kNothing = 1e30;  // exp(-kNothing) is zero
    return static_cast<T>(weight > 0 && positives > 0 ? log_sum - std::log(weight) : kNothing);
  }
  __device__ T own(int64_t i) const {
    return reference(own_weight, this->view.sum(kPositives, i), this->view.sum(kLogSum, i));
  }
  __device__ T others(int64_t j) const {
    return reference(other_weight, this->view.other_sum(kPositives, j),
                     this->view.other_sum(kLogSum, j));
  }
  __device__ T add(Row& row, T own, T other, Kind, T weight, T product) const {
    const T logit = product * scale;
    const T slope = weight * (std::exp(logit - own) + std::exp(logit - other));
    row.by_logit.add(slope * logit);
    return slope * scale;
  }
  template <typename Write>
  __device__ void finish(const Row (&rows)[kMicro], const Write& write) const {
    if (!this->view.from_audio) write(kByLogit, rows, &Row::by_logit);
  }
};

template <typename T>
struct SigmoidTerms : TermsOf<T> {
  static constexpr Form kForm = Form::product;
  struct Row {
    Sum<T> loss, by_logit, by_bias;
    __device__ void flush() { loss.flush(), by_logit.flush(), by_bias.flush(); }
  };
  T scale, bias, factor;

  __device__ SigmoidTerms(const CudaOptions& options, const View<T>& view)
      : TermsOf<T>{options, view},
        scale(static_cast<T>(1 / *options.temperature)),
        bias(static_cast<T>(*options.bias)),
        factor(static_cast<T>(pair_factor(view))) {}

  __device__ T own(int64_t) const { return 0; }
  __device__ T others(int64_t) const { return 0; }
  __device__ T add(Row& row, T, T, Kind, T weight, T product) const {
    const T logit = product * scale, slope = weight * sigmoid(logit + bias);
    row.loss.add(weight * softplus(logit + bias));
    row.by_logit.add(slope * logit);
    row.by_bias.add(slope);
    return factor * slope * scale;
  }
  template <typename Write>
  __device__ void finish(const Row (&rows)[kMicro], const Write& write) const {
    if (this->view.from_audio) return;  // pairs are counted once
    write(kLoss, rows, &Row::loss);
    write(kByLogit, rows, &Row::by_logit);
    write(kByBias, rows, &Row::by_bias);
  }
};

template <typename T>
struct DistanceSums : TermsOf<T> {
  static constexpr Form kForm = Form::difference;
  struct Row {
    Sum<T> easy, hard, super_hard;
    __device__ void flush() { easy.flush(), hard.flush(), super_hard.flush(); }
  };
  __device__ DistanceSums(const CudaOptions& options, const View<T>& view)
      : TermsOf<T>{options, view} {}

  __device__ T own(int64_t) const { return 0; }
  __device__ T others(int64_t) const { return 0; }
  __device__ T add(Row& row, T, T, Kind kind, T, T d) const {
    if (kind == kEasy) row.easy.add(d);
    if (kind == kHard) row.hard.add(d);
    if (kind == kSuperHard) row.super_hard.add(d);
    return 0;
  }
  template <typename Write>
  __device__ void finish(const Row (&rows)[kMicro], const Write& write) const {
    write(static_cast<RowSum>(kDistanceOf + kEasy), rows, &Row::easy);
    write(static_cast<RowSum>(kDistanceOf + kHard), rows, &Row::hard);
    write(static_cast<RowSum>(kDistanceOf + kSuperHard), rows, &Row::super_hard);
  }
};

template <typename T, typename Terms>
__global__ void __launch_bounds__(kTileThreads, kBlocks<T>)
    meet_all(const __grid_constant__ View<T> view, const __grid_constant__ CudaOptions options,
             T* gradient) {
  TileMemory<T>& memory = *dynamic_shared<TileMemory<T>>();
  const Terms terms(options, view);
  Tile<T, Terms::kForm> tile{view, memory, {}, static_cast<int64_t>(blockIdx.x) * kTile, 0};
  typename Terms::Row rows[kMicro];
  T own[kMicro];
#pragma unroll
  for (int r = 0; r < kMicro; ++r) {
    own[r] = tile.row(r) < view.self.count ? terms.own(tile.row(r)) : T(0);
  }
  for (; tile.first_column < view.other.count; tile.first_column += kTile) {
    T value[kMicro][kMicro];
    tile.values(value);
    if (Terms::kForm == Form::difference) tile.to_distances(value);
#pragma unroll
    for (int c = 0; c < kMicro; ++c) {
      const bool column_exists = tile.column(c) < view.other.count;
      const T other = column_exists ? terms.others(tile.column(c)) : T(0);
#pragma unroll
      for (int r = 0; r < kMicro; ++r) {
        const Kind kind =
            tile.exists(r, c) ? kind_of(options.rule, view, tile.row(r), tile.column(c)) : kIgnored;
        const double weight = kind > kPositive ? options.rule.weight[kind] : 0;
        T slope = 0;
        if (weight != 0) {
          slope = terms.add(rows[r], own[r], other, kind, static_cast<T>(weight), value[r][c]);
        }
        if (gradient) tile.keep_slope(r, c, slope);
      }
    }
    for (auto& row : rows) row.flush();
    if (gradient) tile.add_gradient(gradient);
  }
  using Row = typename Terms::Row;
  terms.finish(rows, [&](RowSum which, const Row(&sums)[kMicro], Sum<T> Row::* member) {
    double wholes[kMicro];
#pragma unroll
    for (int r = 0; r < kMicro; ++r) wholes[r] = (sums[r].*member).whole;
    row_sums(memory, tile.place, wholes);
    if (tile.place.column != 0) return;
#pragma unroll
    for (int r = 0; r < kMicro; ++r) {
      if (tile.row(r) < view.self.count) view.sum(which, tile.row(r)) += wholes[r];
    }
  });
}

// Logarithm of the sum of w exp(logit) over each row's negatives; -inf where there is none.
template <typename T>
__global__ void __launch_bounds__(kTileThreads, kBlocks<T>)
    add_exponentials(const __grid_constant__ View<T> view,
                     const __grid_constant__ CudaOptions options) {
  constexpr double kNone = -Limits<double>::kInfinity;
  TileMemory<T>& memory = *dynamic_shared<TileMemory<T>>();
  Tile<T, Form::product> tile{view, memory, {}, static_cast<int64_t>(blockIdx.x) * kTile, 0};
  const T scale = static_cast<T>(1 / *options.temperature);
  T peak[kMicro];
  double sum[kMicro] = {};
  for (T& x : peak) x = -Limits<T>::kInfinity;
  for (; tile.first_column < view.other.count; tile.first_column += kTile) {
    T value[kMicro][kMicro];
    tile.values(value);
#pragma unroll
    for (int r = 0; r < kMicro; ++r) {
      T logit[kMicro], weight[kMicro], greatest = peak[r];
#pragma unroll
      for (int c = 0; c < kMicro; ++c) {
        const Kind kind =
            tile.exists(r, c) ? kind_of(options.rule, view, tile.row(r), tile.column(c)) : kIgnored;
        weight[c] = kind > kPositive ? static_cast<T>(options.rule.weight[kind]) : T(0);
        logit[c] = value[r][c] * scale;
        if (weight[c] > 0 && logit[c] > greatest) greatest = logit[c];
      }
      T part = 0;
#pragma unroll
      for (int c = 0; c < kMicro; ++c) {
        if (weight[c] > 0) part += weight[c] * std::exp(logit[c] - greatest);
      }
      if (greatest > peak[r]) sum[r] *= static_cast<double>(std::exp(peak[r] - greatest));
      sum[r] += static_cast<double>(part);
      peak[r] = greatest;
    }
  }
  // Over the threads of a row: its peak, then the sum by that peak.
  double* peaks = reinterpret_cast<double*>(memory.slopes);  // (kTile, kSide)
  __syncthreads();
#pragma unroll
  for (int r = 0; r < kMicro; ++r) {
    peaks[(tile.place.row + r) * kSide + tile.place.column / kMicro] =
        sum[r] > 0 ? static_cast<double>(peak[r]) : kNone;
  }
  __syncthreads();
  double greatest[kMicro];
#pragma unroll
  for (int r = 0; r < kMicro; ++r) {
    greatest[r] = kNone;
    for (int n = 0; n < kSide; ++n) {
      const double other = peaks[(tile.place.row + r) * kSide + n];
      greatest[r] = other > greatest[r] ? other : greatest[r];
    }
    sum[r] = sum[r] > 0 ? sum[r] * std::exp(static_cast<double>(peak[r]) - greatest[r]) : 0;
  }
  row_sums(memory, tile.place, sum);
  if (tile.place.column != 0) return;
#pragma unroll
  for (int r = 0; r < kMicro; ++r) {
    if (tile.row(r) >= view.self.count) continue;
    view.sum(kLogSum, tile.row(r)) = sum[r] > 0 ? greatest[r] + std::log(sum[r]) : kNone;
  }
}

template <typename Terms, typename T>
void launch_terms(const char* name, const View<T>& view, const CudaOptions& options, T* gradient,
                  void* stream) {
  if (view.self.count == 0) return;
  launch(name, meet_all<T, Terms>, block_per_tile_row(view.self), stream, view, options, gradient);
}

}  // namespace

template <typename T>
void all_hinges(const View<T>& view, const CudaOptions& options, T* gradient, void* stream) {
  launch_terms<HingeTerms<T>>("sync_loss: hinges", view, options, gradient, stream);
}
template <typename T>
void softmax_sums(const View<T>& view, const CudaOptions& options, void* stream) {
  if (view.self.count == 0) return;
  launch("sync_loss: exponentials", add_exponentials<T>, block_per_tile_row(view.self), stream,
         view, options);
}
template <typename T>
void softmax_slopes(const View<T>& view, const CudaOptions& options, T* gradient, void* stream) {
  launch_terms<SoftmaxSlopes<T>>("sync_loss: softmax", view, options, gradient, stream);
}
template <typename T>
void all_sigmoids(const View<T>& view, const CudaOptions& options, T* gradient, void* stream) {
  launch_terms<SigmoidTerms<T>>("sync_loss: sigmoids", view, options, gradient, stream);
}
template <typename T>
void distance_sums(const View<T>& view, const CudaOptions& options, void* stream) {
  launch_terms<DistanceSums<T>>("sync_loss: distances", view, options, static_cast<T*>(nullptr),
                                stream);
}

#define AVTS_INSTANTIATE(T)                                                    \
  template void all_hinges(const View<T>&, const CudaOptions&, T*, void*);     \
  template void softmax_sums(const View<T>&, const CudaOptions&, void*);       \
  template void softmax_slopes(const View<T>&, const CudaOptions&, T*, void*); \
  template void all_sigmoids(const View<T>&, const CudaOptions&, T*, void*);   \
  template void distance_sums(const View<T>&, const CudaOptions&, void*);
AVTS_INSTANTIATE(float)
AVTS_INSTANTIATE(double)
#undef AVTS_INSTANTIATE

}  // namespace avts::sync_loss
