#include "sync_loss/dense.h"

#include <algorithm>
#include <limits>

#include "core/parallel.h"
#include "sync_loss/embeddings.h"

namespace avts::sync_loss {
namespace {

constexpr int64_t kPairs = static_cast<int64_t>(kBlock) * kBlock;

// What a thread needs for one block at a time. Kept between calls: small batches would spend their
// time on clearing it.
template <typename T>
struct Scratch {
  Buffer<T> slopes{kPairs}, weights{kPairs};
  Buffer<int> doubtful{kPairs};
};

template <typename T>
Scratch<T>& scratch() {
  thread_local Scratch<T> of_thread;
  return of_thread;
}

// Per place one number of the kernels' type, padded.
template <typename T>
Buffer<T> padded(const std::vector<double>& values, double padding = 0) {
  const int64_t count = static_cast<int64_t>(values.size());
  Buffer<T> buffer(round_up(count, kBlock));
  for (int64_t p = 0; p < count; ++p) buffer[p] = static_cast<T>(values[p]);
  std::fill(buffer.get() + count, buffer.get() + round_up(count, kBlock), static_cast<T>(padding));
  return buffer;
}

// Visits the blocks in which there are negatives, with the weights of their pairs.
template <typename T>
class Blocks {
 public:
  Blocks(const Pairing<T>& pairing, const Options& options, const Packed<T>& video,
         const Packed<T>& audio)
      : pairing_(pairing), options_(options), video_(video), audio_(audio) {
    easy_ = padded<T>(std::vector<double>(audio.count, options.rule.weight[kEasy]));
  }

  // body(block, first video place, first audio place)
  template <typename Body>
  void for_each(const Body& body) const {
    for_each_block(video_.count, audio_.count, options_.threads, [&](int64_t i, int64_t j) {
      Block<T> block = block_of(video_, audio_, i, j);
      block.slopes = scratch<T>().slopes.get();
      block.weights = &easy_[j * kBlock];
      block.weight_stride = 0;
      if (needs_weights(block, i * kBlock, j * kBlock)) {
        block.weights = scratch<T>().weights.get();
        block.weight_stride = kBlock;
        fill_weights(block, i * kBlock, j * kBlock);
      } else if (options_.rule.weight[kEasy] == 0) {
        return;
      }
      body(block, i * kBlock, j * kBlock);
    });
  }

  // Whether there is any pair but easy negatives.
  bool needs_weights(const Block<T>& block, int64_t p, int64_t q) const {
    if (pairing_.has_groups) return true;
    for (int r = 0; r < block.rows; ++r) {
      const Range same = pairing_.audio_of_video[p + r];
      if (same.begin < q + block.columns && same.end > q && same.begin < same.end) return true;
    }
    return false;
  }

 private:
  void fill_weights(const Block<T>& block, int64_t p, int64_t q) const {
    T* weights = scratch<T>().weights.get();
    for (int r = 0; r < block.rows; ++r) {
      T* row = weights + r * kBlock;
      std::copy_n(&easy_[q], kBlock, row);
      Range odd = pairing_.audio_of_video[p + r];
      if (pairing_.has_groups) odd = {q, q + block.columns};
      const int64_t end = std::min(odd.end, q + block.columns);
      for (int64_t c = std::max(odd.begin, q); c < end; ++c) {
        const Kind kind =
            kind_of(options_.rule, pairing_.video_rows, p + r, pairing_.audio_rows, c);
        row[c - q] = kind > kPositive ? static_cast<T>(options_.rule.weight[kind]) : T{0};
      }
    }
  }

