// The terms of all pairs of a block, their derivatives, and the screen for near pairs.
#include "sync_loss/kernels.h"

#include <cmath>

#include "sync_loss/cpu/screen_bytes.h"
#include "sync_loss/cpu/vectors.h"

namespace avts::sync_loss {
namespace AVTS_LEVEL {
extern const AllKernels kKernels;
namespace {

template <typename T>
void add_to_sums(const T* row, int64_t dim, double* sums) {
#pragma omp simd
  for (int64_t k = 0; k < dim; ++k) sums[k] += static_cast<double>(row[k]);
}

template <typename T>
Moments centre(const T* row, const T* centre, const double* w, int64_t dim, int64_t padded_dim,
               T* out) {
  double square = 0, along = 0;
#pragma omp simd reduction(+ : square, along)
  for (int64_t k = 0; k < dim; ++k) {
    const T x = row[k] - centre[k];
    out[k] = x;
    square += static_cast<double>(x) * static_cast<double>(x);
    along += static_cast<double>(x) * w[k];
  }
  for (int64_t k = dim; k < padded_dim; ++k) out[k] = 0;
  return {square, along};
}

template <typename T>
void fill_panel(const T* rows, int64_t dim, T* panel) {
  constexpr int kStep = 8;  // rows at a time: reads stay in few cache lines, writes in one
  for (int64_t first = 0; first < kPanel; first += kStep) {
    for (int64_t k = 0; k < dim; ++k) {
      for (int64_t c = first; c < first + kStep; ++c) panel[k * kPanel + c] = rows[c * dim + k];
    }
  }
}

// In double and from differences: what ranks near pairs, and what their distance is. In many sums,
// because one would wait for each addition.
template <typename T>
double squared_distance(const T* a, const T* b, int64_t dim) {
  constexpr int kSums = 32;
  double sums[kSums] = {};
  int64_t k = 0;
  for (; k + kSums <= dim; k += kSums) {
#pragma omp simd
    for (int l = 0; l < kSums; ++l) {
      const double difference = static_cast<double>(a[k + l]) - static_cast<double>(b[k + l]);
      sums[l] += difference * difference;
    }
  }
  for (int l = 0; k + l < dim; ++l) {
    const double difference = static_cast<double>(a[k + l]) - static_cast<double>(b[k + l]);
    sums[l] += difference * difference;
  }
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int l = 0; l < kSums; ++l) sum += sums[l];
  return sum;
}

template <typename T>
double product(const T* a, const T* b, int64_t dim) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t k = 0; k < dim; ++k) sum += static_cast<double>(a[k]) * static_cast<double>(b[k]);
  return sum;
}

template <typename T>
void add_difference(const T* a, const T* b, double scale, int64_t dim, T* out) {
  const T factor = static_cast<T>(scale);
#pragma omp simd
  for (int64_t k = 0; k < dim; ++k) out[k] += factor * (a[k] - b[k]);
}

template <typename T>
void add_scaled(const T* b, double scale, int64_t dim, T* out) {
  const T factor = static_cast<T>(scale);
#pragma omp simd
  for (int64_t k = 0; k < dim; ++k) out[k] += factor * b[k];
}

template <typename T>
AVTS_INLINE Vec<T> weights_of(const Block<T>& block, int r, int c, int q) {
  return load(block.weights + r * block.weight_stride + c + q * kLanes<T>);
}

template <typename T>
AVTS_INLINE T* slopes_of(const Block<T>& block, int r, int c, int q) {
  return block.slopes + r * kBlock + c + q * kLanes<T>;
}

// Pairs whose d^2 may have lost its digits go to the list; rare unless embeddings have collapsed.
template <typename T, typename Mask>
void note_doubtful(const Mask& doubtful, const Vec<T>& w, int r, int c, HingeBlock<T>* hinge) {
  for (int l = 0; l < kLanes<T>; ++l) {
    if (doubtful[l] && w[l] != 0) hinge->doubtful[hinge->doubtful_count++] = r * kBlock + c + l;
  }
}

template <typename Mask>
AVTS_INLINE bool any_of(const Mask& mask) {
  Mask none{};
  return std::memcmp(&mask, &none, sizeof(mask)) != 0;
}

