#include "sync_loss/screen.h"

#include <algorithm>
#include <atomic>
#include <limits>

#include "core/parallel.h"
#include "sync_loss/embeddings.h"

namespace avts::sync_loss {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

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

// What the error of a side's d^2 depends on.
struct Lengths {
  const std::vector<double>&norm, &term;
  const Bytes* bytes;  // null: products of float32
};

Buffer<float> padded(const std::vector<double>& terms) {
  const int64_t count = static_cast<int64_t>(terms.size());
  Buffer<float> buffer(round_up(count, kBlock), false);
  std::copy(terms.begin(), terms.end(), buffer.get());
  std::fill(buffer.get() + count, buffer.get() + round_up(count, kBlock),
            std::numeric_limits<float>::infinity());
  return buffer;
}

// One pass over a batch, in eight bits or in float32.
class Screen {
 public:
  Screen(const Pairing<float>& pairing, const Options& options, const Distances<float>& distances,
         bool in_bytes)
      : pairing_(pairing),
        options_(options),
        distances_(distances),
        video_term_(padded(distances.video_term)),
        audio_term_(padded(distances.audio_term)),
        screened_(new Screened{{pairing.video(), options.k}, {pairing.audio(), options.k}}) {
    if (!in_bytes) return;
    video_bytes_ = std::make_unique<Bytes>(distances.video, 128, kTileRows);
    audio_bytes_ = std::make_unique<Bytes>(distances.audio, 0, kPanel);
  }

  // Null if more rows than `patience` gave up.
  std::unique_ptr<Screened> run(const Farthest& of_video, const Farthest& of_audio,
                                int64_t patience) {
    const Lengths video{distances_.video_norm, distances_.video_term, video_bytes_.get()};
    const Lengths audio{distances_.audio_norm, distances_.audio_term, audio_bytes_.get()};
    set_limits(video, audio, of_video, &screened_->video);
    set_limits(audio, video, of_audio, &screened_->audio);
    if (!pairing_.has_groups && options_.k <= Candidates::kMostLooked) look();
    const auto& kernel = kernels<float>();
    for_each_block(video_count(), audio_count(), options_.threads, [&](int64_t i, int64_t j) {
      if (given_up_ > patience) return;
      Corner corner{this, i * kBlock, j * kBlock};
      (video_bytes_ ? kernel.screen_bytes : kernel.screen)(
          block_of(distances_.video, distances_.audio, i, j), block_at(&corner));
    });
    return given_up_ > patience ? nullptr : std::move(screened_);
  }

 private:
  struct Corner {
    Screen* screen;
    int64_t first_video, first_audio;
  };

  int64_t video_count() const { return distances_.video.count; }
  int64_t audio_count() const { return distances_.audio.count; }

  void set_limits(const Lengths& own, const Lengths& other, const Farthest& farthest,
                  Candidates* candidates) const {
    double shift2 = 0, other_term = 0;
    for (double x : distances_.shift) shift2 += x * x;
    for (double x : other.term) other_term = std::max(other_term, std::fabs(x));
    const double other_norm = greatest(other.norm), shift = std::sqrt(shift2);
    const double other_rest = own.bytes ? greatest(other.bytes->rest) : 0;
    for (size_t p = 0; p < own.norm.size(); ++p) {
      double error = rounding_error(own.norm[p], std::fabs(own.term[p]), other_norm, other_term,
                                    shift, static_cast<double>(distances_.video.dim));
      // |v'.a' - v~.a~| <= |v' - v~| |a'| + |v~| |a' - a~|, where ~ is what the bytes stand for.
      if (own.bytes) {
        error += 2.001 * (own.bytes->rest[p] * other_norm + own.bytes->length[p] * other_rest);
      }
      double floor = -1;
      if (options_.mining == Mining::semi_hard) {
        floor = farthest.place[p] < 0 ? kInfinity : farthest.d2[p];
      }
      candidates->set_limits(p, 1.001 * error, floor);
    }
  }

  ScreenBlock<float> block_at(Corner* corner) const {
    const int64_t p = corner->first_video, q = corner->first_audio, dim = distances_.video.dim;
    const bool floors = options_.mining == Mining::semi_hard;
    ScreenBlock<float> block{};
    block.video_term = &video_term_[p];
    block.audio_term = &audio_term_[q];
    block.video_threshold = screened_->video.threshold(p);
    block.audio_threshold = screened_->audio.threshold(q);
    block.video_floor = floors ? screened_->video.floor(p) : nullptr;
    block.audio_floor = floors ? screened_->audio.floor(q) : nullptr;
    block.video_sure = screened_->video.sure(p);
    block.audio_sure = screened_->audio.sure(q);
    block.take = take;
    block.context = corner;
    if (!video_bytes_) return block;
    block.quads = dim / 4;
    block.video_bytes = video_bytes_->bytes.get() + p * dim;
    block.audio_bytes = reinterpret_cast<int8_t*>(audio_bytes_->bytes.get()) + q * dim;
    block.video_scale = &video_bytes_->scale[p];
    block.audio_scale = &audio_bytes_->scale[q];
    block.audio_offset = &audio_bytes_->offset[q];
    return block;
  }