  const Pairing<T>& pairing_;
  const Options& options_;
  const Packed<T>&video_, &audio_;
  Buffer<T> easy_;  // weight of an easy pair per audio place, zero in the padding
};

template <typename T>
void add_rows(const Buffer<T>& sums, const Packed<T>& packed, const Rows& rows, int64_t dim,
              double factor, T* out) {
  for (int64_t p = 0; p < packed.count; ++p) {
    kernels<T>().add_scaled(sums.get() + p * packed.dim, factor, dim, out + rows.index[p] * dim);
  }
}

// From sums of slope * other row to sums of slope * (own row - other row).
template <typename T>
void add_differences(const Buffer<T>& sums, const std::vector<double>& slopes,
                     const Packed<T>& packed, const Rows& rows, const std::vector<double>& shift,
                     double shift_sign, T* out) {
  const int64_t dim = static_cast<int64_t>(shift.size());
  for (int64_t p = 0; p < packed.count; ++p) {
    const T* row = packed.rows.get() + p * packed.dim;
    const T* sum = sums.get() + p * packed.dim;
    T* to = out + rows.index[p] * dim;
    for (int64_t k = 0; k < dim; ++k) {
      const double own = static_cast<double>(row[k]) + shift_sign * shift[k];
      to[k] += static_cast<T>(slopes[p] * own - static_cast<double>(sum[k]));
    }
  }
}

// Below this share of |v'|^2 + |a'|^2 + the terms, d^2 from products keeps too few digits.
constexpr double kDoubt = 0.02;

std::vector<double> doubts(const std::vector<double>& norms, const std::vector<double>& terms,
                           double least) {
  std::vector<double> doubt(norms.size());
  for (size_t p = 0; p < norms.size(); ++p) {
    doubt[p] = kDoubt * (norms[p] * norms[p] + std::fabs(terms[p])) + least;
  }
  return doubt;
}

template <typename T>
class Hinges {
 public:
  Hinges(const Pairing<T>& pairing, const Options& options, const std::vector<double>& video_reach,
         const std::vector<double>& audio_reach, Outputs<T>* out)
      : pairing_(pairing),
        options_(options),
        video_reach_(video_reach),
        audio_reach_(audio_reach),
        out_(out) {}

  HingeSums run() {
    const Distances<T> d(pairing_);
    const int64_t videos = d.video.count, audios = d.audio.count;
    constexpr double kLeast = sizeof(T) == 4 ? 1e-30 : 1e-200;
    const Buffer<T> video_term = padded<T>(d.video_term), audio_term = padded<T>(d.audio_term, 1);
    const Buffer<T> video_reach = padded<T>(video_reach_), audio_reach = padded<T>(audio_reach_);
    const Buffer<T> video_doubt = padded<T>(doubts(d.video_norm, d.video_term, kLeast));
    const Buffer<T> audio_doubt = padded<T>(doubts(d.audio_norm, d.audio_term, kLeast));
    const Buffer<T> video_sums(options_.want_gradient ? padded_count(videos) * d.video.dim : 0);
    const Buffer<T> audio_sums(options_.want_gradient ? padded_count(audios) * d.audio.dim : 0);
    std::vector<double> video_slope(videos), audio_slope(audios);
    std::vector<double> row_loss(round_up(videos, kBlock) / kBlock), row_active(row_loss.size());
    sums_.video_pull.resize(videos);
    sums_.audio_pull.resize(audios);

    Blocks<T>(pairing_, options_, d.video, d.audio)
        .for_each([&](const Block<T>& block, int64_t p, int64_t q) {
          T sums[4][kBlock] = {};
          HingeBlock<T> hinge{&video_term[p],
                              &audio_term[q],
                              &video_reach[p],
                              &audio_reach[q],
                              &video_doubt[p],
                              &audio_doubt[q],
                              options_.squared,
                              sums[0],
                              sums[1],
                              sums[2],
                              sums[3],
                              scratch<T>().doubtful.get(),
                              0,
                              0,
                              0};
          kernels<T>().hinge(block, &hinge);
          for (int r = 0; r < block.rows; ++r) {
            video_slope[p + r] += static_cast<double>(sums[0][r]);
            sums_.video_pull[p + r] += static_cast<double>(sums[2][r]);
          }
          for (int c = 0; c < block.columns; ++c) {
            audio_slope[q + c] += static_cast<double>(sums[1][c]);
            sums_.audio_pull[q + c] += static_cast<double>(sums[3][c]);
          }
          if (options_.want_gradient) {
            kernels<T>().multiply_slopes(block, &video_sums[p * block.dim],
                                         &audio_sums[q * block.dim]);
          }
          for (int n = 0; n < hinge.doubtful_count; ++n) {
            const int at = hinge.doubtful[n], r = at / kBlock, c = at % kBlock;
            const T w = block.weights[r * block.weight_stride + c];
            add_exactly(p + r, q + c, static_cast<double>(w), &hinge);
          }
          row_loss[p / kBlock] += hinge.loss;
          row_active[p / kBlock] += static_cast<double>(hinge.active);
        });
    for (double x : row_loss) sums_.loss += x;
    for (double x : row_active) sums_.active += x;
    if (options_.want_gradient) {
      add_differences(video_sums, video_slope, d.video, pairing_.video_rows, d.shift, 1,
                      out_->video_gradient);
      add_differences(audio_sums, audio_slope, d.audio, pairing_.audio_rows, d.shift, -1,
                      out_->audio_gradient);
    }
    return sums_;
  }

