#include "sync_loss/mine.h"

#include <algorithm>
#include <cfloat>
#include <limits>
#include <numeric>

#include "core/parallel.h"
#include "core/philox.h"
#include "sync_loss/embeddings.h"

namespace avts::sync_loss {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// --- Ranking: exact, one anchor row at a time --------------------------------------------------

// A number in (0, 1] that belongs to a pair of the caller's rows, seen from one side.
double uniform_of(uint64_t seed, int64_t self, int64_t other, bool from_audio) {
  const Philox random =
      philox(static_cast<uint32_t>(self), static_cast<uint32_t>(other), from_audio, 0, seed);
  return (static_cast<double>(random.pair(0) >> 11) + 1) * 0x1p-53;
}

// Logarithm of the density of distances on the unit sphere of `dim` dimensions, with d from 0.5
// (Wu et al., "Sampling matters in deep embedding learning", ICCV 2017).
double log_density(double d2, int64_t dim) {
  const double n = static_cast<double>(dim), near = std::max(d2, 0.25);
  return 0.5 * (n - 2) * std::log(near) + 0.5 * (n - 3) * std::log(std::max(1 - near / 4, 1e-8));
}

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
      // Exponential race: the least of E / w is a draw with probability proportional to w.
      const double e =
          -std::log(uniform_of(options.seed, view.self_rows.index[p], row, from_audio));
      key = std::log(e) + log_density(d2, view.self.dim);
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
  std::vector<float> error;    // of d^2
  std::vector<float> nearest;  // k per row: upper bounds of the least d^2
  std::vector<Candidate> candidates;
  std::vector<int32_t> candidate_count;  // -1: too many, rank against all
  std::vector<double> exact_floor;

  Screened(int64_t count, int64_t k)
      : k(k),
        capacity(24 + 4 * k),
        threshold(round_up(count, kBlock)),
        floor(round_up(count, kBlock)),
        error(count),
        nearest(count * k, FLT_MAX),
        candidates(count * capacity),
        candidate_count(count),
        exact_floor(count, -1) {
    std::fill_n(threshold.get(), round_up(count, kBlock), -FLT_MAX);
    std::fill_n(threshold.get(), count, FLT_MAX);
  }

  bool wants(int64_t p, float d2) const { return d2 <= threshold[p] && d2 >= floor[p]; }

  // Admissible pairs only. A pair that may lie below the floor lowers no threshold.
  void lower_threshold(int64_t p, float d2) {
    if (d2 - error[p] <= exact_floor[p]) return;
    float* least = nearest.data() + p * k;
    if (d2 >= least[k - 1]) return;
    int64_t n = k - 1;
    for (; n > 0 && least[n - 1] > d2; --n) least[n] = least[n - 1];
    least[n] = d2;
    if (least[k - 1] < FLT_MAX) threshold[p] = least[k - 1] + 2 * error[p];
  }

  void add(int64_t p, int64_t q, float d2) {
    int32_t& count = candidate_count[p];
    if (count < 0) return;
    Candidate* list = candidates.data() + p * capacity;
    if (count == capacity) {
      const float limit = threshold[p];
      const auto beyond = [&](const Candidate& c) { return c.d2 > limit; };
      count = static_cast<int32_t>(std::remove_if(list, list + count, beyond) - list);
      if (count > capacity * 3 / 4) {
        count = -1;
        threshold[p] = -FLT_MAX;
        return;
      }
    }
    list[count++] = {static_cast<int32_t>(q), d2};
  }
};

struct Screen {
  const Pairing<float>& pairing;
  const Options& options;
  Screened video, audio;

  Screen(const Pairing<float>& pairing, const Options& options)
      : pairing(pairing),
        options(options),
        video(pairing.video_rows.count(), options.k),
        audio(pairing.audio_rows.count(), options.k) {}
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
      const Kind kind = kind_of(s.options.rule, s.pairing.video_rows, p, s.pairing.audio_rows, q);
      admitted[n] = kind > kPositive && s.options.rule.weight[kind] != 0;
      if (!admitted[n]) return;
      if (s.video.wants(p, d2)) s.video.lower_threshold(p, d2);
      if (s.audio.wants(q, d2)) s.audio.lower_threshold(q, d2);
    });
    for_each([&](int n, int64_t p, int64_t q, float d2) {
      if (!admitted[n]) return;
      if (s.video.wants(p, d2)) s.video.add(p, q, d2);
      if (s.audio.wants(q, d2)) s.audio.add(q, p, d2);
    });
  }
};

double greatest(const std::vector<double>& values) {
  return values.empty() ? 0 : *std::max_element(values.begin(), values.end());
}

// Bytes for the screen: row = scale * bytes + rest.
struct Bytes {
  Buffer<int8_t> bytes;  // count x dim
  Buffer<float> scale;
  std::vector<double> rest, length;  // |rest|, |scale * bytes|

