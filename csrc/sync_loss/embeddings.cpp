#include "sync_loss/embeddings.h"

#include "core/parallel.h"

namespace avts::sync_loss {
namespace {

template <typename T>
std::vector<double> mean_row(const Side<T>& side, const Rows& order) {
  std::vector<double> mean(side.dim);
  for (int64_t i : order.index) {
    for (int64_t k = 0; k < side.dim; ++k)
      mean[k] += static_cast<double>(side.rows[i * side.dim + k]);
  }
  // Of the elements' own type: their difference from it is then rounded once.
  for (double& x : mean)
    x = static_cast<double>(static_cast<T>(x / static_cast<double>(order.count())));
  return mean;
}

}  // namespace

template <typename T>
Packed<T>::Packed(const Side<T>& side, const Rows& order, bool centred, bool with_panels)
    : count(order.count()),
      dim(round_up(side.dim, kDimStep)),
      centre(centred && count ? mean_row(side, order) : std::vector<double>(side.dim)),
      rows(round_up(count, kBlock) * dim),
      panels(with_panels ? round_up(count, kBlock) * dim : 0) {
  for (int64_t p = 0; p < count; ++p) {
    const T* from = side.rows + order.index[p] * side.dim;
    T* to = rows.get() + p * dim;
    for (int64_t k = 0; k < side.dim; ++k) to[k] = from[k] - static_cast<T>(centre[k]);
  }
  if (!with_panels) return;
  for (int64_t first = 0; first < count; first += kPanel) {
    const T* from = rows.get() + first * dim;
    T* to = panels.get() + first * dim;
    for (int64_t k = 0; k < dim; ++k) {
      for (int64_t c = 0; c < kPanel; ++c) to[k * kPanel + c] = from[c * dim + k];
    }
  }
}

template <typename T>
Distances<T>::Distances(const Pairing<T>& pairing)
    : video(pairing.video_side, pairing.video_rows, true, false),
      audio(pairing.audio_side, pairing.audio_rows, true, true),
      shift(pairing.video_side.dim) {
  const int64_t dim = static_cast<int64_t>(shift.size());
  for (int64_t k = 0; k < dim; ++k) shift[k] = video.centre[k] - audio.centre[k];
  for (int64_t p = 0; p < video.count; ++p) {
    const T* row = video.rows.get() + p * video.dim;
    double norm2 = 0, term = 0;
    for (int64_t k = 0; k < dim; ++k) {
      const double x = static_cast<double>(row[k]);
      norm2 += x * x;
      term += (x + shift[k]) * (x + shift[k]);
    }
    video_norm.push_back(std::sqrt(norm2));
    video_term.push_back(term);
  }
  for (int64_t q = 0; q < audio.count; ++q) {
    const T* row = audio.rows.get() + q * audio.dim;
    double norm2 = 0, along = 0;
    for (int64_t k = 0; k < dim; ++k) {
      const double x = static_cast<double>(row[k]);
      norm2 += x * x;
      along += x * shift[k];
    }
    audio_norm.push_back(std::sqrt(norm2));
    audio_term.push_back(norm2 - 2 * along);
  }
}

void for_each_block(int64_t video_count, int64_t audio_count, int threads,
                    const std::function<void(int64_t, int64_t)>& body) {
  const int64_t videos = (video_count + kBlock - 1) / kBlock;
  const int64_t audios = (audio_count + kBlock - 1) / kBlock;
  const int64_t fewer = std::min(videos, audios), more = std::max(videos, audios);
  for (int64_t round = 0; round < more; ++round) {
    parallel_for(fewer, 1, threads, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const int64_t other = (t + round) % more;
        videos > audios ? body(other, t) : body(t, other);
      }
    });
  }
}

template struct Packed<float>;
template struct Packed<double>;
template struct Distances<float>;
template struct Distances<double>;

}  // namespace avts::sync_loss
