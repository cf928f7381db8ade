#include "clip_offset/cuda/clip_offset_cuda.h"
#include "core/cuda_kernel.h"

namespace avts {
namespace {

constexpr unsigned kThreads = 256;

// A thread draws one pair. Neighbours write neighbouring elements of each output.
__global__ void __launch_bounds__(kThreads)
    draw_pairs(ClipMedia media, const int64_t* query, int64_t pairs, int64_t draws,
               ClipOffsetOptions options, ClipOffsetOutput out) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= pairs) return;
  const int64_t medium = query[i / draws];
  AVTS_DEVICE_CHECK(medium >= 0 && medium < media.count,
                    "query has an index that is not below the number of media");
  const ClipPair pair = draw_pair(media, medium, static_cast<uint32_t>(i % draws), options);
  AVTS_DEVICE_CHECK(pair.kind != kNoPair, "a medium is too short for a clip");
  out.video_start[i] = pair.video_start;
  out.audio_start[i] = pair.audio_start;
  out.audio_media[i] = pair.audio_media;
  out.kind[i] = pair.kind;
  out.fallback[i] = pair.fallback;
}

}  // namespace

void sample_clip_offsets_cuda(const ClipMedia& media, const int64_t* query, int64_t query_count,
                              int64_t draws, const ClipOffsetOptions& options, void* stream,
                              const ClipOffsetOutput& out) {
  const int64_t pairs = query_count * draws;
  if (pairs == 0) return;
  const auto blocks = static_cast<unsigned>((pairs + kThreads - 1) / kThreads);
  launch("clip_offset", draw_pairs, {blocks, kThreads, 0}, stream, media, query, pairs, draws,
         options, out);
}

}  // namespace avts
