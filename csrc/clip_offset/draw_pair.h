// Where the clips of a pair begin: one pure function of (seed, epoch, media id, draw), in integers
// only, so that CPU and GPU, any batch and any thread count give the same bits.
//
// Time is counted in ticks. Over its admissible (video start, audio start) pairs each kind is
// uniform, however many ranges of starts the medium has:
//   positive    audio = video
//   easy        the sound of another medium, both starts free
//   hard        |audio - video| >= hard_distance
//   super-hard  min_offset <= |audio - video| <= max_offset, both in one range
#pragma once

#include <cstdint>

#include "clip_offset/one_range.h"
#include "clip_offset/pair_pieces.h"
#include "clip_offset/starts.h"
#include "core/philox.h"

namespace avts {

struct ClipPair {
  int64_t video_start, audio_start;  // ticks
  int64_t audio_media;               // of kNoPair: the medium without a start
  PairKind kind;
  bool fallback;  // the drawn kind had no admissible position; `kind` took its place
};

// All random bits of a pair. `choice`: the kind by its low half, the order by bit 32.
struct PairBits {
  uint64_t choice, random[3];
};

AVTS_HOST_DEVICE static inline PairBits pair_bits(int64_t media_id, uint32_t draw,
                                                  const ClipOffsetOptions& options) {
  const uint32_t id_low = static_cast<uint32_t>(media_id);
  const uint32_t id_high = static_cast<uint32_t>(static_cast<uint64_t>(media_id) >> 32);
  const Philox a = philox(draw, 2 * options.epoch, id_low, id_high, options.seed);
  const Philox b = philox(draw, 2 * options.epoch + 1, id_low, id_high, options.seed);
  return {a.pair(0), {a.pair(2), b.pair(0), b.pair(2)}};
}

// The greatest distance of two starts that a pair of the kind may have, and one more.
AVTS_HOST_DEVICE static inline int64_t reach(int64_t kind, const ClipStarts& starts) {
  if (kind != kSuperHard) return starts.last() - starts.first() + 1;
  int64_t widest = 0;
  for (int64_t r = 0; r < starts.ranges; ++r) {
    widest = starts.width(r) > widest ? starts.width(r) : widest;
  }
  return widest;
}

// draw_pair() for media of any number of ranges.
AVTS_HOST_DEVICE static inline ClipPair draw_in_ranges(const ClipMedia& media, int64_t medium,
                                                       const PairBits& bits,
                                                       const ClipOffsetOptions& options) {
  if (!media.has_starts(medium)) return {0, 0, medium, kNoPair, false};
  const ClipStarts own = media.starts(medium);
  const int64_t wanted = wanted_kind<ScalarLane>(bits.choice, options);
  const int64_t kind = possible_kind<ScalarLane>(wanted, reach(wanted, own), media.count, options);
  const int64_t partner = partner_of<ScalarLane>(kind, medium, media.count, bits.random[2]);
  if (!media.has_starts(partner)) return {0, 0, partner, kNoPair, false};
  ClipPair pair{0, 0, partner, static_cast<PairKind>(kind), kind != wanted};
  if (kind == kPositive || kind == kEasy) {
    const ClipStarts other = media.starts(partner);
    pair.video_start = own.at(below(bits.random[0], own.count()));
    pair.audio_start =
        kind == kEasy ? other.at(below(bits.random[1], other.count())) : pair.video_start;
    return pair;
  }
  const PairStarts two = kind == kHard
                             ? draw_distant(own, options.hard_distance, bits.random)
                             : draw_near(own, options.min_offset, options.max_offset, bits.random);
  const bool audio_late = bits.choice >> 32 & 1;
  pair.video_start = audio_late ? two.early : two.late;
  pair.audio_start = audio_late ? two.late : two.early;
  return pair;
}

// `draw` counts from options.first_draw.
AVTS_HOST_DEVICE static inline ClipPair draw_pair(const ClipMedia& media, int64_t medium,
                                                  uint32_t draw, const ClipOffsetOptions& options) {
  const PairBits bits = pair_bits(media.medium[medium].id, options.first_draw + draw, options);
  const OneRange<ScalarLane> own = one_range_of(media, medium);
  if (own.count == 0) return draw_in_ranges(media, medium, bits, options);
  const int64_t wanted = wanted_kind<ScalarLane>(bits.choice, options);
  const int64_t kind = possible_kind<ScalarLane>(wanted, own.count, media.count, options);
  const int64_t partner = partner_of<ScalarLane>(kind, medium, media.count, bits.random[2]);
  const OneRange<ScalarLane> other = one_range_of(media, partner);
  if (other.count == 0) return draw_in_ranges(media, medium, bits, options);
  const Starts<ScalarLane> starts = draw_in_one_range<ScalarLane>(
      kind, own, other, bits.choice, bits.random[0], bits.random[1], options);
  return {starts.video, starts.audio, partner, static_cast<PairKind>(kind), kind != wanted};
}

}  // namespace avts
