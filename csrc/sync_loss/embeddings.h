// Embeddings as the block kernels read them.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <new>
#include <vector>

#include "sync_loss/kernels.h"
#include "sync_loss/pairing.h"

namespace avts::sync_loss {

inline int64_t round_up(int64_t x, int64_t step) { return (x + step - 1) / step * step; }

// Rows that the kernels may touch: whole tiles and panels.
inline int64_t padded_count(int64_t count) { return round_up(count, kPanel) + kTileRows; }

// Memory on cache-line bounds, so that no vector load crosses one.
template <typename T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(int64_t count, bool zeroed = true) {
    const size_t bytes = (static_cast<size_t>(count) * sizeof(T) + 63) / 64 * 64;
    data_.reset(static_cast<T*>(std::aligned_alloc(64, bytes + 64)));
    if (!data_) throw std::bad_alloc();
    if (zeroed) std::memset(data_.get(), 0, bytes);
  }
  T* get() const { return data_.get(); }
  T& operator[](int64_t i) const { return data_.get()[i]; }

 private:
  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  std::unique_ptr<T[], Free> data_;
};

// One side's rows in their places, padded with zeros, minus a centre.
template <typename T>
struct Packed {
  int64_t count, dim;  // dim: padded
  Buffer<T> rows;      // padded_count(count) of them
  Buffer<T> panels;    // see Block; empty where no product takes them
  std::vector<Moments> moments;

  // centre, along (see Kernels::centre): of the side's own dim.
  Packed(const Side<T>& side, const Rows& order, const std::vector<T>& centre,
         const std::vector<double>& along, bool with_panels);
  // As they are.
  Packed(const Side<T>& side, const Rows& order, bool with_panels)
      : Packed(side, order, std::vector<T>(side.dim), std::vector<double>(side.dim), with_panels) {}

  void add_panels();
};

// The mean row, zero without rows. Of the elements' own type: the difference from it is then
// rounded once.
template <typename T>
std::vector<T> mean_row(const Side<T>& side, const Rows& order);

// Distances by products. With video rows v = v' + c and audio rows a = a' + e around their centres
// and s = c - e, d^2 = |v' + s|^2 + (|a'|^2 - 2 s.a') - 2 v'.a'. Centring keeps the products small,
// and so their rounding, also in a batch that has collapsed to two points.
template <typename T>
struct Distances {
  std::vector<T> video_centre, audio_centre;
  std::vector<double> shift;  // c - e
  Packed<T> video, audio;
  std::vector<double> video_norm, audio_norm;  // |v'|, |a'|
  std::vector<double> video_term, audio_term;

  // with_panels: of the audio.
  explicit Distances(const Pairing<T>& pairing, bool with_panels = true);
};

// Runs body(video block, audio block) for all pairs of blocks in rounds, within which no two touch
// the same rows. The order in which a row meets the others does not depend on the threads.
void for_each_block(int64_t video_count, int64_t audio_count, int threads,
                    const std::function<void(int64_t, int64_t)>& body,
                    int64_t most_rounds = std::numeric_limits<int64_t>::max());

template <typename T>
Block<T> block_of(const Packed<T>& video, const Packed<T>& audio, int64_t i, int64_t j) {
  const int64_t p = i * kBlock, q = j * kBlock;
  Block<T> block{};
  block.video = video.rows.get() + p * video.dim;
  block.audio = audio.rows.get() + q * audio.dim;
  block.panels = audio.panels.get() + q * audio.dim;
  block.dim = video.dim;
  block.rows = static_cast<int>(std::min<int64_t>(kBlock, video.count - p));
  block.columns = static_cast<int>(std::min<int64_t>(kBlock, audio.count - q));
  return block;
}

}  // namespace avts::sync_loss
