// Where the clips of a pair begin: one pure function of (seed, epoch, media id, draw), in integers
// only, so that CPU and GPU, any batch and any thread count give the same bits.
//
// Time is counted in ticks. A medium offers the starts 0 .. last_start. Over its admissible (video
// start, audio start) pairs each kind is exactly uniform:
//   positive    audio = video
//   easy        the sound of another medium, both starts free
//   hard        |audio - video| >= hard_distance
//   super-hard  min_offset <= |audio - video| <= max_offset
#pragma once

#include <cstdint>

#include "core/philox.h"

namespace avts {

enum PairKind : int8_t { kPositive = 0, kEasy = 1, kHard = 2, kSuperHard = 3 };

struct ClipOffsetOptions {
  int64_t hard_distance, min_offset, max_offset;  // ticks
  uint64_t kind_bound[4];  // the first kind whose bound exceeds 32 random bits is drawn
  uint64_t seed;
  uint32_t epoch;  // below 2^31
};

struct ClipPair {
  int64_t video_start, audio_start;  // ticks
  int64_t audio_media;               // index into last_start
  PairKind kind;
  bool fallback;  // the drawn kind had no admissible position; `kind` took its place
};

// The kind itself where the set has room for it; else easy; else (a single medium) positive.
AVTS_HOST_DEVICE inline PairKind possible_kind(int wanted, int64_t last_start, int64_t media_count,
                                               const ClipOffsetOptions& options) {
  if (wanted == kHard && last_start >= options.hard_distance) return kHard;
  if (wanted == kSuperHard && last_start >= options.min_offset &&
      options.max_offset >= options.min_offset) {
    return kSuperHard;
  }
  return wanted != kPositive && media_count > 1 ? kEasy : kPositive;
}

// Uniform over the pairs 0 <= first <= second < count: a count x (count + 1) rectangle folds onto
// them exactly twice, which needs neither a square root nor a product that could overflow.
AVTS_HOST_DEVICE inline void draw_ordered(uint64_t random1, uint64_t random2, int64_t count,
                                          int64_t* first, int64_t* second) {
  const int64_t i = below(random1, count), j = below(random2, count + 1);
  *first = j > i ? i : j;
  *second = j > i ? j - 1 : i;
}

// Uniform over the pairs with low <= offset <= high and 0 <= start < width - offset: the offsets
// low + x and high - x together always have the same number of starts.
AVTS_HOST_DEVICE inline void draw_band(uint64_t random1, uint64_t random2, int64_t low,
                                       int64_t high, int64_t width, int64_t* offset,
                                       int64_t* start) {
  *offset = low + below(random1, high - low + 1);
  *start = below(random2, 2 * width - low - high);
  if (*start >= width - *offset) {
    *start -= width - *offset;
    *offset = low + high - *offset;
  }
}

AVTS_HOST_DEVICE inline ClipPair draw_pair(const int64_t* last_start, int64_t media_count,
                                           int64_t media, int64_t media_id, uint32_t draw,
                                           const ClipOffsetOptions& options) {
  const uint32_t id_low = static_cast<uint32_t>(media_id);
  const uint32_t id_high = static_cast<uint32_t>(static_cast<uint64_t>(media_id) >> 32);
  const Philox a = philox(draw, 2 * options.epoch, id_low, id_high, options.seed);
  const Philox b = philox(draw, 2 * options.epoch + 1, id_low, id_high, options.seed);
  int wanted = 0;
  while (wanted < 3 && a.word[0] >= options.kind_bound[wanted]) ++wanted;

  const int64_t last = last_start[media];
  ClipPair pair;
  pair.kind = possible_kind(wanted, last, media_count, options);
  pair.fallback = pair.kind != wanted;
  pair.audio_media = media;
  if (pair.kind == kPositive) {
    pair.video_start = pair.audio_start = below(a.pair(2), last + 1);
  } else if (pair.kind == kEasy) {
    pair.audio_media = below(b.pair(2), media_count - 1);
    if (pair.audio_media >= media) ++pair.audio_media;
    pair.video_start = below(a.pair(2), last + 1);
    pair.audio_start = below(b.pair(0), last_start[pair.audio_media] + 1);
  } else {
    int64_t early, late;
    if (pair.kind == kHard) {
      draw_ordered(a.pair(2), b.pair(0), last - options.hard_distance + 1, &early, &late);
      late += options.hard_distance;
    } else {
      const int64_t high = options.max_offset < last ? options.max_offset : last;
      draw_band(a.pair(2), b.pair(0), options.min_offset, high, last + 1, &late, &early);
      late += early;
    }
    const bool audio_late = a.word[1] & 1;
    pair.video_start = audio_late ? early : late;
    pair.audio_start = audio_late ? late : early;
  }
  return pair;
}

struct ClipOffsetOutput {
  int64_t *video_start, *audio_start, *audio_media;
  int8_t* kind;
  bool* fallback;
};

// Fills query_count x draws pairs, row-major. query holds indices into last_start and media_ids,
// which have media_count elements. Throws ArgumentError for an index out of range or a medium
// without a single start.
void sample_clip_offsets(const int64_t* last_start, const int64_t* media_ids, int64_t media_count,
                         const int64_t* query, int64_t query_count, int64_t draws,
                         const ClipOffsetOptions& options, int threads,
                         const ClipOffsetOutput& out);

}  // namespace avts
