// draw_pair() with one pair per vector lane, for media of one range. Compiled once per instruction
// set.
#include <cstring>

#include "clip_offset/kernels.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace avts {
namespace AVTS_LEVEL {
namespace {

#define AVTS_INLINE static inline __attribute__((always_inline))

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 8;  // SSE2 cannot compare 64-bit numbers
#endif
constexpr int64_t kLanes = kVectorBytes / 8;
static_assert(8 % kLanes == 0 && PairBlock::kSize % 8 == 0);

typedef int64_t Int __attribute__((vector_size(kVectorBytes)));
typedef uint64_t Word __attribute__((vector_size(kVectorBytes)));

// Products of the low halves. A plain product of 64-bit lanes costs several times as much.
AVTS_INLINE Word multiply_low(Word a, Word b) {
#if defined(__AVX512F__)
  // All lanes: the form without a mask makes GCC 12 warn of a variable of its own header.
  return (Word)_mm512_maskz_mul_epu32(0xFF, (__m512i)a, (__m512i)b);
#elif defined(__AVX2__)
  return (Word)_mm256_mul_epu32((__m256i)a, (__m256i)b);
#else
  return (a & 0xFFFFFFFFu) * (b & 0xFFFFFFFFu);
#endif
}

struct VectorLane {
  using Int = AVTS_LEVEL::Int;
  using Word = AVTS_LEVEL::Word;