  // Thresholds from the minima of a few blocks, before each of their pairs would be a hit. The more
  // of a row has been seen the fewer of the others become candidates. That is worth k blocks of
  // products of bytes; those of float32 cost four times as much and let fewer pairs through.
  void look() {
    constexpr int kVideoSets = Minima<float>::kVideoSets, kAudioSets = Minima<float>::kAudioSets;
    const int64_t columns = round_up(audio_count(), kBlock);
    const Buffer<float> video(video_count() * kVideoSets, false),
        audio(columns * kAudioSets, false);
    std::fill_n(video.get(), video_count() * kVideoSets, kInfinity);
    std::fill_n(audio.get(), columns * kAudioSets, kInfinity);
    const auto& kernel = kernels<float>();
    const auto find = video_bytes_ ? kernel.find_byte_minima : kernel.find_minima;
    const auto look_at = [&](int64_t i, int64_t j) {
      Corner corner{this, i * kBlock, j * kBlock};
      Minima<float> minima;
      minima.video = &video[corner.first_video * kVideoSets];
      minima.audio = &audio[corner.first_audio];
      minima.audio_stride = columns;
      const Block<float> block = block_of(distances_.video, distances_.audio, i, j);
      for (int r = 0; r < block.rows; ++r) {
        const Range same = pairing_.audio_of_video[corner.first_video + r];
        const auto relative = [&](int64_t q) {
          return static_cast<int>(
              std::max<int64_t>(0, std::min<int64_t>(kBlock, q - corner.first_audio)));
        };
        minima.begin[r] = relative(same.begin);
        minima.end[r] = relative(same.end);
      }
      find(block, block_at(&corner), &minima);
    };
    for_each_block(video_count(), audio_count(), options_.threads, look_at,
                   video_bytes_ ? options_.k : 1);
    for (int64_t p = 0; p < video_count(); ++p) {
      screened_->video.lower_threshold(p, &video[p * kVideoSets], kVideoSets, 1);
    }
    for (int64_t q = 0; q < audio_count(); ++q) {
      screened_->audio.lower_threshold(q, &audio[q], kAudioSets, columns);
    }
  }

  bool admits(int64_t p, int64_t q) const {
    const Range same = pairing_.audio_of_video[p];
    if ((q < same.begin || q >= same.end) && !pairing_.has_groups) return true;  // easy ones are
    const Kind kind = kind_of(options_.rule, pairing_.video_rows, p, pairing_.audio_rows, q);
    return kind > kPositive && options_.rule.weight[kind] != 0;
  }

  static void take(void* context, const Hit<float>* hits, int count) {
    const Corner& corner = *static_cast<const Corner*>(context);
    Screen& screen = *corner.screen;
    Candidates &video = screen.screened_->video, &audio = screen.screened_->audio;
    constexpr int kAhead = 8;
    for (int n = 0; n < count; ++n) {
      if (n + kAhead < count) {
        video.prefetch(corner.first_video + hits[n + kAhead].row);
        audio.prefetch(corner.first_audio + hits[n + kAhead].column);
      }
      const int64_t p = corner.first_video + hits[n].row, q = corner.first_audio + hits[n].column;
      if (!screen.admits(p, q)) continue;
      if (video.add(p, q, hits[n].d2)) ++screen.given_up_;
      if (audio.add(q, p, hits[n].d2)) ++screen.given_up_;
    }
  }

  const Pairing<float>& pairing_;
  const Options& options_;
  const Distances<float>& distances_;
  const Buffer<float> video_term_, audio_term_;
  std::unique_ptr<Bytes> video_bytes_, audio_bytes_;  // null: products of float32
  std::unique_ptr<Screened> screened_;
  std::atomic<int64_t> given_up_{0};  // rows
};

}  // namespace

std::unique_ptr<Screened> screened(const Pairing<float>& pairing, const Options& options,
                                   const Farthest& of_video, const Farthest& of_audio) {
  if (options.mining == Mining::distance_weighted || options.rule.weight[kEasy] == 0)
    return nullptr;
  constexpr int64_t kLongestByteRow = 1 << 15;  // the products of bytes are summed in 32 bits
  const bool in_bytes = has_byte_products() && pairing.video_side.dim <= kLongestByteRow;
  Distances<float> distances(pairing, !in_bytes);
  // Bytes separate well unless the batch is nearly collapsed, or semi-hard with positives as far as
  // negatives; then float32 does.
  const int64_t rows = pairing.video_rows.count() + pairing.audio_rows.count();
  if (in_bytes) {
    const int64_t patience = rows / 64;
    auto found = Screen(pairing, options, distances, true).run(of_video, of_audio, patience);
    if (found) return found;
    distances.audio.add_panels();
  }
  return Screen(pairing, options, distances, false).run(of_video, of_audio, rows);
}

}  // namespace avts::sync_loss