 private:
  // One pair from the difference of its rows. At d = 0 there is no gradient; zero stands for it.
  void add_exactly(int64_t p, int64_t q, double w, HingeBlock<T>* hinge) {
    const int64_t dim = pairing_.video_side.dim;
    const int64_t video_at = pairing_.video_rows.index[p] * dim;
    const int64_t audio_at = pairing_.audio_rows.index[q] * dim;
    const T* video = pairing_.video_side.rows + video_at;
    const T* audio = pairing_.audio_side.rows + audio_at;
    const double d = std::sqrt(kernels<T>().squared_distance(video, audio, dim));
    const auto pull_of = [&](double reach) {
      if (reach <= d) return 0.0;
      hinge->loss += w * (options_.squared ? (reach - d) * (reach - d) : reach - d);
      hinge->active += 1;
      return w * (options_.squared ? 2 * (reach - d) : 1.0);
    };
    const double video_pull = pull_of(video_reach_[p]), audio_pull = pull_of(audio_reach_[q]);
    sums_.video_pull[p] += video_pull;
    sums_.audio_pull[q] += audio_pull;
    if (d == 0 || !options_.want_gradient) return;
    const double slope = -(video_pull + audio_pull) / d;
    kernels<T>().add_difference(video, audio, slope, dim, out_->video_gradient + video_at);
    kernels<T>().add_difference(audio, video, slope, dim, out_->audio_gradient + audio_at);
  }

  const Pairing<T>& pairing_;
  const Options& options_;
  const std::vector<double>&video_reach_, &audio_reach_;
  Outputs<T>* out_;
  HingeSums sums_;
};

template <typename T>
double greatest_norm(const Packed<T>& rows) {
  double most = 0;
  for (const Moments& m : rows.moments) most = std::max(most, m.square);
  return std::sqrt(most);
}

// Below this bound on |logit| the exponentials and their sums stay within float's range.
constexpr double kCommonReference = 40;

// Embeddings for products, and what both softmax passes need.
template <typename T>
struct Softmax {
  Packed<T> video, audio;
  bool common;

