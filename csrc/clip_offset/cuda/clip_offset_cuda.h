// The clip-offset sampler on a GPU: sample_clip_offsets(), bit for bit, from the same draw_pair().
#pragma once

#include "clip_offset/clip_offset.h"

namespace avts {

// All pointers are to memory of the current device. Queues one kernel on `stream` and does not wait
// for it. Where sample_clip_offsets() throws ArgumentError for what the arrays hold, the kernel
// traps.
void sample_clip_offsets_cuda(const ClipMedia& media, const int64_t* query, int64_t query_count,
                              int64_t draws, const ClipOffsetOptions& options, void* stream,
                              const ClipOffsetOutput& out);

}  // namespace avts
