// pair_bits() with one pair per lane. Compiled once per instruction set.
#include <cstring>

#include "clip_offset/kernels.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace avts {
namespace AVTS_LEVEL {
namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif
constexpr int64_t kLanes = kVectorBytes / 8;
static_assert(PairBitsBlock::kSize % kLanes == 0);

// 32-bit numbers in 64-bit lanes. The high halves hold anything: multiply() does not look at them.
typedef uint64_t Words __attribute__((vector_size(kVectorBytes)));

#define AVTS_INLINE static inline __attribute__((always_inline))

// Products of the low halves; a plain 64-bit product of vectors costs several times as much.
AVTS_INLINE Words multiply(Words a, uint64_t b) {
  const Words factor = Words{} + b;
#if defined(__AVX512F__)
  // All lanes: the form without a mask makes GCC 12 warn of a variable of its own header.
  return (Words)_mm512_maskz_mul_epu32(0xFF, (__m512i)a, (__m512i)factor);
#elif defined(__AVX2__)
  return (Words)_mm256_mul_epu32((__m256i)a, (__m256i)factor);
#elif defined(__SSE2__)
  return (Words)_mm_mul_epu32((__m128i)a, (__m128i)factor);
#else
  return (a & 0xFFFFFFFFu) * factor;
#endif
}

struct LanePhilox {
  Words word[4];
};

AVTS_INLINE void philox_round(LanePhilox* state, uint64_t key0, uint64_t key1) {
  Words* c = state->word;
  const Words p0 = multiply(c[0], kPhiloxFactor0), p1 = multiply(c[2], kPhiloxFactor1);
  c[0] = (p1 >> 32) ^ c[1] ^ key0;
  c[1] = p1;
  c[2] = (p0 >> 32) ^ c[3] ^ key1;
  c[3] = p0;
}

AVTS_INLINE void store_pair(const LanePhilox& philox, int first, uint64_t* to) {
  const Words pair = (philox.word[first] & 0xFFFFFFFFu) | philox.word[first + 1] << 32;
  std::memcpy(to, &pair, sizeof(pair));
}

void pair_bits(const int64_t* media_ids, const uint32_t* draws, int64_t count,
               const ClipOffsetOptions& options, PairBitsBlock* out) {
  for (int64_t i = 0; i < count; i += kLanes) {
    Words id, draw;
    std::memcpy(&id, media_ids + i, sizeof(id));
    for (int64_t lane = 0; lane < kLanes; ++lane) draw[lane] = draws[i + lane];
    const Words epoch = Words{} + 2 * static_cast<uint64_t>(options.epoch);
    LanePhilox a{{draw, epoch, id, id >> 32}}, b{{draw, epoch + 1, id, id >> 32}};
    uint32_t key0 = static_cast<uint32_t>(options.seed);
    uint32_t key1 = static_cast<uint32_t>(options.seed >> 32);
    for (int round = 0; round < 10; ++round) {
      philox_round(&a, key0, key1);
      philox_round(&b, key0, key1);
      key0 += kPhiloxStep0;
      key1 += kPhiloxStep1;
    }
    store_pair(a, 0, out->choice + i);
    store_pair(a, 2, out->random[0] + i);
    store_pair(b, 0, out->random[1] + i);
    store_pair(b, 2, out->random[2] + i);
  }
}

}  // namespace

extern const ClipOffsetKernels kClipOffsetKernels;
const ClipOffsetKernels kClipOffsetKernels{&pair_bits};

}  // namespace AVTS_LEVEL
}  // namespace avts
