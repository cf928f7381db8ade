// What each instruction set's copy of cpu/pair_bits.cpp exports.
#pragma once

#include "clip_offset/draw_pair.h"
#include "core/cpu_level.h"

namespace avts {

// The PairBits of many pairs, each field on its own.
struct PairBitsBlock {
  static constexpr int64_t kSize = 64;  // pairs; a multiple of every level's lanes

  alignas(64) uint64_t choice[kSize];
  alignas(64) uint64_t random[3][kSize];

  PairBits at(int64_t i) const { return {choice[i], {random[0][i], random[1][i], random[2][i]}}; }
};

struct ClipOffsetKernels {
  // Bits of pairs 0 .. count - 1, and of some after them; ids and draws have kSize elements.
  void (*pair_bits)(const int64_t* media_ids, const uint32_t* draws, int64_t count,
                    const ClipOffsetOptions& options, PairBitsBlock* out);
};

#define AVTS_DECLARE(level)                          \
  namespace level {                                  \
  extern const ClipOffsetKernels kClipOffsetKernels; \
  }
AVTS_FOR_EACH_LEVEL(AVTS_DECLARE)
#undef AVTS_DECLARE

}  // namespace avts
