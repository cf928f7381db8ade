// Pairs of media whose starts are one range each, as nearly all media's are. No step branches, so
// that a GPU's threads and a CPU's vector lanes do the same work for every kind.
//
// A Lane has Int and Word, which are int64_t and uint64_t or vectors of them, and below(), as of
// philox.h. Comparisons are used in `a ? b : c` only, which means the same for both.
#pragma once

#include "clip_offset/starts.h"

namespace avts {

// kNoPair: the medium or its partner has no start.
enum PairKind : int8_t { kNoPair = -1, kPositive = 0, kEasy = 1, kHard = 2, kSuperHard = 3 };

struct ClipOffsetOptions {
  int64_t hard_distance, min_offset, max_offset;  // ticks; max_offset may be 0, the others not
  uint64_t kind_bound[4];  // the first kind whose bound exceeds 32 random bits is drawn
  uint64_t seed;
  uint32_t epoch;  // below 2^31
  uint32_t first_draw;
};

// A pair per thread.
struct ScalarLane {
  using Int = int64_t;
  using Word = uint64_t;
  AVTS_HOST_DEVICE static Int below(Word random, Int count) { return avts::below(random, count); }
};

// The kind that the low half of `choice` says, whether or not the medium has room for it.
template <typename Lane>
AVTS_HOST_DEVICE static inline typename Lane::Int wanted_kind(typename Lane::Word choice,
                                                              const ClipOffsetOptions& options) {
  typename Lane::Int kind = {};
  for (int k = 0; k < 3; ++k) {
    const typename Lane::Int next = kind + 1;
    kind = (choice & 0xFFFFFFFFu) >= options.kind_bound[k] ? next : kind;
  }
  return kind;
}

// The kind itself where its greatest distance, `reach` - 1, is enough; else easy; else (a single
// medium) positive.
template <typename Lane>
AVTS_HOST_DEVICE static inline typename Lane::Int possible_kind(typename Lane::Int wanted,
                                                                typename Lane::Int reach,
                                                                int64_t media_count,
                                                                const ClipOffsetOptions& options) {
  using Int = typename Lane::Int;
  const bool alone = media_count < 2, near = options.max_offset >= options.min_offset;
  const Int zero = {}, never = zero + INT64_MAX, hard = zero + options.hard_distance;
  const Int easy = alone ? never : zero, super_hard = near ? zero + options.min_offset : never;
  const Int fallback = zero + int64_t{alone ? kPositive : kEasy};
  const Int least_distance = wanted == int64_t{kSuperHard} ? super_hard
                             : wanted == int64_t{kHard}    ? hard
                             : wanted == int64_t{kEasy}    ? easy
                                                           : zero;
  return reach > least_distance ? wanted : fallback;
}

// Another medium for an easy pair, the same one for others.
template <typename Lane>
AVTS_HOST_DEVICE static inline typename Lane::Int partner_of(typename Lane::Int kind,
                                                             typename Lane::Int medium,
                                                             int64_t media_count,
                                                             typename Lane::Word random) {
  using Int = typename Lane::Int;
  const Int zero = {}, low = Lane::below(random, zero + (media_count - 1)), high = low + 1;
  const Int other = low >= medium ? high : low;
  return kind == int64_t{kEasy} ? other : medium;
}

template <typename Lane>
struct OneRange {
  typename Lane::Int first, count;  // count == 0: the medium has none or several
};

AVTS_HOST_DEVICE static inline OneRange<ScalarLane> one_range_of(const ClipMedia& media,
                                                                 int64_t m) {
  const Medium &medium = media.medium[m], &next = media.medium[m + 1];
  const int64_t count = next.range.rank - medium.range.rank;
  if (next.first_range - medium.first_range != 1 || count <= 0) return {0, 0};
  return {medium.range.first, count};
}

template <typename Lane>
struct Starts {
  typename Lane::Int video, audio;
};

// Starts of a pair of a kind that the medium has room for; `other` is the audio's medium, the same
// but for an easy pair. Two random numbers are enough for any kind:
//   positive, easy  any start of each medium
//   hard            a count x (count + 1) rectangle folds onto the pairs 0 <= first <= second <
//                   count exactly twice
//   super-hard      the distances low + x and high - x together always have the same number of
//                   early starts
template <typename Lane>
AVTS_HOST_DEVICE static inline Starts<Lane> draw_in_one_range(
    typename Lane::Int kind, OneRange<Lane> own, OneRange<Lane> other, typename Lane::Word choice,
    typename Lane::Word random0, typename Lane::Word random1, const ClipOffsetOptions& options) {
  using Int = typename Lane::Int;
  const Int zero = {}, low = zero + options.min_offset, hard = zero + options.hard_distance;
  const Int widest = own.count - 1, most = zero + options.max_offset;
  const Int high = widest > most ? most : widest;

  const Int hard_room = own.count - hard, near_room = high - low + 1;
  const Int hard_room1 = hard_room + 1, near_room1 = 2 * own.count - low - high;
  const auto is_hard = kind == int64_t{kHard}, is_near = kind == int64_t{kSuperHard};
  const Int x = Lane::below(random0, is_hard ? hard_room : is_near ? near_room : own.count);
  const Int y = Lane::below(random1, is_hard ? hard_room1 : is_near ? near_room1 : other.count);

  const Int y_less = y - 1, hard_early = y > x ? x : y;
  const Int hard_late = hard + (y > x ? y_less : x);
  const Int offset = low + x, folded = low + high - offset, beyond = y - (own.count - offset);
  const Int near_early = beyond >= 0 ? beyond : y;
  const Int near_late = near_early + (beyond >= 0 ? folded : offset);

  const Int early = is_hard ? hard_early : near_early, late = is_hard ? hard_late : near_late;
  const Int audio_late = (Int)(choice >> 32 & 1);
  const Int apart_video = audio_late > 0 ? early : late;
  const Int apart_audio = audio_late > 0 ? late : early;
  const Int free_audio = kind == int64_t{kEasy} ? y : x;
  return {own.first + (kind >= int64_t{kHard} ? apart_video : x),
          other.first + (kind >= int64_t{kHard} ? apart_audio : free_audio)};
}

}  // namespace avts
