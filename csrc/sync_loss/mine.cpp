#include "sync_loss/mine.h"

#include <algorithm>
#include <cfloat>
#include <limits>

#include "core/parallel.h"
#include "sync_loss/draw.h"
#include "sync_loss/screen.h"

namespace avts::sync_loss {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

template <typename T>
struct Ranking {
  static constexpr int kAhead = 3;  // candidates whose rows are on their way

  const View<T>& view;
  const Options& options;
  const Farthest& farthest;
  bool from_audio;

  double floor_of(int64_t p) const {
    if (options.mining != Mining::semi_hard) return -1;
    return farthest.place[p] < 0 ? kInfinity : farthest.d2[p];  // without a positive none is beyond
  }

  struct Best {
    double key, d2;
    int64_t row, place;
    bool operator<(const Best& other) const {
      return key < other.key || (key == other.key && row < other.row);
    }
  };

  // Considers the admissible pair of places p and q for the list of the k best.
  void consider(int64_t p, int64_t q, double floor, std::vector<Best>* best) const {
    const double d2 = kernels<T>().squared_distance(view.row(p), view.other_row(q), view.self.dim);
    if (d2 <= floor) return;
    const int64_t row = view.other_rows.index[q];
    double key = d2 != d2 ? -kInfinity : d2;
    if (options.mining == Mining::distance_weighted && d2 == d2) {
      key = race_key(options.seed, view.self_rows.index[p], row, from_audio, d2, view.self.dim);
    }
    const Best found{key, d2, row, q};
    const size_t k = static_cast<size_t>(options.k);
    if (best->size() == k && !(found < best->back())) return;
    if (best->size() == k) best->pop_back();
    best->insert(std::upper_bound(best->begin(), best->end(), found), found);
  }

  void write(int64_t p, const std::vector<Best>& best, Mined* mined) const {
    for (int64_t n = 0; n < options.k; ++n) {
      const bool exists = n < static_cast<int64_t>(best.size());
      mined->place[p * options.k + n] = exists ? best[n].place : -1;
      mined->d2[p * options.k + n] = exists ? best[n].d2 : 0;
    }
  }

  void rank_all(int64_t p, std::vector<Best>* best, Mined* mined) const {
    const double floor = floor_of(p);
    const bool easy = options.rule.weight[kEasy] != 0;
    const Range range = easy ? Range{0, view.other_rows.count()} : view.same[p];
    for (int64_t q = range.begin; q < range.end; ++q) {
      const Kind kind = kind_of(options.rule, view.self_rows, p, view.other_rows, q);
      if (kind > kPositive && options.rule.weight[kind] != 0) consider(p, q, floor, best);
    }
    write(p, *best, mined);
  }

  void rank_candidates(int64_t p, const Candidates& candidates, std::vector<Best>* best,
                       Mined* mined) const {
    const double floor = floor_of(p);
    float limit = *candidates.threshold(p);
    const Candidate* end = candidates.end(p);
    for (const Candidate* c = candidates.begin(p); c < end; ++c) {
      if (c + kAhead < end && d2_of(c[kAhead]) <= limit) prefetch(c[kAhead]);
      if (!(d2_of(*c) <= limit)) continue;
      consider(p, place_of(*c), floor, best);
      if (static_cast<int64_t>(best->size()) == options.k) {
        limit = std::min(limit, candidates.looks_beyond(p, best->back().d2));
      }
    }
    write(p, *best, mined);
  }

  void prefetch(Candidate c) const { prefetch_row(view.other_row(place_of(c)), view.self.dim); }

  // The first candidates will be ranked soon.
  void prefetch(int64_t p, const Candidates& candidates) const {
    const Candidate* end = std::min(candidates.end(p), candidates.begin(p) + kAhead);
    for (const Candidate* c = candidates.begin(p); c < end; ++c) {
      if (*c != kNoCandidate) prefetch(*c);
    }
  }
};

template <typename T>
void rank(const Ranking<T>& ranking, const Candidates* candidates, Mined* mined) {
  const int64_t count = ranking.view.self_rows.count();
  mined->place.resize(count * ranking.options.k);
  mined->d2.resize(count * ranking.options.k);
  parallel_for(count, 16, ranking.options.threads, [&](int64_t begin, int64_t end) {
    const auto ranks_all = [&](int64_t p) { return !candidates || candidates->gave_up(p); };
    for (int64_t p = begin; p < end; ++p) {
      if (!ranks_all(p)) ranking.prefetch(p, *candidates);
    }
    std::vector<typename Ranking<T>::Best> best;
    for (int64_t p = begin; p < end; ++p) {
      best.clear();
      ranks_all(p) ? ranking.rank_all(p, &best, mined)
                   : ranking.rank_candidates(p, *candidates, &best, mined);
    }
  });
}

// Doubles are not screened.
std::unique_ptr<Screened> screened(const Pairing<double>&, const Options&, const Farthest&,
                                   const Farthest&) {
  return nullptr;
}

}  // namespace

template <typename T>
void mine(const Pairing<T>& pairing, const Options& options, const Farthest& of_video,
          const Farthest& of_audio, bool finite, Mined* video, Mined* audio) {
  const auto screen = finite ? screened(pairing, options, of_video, of_audio) : nullptr;
  const View<T> video_view = pairing.video(), audio_view = pairing.audio();
  rank(Ranking<T>{video_view, options, of_video, false}, screen ? &screen->video : nullptr, video);
  rank(Ranking<T>{audio_view, options, of_audio, true}, screen ? &screen->audio : nullptr, audio);
}

template void mine(const Pairing<float>&, const Options&, const Farthest&, const Farthest&, bool,
                   Mined*, Mined*);
template void mine(const Pairing<double>&, const Options&, const Farthest&, const Farthest&, bool,
                   Mined*, Mined*);

}  // namespace avts::sync_loss
