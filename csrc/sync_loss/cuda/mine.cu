#include "sync_loss/cuda/kernels.h"
#include "sync_loss/cuda/tile.h"
#include "sync_loss/draw.h"

namespace avts::sync_loss {
namespace {

constexpr int kGroup = 8;                    // lanes that measure one candidate
constexpr int kGroups = kWarpSize / kGroup;  // candidates that a warp measures at a time

// The block's shared memory: the tile's, whose slopes hold squared distances, and what each row
// still lets in.
template <typename T>
struct MiningMemory {
  TileMemory<T> tile;
  T limit[kTile];  // no squared distance above it can be among the k nearest
  T floor[kTile];  // every one below it is too near; semi-hard only
  double measured[kWarps][kGroups];
};

// A bound on the relative error of a squared distance in T that is a sum of `dim` squares of
// differences, twice over; `kAbsolute` times dim is what underflow can take from it.
template <typename T>
__device__ double relative_error(int64_t dim) {
  return Limits<T>::kEpsilon * static_cast<double>(dim + 8);
}
template <typename T>
constexpr double kAbsolute = sizeof(T) == sizeof(float) ? 0x1p-124 : 0x1p-1000;

// Above everything that T makes of a squared distance that is exactly `d2` or less.
template <typename T>
__device__ T bound_of(double d2, int64_t dim) {
  const double bound = d2 * (1 + relative_error<T>(dim)) + kAbsolute<T> * static_cast<double>(dim);
  // Rounding to T may lower it; beyond T's range it becomes infinite, as squared distances do.
  return static_cast<T>(bound * (1 + 4 * Limits<T>::kEpsilon));
}

// One warp's work on the list of one row, the best k first: by key, equals by the lower row.
template <typename T>
struct List {
  const View<T>& view;
  const CudaOptions& options;
  int64_t row;
  int64_t* negative;  // (k), -1: none yet
  double *key, *d2;

  __device__ double floor() const {
    if (options.mining != Mining::semi_hard) return -1;
    // Without a positive none is beyond it.
    return view.own.far[row] < 0 ? Limits<double>::kInfinity : view.own.far_d2[row];
  }

  // A NaN is nearest of all.
  __device__ double key_of(int64_t j, double distance2) const {
    if (distance2 != distance2) return -Limits<double>::kInfinity;
    if (options.mining != Mining::distance_weighted) return distance2;
    return race_key(options.seed, row, j, view.from_audio, distance2, view.self.dim);
  }

  __device__ bool before(double a, int64_t a_row, int64_t n) const {
    return negative[n] < 0 || a < key[n] || (a == key[n] && a_row < negative[n]);
  }

  __device__ void offer(int64_t j, double distance2) const {
    if (distance2 <= floor()) return;
    const double found = key_of(j, distance2);
    int64_t n = options.k - 1;
    if (!before(found, j, n)) return;
    for (; n > 0 && before(found, j, n - 1); --n) {
      negative[n] = negative[n - 1];
      key[n] = key[n - 1];
      d2[n] = d2[n - 1];
    }
    negative[n] = j;
    key[n] = found;
    d2[n] = distance2;
  }