  explicit Bytes(const Packed<float>& rows)
      : bytes(round_up(rows.count, kBlock) * rows.dim),
        scale(round_up(rows.count, kBlock)),
        rest(rows.count),
        length(rows.count) {
    for (int64_t p = 0; p < rows.count; ++p) {
      const float* row = rows.rows.get() + p * rows.dim;
      int8_t* to = bytes.get() + p * rows.dim;
      float most = 0;
      for (int64_t k = 0; k < rows.dim; ++k) most = std::max(most, std::fabs(row[k]));
      const float step = most / 127;
      if (step < FLT_MIN) {  // no normal step: all of it is rest
        for (int64_t k = 0; k < rows.dim; ++k) rest[p] += static_cast<double>(row[k]) * row[k];
        rest[p] = std::sqrt(rest[p]);
        continue;
      }
      scale[p] = step;
      double rest2 = 0, length2 = 0;
      for (int64_t k = 0; k < rows.dim; ++k) {
        const float whole = std::max(-127.0f, std::min(127.0f, std::nearbyintf(row[k] / step)));
        to[k] = static_cast<int8_t>(whole);
        const double stands_for = static_cast<double>(whole) * step, left = row[k] - stands_for;
        rest2 += left * left;
        length2 += stands_for * stands_for;
      }
      rest[p] = std::sqrt(rest2);
      length[p] = std::sqrt(length2);
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

  // Bytes separate well unless the batch is small or nearly collapsed; then float32 does.
  void run(const Farthest& of_video, const Farthest& of_audio, Screen* screen, bool in_bytes) {
    const Distances<float>& d = distances_;
    ScreenBlock<float> shared{};
    std::unique_ptr<Bytes> video_bytes, audio_bytes;
    Buffer<uint8_t> interleaved;
    Buffer<int8_t> byte_panels;
    Buffer<int32_t> offsets;
    if (in_bytes) {
      video_bytes = std::make_unique<Bytes>(d.video);
      audio_bytes = std::make_unique<Bytes>(d.audio);
      interleaved = interleave(*video_bytes);
      byte_panels = panels(*audio_bytes, &offsets);
      shared.video_scale = video_bytes->scale.get();
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
      }
      if (options_.mining != Mining::semi_hard) {
        std::fill_n(side->floor.get(), round_up(norm.size(), kBlock), -FLT_MAX);
      }
    };
    errors(d.video_norm, d.video_term, d.audio_norm, d.audio_term, video_bytes.get(),
           audio_bytes.get(), of_video, &screen->video);
    errors(d.audio_norm, d.audio_term, d.video_norm, d.video_term, audio_bytes.get(),
           video_bytes.get(), of_audio, &screen->audio);

    const bool floors = options_.mining == Mining::semi_hard;
    for_each_block(d.video.count, d.audio.count, options_.threads, [&](int64_t i, int64_t j) {
      const int64_t p = i * kBlock, q = j * kBlock;
      Taker taker{screen, p, q};
      ScreenBlock<float> block = shared;
      block.video_term = &video_term_[p];
      block.audio_term = &audio_term_[q];
      block.video_threshold = &screen->video.threshold[p];
      block.audio_threshold = &screen->audio.threshold[q];
      block.video_floor = floors ? &screen->video.floor[p] : nullptr;
      block.audio_floor = floors ? &screen->audio.floor[q] : nullptr;
      block.take = Taker::take;
      block.context = &taker;
      const Block<float> rows = block_of(d.video, d.audio, i, j);
      if (!in_bytes) return kernels<float>().screen(rows, block);
      block.quads = d.video.dim / 4;
      block.video_bytes = interleaved.get() + p * d.video.dim;
      block.audio_bytes = byte_panels.get() + q * d.video.dim;
      block.video_scale = &video_bytes->scale[p];
      block.audio_scale = &audio_bytes->scale[q];
      block.audio_offset = &offsets[q];
      kernels<float>().screen_bytes(rows, block);
    });
  }

 private:
  static Buffer<float> padded(const std::vector<double>& terms) {
    const int64_t count = static_cast<int64_t>(terms.size());
    Buffer<float> buffer(round_up(count, kBlock));
    std::copy(terms.begin(), terms.end(), buffer.get());
    std::fill(buffer.get() + count, buffer.get() + round_up(count, kBlock),
              std::numeric_limits<float>::infinity());
    return buffer;
  }

  Buffer<uint8_t> interleave(const Bytes& rows) const {
    const int64_t dim = distances_.video.dim, count = round_up(distances_.video.count, kBlock);
    Buffer<uint8_t> out(count * dim);
    for (int64_t p = 0; p < count; ++p) {
      uint8_t* to = out.get() + p / kTileRows * kTileRows * dim + p % kTileRows * 4;
      for (int64_t k = 0; k < dim; ++k) {
        to[k / 4 * kTileRows * 4 + k % 4] = static_cast<uint8_t>(rows.bytes[p * dim + k] + 128);
      }
    }
    return out;
  }

  Buffer<int8_t> panels(const Bytes& rows, Buffer<int32_t>* offsets) const {
    const int64_t dim = distances_.audio.dim, count = round_up(distances_.audio.count, kBlock);
    Buffer<int8_t> out(count * dim);
    *offsets = Buffer<int32_t>(count);
    for (int64_t q = 0; q < count; ++q) {
      int8_t* to = out.get() + q / kPanel * kPanel * dim + q % kPanel * 4;
      const int8_t* from = rows.bytes.get() + q * dim;
      for (int64_t k = 0; k < dim; k += 4) std::memcpy(to + k / 4 * kPanel * 4, from + k, 4);
      (*offsets)[q] = -128 * std::accumulate(from, from + dim, 0);
    }
    return out;
  }

  const Pairing<float>& pairing_;
  const Options& options_;
  const Distances<float> distances_;
  const Buffer<float> video_term_, audio_term_;
};

int64_t unresolved(const Screened& side) {
  return std::count(side.candidate_count.begin(), side.candidate_count.end(), -1);
}

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
  if (has_byte_products() && videos * audios >= int64_t{1} << 17 &&
      pairing.video_side.dim <= kLongestByteRow) {
    screener.run(of_video, of_audio, screen.get(), true);
    if (unresolved(screen->video) + unresolved(screen->audio) <= (videos + audios) / 64)
      return screen;
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