template <typename T, bool kSquared>
void hinge_tiles(const Block<T>& block, HingeBlock<T>* hinge) {
  for_each_tile_row<T>(block, [&](int r, int c, const Vec<T>* products) {
    const T term = hinge->video_term[r], reach = hinge->video_reach[r];
    Vec<T> loss{}, slope_sum{}, pull{}, active{};
#pragma GCC unroll 4
    for (int q = 0; q < kTileVectors; ++q) {
      const int at = c + q * kLanes<T>;
      Vec<T> w = weights_of(block, r, c, q);
      Vec<T> d2 = (load(hinge->audio_term + at) + term) - 2 * products[q];
      const auto doubtful = d2 < load(hinge->audio_doubt + at) + hinge->video_doubt[r];
      if (__builtin_expect(any_of(doubtful), 0)) {
        note_doubtful<T>(doubtful, w, r, at, hinge);
        w = doubtful ? Vec<T>{} : w;
        d2 = doubtful ? fill<T>(1) : d2;
      }
      const Vec<T> d = root<T>(d2);
      const Vec<T> by_video = larger<T>(reach - d, Vec<T>{});
      const Vec<T> by_audio = larger<T>(load(hinge->audio_reach + at) - d, Vec<T>{});
      const Vec<T> on_video = by_video > 0 ? w : Vec<T>{}, on_audio = by_audio > 0 ? w : Vec<T>{};
      const Vec<T> video_pull = kSquared ? 2 * w * by_video : on_video;
      const Vec<T> audio_pull = kSquared ? 2 * w * by_audio : on_audio;
      loss += kSquared ? w * (by_video * by_video + by_audio * by_audio)
                       : on_video * by_video + on_audio * by_audio;
      active += (on_video > 0 ? fill<T>(1) : Vec<T>{}) + (on_audio > 0 ? fill<T>(1) : Vec<T>{});
      const Vec<T> slope = -(video_pull + audio_pull) / d;
      store<T>(slopes_of(block, r, c, q), slope);
      slope_sum += slope;
      pull += video_pull;
      add_to<T>(hinge->audio_slope + at, slope);
      add_to<T>(hinge->audio_pull + at, audio_pull);
    }
    hinge->loss += static_cast<double>(sum_of<T>(loss));
    hinge->active += static_cast<int64_t>(sum_of<T>(active));
    hinge->video_slope[r] += sum_of<T>(slope_sum);
    hinge->video_pull[r] += sum_of<T>(pull);
  });
}

template <typename T>
void hinge(const Block<T>& block, HingeBlock<T>* hinge) {
  hinge->squared ? hinge_tiles<T, true>(block, hinge) : hinge_tiles<T, false>(block, hinge);
}

template <typename T>
void squared_distances(const Block<T>& block, const HingeBlock<T>& hinge) {
  for_each_tile_row<T>(block, [&](int r, int c, const Vec<T>* products) {
    for (int q = 0; q < kTileVectors; ++q) {
      const Vec<T> terms = load(hinge.audio_term + c + q * kLanes<T>) + hinge.video_term[r];
      store<T>(slopes_of(block, r, c, q), larger<T>(terms - 2 * products[q], Vec<T>{}));
    }
  });
}

template <typename T>
void softmax_peaks(const Block<T>& block, SoftmaxBlock<T>* softmax) {
  for_each_tile_row<T>(block, [&](int r, int c, const Vec<T>* products) {
    Vec<T> peak = fill<T>(softmax->video_peak[r]);
    for (int q = 0; q < kTileVectors; ++q) {
      T* audio_peak = softmax->audio_peak + c + q * kLanes<T>;
      const Vec<T> before = load(audio_peak);
      const Vec<T> s = weights_of(block, r, c, q) > 0 ? products[q] * softmax->scale : before;
      store<T>(audio_peak, larger<T>(s, before));
      const Vec<T> own = weights_of(block, r, c, q) > 0 ? products[q] * softmax->scale : peak;
      peak = larger<T>(peak, own);
    }
    softmax->video_peak[r] = greatest_of<T>(peak);
  });
}

