// Tiles of pairs: inner products or squared differences of 64 x 64 rows, and the gradient of the
// owned rows from the derivatives by them.
#pragma once

#include "sync_loss/cuda/batch.h"

namespace avts::sync_loss {

constexpr int kTile = 64;  // rows of either side
constexpr int kMicro = 4;  // of a thread, in either direction
constexpr int kSide = kTile / kMicro;
constexpr int kTileThreads = kSide * kSide;
constexpr int kDepth = 16;         // elements of a row at a time
constexpr int kPitch = kTile + 4;  // keeps rows aligned to 16 bytes, and apart in their banks

// Blocks that a multiprocessor is to hold, which bounds the registers of a thread.
template <typename T>
constexpr int kBlocks = sizeof(T) == sizeof(float) ? 2 : 1;

// Differences keep their digits where products of nearly equal rows lose all, for twice the work.
enum class Form { product, difference };

// The block's shared memory.
template <typename T>
struct TileMemory {
  static constexpr int kColumns =
      sizeof(T) == sizeof(float) ? 64 : 16;  // of the gradient at a time
  T self[kDepth][kPitch], other[kDepth][kPitch];
  T slopes[kTile][kPitch];  // [column][row]: of the mean loss by the pair's value
  T other_part[kTile][kColumns + 4];
};

// Where a thread stands: its rows and columns are consecutive.
struct Place {
  int row = static_cast<int>(threadIdx.x) / kSide * kMicro;
  int column = static_cast<int>(threadIdx.x) % kSide * kMicro;
};

template <typename T>
__device__ T element(const Side<T>& side, int64_t row, int64_t d) {
  const bool exists = row < side.count && d < side.dim && !is_silent(side, row);
  return exists ? side.rows[row * side.dim + d] : T(0);
}

// A pair of rows so long or so close that T's squares overflow or vanish.
template <typename T>
__device__ T distance_in_double(const View<T>& view, int64_t i, int64_t j) {
  double sum = 0;
  for (int64_t d = 0; d < view.self.dim; ++d) {
    const double difference = static_cast<double>(element(view.self, i, d)) -
                              static_cast<double>(element(view.other, j, d));
    sum += difference * difference;
  }
  return static_cast<T>(std::sqrt(sum));
}

template <typename T, Form kForm>
struct Tile {
  const View<T>& view;
  TileMemory<T>& memory;
  Place place;
  int64_t first_row, first_column;

  __device__ int64_t row(int r) const { return first_row + place.row + r; }
  __device__ int64_t column(int c) const { return first_column + place.column + c; }
  __device__ bool exists(int r, int c) const {
    return row(r) < view.self.count && column(c) < view.other.count;
  }

  // Products, or squared distances.
  __device__ void values(T (&sum)[kMicro][kMicro]) const {
    for (auto& row : sum) {
      for (T& x : row) x = 0;
    }
    for (int64_t d = 0; d < view.self.dim; d += kDepth) {
      __syncthreads();
      for (int e = threadIdx.x; e < kTile * kDepth; e += kTileThreads) {
        const int r = e / kDepth, k = e % kDepth;
        memory.self[k][r] = element(view.self, first_row + r, d + k);
        memory.other[k][r] = element(view.other, first_column + r, d + k);
      }
      __syncthreads();
      for (int k = 0; k < kDepth; ++k) add_products(k, sum);
    }
  }

  // Euclidean distances from squared ones, also where those are out of T's range.
  __device__ void to_distances(T (&value)[kMicro][kMicro]) const {
    const T least =
        Limits<T>::kLeastNormal * (T(1) / Limits<T>::kEpsilon) * static_cast<T>(view.self.dim);
#pragma unroll
    for (int r = 0; r < kMicro; ++r) {
#pragma unroll
      for (int c = 0; c < kMicro; ++c) {
        const bool in_range = value[r][c] > least && value[r][c] <= Limits<T>::kGreatest;
        value[r][c] = in_range || !exists(r, c) ? std::sqrt(value[r][c])
                                                : distance_in_double(view, row(r), column(c));
      }
    }
  }

