// Memory asked for while there is arithmetic to do. For cpu/*.cpp only.
#pragma once

#include <cstdint>

namespace avts {
namespace AVTS_LEVEL {

constexpr int64_t kCacheLine = 64;

// `count` places that will be read or written soon. They are asked for a few at a time: all at once
// would fill the queue of misses, and the arithmetic's own loads would wait behind them. The places
// need not exist.
struct Ahead {
  const char* first = nullptr;
  int64_t stride = 0, count = 0;

  void ask(int64_t part, int64_t parts) const {
    const int64_t each = (count + parts - 1) / parts;
    const int64_t end = (part + 1) * each < count ? (part + 1) * each : count;
    for (int64_t i = part * each; i < end; ++i) __builtin_prefetch(first + i * stride, 0, 3);
  }
};

}  // namespace AVTS_LEVEL
}  // namespace avts