template <typename T, bool kCommon>
void softmax_sum_tiles(const Block<T>& block, SoftmaxBlock<T>* softmax) {
  for_each_tile_row<T>(block, [&](int r, int c, const Vec<T>* products) {
    Vec<T> sum{};
#pragma GCC unroll 4
    for (int q = 0; q < kTileVectors; ++q) {
      const int at = c + q * kLanes<T>;
      const Vec<T> w = weights_of(block, r, c, q), s = products[q] * softmax->scale;
      const Vec<T> by_video = kCommon ? exp_of<T>(s) : exp_of<T>(s - softmax->video_reference[r]);
      const Vec<T> by_audio =
          kCommon ? by_video : exp_of<T>(s - load(softmax->audio_reference + at));
      sum += w * by_video;
      add_to<T>(softmax->audio_sum + at, w * by_audio);
    }
    softmax->video_sum[r] += sum_of<T>(sum);
  });
}

template <typename T>
void softmax_sums(const Block<T>& block, SoftmaxBlock<T>* softmax) {
  softmax->common ? softmax_sum_tiles<T, true>(block, softmax)
                  : softmax_sum_tiles<T, false>(block, softmax);
}

template <typename T, bool kCommon>
void softmax_slope_tiles(const Block<T>& block, SoftmaxBlock<T>* softmax) {
  for_each_tile_row<T>(block, [&](int r, int c, const Vec<T>* products) {
    Vec<T> sum{};
#pragma GCC unroll 4
    for (int q = 0; q < kTileVectors; ++q) {
      const int at = c + q * kLanes<T>;
      const Vec<T> s = products[q] * softmax->scale;
      Vec<T> slope = weights_of(block, r, c, q);
      if (kCommon) {
        slope *= exp_of<T>(s) * (load(softmax->audio_factor + at) + softmax->video_factor[r]);
      } else {
        slope *= exp_of<T>(s - softmax->video_reference[r]) +
                 exp_of<T>(s - load(softmax->audio_reference + at));
      }
      store<T>(slopes_of(block, r, c, q), slope);
      sum += slope * s;
    }
    softmax->slope_times_logit += static_cast<double>(sum_of<T>(sum));
  });
}

template <typename T>
void softmax_slopes(const Block<T>& block, SoftmaxBlock<T>* softmax) {
  softmax->common ? softmax_slope_tiles<T, true>(block, softmax)
                  : softmax_slope_tiles<T, false>(block, softmax);
}

template <typename T>
void sigmoid(const Block<T>& block, SigmoidBlock<T>* sigmoid) {
  for_each_tile_row<T>(block, [&](int r, int c, const Vec<T>* products) {
    Vec<T> loss{}, slope_sum{}, times_product{};
    for (int q = 0; q < kTileVectors; ++q) {
      const Vec<T> w = weights_of(block, r, c, q);
      const Vec<T> z = products[q] * sigmoid->scale + sigmoid->bias;
      const Vec<T> e =
          exp_of<T>(z < 0 ? z : -z);  // the sigmoid is 1 / (1 + e), below zero e / (1 + e)
      loss += w * (larger<T>(z, Vec<T>{}) + log1p_of<T>(e));
      const Vec<T> slope = w * (z < 0 ? e : fill<T>(1)) / (1 + e);
      store<T>(slopes_of(block, r, c, q), slope);
      slope_sum += slope;
      times_product += slope * products[q];
    }
    sigmoid->loss += static_cast<double>(sum_of<T>(loss));
    sigmoid->slope_sum += static_cast<double>(sum_of<T>(slope_sum));
    sigmoid->slope_times_product += static_cast<double>(sum_of<T>(times_product));
  });
}

// One side: out (count, dim) += slopes (count, length) . rows (length, dim), where the slope of
// (i, k) lies at i * stride + k * step.
template <typename T, int Q>
void multiply_strip(const Block<T>& block, int count, int64_t step, int64_t stride, int length,
                    const T* rows, T* out) {
  for (int i = 0; i < count; i += kTileRows) {
    Vec<T> sums[kTileRows][Q];
    multiply<T>(block.slopes + i * stride, step, stride, rows, block.dim, length, sums);
    for (int r = 0; r < kTileRows; ++r) {
      for (int q = 0; q < Q; ++q) add_to(out + (i + r) * block.dim + q * kLanes<T>, sums[r][q]);
    }
  }
}

template <typename T>
void multiply_side(const Block<T>& block, int count, int64_t step, int64_t stride, int length,
                   const T* rows, T* out) {
  int64_t d = 0;
  for (; d + kTileColumns<T> <= block.dim; d += kTileColumns<T>) {
    multiply_strip<T, kTileVectors>(block, count, step, stride, length, rows + d, out + d);
  }
  for (; d < block.dim; d += kLanes<T>) {
    multiply_strip<T, 1>(block, count, step, stride, length, rows + d, out + d);
  }
}

