// Samples to transposed columns, one frame per lane, and gradients back (plan.h, ColumnLayout).
// For cpu/*.cpp only.
#pragma once

#include "log_mel/cpu/lanes.h"
#include "log_mel/cpu/prefetch.h"
#include "log_mel/kernels.h"

namespace avts {
namespace AVTS_LEVEL {

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

// Calls each(position, index, count, step) for the stretches of the padded positions [from, to)
// that show samples of the signal: `count` positions on from `position` show the samples `index`,
// `index` + step, ... The other positions are padding zeros, or lie beyond the padding, where only
// lanes without a frame look.
template <typename T, typename Each>
inline void for_shown_samples(const LogMelPlan<T>& plan, const Signal<T>& signal, int64_t from,
                              int64_t to, const Each& each) {
  const auto larger = [](int64_t a, int64_t b) { return a > b ? a : b; };
  const auto smaller = [](int64_t a, int64_t b) { return a < b ? a : b; };
  const auto forwards = [&](int64_t first, int64_t end) {
    first = larger(first, signal.begin), end = smaller(end, signal.end);
    if (first < end) each(first, first, end - first, 1);
  };
  const auto mirrored = [&](int64_t first, int64_t end, int64_t mirror) {
    first = larger(first, mirror - signal.end + 1), end = smaller(end, mirror - signal.begin + 1);
    if (first < end) each(first, mirror - first, end - first, -1);
  };
  if (plan.reflect) mirrored(from, smaller(to, 0), 0);
  forwards(from, to);
  if (plan.reflect) mirrored(larger(from, signal.count), to, 2 * (signal.count - 1));
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
  for_shown_samples(plan, signal, start, start + plan.hop_samples,
                    [&](int64_t position, int64_t index, int64_t count, int64_t step) {
                      T* to = edge + (position - start);
                      const T* from = signal.data + (index - signal.begin);
                      for (int64_t i = 0; i < count; ++i) to[i] = from[i * step];
                    });
  return edge;
}

// Moves the columns of kPieceLanes rows on by a tile.
template <typename T>
inline void keep_carried(const LogMelPlan<T>& plan, T* rows) {
  constexpr int64_t kStep = ColumnLayout::kCarriedStep;
  // Row by row inside: a row's steps are so few that the call to memmove, which the compiler would
  // make of them, costs more than they do.
  for (int64_t c = 0; c < plan.columns.carried; c += kStep) {
    for (int i = 0; i < kPieceLanes<T>; ++i) {
      T* row = rows + i * plan.columns.stride + c;
      T kept[kStep];
      std::memcpy(kept, row + Lanes<T>::kCount, sizeof(kept));
      std::memcpy(row, kept, sizeof(kept));
    }
  }
}

// Moves the columns on by a tile, and transposes as many hops as there are lanes, from `hop` on,
// behind those that are kept.
template <typename T>
void load_columns(const LogMelPlan<T>& plan, const Signal<T>& signal, int64_t hop, T* columns,
                  T* edge) {
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
    T* rows = columns + r * stride;
    keep_carried(plan, rows);
    for (int i = 0; i < kPiece; ++i) store(rows + i * stride + plan.columns.carried, block[i]);
  }
}

// The samples that load_columns will read for the tile after that of `frame`, which past the
// signal's end is the next signal's first.
template <typename T>
Ahead samples_ahead(const LogMelPlan<T>& plan, const Signal<T>& signal, int64_t frame) {
  const int64_t later_hops = plan.columns.carried - plan.columns.first;
  const int64_t hop = frame + Lanes<T>::kCount + later_hops;
  const int64_t begin = hop * plan.hop_length + plan.first_sample;
  const int64_t tile_samples = Lanes<T>::kCount * plan.hop_length;
  const auto lines = [](const T* first, int64_t samples) {
    return Ahead{reinterpret_cast<const char*>(first), kCacheLine,
                 samples * static_cast<int64_t>(sizeof(T)) / kCacheLine};
  };
  if (begin < signal.begin) return {};
  if (begin >= signal.end) return signal.next ? lines(signal.next, tile_samples) : Ahead{};
  const int64_t left = signal.end - begin;
  return lines(signal.data + (begin - signal.begin), left < tile_samples ? left : tile_samples);
}

// The columns of the tile whose first frame is `frame`, where no tile went before.
template <typename T>
void start_columns(const LogMelPlan<T>& plan, const Signal<T>& signal, int64_t frame, T* columns,
                   T* edge) {
  const ColumnLayout& layout = plan.columns;
  const int64_t later_hops = layout.carried - layout.first;
  // They stand where load_columns finds what it keeps.
  T* kept = columns + layout.first + Lanes<T>::kCount;
  for (int64_t hop = 0; hop < later_hops; ++hop) {
    const T* samples = hop_samples(plan, signal, frame + hop, edge);
    for (int64_t r = 0; r < layout.rows; ++r) kept[r * layout.stride + hop] = samples[r];
  }
  load_columns(plan, signal, frame + later_hops, columns, edge);
  fill_zero(columns + layout.rows * layout.stride, layout.stride);
}

// The same, where the tile before was `lanes` frames earlier.
template <typename T>
void advance_columns(const LogMelPlan<T>& plan, const Signal<T>& signal, int64_t frame, T* columns,
                     T* edge) {
  load_columns(plan, signal, frame + plan.columns.carried - plan.columns.first, columns, edge);
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

// Adds a lane's hop to the gradients of the samples it was read from.
template <typename T>
void add_hop(const LogMelPlan<T>& plan, const Signal<T>& gradients, int64_t hop, const T* values,
             T* grad_waveform) {
  const int64_t start = hop * plan.hop_length + plan.first_sample;
  for_shown_samples(plan, gradients, start, start + plan.hop_samples,
                    [&](int64_t position, int64_t index, int64_t count, int64_t step) {
                      const T* from = values + (position - start);
                      T* to = grad_waveform + index;
                      for (int64_t i = 0; i < count; ++i) to[i * step] += from[i];
                    });
}

// Adds the hops that no frame from `frame` + lanes on sees to the waveform's gradient, and moves
// the columns on by a tile.
template <typename T>
void flush_columns(const LogMelPlan<T>& plan, int64_t frame, int64_t samples, T* columns, T* edge,
                   T* grad_waveform) {
  constexpr int kLanes = Lanes<T>::kCount;
  const ColumnLayout& layout = plan.columns;
  for (int64_t r = 0; r < layout.rows; r += kLanes) {
    T* rows = columns + r * layout.stride;
    Vec<T> block[kLanes];
    for (int i = 0; i < kLanes; ++i) block[i] = load(rows + i * layout.stride + layout.first);
    transpose<T>(block);
    for (int lane = 0; lane < kLanes; ++lane) store(edge + lane * layout.rows + r, block[lane]);
    for (int i = 0; i < kLanes; i += kPieceLanes<T>) keep_carried(plan, rows + i * layout.stride);
    for (int i = 0; i < kLanes; ++i) store(rows + i * layout.stride + layout.carried, Vec<T>{});
  }
  const Signal<T> gradients{grad_waveform, 0, samples, samples};
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    add_hop(plan, gradients, frame + lane, edge + lane * layout.rows, grad_waveform);
  }
}

}  // namespace AVTS_LEVEL
}  // namespace avts