  __device__ void keep_slope(int r, int c, T slope) const {
    memory.slopes[place.column + c][place.row + r] = slope;
  }

  // Adds slopes x other rows, or slopes x differences of rows, to the gradient of the owned rows.
  __device__ void add_gradient(T* gradient) const {
    constexpr int kColumns = TileMemory<T>::kColumns, kWidth = kColumns / kSide;
    const int column = place.column / kMicro * kWidth;
    for (int64_t d = 0; d < view.self.dim; d += kColumns) {
      __syncthreads();
      for (int e = threadIdx.x; e < kTile * kColumns; e += kTileThreads) {
        const int r = e / kColumns, k = e % kColumns;
        memory.other_part[r][k] = element(view.other, first_column + r, d + k);
      }
      __syncthreads();
      T own[kMicro][kWidth], sum[kMicro][kWidth] = {};
#pragma unroll
      for (int r = 0; r < kMicro; ++r) {
#pragma unroll
        for (int k = 0; k < kWidth; ++k) own[r][k] = element(view.self, row(r), d + column + k);
      }
      for (int j = 0; j < kTile; ++j) {
#pragma unroll
        for (int r = 0; r < kMicro; ++r) {
          const T slope = memory.slopes[j][place.row + r];
#pragma unroll
          for (int k = 0; k < kWidth; ++k) {
            const T other = memory.other_part[j][column + k];
            sum[r][k] += slope * (kForm == Form::product ? other : own[r][k] - other);
          }
        }
      }
#pragma unroll
      for (int r = 0; r < kMicro; ++r) {
#pragma unroll
        for (int k = 0; k < kWidth; ++k) {
          const int64_t at = d + column + k;
          if (row(r) < view.self.count && at < view.self.dim) {
            gradient[row(r) * view.self.dim + at] += sum[r][k];
          }
        }
      }
    }
  }

 private:
  __device__ void add_products(int k, T (&sum)[kMicro][kMicro]) const {
    T a[kMicro], b[kMicro];
#pragma unroll
    for (int n = 0; n < kMicro; ++n) {
      a[n] = memory.self[k][place.row + n];
      b[n] = memory.other[k][place.column + n];
    }
#pragma unroll
    for (int r = 0; r < kMicro; ++r) {
#pragma unroll
      for (int c = 0; c < kMicro; ++c) {
        if (kForm == Form::product) {
          sum[r][c] += a[r] * b[c];
        } else {
          const T difference = a[r] - b[c];
          sum[r][c] += difference * difference;
        }
      }
    }
  }
};

template <typename T>
LaunchShape block_per_tile_row(const Side<T>& side) {
  return {dim3(static_cast<unsigned>((side.count + kTile - 1) / kTile)), kTileThreads,
          sizeof(TileMemory<T>)};
}

// Sum over the threads of a tile that share a row, in order, by way of the slopes' memory; the
// result is for the first of them.
template <typename T>
__device__ void row_sums(TileMemory<T>& memory, const Place& place, double (&sums)[kMicro]) {
  double* parts = reinterpret_cast<double*>(memory.slopes);  // (kTile, kSide)
  static_assert(sizeof(memory.slopes) >= kTile * kSide * sizeof(double), "room for the parts");
  __syncthreads();
#pragma unroll
  for (int r = 0; r < kMicro; ++r) parts[(place.row + r) * kSide + place.column / kMicro] = sums[r];
  __syncthreads();
  if (place.column != 0) return;
#pragma unroll
  for (int r = 0; r < kMicro; ++r) {
    sums[r] = 0;
    for (int n = 0; n < kSide; ++n) sums[r] += parts[(place.row + r) * kSide + n];
  }
}

}  // namespace avts::sync_loss