  // What squared distances in T are worth measuring from now on.
  __device__ T limit() const {
    if (options.mining == Mining::distance_weighted || negative[options.k - 1] < 0) {
      return Limits<T>::kInfinity;
    }
    return bound_of<T>(key[options.k - 1], view.self.dim);
  }
};

// Squared distances of the tile into memory.slopes, [column][row]; -1 for pairs that are not
// admitted.
template <typename T>
__device__ void measure_tile(const CudaOptions& options, const Tile<T, Form::difference>& tile) {
  T value[kMicro][kMicro];
  tile.values(value);
  __syncthreads();
#pragma unroll
  for (int r = 0; r < kMicro; ++r) {
#pragma unroll
    for (int c = 0; c < kMicro; ++c) {
      const Kind kind = tile.exists(r, c)
                            ? kind_of(options.rule, tile.view, tile.row(r), tile.column(c))
                            : kIgnored;
      const bool admitted = kind > kPositive && options.rule.weight[kind] != 0;
      tile.keep_slope(r, c, admitted ? value[r][c] : T(-1));
    }
  }
  __syncthreads();
}

// Offers the warp's candidates, a mask of the tile's columns, to the list of a row.
template <typename T>
__device__ void offer_candidates(const List<T>& list, uint64_t candidates, int64_t first_column,
                                 double* measured) {
  const int lane = threadIdx.x % kWarpSize, group = lane / kGroup;
  while (candidates) {
    int64_t column[kGroups];
    for (int g = 0; g < kGroups; ++g) {
      const int low = __ffs(static_cast<int>(candidates));
      const int bit = low ? low - 1 : 31 + __ffs(static_cast<int>(candidates >> 32));
      column[g] = candidates ? first_column + bit : -1;
      candidates &= candidates - 1;
    }
    const int64_t own = column[group] < 0 ? column[0] : column[group];
    const double d2 = exact_squared_distance<kGroup>(list.view, list.row, own);
    if (lane % kGroup == 0) measured[group] = d2;
    __syncwarp();
    if (lane == 0) {
      for (int g = 0; g < kGroups && column[g] >= 0; ++g) list.offer(column[g], measured[g]);
    }
    __syncwarp();
  }
}

template <typename T>
__global__ void __launch_bounds__(kTileThreads, kBlocks<T>)
    mine_rows(const __grid_constant__ View<T> view, const __grid_constant__ CudaOptions options,
              int64_t* negative) {
  MiningMemory<T>& memory = *dynamic_shared<MiningMemory<T>>();
  const int warp = threadIdx.x / kWarpSize, lane = threadIdx.x % kWarpSize;
  Tile<T, Form::difference> tile{
      view, memory.tile, {}, static_cast<int64_t>(blockIdx.x) * kTile, 0};
  const auto list_of = [&](int r) {
    const int64_t i = tile.first_row + r, at = i * options.k;
    return List<T>{
        view, options, i, negative + at, view.own.mined_key + at, view.own.mined_d2 + at};
  };
  for (int r = warp; r < kTile && tile.first_row + r < view.self.count; r += kWarps) {
    const List<T> list = list_of(r);
    for (int64_t n = lane; n < options.k; n += kWarpSize) list.negative[n] = -1;
    if (lane != 0) continue;
    memory.limit[r] = Limits<T>::kInfinity;
    const double floor = list.floor();
    const double lower = floor * (1 - 2 * relative_error<T>(view.self.dim)) -
                         kAbsolute<T> * static_cast<double>(view.self.dim);
    memory.floor[r] =
        floor < Limits<double>::kInfinity ? static_cast<T>(lower) : Limits<T>::kInfinity;
  }
  for (; tile.first_column < view.other.count; tile.first_column += kTile) {
    measure_tile(options, tile);
    for (int r = warp; r < kTile && tile.first_row + r < view.self.count; r += kWarps) {
      const T limit = memory.limit[r], floor = memory.floor[r];
      const auto wanted = [&](int c) {  // a NaN is
        const T d2 = memory.tile.slopes[c][r];
        return !(d2 < 0) && !(d2 > limit) && !(d2 < floor);
      };
      const uint64_t low = __ballot_sync(kWholeWarp, wanted(lane));
      const uint64_t high = __ballot_sync(kWholeWarp, wanted(lane + kWarpSize));
      if (const uint64_t candidates = high << kWarpSize | low) {
        const List<T> list = list_of(r);
        offer_candidates(list, candidates, tile.first_column, memory.measured[warp]);
        if (lane == 0) memory.limit[r] = list.limit();
        __syncwarp();
      }
    }
  }
}

}  // namespace

template <typename T>
void mine(const View<T>& view, const CudaOptions& options, int64_t* negative, void* stream) {
  if (view.self.count == 0) return;
  LaunchShape shape = block_per_tile_row(view.self);
  shape.shared_bytes = sizeof(MiningMemory<T>);
  launch("sync_loss: mining", mine_rows<T>, shape, stream, view, options, negative);
}

template void mine(const View<float>&, const CudaOptions&, int64_t*, void*);
template void mine(const View<double>&, const CudaOptions&, int64_t*, void*);

}  // namespace avts::sync_loss
