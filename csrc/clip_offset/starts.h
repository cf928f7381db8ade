// The starts that the media of a set offer to clips. A medium has one or more ranges of consecutive
// starts, one per stretch that may be used; a prefix sum over all ranges makes every lookup cheap.
#pragma once

#include <cstdint>

#include "core/philox.h"

namespace avts {

// The starts of one medium, numbered 0 .. count() - 1 in ascending order.
struct ClipStarts {
  const int64_t* first_start;  // of each range, ticks, ascending
  const int64_t* rank;         // (ranges + 1) starts before each range, from an arbitrary origin
  int64_t ranges;

  AVTS_HOST_DEVICE int64_t width(int64_t range) const { return rank[range + 1] - rank[range]; }
  AVTS_HOST_DEVICE int64_t count() const { return rank[ranges] - rank[0]; }
  AVTS_HOST_DEVICE int64_t first() const { return first_start[0]; }
  AVTS_HOST_DEVICE int64_t last() const { return first_start[ranges - 1] + width(ranges - 1) - 1; }

  AVTS_HOST_DEVICE int64_t at(int64_t number) const {
    int64_t low = 0, high = ranges;  // the range that holds it is low .. high - 1
    while (high - low > 1) {
      const int64_t middle = low + (high - low) / 2;
      if (rank[middle] - rank[0] > number) {
        high = middle;
      } else {
        low = middle;
      }
    }
    return first_start[low] + number - (rank[low] - rank[0]);
  }
};

struct ClipMedia {
  const int64_t* first_range;  // (count + 1): medium m has the ranges first_range[m] .. [m + 1] - 1
  const int64_t* first_start;  // (ranges)
  const int64_t* rank;         // (ranges + 1) starts in all ranges before
  const int64_t* ids;          // (count)
  int64_t count, ranges;

  // False for a medium that is too short for a clip, and for a table that would lead out of memory.
  AVTS_HOST_DEVICE bool has_starts(int64_t medium) const {
    const int64_t begin = first_range[medium], end = first_range[medium + 1];
    return begin >= 0 && begin < end && end <= ranges && rank[begin] < rank[end];
  }
  AVTS_HOST_DEVICE ClipStarts starts(int64_t medium) const {
    const int64_t begin = first_range[medium];
    return {first_start + begin, rank + begin, first_range[medium + 1] - begin};
  }
};

}  // namespace avts
