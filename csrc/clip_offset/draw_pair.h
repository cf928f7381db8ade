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

// All random bits of a pair. `choice`: the kind by its low half, the order by bit 32.
struct PairBits {
  uint64_t choice, random[3];
};

AVTS_HOST_DEVICE inline PairBits pair_bits(int64_t media_id, uint32_t draw,
                                           const ClipOffsetOptions& options) {
  const uint32_t id_low = static_cast<uint32_t>(media_id);
  const uint32_t id_high = static_cast<uint32_t>(static_cast<uint64_t>(media_id) >> 32);
  const Philox a = philox(draw, 2 * options.epoch, id_low, id_high, options.seed);
  const Philox b = philox(draw, 2 * options.epoch + 1, id_low, id_high, options.seed);
  return {a.pair(0), {a.pair(2), b.pair(0), b.pair(2)}};
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
  const int64_t width = starts.count(), high = max_offset < width ? max_offset : width - 1;
  const BandDraw band = draw_band(random[0], random[1], min_offset, high, width);
  const int64_t early = starts.first() + band.start;
  return {early, early + band.offset};
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

struct DrawnKind {
  PairKind kind;
  bool fallback;
};

AVTS_HOST_DEVICE inline DrawnKind draw_kind(const ClipMedia& media, int64_t medium,
                                            const PairBits& bits,
                                            const ClipOffsetOptions& options) {
  if (!media.has_starts(medium)) return {kNoPair, false};
  const uint64_t random = bits.choice & 0xFFFFFFFFu;
  int wanted = 0;
  for (int kind = 0; kind < 3; ++kind) wanted += random >= options.kind_bound[kind];
  const PairKind kind = possible_kind(wanted, media.starts(medium), media.count, options);
  return {kind, kind != wanted};
}

// A pair of a kind that the medium has room for.
AVTS_HOST_DEVICE inline ClipPair draw_of_kind(DrawnKind drawn, const ClipMedia& media,
                                              int64_t medium, const PairBits& bits,
                                              const ClipOffsetOptions& options) {
  const ClipStarts starts = media.starts(medium);
  const uint64_t* random = bits.random;
  ClipPair pair{0, 0, medium, drawn.kind, drawn.fallback};
  if (drawn.kind == kPositive) {
    pair.video_start = pair.audio_start = starts.at(below(random[0], starts.count()));
  } else if (drawn.kind == kEasy) {
    pair.audio_media = below(random[2], media.count - 1);
    pair.audio_media += pair.audio_media >= medium;
    if (!media.has_starts(pair.audio_media)) {
      pair.kind = kNoPair;
      return pair;
    }
    const ClipStarts others = media.starts(pair.audio_media);
    pair.video_start = starts.at(below(random[0], starts.count()));
    pair.audio_start = others.at(below(random[1], others.count()));
  } else {
    const PairStarts two = draw_apart(drawn.kind, starts, random, options);
    // Which of the two is late is a coin: a product costs less than a branch.
    const int64_t audio_late = bits.choice >> 32 & 1, shift = two.late - two.early;
    pair.video_start = two.late - audio_late * shift;
    pair.audio_start = two.early + audio_late * shift;
  }
  return pair;
}

// `draw` counts from options.first_draw.
AVTS_HOST_DEVICE inline ClipPair draw_pair(const ClipMedia& media, int64_t medium, uint32_t draw,
                                           const ClipOffsetOptions& options) {
  const PairBits bits = pair_bits(media.medium[medium].id, options.first_draw + draw, options);
  const DrawnKind drawn = draw_kind(media, medium, bits, options);
  if (drawn.kind == kNoPair) return {0, 0, medium, kNoPair, false};
  return draw_of_kind(drawn, media, medium, bits, options);
}

}  // namespace avts