  Softmax(const Pairing<T>& pairing, const Options& options)
      : video(pairing.video_side, pairing.video_rows, false),
        audio(pairing.audio_side, pairing.audio_rows, true),
        common(greatest_norm(video) * greatest_norm(audio) / options.temperature <
               kCommonReference) {}
};

std::vector<double> exponentials(const std::vector<double>& minus_logarithms) {
  std::vector<double> values;
  for (double x : minus_logarithms) values.push_back(std::exp(-x));
  return values;
}

}  // namespace

template <typename T>
HingeSums all_hinges(const Pairing<T>& pairing, const Options& options,
                     const std::vector<double>& video_reach, const std::vector<double>& audio_reach,
                     Outputs<T>* out) {
  return Hinges<T>(pairing, options, video_reach, audio_reach, out).run();
}

template <typename T>
LogSums log_sums(const Pairing<T>& pairing, const Options& options) {
  const Softmax<T> rows(pairing, options);
  const int64_t videos = rows.video.count, audios = rows.audio.count;
  const Blocks<T> blocks(pairing, options, rows.video, rows.audio);
  constexpr double kLeast = -std::numeric_limits<T>::max();
  const double start = rows.common ? 0 : kLeast;
  const Buffer<T> video_peak = padded<T>(std::vector<double>(videos, start));
  const Buffer<T> audio_peak = padded<T>(std::vector<double>(audios, start));
  LogSums sums{std::vector<double>(videos), std::vector<double>(audios)};
  SoftmaxBlock<T> shared{};
  shared.scale = static_cast<T>(1 / options.temperature);
  shared.common = rows.common;
  if (!rows.common) {
    blocks.for_each([&](const Block<T>& block, int64_t p, int64_t q) {
      SoftmaxBlock<T> softmax = shared;
      softmax.video_peak = &video_peak[p];
      softmax.audio_peak = &audio_peak[q];
      kernels<T>().softmax_peaks(block, &softmax);
    });
  }
  blocks.for_each([&](const Block<T>& block, int64_t p, int64_t q) {
    T part[2][kBlock] = {};
    SoftmaxBlock<T> softmax = shared;
    softmax.video_reference = &video_peak[p];
    softmax.audio_reference = &audio_peak[q];
    softmax.video_sum = part[0];
    softmax.audio_sum = part[1];
    kernels<T>().softmax_sums(block, &softmax);
    for (int r = 0; r < block.rows; ++r) sums.video[p + r] += static_cast<double>(part[0][r]);
    for (int c = 0; c < block.columns; ++c) sums.audio[q + c] += static_cast<double>(part[1][c]);
  });
  for (int64_t p = 0; p < videos; ++p) sums.video[p] = std::log(sums.video[p]) + video_peak[p];
  for (int64_t q = 0; q < audios; ++q) sums.audio[q] = std::log(sums.audio[q]) + audio_peak[q];
  return sums;
}

template <typename T>
double add_softmax_gradient(const Pairing<T>& pairing, const Options& options,
                            const std::vector<double>& video_reference,
                            const std::vector<double>& audio_reference, Outputs<T>* out) {
  const Softmax<T> rows(pairing, options);
  const Buffer<T> video_sums(padded_count(rows.video.count) * rows.video.dim);
  const Buffer<T> audio_sums(padded_count(rows.audio.count) * rows.audio.dim);
  const Buffer<T> video_at = padded<T>(video_reference), audio_at = padded<T>(audio_reference);
  const Buffer<T> video_factor = padded<T>(exponentials(video_reference));
  const Buffer<T> audio_factor = padded<T>(exponentials(audio_reference));
  std::vector<double> slope_times_logit(round_up(rows.video.count, kBlock) / kBlock);
  Blocks<T>(pairing, options, rows.video, rows.audio)
      .for_each([&](const Block<T>& block, int64_t p, int64_t q) {
        SoftmaxBlock<T> softmax{};
        softmax.scale = static_cast<T>(1 / options.temperature);
        softmax.common = rows.common;
        softmax.video_reference = &video_at[p];
        softmax.audio_reference = &audio_at[q];
        softmax.video_factor = &video_factor[p];
        softmax.audio_factor = &audio_factor[q];
        kernels<T>().softmax_slopes(block, &softmax);
        kernels<T>().multiply_slopes(block, &video_sums[p * block.dim], &audio_sums[q * block.dim]);
        slope_times_logit[p / kBlock] += softmax.slope_times_logit;
      });
  const int64_t dim = pairing.video_side.dim;
  const double scale = 1 / options.temperature;
  add_rows(video_sums, rows.video, pairing.video_rows, dim, scale, out->video_gradient);
  add_rows(audio_sums, rows.audio, pairing.audio_rows, dim, scale, out->audio_gradient);
  double sum = 0;
  for (double x : slope_times_logit) sum += x;
  return sum;
}

template <typename T>
SigmoidSums all_sigmoids(const Pairing<T>& pairing, const Options& options, double factor,
                         Outputs<T>* out) {
  const Packed<T> video(pairing.video_side, pairing.video_rows, false);
  const Packed<T> audio(pairing.audio_side, pairing.audio_rows, true);
  const bool gradient = options.want_gradient;
  const Buffer<T> video_sums(gradient ? padded_count(video.count) * video.dim : 0);
  const Buffer<T> audio_sums(gradient ? padded_count(audio.count) * audio.dim : 0);
  std::vector<SigmoidSums> parts(round_up(video.count, kBlock) / kBlock);
  Blocks<T>(pairing, options, video, audio)
      .for_each([&](const Block<T>& block, int64_t p, int64_t q) {
        SigmoidBlock<T> sigmoid{static_cast<T>(1 / options.temperature),
                                static_cast<T>(options.bias), 0, 0, 0};
        kernels<T>().sigmoid(block, &sigmoid);
        parts[p / kBlock].loss += sigmoid.loss;
        parts[p / kBlock].by_bias += sigmoid.slope_sum;
        parts[p / kBlock].by_scale += sigmoid.slope_times_product;
        if (!gradient) return;
        kernels<T>().multiply_slopes(block, &video_sums[p * block.dim], &audio_sums[q * block.dim]);
      });
  SigmoidSums sums;
  for (const SigmoidSums& part : parts) {
    sums.loss += part.loss;
    sums.by_bias += part.by_bias;
    sums.by_scale += part.by_scale;
  }
  if (!gradient) return sums;
  const int64_t dim = pairing.video_side.dim;
  const double scale = factor / options.temperature;
  add_rows(video_sums, video, pairing.video_rows, dim, scale, out->video_gradient);
  add_rows(audio_sums, audio, pairing.audio_rows, dim, scale, out->audio_gradient);
  return sums;
}

template <typename T>
void count_negatives(const Pairing<T>& pairing, const Options& options, Statistics* statistics) {
  const int64_t videos = pairing.video_rows.count(), audios = pairing.audio_rows.count();
  const bool measure = options.want_statistics && videos && audios;
  std::vector<Statistics> parts((videos + kBlock - 1) / kBlock, Statistics{});
  const auto add = [&](Statistics* part, Kind kind, double count, double distance) {
    part->count[kind] += count;
    part->distance_sum[kind] += distance;
  };
  if (!measure) {
    parallel_for(videos, kBlock, options.threads, [&](int64_t begin, int64_t end) {
      Statistics* part = &parts[begin / kBlock];
      for (int64_t p = begin; p < end; ++p) {
        Range odd = pairing.audio_of_video[p];
        if (pairing.has_groups) odd = {0, audios};
        add(part, kEasy, static_cast<double>(audios - (odd.end - odd.begin)), 0);
        for (int64_t q = odd.begin; q < odd.end; ++q) {
          const Kind kind = kind_of(options.rule, pairing.video_rows, p, pairing.audio_rows, q);
          if (kind > kPositive) add(part, kind, 1, 0);
        }
      }
    });
  } else {
    const Distances<T> d(pairing);
    const Buffer<T> video_term = padded<T>(d.video_term), audio_term = padded<T>(d.audio_term);
    const Blocks<T> blocks(pairing, options, d.video, d.audio);
    for_each_block(videos, audios, options.threads, [&](int64_t i, int64_t j) {
      const int64_t p = i * kBlock, q = j * kBlock;
      Block<T> block = block_of(d.video, d.audio, i, j);
      block.slopes = scratch<T>().slopes.get();
      HingeBlock<T> terms{};
      terms.video_term = &video_term[p];
      terms.audio_term = &audio_term[q];
      kernels<T>().squared_distances(block, terms);
      const bool all_easy = !blocks.needs_weights(block, p, q);
      for (int r = 0; r < block.rows; ++r) {
        for (int c = 0; c < block.columns; ++c) {
          const Kind kind = all_easy ? kEasy
                                     : kind_of(options.rule, pairing.video_rows, p + r,
                                               pairing.audio_rows, q + c);
          if (kind > kPositive) {
            add(&parts[i], kind, 1, std::sqrt(static_cast<double>(block.slopes[r * kBlock + c])));
          }
        }
      }
    });
  }
  for (const Statistics& part : parts) {
    for (Kind kind : {kEasy, kHard, kSuperHard}) {
      if (options.rule.weight[kind] > 0) {
        add(statistics, kind, part.count[kind], part.distance_sum[kind]);
      }
    }
  }
}

#define AVTS_INSTANTIATE(T)                                                                    \
  template HingeSums all_hinges(const Pairing<T>&, const Options&, const std::vector<double>&, \
                                const std::vector<double>&, Outputs<T>*);                      \
  template LogSums log_sums(const Pairing<T>&, const Options&);                                \
  template double add_softmax_gradient(const Pairing<T>&, const Options&,                      \
                                       const std::vector<double>&, const std::vector<double>&, \
                                       Outputs<T>*);                                           \
  template SigmoidSums all_sigmoids(const Pairing<T>&, const Options&, double, Outputs<T>*);   \
  template void count_negatives(const Pairing<T>&, const Options&, Statistics*);
AVTS_INSTANTIATE(float)
AVTS_INSTANTIATE(double)
#undef AVTS_INSTANTIATE

}  // namespace avts::sync_loss
