#include "sync_loss/embeddings.h"

#include "core/parallel.h"

namespace avts::sync_loss {
namespace {

template <typename T>
std::vector<double> differences(const std::vector<T>& a, const std::vector<T>& b) {
  std::vector<double> out(a.size());
  for (size_t k = 0; k < a.size(); ++k)
    out[k] = static_cast<double>(a[k]) - static_cast<double>(b[k]);
  return out;
}

}  // namespace

template <typename T>
std::vector<T> mean_row(const Side<T>& side, const Rows& order) {
  std::vector<double> sums(side.dim);
  for (int64_t i : order.index) {
    kernels<T>().add_to_sums(side.rows + i * side.dim, side.dim, sums.data());
  }
  std::vector<T> mean(side.dim);
  const double count = static_cast<double>(std::max<int64_t>(1, order.count()));
  for (size_t k = 0; k < mean.size(); ++k) mean[k] = static_cast<T>(sums[k] / count);
  return mean;
}

template <typename T>
Packed<T>::Packed(const Side<T>& side, const Rows& order, const std::vector<T>& centre,
                  const std::vector<double>& along, bool with_panels)
    : count(order.count()),
      dim(round_up(side.dim, kDimStep)),
      rows(padded_count(count) * dim),
      moments(count) {
  for (int64_t p = 0; p < count; ++p) {
    moments[p] = kernels<T>().centre(side.rows + order.index[p] * side.dim, centre.data(),
                                     along.data(), side.dim, dim, rows.get() + p * dim);
  }
  if (with_panels) add_panels();
}

template <typename T>
void Packed<T>::add_panels() {
  panels = Buffer<T>(padded_count(count) * dim);
  for (int64_t first = 0; first < count; first += kPanel) {
    kernels<T>().fill_panel(rows.get() + first * dim, dim, panels.get() + first * dim);
  }
}

template <typename T>
Distances<T>::Distances(const Pairing<T>& pairing, bool with_panels)
    : video_centre(mean_row(pairing.video_side, pairing.video_rows)),
      audio_centre(mean_row(pairing.audio_side, pairing.audio_rows)),
      shift(differences(video_centre, audio_centre)),
      video(pairing.video_side, pairing.video_rows, video_centre, shift, false),
      audio(pairing.audio_side, pairing.audio_rows, audio_centre, shift, with_panels) {
  double shift2 = 0;
  for (double x : shift) shift2 += x * x;
  for (auto* values : {&video_norm, &video_term}) values->reserve(video.moments.size());
  for (auto* values : {&audio_norm, &audio_term}) values->reserve(audio.moments.size());
  for (const Moments& m : video.moments) {
    video_norm.push_back(std::sqrt(m.square));
    video_term.push_back(m.square + 2 * m.along + shift2);
  }
  for (const Moments& m : audio.moments) {
    audio_norm.push_back(std::sqrt(m.square));
    audio_term.push_back(m.square - 2 * m.along);
  }
}

void for_each_block(int64_t video_count, int64_t audio_count, int threads,
                    const std::function<void(int64_t, int64_t)>& body, int64_t most_rounds) {
  const int64_t videos = (video_count + kBlock - 1) / kBlock;
  const int64_t audios = (audio_count + kBlock - 1) / kBlock;
  const int64_t fewer = std::min(videos, audios), more = std::max(videos, audios);
  for (int64_t round = 0; round < std::min(more, most_rounds); ++round) {
    parallel_for(fewer, 1, threads, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        const int64_t other = (t + round) % more;
        videos > audios ? body(other, t) : body(t, other);
      }
    });
  }
}

template std::vector<float> mean_row(const Side<float>&, const Rows&);
template std::vector<double> mean_row(const Side<double>&, const Rows&);
template struct Packed<float>;
template struct Packed<double>;
template struct Distances<float>;
template struct Distances<double>;

}  // namespace avts::sync_loss
