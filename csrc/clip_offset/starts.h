// The starts that the media of a set offer to clips. A medium has one or more ranges of consecutive
// starts, one per stretch that may be used; a prefix sum over all ranges makes every lookup cheap.
#pragma once

#include <cstdint>

#include "core/philox.h"

namespace avts {

// Consecutive starts, as many as the next one's rank says more than this one's.
struct StartRange {
  int64_t first;  // ticks, ascending within a medium
  int64_t rank;   // number of starts in all ranges before, of this and other media
};

// The starts of one medium, numbered 0 .. count() - 1 in ascending order.
struct ClipStarts {
  const StartRange* range;  // (ranges + 1)
  int64_t ranges;

  AVTS_HOST_DEVICE int64_t width(int64_t r) const { return range[r + 1].rank - range[r].rank; }
  AVTS_HOST_DEVICE int64_t count() const { return range[ranges].rank - range[0].rank; }
  AVTS_HOST_DEVICE int64_t first() const { return range[0].first; }
  AVTS_HOST_DEVICE int64_t last() const { return range[ranges - 1].first + width(ranges - 1) - 1; }

  AVTS_HOST_DEVICE int64_t at(int64_t number) const {
    const int64_t rank = range[0].rank + number;
    int64_t low = 0, high = ranges;  // the range that holds it is low .. high - 1
    while (high - low > 1) {
      const int64_t middle = low + (high - low) / 2;
      if (range[middle].rank > rank) {
        high = middle;
      } else {
        low = middle;
      }
    }
    return range[low].first + rank - range[low].rank;
  }
};

// A draw from a large set waits for memory, not arithmetic: of a medium with one range, as nearly
// all have, this row and the next one tell everything.
struct Medium {
  int64_t id;
  int64_t first_range;  // its ranges end where those of the next medium begin
  StartRange range;     // the first of them
};

struct ClipMedia {
  const Medium* medium;     // (count + 1), the last one for its first_range and rank
  const StartRange* range;  // (ranges + 1), the last one for its rank
  int64_t count, ranges;

  // False for a medium that is too short for a clip, and for a table that would lead out of memory.
  AVTS_HOST_DEVICE bool has_starts(int64_t m) const {
    const int64_t begin = medium[m].first_range, end = medium[m + 1].first_range;
    return begin >= 0 && begin < end && end <= ranges && range[begin].rank < range[end].rank;
  }
  AVTS_HOST_DEVICE ClipStarts starts(int64_t m) const {
    const int64_t begin = medium[m].first_range;
    return {range + begin, medium[m + 1].first_range - begin};
  }
};

}  // namespace avts
