#include "sync_loss/cuda/kernels.h"

namespace avts::sync_loss {
namespace {

constexpr int kRows = 64;  // that a block owns

// One link as seen from its owner.
struct Link {
  int64_t row, other;
  double slope;
};

__device__ Link link_of(const Links& links, int64_t n, bool owner_is_own) {
  const int64_t own = links.own ? links.own[n * links.stride] : n / links.width;
  const int64_t other = links.other[n * links.stride];
  const bool exists = n < links.count && other >= 0 && links.slope[n] != 0;
  if (!exists) return {-1, -1, 0};
  return {owner_is_own ? own : other, owner_is_own ? other : own, links.slope[n]};
}

// Every block reads all links, kThreads at a time, and takes those of its rows; a warp adds those
// of every eighth row, one after the other.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    gather_links(const Side<T> owner, const Side<T> others, const Links links, bool owner_is_own,
                 T* gradient) {
  Link* batch = dynamic_shared<Link>();
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kRows;
  const int warp = threadIdx.x / kWarpSize, lane = threadIdx.x % kWarpSize;
  for (int64_t begin = 0; begin < links.count; begin += kThreads) {
    const int64_t n = begin + threadIdx.x;
    batch[threadIdx.x] = n < links.count ? link_of(links, n, owner_is_own) : Link{-1, -1, 0};
    __syncthreads();
    for (unsigned k = 0; k < kThreads; ++k) {
      const Link link = batch[k];
      if (link.row < first || link.row >= first + kRows || link.row % kWarps != warp) continue;
      const T *own = owner.rows + link.row * owner.dim,
              *other = others.rows + link.other * owner.dim;
      for (int64_t d = lane; d < owner.dim; d += kWarpSize) {
        const double difference = static_cast<double>(own[d]) - static_cast<double>(other[d]);
        gradient[link.row * owner.dim + d] += static_cast<T>(link.slope * difference);
      }
    }
    __syncthreads();
  }
}

// --- Pairs that the caller has chosen -----------------------------------------------------------

// With `scale` null the terms of the loss, else their slopes, scaled.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    measure_pairs(const Side<T> video, const Side<T> audio, const int64_t* pairs,
                  const double* labels, int64_t count, double margin, const T* scale,
                  double* terms) {
  const int64_t p = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarpSize;
  if (p >= count) return;
  const int64_t i = pairs[2 * p], j = pairs[2 * p + 1];
  AVTS_DEVICE_CHECK(i >= 0 && i < video.count, "pairs[:, 0] names no video row");
  AVTS_DEVICE_CHECK(j >= 0 && j < audio.count, "pairs[:, 1] names no audio row");
  const View<T> view{video, audio, {}, {}, false};
  const double d2 = exact_squared_distance<kWarpSize>(view, i, j), d = std::sqrt(d2);
  if (threadIdx.x % kWarpSize != 0) return;
  const double gap = margin - d, y = labels[p], share = 1 / static_cast<double>(count);
  if (!scale) {
    terms[p] = share * (y * d2 + (1 - y) * hinge(true, gap));
  } else {
    // At d = 0 a hinge has no derivative; zero stands for it.
    const double hinge_slope = d == 0 ? 0 : -hinge_derivative(true, gap) / d;
    terms[p] = share * static_cast<double>(*scale) * (2 * y + (1 - y) * hinge_slope);
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    add_up_terms(const double* terms, int64_t count, T* loss) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += kThreads) sum += terms[i];
  sum = block_sum(sum);
  if (threadIdx.x == 0) *loss = static_cast<T>(sum);
}

template <typename T>
void launch_measure(const Side<T>& video, const Side<T>& audio, const int64_t* pairs,
                    const double* labels, int64_t count, double margin, const T* scale,
                    double* terms, void* stream) {
  if (count == 0) return;
  const auto blocks = static_cast<unsigned>((count + kWarps - 1) / kWarps);
  launch("sync_pair", measure_pairs<T>, {blocks, kThreads, 0}, stream, video, audio, pairs, labels,
         count, margin, scale, terms);
}

}  // namespace

template <typename T>
void add_link_gradient(const Side<T>& owner, const Side<T>& other, const Links& links,
                       bool owner_is_own, T* gradient, void* stream) {
  if (owner.count == 0 || links.count == 0) return;
  const auto blocks = static_cast<unsigned>((owner.count + kRows - 1) / kRows);
  launch("sync_loss: links", gather_links<T>, {blocks, kThreads, kThreads * sizeof(Link)}, stream,
         owner, other, links, owner_is_own, gradient);
}

template <typename T>
void pair_forward_cuda(const Side<T>& video, const Side<T>& audio, const int64_t* pairs,
                       const double* labels, int64_t pair_count, double margin, double* terms,
                       void* stream, T* loss) {
  launch_measure<T>(video, audio, pairs, labels, pair_count, margin, nullptr, terms, stream);
  launch("sync_pair", add_up_terms<T>, {1, kThreads, kSumBytes}, stream, terms, pair_count, loss);
}

template <typename T>
void pair_backward_cuda(const Side<T>& video, const Side<T>& audio, const int64_t* pairs,
                        const double* labels, int64_t pair_count, double margin, const T* scale,
                        double* terms, void* stream, T* video_gradient, T* audio_gradient) {
  launch_measure(video, audio, pairs, labels, pair_count, margin, scale, terms, stream);
  const Links links{pair_count, 1, pairs, pairs + 1, 2, terms};
  add_link_gradient(video, audio, links, true, video_gradient, stream);
  add_link_gradient(audio, video, links, false, audio_gradient, stream);
}

#define AVTS_INSTANTIATE(T)                                                                       \
  template void add_link_gradient(const Side<T>&, const Side<T>&, const Links&, bool, T*, void*); \
  template void pair_forward_cuda(const Side<T>&, const Side<T>&, const int64_t*, const double*,  \
                                  int64_t, double, double*, void*, T*);                           \
  template void pair_backward_cuda(const Side<T>&, const Side<T>&, const int64_t*, const double*, \
                                   int64_t, double, const T*, double*, void*, T*, T*);
AVTS_INSTANTIATE(float)
AVTS_INSTANTIATE(double)
#undef AVTS_INSTANTIATE

}  // namespace avts::sync_loss
