// Where the clips of a pair begin: one pure function of (seed, epoch, media id, draw), in integers
// only, so that CPU and GPU, any batch and any thread count give the same bits.
//
// Time is counted in ticks. Over its admissible (video start, audio start) pairs each kind is
// exactly uniform, however many ranges of starts the medium has:
//   positive    audio = video
//   easy        the sound of another medium, both starts free
//   hard        |audio - video| >= hard_distance
//   super-hard  min_offset <= |audio - video| <= max_offset, both in one range
#pragma once

#include <cstdint>

#include "clip_offset/pair_pieces.h"
#include "clip_offset/starts.h"
#include "core/philox.h"

namespace avts {

// kNoPair: the medium or its partner, then named by audio_media, has no start.
enum PairKind : int8_t { kNoPair = -1, kPositive = 0, kEasy = 1, kHard = 2, kSuperHard = 3 };

struct ClipOffsetOptions {
  int64_t hard_distance, min_offset, max_offset;  // ticks, 1 or more
  uint64_t kind_bound[4];  // the first kind whose bound exceeds 32 random bits is drawn
  uint64_t seed;
  uint32_t epoch;  // below 2^31
  uint32_t first_draw;
};

struct ClipPair {
  int64_t video_start, audio_start;  // ticks
  int64_t audio_media;
  PairKind kind;
  bool fallback;  // the drawn kind had no admissible position; `kind` took its place
};

// 256 random bits: all that a pair needs.
struct PairBits {
  Philox a, b;
};

AVTS_HOST_DEVICE inline PairBits pair_bits(int64_t media_id, uint32_t draw,
                                           const ClipOffsetOptions& options) {
  const uint32_t id_low = static_cast<uint32_t>(media_id);
  const uint32_t id_high = static_cast<uint32_t>(static_cast<uint64_t>(media_id) >> 32);
  return {philox(draw, 2 * options.epoch, id_low, id_high, options.seed),
          philox(draw, 2 * options.epoch + 1, id_low, id_high, options.seed)};
}

AVTS_HOST_DEVICE inline bool has_near_pair(const ClipStarts& starts,
                                           const ClipOffsetOptions& options) {
  if (options.max_offset < options.min_offset) return false;
  int64_t range = 0;
  while (range < starts.ranges && starts.width(range) <= options.min_offset) ++range;
  return range < starts.ranges;
}

// The kind itself where the medium has room for it; else easy; else (a single medium) positive.
AVTS_HOST_DEVICE inline PairKind possible_kind(int wanted, const ClipStarts& starts,
                                               int64_t media_count,
                                               const ClipOffsetOptions& options) {
  if (wanted == kHard && starts.last() - starts.first() >= options.hard_distance) return kHard;
  if (wanted == kSuperHard && has_near_pair(starts, options)) return kSuperHard;
  return wanted != kPositive && media_count > 1 ? kEasy : kPositive;
}

// draw_distant() in a single range. A count x (count + 1) rectangle folds onto the pairs
// 0 <= first <= second < count exactly twice, which needs no product that could overflow.
AVTS_HOST_DEVICE inline PairStarts draw_distant_in_one(const ClipStarts& starts, int64_t distance,
                                                       const uint64_t random[3]) {
  const int64_t count = starts.count() - distance, first = starts.first();
  const int64_t i = below(random[0], count), j = below(random[1], count + 1);
  const int64_t early = j > i ? i : j, late = j > i ? j - 1 : i;
  return {first + early, first + distance + late};
}

// draw_near() in a single range.
AVTS_HOST_DEVICE inline PairStarts draw_near_in_one(const ClipStarts& starts, int64_t min_offset,
                                                    int64_t max_offset, const uint64_t random[3]) {
  const int64_t width = starts.count();
  int64_t offset, start;
  draw_band(random[0], random[1], min_offset, max_offset < width ? max_offset : width - 1, width,
            &offset, &start);
  start += starts.first();
  return {start, start + offset};
}

AVTS_HOST_DEVICE inline PairStarts draw_apart(PairKind kind, const ClipStarts& starts,
                                              const uint64_t random[3],
                                              const ClipOffsetOptions& options) {
  const bool one = starts.ranges == 1;
  if (kind == kHard) {
    return one ? draw_distant_in_one(starts, options.hard_distance, random)
               : draw_distant(starts, options.hard_distance, random);
  }
  return one ? draw_near_in_one(starts, options.min_offset, options.max_offset, random)
             : draw_near(starts, options.min_offset, options.max_offset, random);
}

AVTS_HOST_DEVICE inline ClipPair pair_from_bits(const ClipMedia& media, int64_t medium,
                                                const PairBits& bits,
                                                const ClipOffsetOptions& options) {
  ClipPair pair{0, 0, medium, kNoPair, false};
  if (!media.has_starts(medium)) return pair;
  int wanted = 0;
  while (wanted < 3 && bits.a.word[0] >= options.kind_bound[wanted]) ++wanted;
  const uint64_t random[3] = {bits.a.pair(2), bits.b.pair(0), bits.b.pair(2)};

  const ClipStarts starts = media.starts(medium);
  const PairKind kind = possible_kind(wanted, starts, media.count, options);
  if (kind == kPositive) {
    pair.video_start = pair.audio_start = starts.at(below(random[0], starts.count()));
  } else if (kind == kEasy) {
    pair.audio_media = below(random[2], media.count - 1);
    if (pair.audio_media >= medium) ++pair.audio_media;
    if (!media.has_starts(pair.audio_media)) return pair;
    const ClipStarts others = media.starts(pair.audio_media);
    pair.video_start = starts.at(below(random[0], starts.count()));
    pair.audio_start = others.at(below(random[1], others.count()));
  } else {
    const PairStarts two = draw_apart(kind, starts, random, options);
    const bool audio_late = bits.a.word[1] & 1;
    pair.video_start = audio_late ? two.early : two.late;
    pair.audio_start = audio_late ? two.late : two.early;
  }
  pair.kind = kind;
  pair.fallback = kind != wanted;
  return pair;
}

// `draw` counts from options.first_draw.
AVTS_HOST_DEVICE inline ClipPair draw_pair(const ClipMedia& media, int64_t medium, uint32_t draw,
                                           const ClipOffsetOptions& options) {
  return pair_from_bits(media, medium,
                        pair_bits(media.ids[medium], options.first_draw + draw, options), options);
}

}  // namespace avts
