#include "clip_offset/clip_offset.h"

#include <algorithm>
#include <cstring>
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

static void store(const ClipPair& pair, int64_t i, const ClipOffsetOutput& out) {
  if (pair.kind == kNoPair) {
    throw ArgumentError("medium " + std::to_string(pair.audio_media) +
                        " is too short for a clip, expected room for at least one");
  }
  out.video_start[i] = pair.video_start;
  out.audio_start[i] = pair.audio_start;
  out.audio_media[i] = pair.audio_media;
  out.kind[i] = pair.kind;
  out.fallback[i] = pair.fallback;
}

static void store(const PairBlock& block, int64_t count, int64_t first,
                  const ClipOffsetOutput& out) {
  const size_t bytes = static_cast<size_t>(count) * sizeof(int64_t);
  std::memcpy(out.video_start + first, block.video_start, bytes);
  std::memcpy(out.audio_start + first, block.audio_start, bytes);
  std::memcpy(out.audio_media + first, block.audio_media, bytes);
  for (int64_t i = 0; i < count; ++i) {
    out.kind[first + i] = static_cast<int8_t>(block.kind[i]);
    out.fallback[first + i] = block.kind[i] != block.wanted[i];
  }
}

void sample_clip_offsets(const ClipMedia& media, const int64_t* query, int64_t query_count,
                         int64_t draws, const ClipOffsetOptions& options, int threads,
                         const ClipOffsetOutput& out) {
  check_query(media, query, query_count);
  const ClipOffsetKernels& level = kernels();
  parallel_for(query_count * draws, kPairsPerChunk, threads, [&](int64_t begin, int64_t end) {
    PairBlock block;
    std::fill_n(block.medium, PairBlock::kSize, query[0]);
    std::fill_n(block.draw, PairBlock::kSize, 0);
    int64_t row = begin / draws, draw = begin % draws;
    for (int64_t first = begin; first < end; first += PairBlock::kSize) {
      const int64_t count = std::min(end - first, PairBlock::kSize);
      for (int64_t i = 0; i < count; ++i) {
        block.medium[i] = query[row];
        block.draw[i] = draw;
        if (++draw == draws) draw = 0, ++row;
      }
      level.draw_pairs(media, options, count, &block);
      store(block, count, first, out);
      for (int64_t i = 0; i < count; ++i) {
        if (block.drawn[i]) continue;
        const auto number = static_cast<uint32_t>(block.draw[i]);
        store(draw_pair(media, block.medium[i], number, options), first + i, out);
      }
    }
  });
}

}  // namespace avts
