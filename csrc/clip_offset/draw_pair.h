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

// draw_in_one_range() for media of any number of ranges.
AVTS_HOST_DEVICE static inline Starts<ScalarLane> draw_in_ranges(int64_t kind,
                                                                 const ClipStarts& own,
                                                                 const ClipStarts& other,
                                                                 const PairBits& bits,
                                                                 const ClipOffsetOptions& options) {
  if (kind == kPositive || kind == kEasy) {
    const int64_t video = own.at(below(bits.random[0], own.count()));
    return {video, kind == kEasy ? other.at(below(bits.random[1], other.count())) : video};
  }
  const PairStarts two = kind == kHard
                             ? draw_distant(own, options.hard_distance, bits.random)
                             : draw_near(own, options.min_offset, options.max_offset, bits.random);
  const bool audio_late = bits.choice >> 32 & 1;
  return {audio_late ? two.early : two.late, audio_late ? two.late : two.early};
}

// `draw` counts from options.first_draw.
AVTS_HOST_DEVICE static inline ClipPair draw_pair(const ClipMedia& media, int64_t medium,
                                                  uint32_t draw, const ClipOffsetOptions& options) {
  if (!media.has_starts(medium)) return {0, 0, medium, kNoPair, false};
  const PairBits bits = pair_bits(media.medium[medium].id, options.first_draw + draw, options);
  const ClipStarts own = media.starts(medium);
  const int64_t wanted = wanted_kind<ScalarLane>(bits.choice, options);
  const int64_t kind = possible_kind<ScalarLane>(wanted, reach(wanted, own), media.count, options);
  const int64_t partner = partner_of<ScalarLane>(kind, medium, media.count, bits.random[2]);
  if (!media.has_starts(partner)) return {0, 0, partner, kNoPair, false};
  const ClipStarts other = media.starts(partner);
  const Starts<ScalarLane> starts =
      own.ranges == 1 && other.ranges == 1
          ? draw_in_one_range<ScalarLane>(kind, {own.first(), own.count()},
                                          {other.first(), other.count()}, bits.choice,
                                          bits.random[0], bits.random[1], options)
          : draw_in_ranges(kind, own, other, bits, options);
  return {starts.video, starts.audio, partner, static_cast<PairKind>(kind), kind != wanted};
}

}  // namespace avts
