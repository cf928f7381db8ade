#include "clip_offset/clip_offset.h"

#include <string>

#include "core/check.h"
#include "core/parallel.h"

namespace avts {

// A pair costs tens of nanoseconds: this many are worth waking a thread for.
constexpr int64_t kPairsPerChunk = 4096;

static void check_media(const int64_t* last_start, int64_t media_count, const int64_t* query,
                        int64_t query_count) {
  for (int64_t i = 0; i < media_count; ++i) {
    if (last_start[i] >= 0) continue;  // the message is built only when it is needed
    check_argument(false, "durations_s", "shorter than clip_s at index " + std::to_string(i),
                   "media of at least clip_s seconds");
  }
  for (int64_t i = 0; i < query_count; ++i) {
    check_argument(query[i] >= 0 && query[i] < media_count, "query", query[i],
                   "an index below the number of durations, ", media_count);
  }
}

void sample_clip_offsets(const int64_t* last_start, const int64_t* media_ids, int64_t media_count,
                         const int64_t* query, int64_t query_count, int64_t draws,
                         const ClipOffsetOptions& options, int threads,
                         const ClipOffsetOutput& out) {
  check_media(last_start, media_count, query, query_count);
  parallel_for(query_count * draws, kPairsPerChunk, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t media = query[i / draws];
      const ClipPair pair = draw_pair(last_start, media_count, media, media_ids[media],
                                      static_cast<uint32_t>(i % draws), options);
      out.video_start[i] = pair.video_start;
      out.audio_start[i] = pair.audio_start;
      out.audio_media[i] = pair.audio_media;
      out.kind[i] = pair.kind;
      out.fallback[i] = pair.fallback;
    }
  });
}

}  // namespace avts
