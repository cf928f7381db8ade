#include "sync_loss/mine.h"

#include <algorithm>
#include <atomic>
#include <cfloat>
#include <limits>

#include "core/parallel.h"
#include "sync_loss/draw.h"
#include "sync_loss/embeddings.h"

namespace avts::sync_loss {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// --- Ranking: exact, one anchor row at a time --------------------------------------------------

template <typename T>
struct Ranking {
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

  // Considers the pair of places p and q for the list of the k best.
  void consider(int64_t p, int64_t q, double floor, std::vector<Best>* best) const {
    const Kind kind = kind_of(options.rule, view.self_rows, p, view.other_rows, q);
    if (kind <= kPositive || options.rule.weight[kind] == 0) return;
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

  void rank_all(int64_t p, Mined* mined) const {
    std::vector<Best> best;
    const double floor = floor_of(p);
    if (options.rule.weight[kEasy] == 0) {
      for (int64_t q = view.same[p].begin; q < view.same[p].end; ++q) consider(p, q, floor, &best);
    } else {
      for (int64_t q = 0; q < view.other_rows.count(); ++q) consider(p, q, floor, &best);
    }
    write(p, best, mined);
  }
};

// --- Screening ---------------------------------------------------------------------------------

struct Candidate {
  int32_t place;
  float d2;
};

// What the screen knows of one side's rows.
struct Screened {
  int64_t k, capacity;
  Buffer<float> threshold;     // no pair beyond it can be among the k nearest
  Buffer<float> floor;         // every pair below it is too near; semi-hard only
  Buffer<float> sure;          // every pair beyond it is far enough; semi-hard only
  std::vector<float> error;    // of d^2
  std::vector<float> nearest;  // k per row: the least d^2 so far, exact but for its rounding
  std::vector<Candidate> candidates;
  std::vector<int32_t> candidate_count;  // -1: too many, rank against all
  std::vector<double> exact_floor;

  Screened(int64_t count, int64_t k)
      : k(k),
        capacity(24 + 4 * k),
        threshold(round_up(count, kBlock)),
        floor(round_up(count, kBlock)),
        sure(round_up(count, kBlock)),
        error(count),
        nearest(count * k, FLT_MAX),
        candidates(count * capacity),
        candidate_count(count),
        exact_floor(count, -1) {
    std::fill_n(threshold.get(), round_up(count, kBlock), -FLT_MAX);
    std::fill_n(threshold.get(), count, FLT_MAX);
    std::fill_n(floor.get(), round_up(count, kBlock), -FLT_MAX);
    std::fill_n(sure.get(), round_up(count, kBlock), -FLT_MAX);
  }

  bool wants(int64_t p, float d2) const { return d2 <= threshold[p] && d2 >= floor[p]; }

  bool may_lower_threshold(int64_t p, float d2) const {
    return d2 < nearest[p * k + k - 1] && d2 >= floor[p];
  }

  // With the exact d^2 of an admissible pair.
  void lower_threshold(int64_t p, double exact) {
    const float d2 = static_cast<float>(exact * (1 + 0x1p-22));  // at least `exact`
    float* least = nearest.data() + p * k;
    if (exact <= exact_floor[p] || d2 >= least[k - 1]) return;
    int64_t n = k - 1;
    for (; n > 0 && least[n - 1] > d2; --n) least[n] = least[n - 1];
    least[n] = d2;
    if (least[k - 1] < FLT_MAX) threshold[p] = std::min(threshold[p], least[k - 1] + error[p]);
  }

  // With approximate d^2 of `count` admissible pairs, `step` apart.
  void lower_threshold(int64_t p, const float* d2, int64_t count, int64_t step) {
    float least[kTileRows];
    std::fill_n(least, k, kInfinity);
    for (int64_t n = 0; n < count; ++n) {
      float x = d2[n * step];
      for (int64_t m = 0; m < k; ++m) {  // without branches, which would not be foretold
        const float smaller = std::min(least[m], x);
        x = std::max(least[m], x);
        least[m] = smaller;
      }
    }
    threshold[p] = std::min(threshold[p], least[k - 1] + 2 * error[p]);
  }

