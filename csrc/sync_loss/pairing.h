// Which pair of rows is what.
#pragma once

#include <cstdint>
#include <vector>

#include "sync_loss/sync_loss.h"

namespace avts::sync_loss {

// One side's rows that take part, in an order in which rows of one medium lie side by side. A row's
// number in this order is its place.
struct Rows {
  std::vector<int64_t> index;  // the caller's row at each place
  std::vector<int64_t> ids, groups;
  std::vector<double> start_s;

  template <typename T>
  explicit Rows(const Side<T>& side);
  int64_t count() const { return static_cast<int64_t>(index.size()); }
};

struct Range {
  int64_t begin, end;
};

// For each place of `self` the places of `other` with the same medium.
std::vector<Range> same_medium(const Rows& self, const Rows& other);

inline Kind kind_of(const PairRule& rule, const Rows& a, int64_t p, const Rows& b, int64_t q) {
  return kind_of_pair(rule, a.ids[p] == b.ids[q], a.start_s[p] - b.start_s[q],
                      a.groups[p] >= 0 && a.groups[p] == b.groups[q]);
}

// A row that will be read soon. Rows of the other side are read in no order that hardware foresees.
template <typename T>
void prefetch_row(const T* row, int64_t dim) {
  constexpr int64_t kLine = 64 / sizeof(T);
  for (int64_t d = 0; d < dim; d += kLine) __builtin_prefetch(row + d);
}

// One anchor side against the other. The audio's view of a batch is the video's with sides swapped.
template <typename T>
struct View {
  const Side<T>& self;
  const Side<T>& other;
  const Rows& self_rows;
  const Rows& other_rows;
  const std::vector<Range>& same;

  const T* row(int64_t p) const { return self.rows + self_rows.index[p] * self.dim; }
  const T* other_row(int64_t q) const { return other.rows + other_rows.index[q] * other.dim; }

  template <typename Body>
  void for_each_positive(const PairRule& rule, int64_t p, const Body& body) const {
    for (int64_t q = same[p].begin; q < same[p].end; ++q) {
      if (kind_of(rule, self_rows, p, other_rows, q) == kPositive) body(q);
    }
  }
};

template <typename T>
struct Pairing {
  const Side<T>&video_side, &audio_side;
  Rows video_rows, audio_rows;
  std::vector<Range> audio_of_video, video_of_audio;
  bool has_groups;

  Pairing(const Side<T>& video, const Side<T>& audio)
      : video_side(video),
        audio_side(audio),
        video_rows(video),
        audio_rows(audio),
        audio_of_video(same_medium(video_rows, audio_rows)),
        video_of_audio(same_medium(audio_rows, video_rows)),
        has_groups(video.groups && audio.groups) {}

  View<T> video() const { return {video_side, audio_side, video_rows, audio_rows, audio_of_video}; }
  View<T> audio() const { return {audio_side, video_side, audio_rows, video_rows, video_of_audio}; }
};

}  // namespace avts::sync_loss
