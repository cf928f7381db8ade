// Samples to transposed columns, one frame per lane, and gradients back (plan.h, ColumnLayout).
// For cpu/*.cpp only.
#pragma once

#include "log_mel/cpu/lanes.h"
#include "log_mel/cpu/prefetch.h"
#include "log_mel/kernels.h"

namespace avts {
namespace AVTS_LEVEL {

// Index of the sample that the padded position `t` shows, or -1 for a padding zero and for
// positions beyond the padding, which only lanes without a frame see.
template <typename T>
int64_t padded_index(const LogMelPlan<T>& plan, int64_t t, int64_t samples) {
  if (t >= 0 && t < samples) return t;
  if (!plan.reflect) return -1;
  const int64_t mirrored = t < 0 ? -t : 2 * (samples - 1) - t;
  return mirrored < samples ? (mirrored < 0 ? -1 : mirrored) : -1;
}

template <typename T>
int64_t column_elements(const LogMelPlan<T>& plan) {
  return (plan.columns.rows + 1) * plan.columns.stride;  // one row of zeros at the end
}

template <typename T>
int64_t edge_elements(const LogMelPlan<T>& plan) {
  return plan.columns.rows * Lanes<T>::kCount;
}

template <typename T>
void fill_zero(T* to, int64_t count) {
  std::memset(to, 0, static_cast<size_t>(count) * sizeof(T));
}

// Where `rows` samples of hop `hop` can be read: in the signal itself, or in `edge` after a copy.
template <typename T>
const T* hop_samples(const LogMelPlan<T>& plan, const Signal<T>& signal, int64_t hop, T* edge) {
  const int64_t rows = plan.columns.rows;
  const int64_t start = hop * plan.hop_length + plan.first_sample;
  if (start >= signal.begin && start + rows <= signal.end) {
    return signal.data + (start - signal.begin);
  }
  fill_zero(edge, rows);
  if (hop < 0) return edge;  // no frame sees it
  for (int64_t r = 0; r < plan.hop_samples; ++r) {
    const int64_t index = padded_index(plan, start + r, signal.count);
    if (index < 0 && start + r > 0) break;  // nor what is beyond the padding
    if (index >= signal.begin && index < signal.end) edge[r] = signal.data[index - signal.begin];
  }
  return edge;
}

// Transposes as many hops as there are lanes into the elements `at` of the rows.
template <typename T>
void load_columns(const LogMelPlan<T>& plan, const Signal<T>& signal, int64_t hop, int64_t at,
                  T* columns, T* edge) {
  constexpr int kLanes = Lanes<T>::kCount;
  const T* source[kLanes];
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    source[lane] = hop_samples(plan, signal, hop + lane, edge + lane * plan.columns.rows);
  }
  constexpr int kPiece = kPieceLanes<T>;
  const int64_t stride = plan.columns.stride;
  for (int64_t r = 0; r < plan.columns.rows; r += kPiece) {
    Vec<T> block[kPiece];
    for (int i = 0; i < kPiece; ++i) block[i] = load_pieces(source + i, kPiece, r);
    transpose_pieces<T>(block);
    for (int i = 0; i < kPiece; ++i) store(columns + (r + i) * stride + at, block[i]);
  }
}

// The samples that load_columns will read for the tile after that of `frame`.
template <typename T>
Ahead samples_ahead(const LogMelPlan<T>& plan, const Signal<T>& signal, int64_t frame) {
  const int64_t later_hops = plan.columns.carried - plan.columns.first;
  const int64_t hop = frame + Lanes<T>::kCount + later_hops;
  const int64_t begin = hop * plan.hop_length + plan.first_sample;
  const int64_t end = begin + Lanes<T>::kCount * plan.hop_length;
  const int64_t count = (end < signal.end ? end : signal.end) - begin;
  if (begin < signal.begin || count <= 0) return {};
  return {reinterpret_cast<const char*>(signal.data + (begin - signal.begin)), kCacheLine,
          count * static_cast<int64_t>(sizeof(T)) / kCacheLine};
}

// Moves the columns on by a tile.
template <typename T>
void keep_carried(const LogMelPlan<T>& plan, T* columns) {
  constexpr int64_t kStep = ColumnLayout::kCarriedStep;
  const int64_t stride = plan.columns.stride;
  // Row by row inside: a row's steps are so few that the call to memmove, which the compiler would
  // make of them, costs more than they do.
  for (int64_t c = 0; c < plan.columns.carried; c += kStep) {
    T* row = columns + c;
    for (int64_t left = plan.columns.rows; left > 0; --left, row += stride) {
      T kept[kStep];
      std::memcpy(kept, row + Lanes<T>::kCount, sizeof(kept));
      std::memcpy(row, kept, sizeof(kept));
    }
  }
}

// The columns of the tile whose first frame is `frame`, where no tile went before.
template <typename T>
void start_columns(const LogMelPlan<T>& plan, const Signal<T>& signal, int64_t frame, T* columns,
                   T* edge) {
  constexpr int64_t kLanes = Lanes<T>::kCount;
  const ColumnLayout& layout = plan.columns;
  const int64_t later_hops = layout.carried - layout.first;
  for (int64_t left = (later_hops + kLanes - 1) / kLanes * kLanes; left >= 0; left -= kLanes) {
    keep_carried(plan, columns);
    load_columns(plan, signal, frame + later_hops - left, layout.carried, columns, edge);
  }
  fill_zero(columns + layout.rows * layout.stride, layout.stride);
}

// The same, where the tile before was `lanes` frames earlier.
template <typename T>
void advance_columns(const LogMelPlan<T>& plan, const Signal<T>& signal, int64_t frame, T* columns,
                     T* edge) {
  const ColumnLayout& layout = plan.columns;
  keep_carried(plan, columns);
  load_columns(plan, signal, frame + layout.carried - layout.first, layout.carried, columns, edge);
}

// Gradients of a tile's frames (win_length vectors) are added to the columns. Hop by hop: two hops
// of a row overlap in memory, and a load soon after such a store would have to wait for it.
template <typename T>
void add_to_columns(const LogMelPlan<T>& plan, const Vec<T>* frame, T* columns) {
  for (int64_t n = 0; n < plan.win_length; ++n) {
    T* at = columns + plan.columns.offset[n];
    store(at, load(at) + frame[n]);
  }
}

// Adds a lane's hop to the samples it was read from.
template <typename T>
void add_hop(const LogMelPlan<T>& plan, int64_t hop, int64_t samples, const T* values,
             T* grad_waveform) {
  const int64_t start = hop * plan.hop_length + plan.first_sample;
  if (start >= 0 && start + plan.hop_samples <= samples) {
    for (int64_t r = 0; r < plan.hop_samples; ++r) grad_waveform[start + r] += values[r];
    return;
  }
  for (int64_t r = 0; r < plan.hop_samples; ++r) {
    const int64_t index = padded_index(plan, start + r, samples);
    if (index >= 0) grad_waveform[index] += values[r];
  }
}

// Adds the hops that no frame from `frame` + lanes on sees to the waveform's gradient, and moves
// the columns on by a tile.
template <typename T>
void flush_columns(const LogMelPlan<T>& plan, int64_t frame, int64_t samples, T* columns, T* edge,
                   T* grad_waveform) {
  constexpr int kLanes = Lanes<T>::kCount;
  const ColumnLayout& layout = plan.columns;
  for (int64_t r = 0; r < layout.rows; r += kLanes) {
    Vec<T> block[kLanes];
    const T* from = columns + r * layout.stride + layout.first;
    for (int i = 0; i < kLanes; ++i) block[i] = load(from + i * layout.stride);
    transpose<T>(block);
    for (int lane = 0; lane < kLanes; ++lane) store(edge + lane * layout.rows + r, block[lane]);
  }
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    add_hop(plan, frame + lane, samples, edge + lane * layout.rows, grad_waveform);
  }
  keep_carried(plan, columns);
  for (int64_t r = 0; r < layout.rows; ++r) {
    store(columns + r * layout.stride + layout.carried, Vec<T>{});
  }
}

}  // namespace AVTS_LEVEL
}  // namespace avts