  // Whether the row has given up now.
  bool add(int64_t p, int64_t q, float d2) {
    int32_t& count = candidate_count[p];
    if (count < 0) return false;
    Candidate* list = candidates.data() + p * capacity;
    if (count == capacity) {
      const float limit = threshold[p];
      const auto beyond = [&](const Candidate& c) { return c.d2 > limit; };
      count = static_cast<int32_t>(std::remove_if(list, list + count, beyond) - list);
      if (count > capacity * 3 / 4) {
        count = -1;
        threshold[p] = -FLT_MAX;
        return true;
      }
    }
    list[count++] = {static_cast<int32_t>(q), d2};
    return false;
  }
};

struct Screen {
  const Pairing<float>& pairing;
  const View<float> view;
  const Options& options;
  const Kernels<float>& kernel;
  Screened video, audio;
  std::atomic<int64_t> given_up{0};  // rows that the screen does not help

  Screen(const Pairing<float>& pairing, const Options& options)
      : pairing(pairing),
        view(pairing.video()),
        options(options),
        kernel(kernels<float>()),
        video(pairing.video_rows.count(), options.k),
        audio(pairing.audio_rows.count(), options.k) {}

  double exact(int64_t p, int64_t q) const {
    return kernel.squared_distance(view.row(p), view.other_row(q), view.self.dim);
  }

  bool admits(int64_t p, int64_t q) const {
    const Range same = view.same[p];
    if ((q < same.begin || q >= same.end) && !pairing.has_groups) return true;  // easy ones are
    const Kind kind = kind_of(options.rule, view.self_rows, p, view.other_rows, q);
    return kind > kPositive && options.rule.weight[kind] != 0;
  }
};

// Hits of one block's tile row.
struct Taker {
  Screen* screen;
  int64_t first_video, first_audio;

  static void take(void* context, const Hit<float>* hits, int count) {
    const Taker& taker = *static_cast<const Taker*>(context);
    Screen& s = *taker.screen;
    bool admitted[kPanel];
    const auto for_each = [&](const auto& body) {
      for (int n = 0; n < count; ++n) {
        body(n, taker.first_video + hits[n].row, taker.first_audio + hits[n].column, hits[n].d2);
      }
    };
    // All thresholds first, so that the first tile, where every pair is a hit, adds few candidates.
    for_each([&](int n, int64_t p, int64_t q, float d2) {
      admitted[n] = s.admits(p, q);
      if (!admitted[n]) return;
      if (!s.video.may_lower_threshold(p, d2) && !s.audio.may_lower_threshold(q, d2)) return;
      const double exact = s.exact(p, q);
      s.video.lower_threshold(p, exact);
      s.audio.lower_threshold(q, exact);
    });
    for_each([&](int n, int64_t p, int64_t q, float d2) {
      if (!admitted[n]) return;
      if (s.video.wants(p, d2) && s.video.add(p, q, d2)) ++s.given_up;
      if (s.audio.wants(q, d2) && s.audio.add(q, p, d2)) ++s.given_up;
    });
  }
};

double greatest(const std::vector<double>& values) {
  return values.empty() ? 0 : *std::max_element(values.begin(), values.end());
}

// One side in bytes, as ScreenBlock wants them.
struct Bytes {
  Buffer<uint8_t> bytes;
  Buffer<float> scale;
  Buffer<int32_t> offset;            // -128 times the sum of a row's bytes
  std::vector<double> rest, length;  // see ByteRow

  // `bias` is added to each byte of a row, of which `group` lie side by side.
  Bytes(const Packed<float>& rows, int bias, int group)
      : bytes(padded_count(rows.count) * rows.dim),
        scale(round_up(rows.count, kBlock)),
        offset(round_up(rows.count, kBlock)),
        rest(rows.count),
        length(rows.count) {
    for (int64_t p = 0; p < rows.count; ++p) {
      uint8_t* to = bytes.get() + p / group * group * rows.dim + p % group * 4;
      const ByteRow row =
          kernels<float>().to_bytes(rows.rows.get() + p * rows.dim, rows.dim, bias, group * 4, to);
      scale[p] = row.scale;
      offset[p] = -128 * row.sum;
      rest[p] = row.rest;
      length[p] = row.length;
    }
  }
};

// A bound on the error of d^2 as the screen computes it, for a row of length `norm` and the other
// side's greatest lengths. u = 2^-24. The product of the rows is wrong by less than dim u |v'||a'|,
// the terms and their sum by 4 u of each, and centring moved each row by u times its length, which
// moves d^2 by 2 d times that. Twice over, plus what underflow can take from dim products.
double rounding_error(double norm, double term, double other_norm, double other_term, double shift,
                      double dim) {
  constexpr double u = 0x1p-24;
  const double lengths = norm + other_norm, d = lengths + shift;
  return 2 * u * ((2 * dim + 8) * norm * other_norm + 8 * (term + other_term) + 4 * d * lengths) +
         dim * 0x1p-124;
}

class Screener {
 public:
  Screener(const Pairing<float>& pairing, const Options& options)
      : pairing_(pairing),
        options_(options),
        distances_(pairing),
        video_term_(padded(distances_.video_term)),
        audio_term_(padded(distances_.audio_term)) {}

