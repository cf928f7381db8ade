// Pairs of starts of one medium, a given distance apart, drawn uniformly where the medium's starts
// have holes. The set of pairs (early, late) is cut into pieces of two simple shapes; a piece is
// drawn by its number of pairs, then a pair in it. Counting needs 128 bits: an hour in microseconds
// has 10^19 pairs.
#pragma once

#include "clip_offset/starts.h"

namespace avts {

__extension__ typedef unsigned __int128 uint128;

// Maps 64 random bits to [0, count).
AVTS_HOST_DEVICE static inline uint128 below_wide(uint64_t random, uint128 count) {
  return (count >> 64) * random + multiply_high(random, static_cast<uint64_t>(count));
}

struct BandDraw {
  int64_t offset, start;
};

// Uniform over the pairs with low <= offset <= high and 0 <= start < width - offset: the offsets
// low + x and high - x together always have the same number of starts.
AVTS_HOST_DEVICE static inline BandDraw draw_band(uint64_t random1, uint64_t random2, int64_t low,
                                                  int64_t high, int64_t width) {
  const int64_t offset = low + below(random1, high - low + 1);
  const int64_t start = below(random2, 2 * width - low - high), beyond = start - (width - offset);
  if (beyond >= 0) return {low + high - offset, beyond};
  return {offset, start};
}

// Pairs whose late start is in one range. A rectangle: the medium's first `rows` starts, each with
// every start of the range. A band: (offset, start) as of draw_band(), the width being the range's.
struct PairPiece {
  int64_t range, rows, low, high;  // rows == 0: a band
};

// Counts the pairs of the pieces offered to it, and keeps the piece that pair number `wanted` is
// in.
struct PieceFinder {
  uint128 wanted, pairs;
  PairPiece found;

  AVTS_HOST_DEVICE void offer(const PairPiece& piece, uint128 size) {
    if (wanted >= pairs && wanted - pairs < size) found = piece;
    pairs += size;
  }
  AVTS_HOST_DEVICE void offer_band(int64_t range, int64_t low, int64_t high, int64_t width) {
    if (high < low) return;
    offer({range, 0, low, high},
          static_cast<uint128>(high - low + 1) * static_cast<uint128>(2 * width - low - high) / 2);
  }
};

// All pairs with late - early >= distance: per range of late starts a rectangle, for the early
// starts far from the whole range, and a band per range of early starts that is far from a part of
// it. In a band early = range's first - distance + offset, late = range's first + offset
// + start. Two pointers: as many steps as twice the ranges.
AVTS_HOST_DEVICE static inline void offer_distant(const ClipStarts& starts, int64_t distance,
                                                  PieceFinder* finder) {
  int64_t nearest = 0;  // first range with a start that is not far from all of `range`
  for (int64_t range = 0; range < starts.ranges; ++range) {
    const int64_t width = starts.width(range), origin = starts.range[range].first - distance;
    while (starts.range[nearest].first + starts.width(nearest) - 1 <= origin) ++nearest;
    const int64_t part = origin - starts.range[nearest].first + 1;
    const int64_t rows = starts.range[nearest].rank - starts.range[0].rank + (part > 0 ? part : 0);
    if (rows > 0) {
      finder->offer({range, rows, 0, 0}, static_cast<uint128>(rows) * static_cast<uint128>(width));
    }
    for (int64_t early = nearest; early <= range; ++early) {
      const int64_t low = starts.range[early].first - origin;
      const int64_t high = low + starts.width(early) - 1;
      if (low >= width) break;
      finder->offer_band(range, low < 1 ? 1 : low, high < width ? high : width - 1, width);
    }
  }
}

// All pairs of one range with min_offset <= late - early <= max_offset; in a band late - early =
// offset, early = range's first + start.
AVTS_HOST_DEVICE static inline void offer_near(const ClipStarts& starts, int64_t min_offset,
                                               int64_t max_offset, PieceFinder* finder) {
  for (int64_t range = 0; range < starts.ranges; ++range) {
    const int64_t width = starts.width(range);
    finder->offer_band(range, min_offset, max_offset < width ? max_offset : width - 1, width);
  }
}

struct PairStarts {
  int64_t early, late;
};

// Uniform over all pairs with late - early >= distance, of which there must be one.
AVTS_HOST_DEVICE static inline PairStarts draw_distant(const ClipStarts& starts, int64_t distance,
                                                       const uint64_t random[3]) {
  PieceFinder finder{};
  offer_distant(starts, distance, &finder);
  finder = {below_wide(random[2], finder.pairs), 0, {}};
  offer_distant(starts, distance, &finder);
  const PairPiece& piece = finder.found;
  const int64_t first = starts.range[piece.range].first, width = starts.width(piece.range);
  if (piece.rows > 0)
    return {starts.at(below(random[0], piece.rows)), first + below(random[1], width)};
  const BandDraw band = draw_band(random[0], random[1], piece.low, piece.high, width);
  return {first - distance + band.offset, first + band.offset + band.start};
}

// Uniform over all pairs of one range with min_offset <= late - early <= max_offset, of which there
// must be one.
AVTS_HOST_DEVICE static inline PairStarts draw_near(const ClipStarts& starts, int64_t min_offset,
                                                    int64_t max_offset, const uint64_t random[3]) {
  PieceFinder finder{};
  offer_near(starts, min_offset, max_offset, &finder);
  finder = {below_wide(random[2], finder.pairs), 0, {}};
  offer_near(starts, min_offset, max_offset, &finder);
  const PairPiece& piece = finder.found;
  const BandDraw band =
      draw_band(random[0], random[1], piece.low, piece.high, starts.width(piece.range));
  const int64_t early = starts.range[piece.range].first + band.start;
  return {early, early + band.offset};
}

}  // namespace avts
