// What each instruction set's copy of cpu/pairs.cpp exports.
#pragma once

#include "clip_offset/one_range.h"
#include "core/cpu_level.h"

namespace avts {

struct PairBlock {
  static constexpr int64_t kSize = 64;  // pairs

  // In; all elements must be valid, also those past `count`.
  alignas(64) int64_t medium[kSize], draw[kSize];
  // Out.
  alignas(64) int64_t video_start[kSize], audio_start[kSize], audio_media[kSize];
  alignas(64) int64_t kind[kSize], wanted[kSize];
  alignas(64) int64_t drawn[kSize];  // 0: this medium or its partner is not of one range
};

struct ClipOffsetKernels {
  // Draws the first `count` pairs, and perhaps some after them.
  void (*draw_pairs)(const ClipMedia& media, const ClipOffsetOptions& options, int64_t count,
                     PairBlock* block);
};

#define AVTS_DECLARE(level)                          \
  namespace level {                                  \
  extern const ClipOffsetKernels kClipOffsetKernels; \
  }
AVTS_FOR_EACH_LEVEL(AVTS_DECLARE)
#undef AVTS_DECLARE

}  // namespace avts