  // Bytes separate well unless the batch is small, nearly collapsed, or semi-hard with positives as
  // far as negatives; then float32 does. Returns whether it has got through the batch.
  bool run(const Farthest& of_video, const Farthest& of_audio, Screen* screen, bool in_bytes) {
    const int64_t patience = (distances_.video.count + distances_.audio.count) / 64;
    const Distances<float>& d = distances_;
    std::unique_ptr<Bytes> video_bytes, audio_bytes;
    if (in_bytes) {
      video_bytes = std::make_unique<Bytes>(d.video, 128, kTileRows);
      audio_bytes = std::make_unique<Bytes>(d.audio, 0, kPanel);
    }
    const auto errors = [&](const std::vector<double>& norm, const std::vector<double>& term,
                            const std::vector<double>& other_norm,
                            const std::vector<double>& other_term, const Bytes* bytes,
                            const Bytes* other_bytes, const Farthest& farthest, Screened* side) {
      double shift = 0, other_most = 0;
      for (double x : d.shift) shift += x * x;
      for (double x : other_term) other_most = std::max(other_most, std::fabs(x));
      const double other_length = greatest(other_norm);
      const double other_rest = bytes ? greatest(other_bytes->rest) : 0;
      for (size_t p = 0; p < norm.size(); ++p) {
        double error = rounding_error(norm[p], std::fabs(term[p]), other_length, other_most,
                                      std::sqrt(shift), static_cast<double>(d.video.dim));
        // |v'.a' - v~.a~| <= |v' - v~| |a'| + |v~| |a' - a~|, where ~ is what the bytes stand for.
        if (bytes) error += 2.001 * (bytes->rest[p] * other_length + bytes->length[p] * other_rest);
        side->error[p] = static_cast<float>(error * 1.001);
        if (options_.mining != Mining::semi_hard) continue;
        side->exact_floor[p] = farthest.place[p] < 0 ? kInfinity : farthest.d2[p];
        side->floor[p] = static_cast<float>(
            std::min<double>(FLT_MAX, side->exact_floor[p] * (1 - 1e-6) - 1.001 * side->error[p]));
        side->sure[p] = static_cast<float>(
            std::min<double>(FLT_MAX, side->exact_floor[p] * (1 + 1e-6) + 1.001 * side->error[p]));
      }
    };
    errors(d.video_norm, d.video_term, d.audio_norm, d.audio_term, video_bytes.get(),
           audio_bytes.get(), of_video, &screen->video);
    errors(d.audio_norm, d.audio_term, d.video_norm, d.video_term, audio_bytes.get(),
           video_bytes.get(), of_audio, &screen->audio);

    const bool floors = options_.mining == Mining::semi_hard;
    for_each_block(d.video.count, d.audio.count, options_.threads, [&](int64_t i, int64_t j) {
      if (in_bytes && screen->given_up > patience) return;
      const int64_t p = i * kBlock, q = j * kBlock;
      Taker taker{screen, p, q};
      ScreenBlock<float> block{};
      block.video_term = &video_term_[p];
      block.audio_term = &audio_term_[q];
      block.video_threshold = &screen->video.threshold[p];
      block.audio_threshold = &screen->audio.threshold[q];
      block.video_floor = floors ? &screen->video.floor[p] : nullptr;
      block.audio_floor = floors ? &screen->audio.floor[q] : nullptr;
      block.video_sure = &screen->video.sure[p];
      block.audio_sure = &screen->audio.sure[q];
      block.take = Taker::take;
      block.context = &taker;
      const Block<float> rows = block_of(d.video, d.audio, i, j);
      if (!in_bytes) {
        if (i == j) look_first(rows, block, kernels<float>().find_minima, screen);
        return kernels<float>().screen(rows, block);
      }
      block.quads = d.video.dim / 4;
      block.video_bytes = video_bytes->bytes.get() + p * d.video.dim;
      block.audio_bytes = reinterpret_cast<int8_t*>(audio_bytes->bytes.get()) + q * d.video.dim;
      block.video_scale = &video_bytes->scale[p];
      block.audio_scale = &audio_bytes->scale[q];
      block.audio_offset = &audio_bytes->offset[q];
      if (i == j) look_first(rows, block, kernels<float>().find_byte_minima, screen);
      kernels<float>().screen_bytes(rows, block);
    });
    return !in_bytes || screen->given_up <= patience;
  }