template <typename T>
void multiply_slopes(const Block<T>& block, T* video_out, T* audio_out) {
  multiply_side(block, block.rows, 1, kBlock, block.columns, block.audio, video_out);
  multiply_side(block, block.columns, kBlock, 1, block.rows, block.video, audio_out);
}

template <typename T>
void find_minima(const Block<T>& block, const ScreenBlock<T>& screen, Minima<T>* minima) {
  for_each_tile_row<T>(block, [&](int r, int c, const Vec<T>* products) {
    T d2[kTileColumns<T>];
    for (int q = 0; q < kTileVectors; ++q) {
      const Vec<T> terms = load(screen.audio_term + c + q * kLanes<T>) + screen.video_term[r];
      store<T>(d2 + q * kLanes<T>, terms - 2 * products[q]);
    }
    leave_out(minima->begin[r] - c, minima->end[r] - c, kTileColumns<T>, d2);
    for (int q = 0; q < kTileVectors; ++q) {
      const Vec<T> found = load(d2 + q * kLanes<T>);
      constexpr int kVideoSets = Minima<T>::kVideoSets, kAudioSets = Minima<T>::kAudioSets;
      T* of_video = minima->video + r * kVideoSets + (c + q * kLanes<T>) % kVideoSets;
      T* of_audio = minima->audio + r % kAudioSets * minima->audio_stride + c + q * kLanes<T>;
      const Vec<T> by_video = load(of_video), by_audio = load(of_audio);
      const Vec<T> audio_sure = load(screen.audio_sure + c + q * kLanes<T>);
      store<T>(of_video, found > screen.video_sure[r] ? smaller<T>(found, by_video) : by_video);
      store<T>(of_audio, found > audio_sure ? smaller<T>(found, by_audio) : by_audio);
    }
  });
}

template <typename T, bool kFloors>
void screen_tiles(const Block<T>& block, const ScreenBlock<T>& screen) {
  HitList<T> hits;
  for_each_tile_row<T>(block, [&](int r, int c, const Vec<T>* products) {
    for (int q = 0; q < kTileVectors; ++q) {
      const int at = c + q * kLanes<T>;
      const Vec<T> d2 = (load(screen.audio_term + at) + screen.video_term[r]) - 2 * products[q];
      auto near_video = d2 <= screen.video_threshold[r];
      auto near_audio = d2 <= load(screen.audio_threshold + at);
      if (kFloors) {
        near_video &= d2 >= screen.video_floor[r];
        near_audio &= d2 >= load(screen.audio_floor + at);
      }
      const auto hit = near_video | near_audio;
      if (__builtin_expect(!any_of(hit), 1)) continue;
      for (int l = 0; l < kLanes<T>; ++l) {
        if (hit[l]) hits.add(r, at + l, d2[l]);
      }
    }
    hits.give(screen, HitList<T>::kMost - kTileColumns<T>);
  });
  hits.give(screen, 0);
}

template <typename T>
void screen(const Block<T>& block, const ScreenBlock<T>& screen) {
  screen.video_floor ? screen_tiles<T, true>(block, screen) : screen_tiles<T, false>(block, screen);
}

template <typename T>
constexpr Kernels<T> kernels_of() {
  return {add_to_sums<T>,
          centre<T>,
          fill_panel<T>,
          squared_distance<T>,
          product<T>,
          add_difference<T>,
          add_scaled<T>,
          hinge<T>,
          softmax_peaks<T>,
          softmax_sums<T>,
          softmax_slopes<T>,
          sigmoid<T>,
          squared_distances<T>,
          multiply_slopes<T>,
          find_minima<T>,
          screen<T>,
          nullptr,
          nullptr,
          nullptr};
}

constexpr Kernels<float> float_kernels() {
  Kernels<float> table = kernels_of<float>();
  table.find_byte_minima = kFindByteMinima;
  table.screen_bytes = kScreenBytes;
  table.to_bytes = kToBytes;
  return table;
}

}  // namespace

const AllKernels kKernels{float_kernels(), kernels_of<double>()};

}  // namespace AVTS_LEVEL
}  // namespace avts::sync_loss