  // The high half of the product of 64 x 64 bits.
  AVTS_INLINE Int below(Word random, Int count) {
    const Word low0 = random, high0 = random >> 32, low1 = (Word)count, high1 = low1 >> 32;
    const Word cross0 = multiply_low(high0, low1), cross1 = multiply_low(low0, high1);
    const Word middle =
        (multiply_low(low0, low1) >> 32) + (cross0 & 0xFFFFFFFFu) + (cross1 & 0xFFFFFFFFu);
    return (Int)(multiply_low(high0, high1) + (cross0 >> 32) + (cross1 >> 32) + (middle >> 32));
  }
};

// Four 32-bit numbers per lane; the high halves hold anything.
struct PhiloxState {
  Word word[4];
};

AVTS_INLINE void philox_round(PhiloxState* state, uint64_t key0, uint64_t key1) {
  Word* c = state->word;
  const Word p0 = multiply_low(c[0], Word{} + kPhiloxFactor0);
  const Word p1 = multiply_low(c[2], Word{} + kPhiloxFactor1);
  c[0] = (p1 >> 32) ^ c[1] ^ key0;
  c[1] = p1;
  c[2] = (p0 >> 32) ^ c[3] ^ key1;
  c[3] = p0;
}

AVTS_INLINE Word two_words(const PhiloxState& philox, int first) {
  return (philox.word[first] & 0xFFFFFFFFu) | philox.word[first + 1] << 32;
}

AVTS_INLINE Int load(const int64_t* from) {
  Int value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

AVTS_INLINE Word load_word(const uint64_t* from) {
  Word value;
  std::memcpy(&value, from, sizeof(value));
  return value;
}

template <typename Vector, typename Element>
AVTS_INLINE void store(Vector value, Element* to) {
  std::memcpy(to, &value, sizeof(value));
}

struct BlockBits {
  alignas(64) uint64_t choice[PairBlock::kSize], random[3][PairBlock::kSize];
};

AVTS_INLINE void draw_bits(Word id, Word draw, const ClipOffsetOptions& options, int64_t i,
                           BlockBits* out) {
  const Word epoch = Word{} + 2 * static_cast<uint64_t>(options.epoch);
  PhiloxState a{{draw, epoch, id, id >> 32}}, b{{draw, epoch + 1, id, id >> 32}};
  uint32_t key0 = static_cast<uint32_t>(options.seed);
  uint32_t key1 = static_cast<uint32_t>(options.seed >> 32);
  for (int round = 0; round < 10; ++round) {
    philox_round(&a, key0, key1);
    philox_round(&b, key0, key1);
    key0 += kPhiloxStep0;
    key1 += kPhiloxStep1;
  }
  store(two_words(a, 0), out->choice + i);
  store(two_words(a, 2), out->random[0] + i);
  store(two_words(b, 0), out->random[1] + i);
  store(two_words(b, 2), out->random[2] + i);
}

// The table's rows of a block's media, turned: one array per column.
struct BlockRows {
  alignas(64) int64_t id[PairBlock::kSize], ranges[PairBlock::kSize];
  alignas(64) int64_t first[PairBlock::kSize], count[PairBlock::kSize];
};

// A row of the table is a vector; the next one tells where it ends. Four rows are turned at a time.
AVTS_INLINE void load_rows(const ClipMedia& media, const int64_t* medium, int64_t count,
                           BlockRows* out) {
  typedef int64_t Row __attribute__((vector_size(32)));
  static_assert(sizeof(Medium) == sizeof(Row));
  for (int64_t i = 0; i < count; i += 4) {
    Row row[4];
    for (int k = 0; k < 4; ++k) {
      Row begin, end;
      std::memcpy(&begin, media.medium + medium[i + k], sizeof(begin));
      std::memcpy(&end, media.medium + medium[i + k] + 1, sizeof(end));
      row[k] = __builtin_shufflevector(begin, end - begin, 0, 5, 2, 7);
    }
    const Row even0 = __builtin_shufflevector(row[0], row[1], 0, 4, 2, 6);
    const Row even1 = __builtin_shufflevector(row[2], row[3], 0, 4, 2, 6);
    const Row odd0 = __builtin_shufflevector(row[0], row[1], 1, 5, 3, 7);
    const Row odd1 = __builtin_shufflevector(row[2], row[3], 1, 5, 3, 7);
    store(__builtin_shufflevector(even0, even1, 0, 1, 4, 5), out->id + i);
    store(__builtin_shufflevector(odd0, odd1, 0, 1, 4, 5), out->ranges + i);
    store(__builtin_shufflevector(even0, even1, 2, 3, 6, 7), out->first + i);
    store(__builtin_shufflevector(odd0, odd1, 2, 3, 6, 7), out->count + i);
  }
}

struct LaneRange {
  OneRange<VectorLane> range;  // one start if it is not `usable`, for the arithmetic to go on
  Int usable;                  // 1 or 0
};

AVTS_INLINE LaneRange one_range(const BlockRows& rows, int64_t i) {
  const Int zero = {}, one = zero + 1, count = load(rows.count + i);
  const Int some = count > 0 ? one : zero, usable = load(rows.ranges + i) == 1 ? some : zero;
  return {{load(rows.first + i), usable > 0 ? count : one}, usable};
}

// Loading and drawing take turns on the whole block: a load that follows at once on smaller stores
// to the same place would wait for them.
void draw_pairs(const ClipMedia& media, const ClipOffsetOptions& options, int64_t count,
                PairBlock* block) {
  BlockRows own, other;
  BlockBits bits;
  const int64_t padded = (count + 7) / 8 * 8;  // 4 rows and kLanes divide it
  load_rows(media, block->medium, padded, &own);
  for (int64_t i = 0; i < padded; i += kLanes) {
    draw_bits((Word)load(own.id + i), (Word)load(block->draw + i) + options.first_draw, options, i,
              &bits);
    const Int wanted = wanted_kind<VectorLane>(load_word(bits.choice + i), options);
    const Int kind =
        possible_kind<VectorLane>(wanted, one_range(own, i).range.count, media.count, options);
    store(wanted, block->wanted + i);
    store(kind, block->kind + i);
    store(partner_of<VectorLane>(kind, load(block->medium + i), media.count,
                                 load_word(bits.random[2] + i)),
          block->audio_media + i);
  }
  load_rows(media, block->audio_media, padded, &other);
  for (int64_t i = 0; i < padded; i += kLanes) {
    const LaneRange video = one_range(own, i), audio = one_range(other, i);
    const Starts<VectorLane> starts = draw_in_one_range<VectorLane>(
        load(block->kind + i), video.range, audio.range, load_word(bits.choice + i),
        load_word(bits.random[0] + i), load_word(bits.random[1] + i), options);
    store(starts.video, block->video_start + i);
    store(starts.audio, block->audio_start + i);
    store(video.usable & audio.usable, block->drawn + i);
  }
}

}  // namespace

extern const ClipOffsetKernels kClipOffsetKernels;
const ClipOffsetKernels kClipOffsetKernels{&draw_pairs};

}  // namespace AVTS_LEVEL
}  // namespace avts
