#include "clip_offset/clip_offset.h"

#include <algorithm>
#include <iterator>
#include <string>

#include "clip_offset/kernels.h"
#include "core/check.h"
#include "core/parallel.h"

namespace avts {

// A pair costs tens of nanoseconds: this many are worth waking a thread for.
constexpr int64_t kPairsPerChunk = 4096;

static void check_query(const ClipMedia& media, const int64_t* query, int64_t query_count) {
  for (int64_t i = 0; i < query_count; ++i) {
    check_argument(query[i] >= 0 && query[i] < media.count, "query", query[i],
                   "an index below the number of media, ", media.count);
  }
}

static const ClipOffsetKernels& kernels() {
#define AVTS_SELECT(level) \
  if (active_cpu_level() == CpuLevel::level) return level::kClipOffsetKernels;
  AVTS_FOR_EACH_LEVEL(AVTS_SELECT)
#undef AVTS_SELECT
  return base::kClipOffsetKernels;
}

[[noreturn]] static void refuse(int64_t medium) {
  throw ArgumentError("medium " + std::to_string(medium) +
                      " is too short for a clip, expected room for at least one");
}

// The pairs of a chunk, a block at a time.
class BlockSampler {
 public:
  BlockSampler(const ClipMedia& media, const int64_t* query, int64_t draws,
               const ClipOffsetOptions& options, const ClipOffsetOutput& out)
      : media_(media), query_(query), draws_(draws), options_(options), out_(out) {}

  // Pairs first .. first + count - 1, of at most PairBitsBlock::kSize.
  void sample(int64_t first, int64_t count) {
    find_media(first, count);
    kernels_.pair_bits(ids_, numbers_, count, options_, &bits_);
    sort_by_kind(count);
    draw_all<kPositive>(first);
    draw_all<kEasy>(first);
    draw_all<kHard>(first);
    draw_all<kSuperHard>(first);
  }

 private:
  static constexpr int64_t kSize = PairBitsBlock::kSize;

  void find_media(int64_t first, int64_t count) {
    int64_t row = first / draws_, draw = first % draws_;
    for (int64_t i = 0; i < count; ++i) {
      medium_[i] = query_[row];
      ids_[i] = media_.medium[medium_[i]].id;
      numbers_[i] = options_.first_draw + static_cast<uint32_t>(draw);
      if (++draw == draws_) draw = 0, ++row;
    }
  }

  // The kinds come in random order: a branch on each would be guessed wrong every other time.
  void sort_by_kind(int64_t count) {
    std::fill(std::begin(members_), std::end(members_), 0);
    for (int64_t i = 0; i < count; ++i) {
      const DrawnKind drawn = draw_kind(media_, medium_[i], bits_.at(i), options_);
      if (drawn.kind == kNoPair) refuse(medium_[i]);
      fallback_[i] = drawn.fallback;
      member_[drawn.kind][members_[drawn.kind]++] = static_cast<int8_t>(i);
    }
  }

  template <PairKind kind>
  void draw_all(int64_t first) {
    for (int64_t j = 0; j < members_[kind]; ++j) {
      const int64_t i = member_[kind][j];
      const ClipPair pair =
          draw_of_kind({kind, fallback_[i]}, media_, medium_[i], bits_.at(i), options_);
      if (pair.kind == kNoPair) refuse(pair.audio_media);
      out_.video_start[first + i] = pair.video_start;
      out_.audio_start[first + i] = pair.audio_start;
      out_.audio_media[first + i] = pair.audio_media;
      out_.kind[first + i] = pair.kind;
      out_.fallback[first + i] = pair.fallback;
    }
  }

  const ClipOffsetKernels& kernels_ = kernels();
  const ClipMedia media_;
  const int64_t* query_;
  const int64_t draws_;
  const ClipOffsetOptions options_;
  const ClipOffsetOutput out_;
  int64_t medium_[kSize], ids_[kSize] = {};
  uint32_t numbers_[kSize] = {};
  PairBitsBlock bits_;
  bool fallback_[kSize];
  int8_t member_[4][kSize];
  int64_t members_[4];
};

void sample_clip_offsets(const ClipMedia& media, const int64_t* query, int64_t query_count,
                         int64_t draws, const ClipOffsetOptions& options, int threads,
                         const ClipOffsetOutput& out) {
  check_query(media, query, query_count);
  parallel_for(query_count * draws, kPairsPerChunk, threads, [&](int64_t begin, int64_t end) {
    BlockSampler sampler(media, query, draws, options, out);
    for (int64_t first = begin; first < end; first += PairBitsBlock::kSize) {
      sampler.sample(first, std::min(end - first, PairBitsBlock::kSize));
    }
  });
}

}  // namespace avts
