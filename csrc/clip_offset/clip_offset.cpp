#include "clip_offset/clip_offset.h"

#include <string>

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

void sample_clip_offsets(const ClipMedia& media, const int64_t* query, int64_t query_count,
                         int64_t draws, const ClipOffsetOptions& options, int threads,
                         const ClipOffsetOutput& out) {
  check_query(media, query, query_count);
  parallel_for(query_count * draws, kPairsPerChunk, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const ClipPair pair =
          draw_pair(media, query[i / draws], static_cast<uint32_t>(i % draws), options);
      if (pair.kind == kNoPair) {  // the message is built only when it is needed
        check_argument(false, ("medium " + std::to_string(pair.audio_media)).c_str(),
                       "too short for a clip", "room for at least one");
      }
      out.video_start[i] = pair.video_start;
      out.audio_start[i] = pair.audio_start;
      out.audio_media[i] = pair.audio_media;
      out.kind[i] = pair.kind;
      out.fallback[i] = pair.fallback;
    }
  });
}

}  // namespace avts