 private:
  // Thresholds from the minima of a block, before each of its pairs would be a hit.
  template <typename Find>
  void look_first(const Block<float>& block, const ScreenBlock<float>& rows, const Find& find,
                  Screen* screen) const {
    const Taker& taker = *static_cast<const Taker*>(rows.context);
    if (pairing_.has_groups || options_.k > kTileRows) return;
    const auto minima = std::make_unique<Minima<float>>();
    std::fill_n(minima->video[0], kBlock * Minima<float>::kVideoSets, kInfinity);
    std::fill_n(minima->audio[0], kTileRows * kBlock, kInfinity);
    for (int r = 0; r < block.rows; ++r) {
      const Range same = pairing_.audio_of_video[taker.first_video + r];
      const auto relative = [&](int64_t q) {
        return static_cast<int>(
            std::max<int64_t>(0, std::min<int64_t>(kBlock, q - taker.first_audio)));
      };
      minima->begin[r] = relative(same.begin);
      minima->end[r] = relative(same.end);
    }
    find(block, rows, minima.get());
    constexpr int kSets = Minima<float>::kVideoSets;
    for (int r = 0; r < block.rows; ++r) {
      screen->video.lower_threshold(taker.first_video + r, minima->video[r], kSets, 1);
    }
    for (int c = 0; c < block.columns; ++c) {
      screen->audio.lower_threshold(taker.first_audio + c, minima->audio[0] + c, kTileRows, kBlock);
    }
  }

  static Buffer<float> padded(const std::vector<double>& terms) {
    const int64_t count = static_cast<int64_t>(terms.size());
    Buffer<float> buffer(round_up(count, kBlock));
    std::copy(terms.begin(), terms.end(), buffer.get());
    std::fill(buffer.get() + count, buffer.get() + round_up(count, kBlock),
              std::numeric_limits<float>::infinity());
    return buffer;
  }

  const Pairing<float>& pairing_;
  const Options& options_;
  const Distances<float> distances_;
  const Buffer<float> video_term_, audio_term_;
};

// Only for float32, where the products' own error is far above that of the ranking.
std::unique_ptr<Screen> screened(const Pairing<double>&, const Options&, const Farthest&,
                                 const Farthest&) {
  return nullptr;
}
std::unique_ptr<Screen> screened(const Pairing<float>& pairing, const Options& options,
                                 const Farthest& of_video, const Farthest& of_audio) {
  if (options.mining == Mining::distance_weighted || options.rule.weight[kEasy] == 0)
    return nullptr;
  const int64_t videos = pairing.video_rows.count(), audios = pairing.audio_rows.count();
  Screener screener(pairing, options);
  auto screen = std::make_unique<Screen>(pairing, options);
  constexpr int64_t kLongestByteRow = 1 << 15;  // the products of bytes are summed in 32 bits
  if (has_byte_products() && videos * audios >= int64_t{1} << 15 &&
      pairing.video_side.dim <= kLongestByteRow) {
    if (screener.run(of_video, of_audio, screen.get(), true)) return screen;
    screen = std::make_unique<Screen>(pairing, options);
  }
  screener.run(of_video, of_audio, screen.get(), false);
  return screen;
}

template <typename T>
void rank(const Ranking<T>& ranking, const Screened* screened, Mined* mined) {
  const int64_t count = ranking.view.self_rows.count();
  mined->place.resize(count * ranking.options.k);
  mined->d2.resize(count * ranking.options.k);
  parallel_for(count, 16, ranking.options.threads, [&](int64_t begin, int64_t end) {
    std::vector<typename Ranking<T>::Best> best;
    for (int64_t p = begin; p < end; ++p) {
      if (!screened || screened->candidate_count[p] < 0) {
        ranking.rank_all(p, mined);
        continue;
      }
      best.clear();
      const Candidate* list = screened->candidates.data() + p * screened->capacity;
      for (int32_t n = 0; n < screened->candidate_count[p]; ++n) {
        if (list[n].d2 <= screened->threshold[p]) {
          ranking.consider(p, list[n].place, ranking.floor_of(p), &best);
        }
      }
      ranking.write(p, best, mined);
    }
  });
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
