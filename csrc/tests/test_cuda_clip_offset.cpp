// The clip-offset kernel on the host emulator, here so that the sanitizers see it.
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <vector>

#include "clip_offset/cuda/clip_offset_cuda.h"
#include "tests/expect.h"

using namespace avts;

namespace {

struct Drawn {
  explicit Drawn(size_t pairs)
      : video_start(pairs, -1),
        audio_start(pairs, -1),
        audio_media(pairs, -1),
        kind(pairs, -1),
        fallback(new bool[pairs]{}),
        pairs(pairs) {}

  ClipOffsetOutput output() {
    return {video_start.data(), audio_start.data(), audio_media.data(), kind.data(),
            fallback.get()};
  }
  void set(size_t i, const ClipPair& pair) {
    video_start[i] = pair.video_start;
    audio_start[i] = pair.audio_start;
    audio_media[i] = pair.audio_media;
    kind[i] = pair.kind;
    fallback[i] = pair.fallback;
  }
  bool operator==(const Drawn& other) const {
    return video_start == other.video_start && audio_start == other.audio_start &&
           audio_media == other.audio_media && kind == other.kind &&
           std::equal(fallback.get(), fallback.get() + pairs, other.fallback.get());
  }

  std::vector<int64_t> video_start, audio_start, audio_media;
  std::vector<int8_t> kind;
  std::unique_ptr<bool[]> fallback;
  size_t pairs;
};

const ClipOffsetOptions kOptions{150, 25, 99, {1u << 30, 1u << 31, 3u << 30, 1ull << 32}, 7, 3, 5};

// Media with one to three ranges of starts each.
struct Table {
  std::vector<Medium> medium;
  std::vector<StartRange> range;

  explicit Table(int64_t count) {
    int64_t rank = 0;
    for (int64_t m = 0; m < count; ++m) {
      medium.push_back({m * 1000003 - 50, static_cast<int64_t>(range.size()), {0, rank}});
      for (int64_t r = 0; r <= m % 3; ++r) {
        range.push_back({r * 400, rank});
        rank += 1 + (m + r) * 37 % 300;
      }
    }
    medium.push_back({0, static_cast<int64_t>(range.size()), {0, rank}});
    range.push_back({0, rank});
  }
  ClipMedia media() const {
    return {medium.data(), range.data(), static_cast<int64_t>(medium.size()) - 1,
            static_cast<int64_t>(range.size()) - 1};
  }
};

void gives_the_bits_of_the_host() {
  for (int64_t count : {1, 2, 100}) {
    const Table table(count);
    std::vector<int64_t> query;
    for (int64_t m = 0; m < count; ++m) query.push_back(count - 1 - m);
    for (int64_t draws : {0, 1, 7}) {
      Drawn expected(count * draws), drawn(count * draws);
      for (int64_t i = 0; i < count * draws; ++i) {
        expected.set(i, draw_pair(table.media(), query[i / draws], static_cast<uint32_t>(i % draws),
                                  kOptions));
      }
      sample_clip_offsets_cuda(table.media(), query.data(), count, draws, kOptions, nullptr,
                               drawn.output());
      EXPECT(drawn == expected);
    }
  }
}

void traps_on_bad_values() {
  Table table(2);
  table.medium[2].first_range = 99;  // leads out of memory
  for (int64_t query : {-1, 1, 2}) {
    Drawn drawn(1);
    EXPECT_THROW(
        sample_clip_offsets_cuda(table.media(), &query, 1, 1, kOptions, nullptr, drawn.output()),
        std::runtime_error);
  }
}

}  // namespace

int main() {
  for (const char* seed : {"0", "1"}) {
    setenv("CUDA_ON_HOST_SEED", seed, 1);
    gives_the_bits_of_the_host();
    traps_on_bad_values();
  }
  std::puts("ok");
}
