// Where the clips of many pairs begin, on the CPU; draw_pair.h has the rules.
#pragma once

#include <cstdint>

#include "clip_offset/draw_pair.h"

namespace avts {

struct ClipOffsetOutput {
  int64_t *video_start, *audio_start, *audio_media;
  int8_t* kind;
  bool* fallback;
};

// Fills query_count x draws pairs, row-major. query holds indices of media. Throws ArgumentError
// for an index out of range or a medium without a single start, of those that are drawn from.
void sample_clip_offsets(const ClipMedia& media, const int64_t* query, int64_t query_count,
                         int64_t draws, const ClipOffsetOptions& options, int threads,
                         const ClipOffsetOutput& out);

}  // namespace avts
