// What each instruction set's copy of cpu/*.cpp exports.
//
// All pairs are visited in blocks of kBlock video rows by kBlock audio rows, within a block in
// tiles that stay in registers from the inner products to what becomes of them.
#pragma once

#include <cstdint>

#include "core/cpu_level.h"

namespace avts::sync_loss {

constexpr int kTileRows = 6, kPanel = 64, kBlock = 192;  // a block is a whole number of both
constexpr int kDimStep = 16;                             // rows are padded to this with zeros

// Both sides' rows of one block. `panels` holds the audio rows again, 64 side by side: element k of
// row j at [j / 64][k][j % 64].
template <typename T>
struct Block {
  const T *video, *audio, *panels;
  int64_t dim;  // padded
  int rows, columns;
  const T* weights;  // of pair (r, c): weights[r * weight_stride + c]; 0: not a negative
  int64_t weight_stride;
  T* slopes;  // kBlock x kBlock: the derivative of the sum of terms by each pair's product or d
};

// Sums of max(reach - d, 0)^p, once with the reach of the video row and once with the audio row's.
// slopes: the derivative by d, divided by d. The inner products give d^2 with an error that grows
// with the rows' lengths: a pair whose d^2 lies below the sum of its rows' `doubt` is left to the
// caller, as r * kBlock + c in `doubtful`.
template <typename T>
struct HingeBlock {
  const T *video_term, *audio_term;  // d^2 = video_term + audio_term - 2 product
  const T *video_reach, *audio_reach, *video_doubt, *audio_doubt;
  bool squared;
  T *video_slope, *audio_slope;  // sums of slopes, added to
  T *video_pull, *audio_pull;    // derivative of the sum by the reach, added to
  int* doubtful;
  int doubtful_count;
  double loss;
  int64_t active;
};

// Sums of w exp(s - reference) over rows and columns for the logits s = scale * product. A common
// reference of zero saves one of two exponentials.
template <typename T>
struct SoftmaxBlock {
  T scale;
  bool common;
  const T *video_reference, *audio_reference;  // for the gradient: with the factor's logarithm
  const T *video_factor, *audio_factor;        // for the gradient with a common reference
  T *video_peak, *audio_peak;                  // greatest s of an admitted pair
  T *video_sum, *audio_sum;                    // added to
  double slope_times_logit;
};

// Sums of w softplus(z) for z = scale * product + bias.
template <typename T>
struct SigmoidBlock {
  T scale, bias;
  double loss, slope_sum, slope_times_product;
};

// A pair is a hit if its d^2, as far as the products tell, is within the threshold of either row
// (and above that row's floor).
template <typename T>
struct Hit {
  int row, column;
  T d2;
};
template <typename T>
struct ScreenBlock {
  const T *video_term, *audio_term, *video_threshold, *audio_threshold;
  const T *video_floor, *audio_floor;  // null: none
  const T *video_sure, *audio_sure;    // of find_minima: a row's pairs up to here are left out
  // Screening in eight bits: rows as unsigned bytes (value + 128) in groups of kTileRows, panels as
  // signed bytes, four consecutive elements of a row side by side in both.
  const uint8_t* video_bytes;
  const int8_t* audio_bytes;
  const T *video_scale, *audio_scale;
  const int32_t* audio_offset;  // -128 times the sum of a row's bytes
  int64_t quads;                // groups of four elements
  void (*take)(void* context, const Hit<T>* hits, int count);
  void* context;
};

// The least d^2 of disjoint sets of each row's pairs, as far as the products tell, but for the
// columns [begin[r], end[r]) of video row r. Lowered block by block; the caller sets them to
// infinity.
template <typename T>
struct Minima {
  static constexpr int kVideoSets = 16, kAudioSets = 12;
  int begin[kBlock], end[kBlock];
  T* video;              // kVideoSets for each row
  T* audio;              // kAudioSets rows of columns,
  int64_t audio_stride;  // which are so far apart
};

// A row in eight bits: row = scale * bytes + rest.
struct ByteRow {
  float scale;
  double rest, length;  // |rest|, |scale * bytes|
  int32_t sum;          // of the bytes
};

// Of a row r: |r|^2, r.w.
struct Moments {
  double square, along;
};

template <typename T>
struct Kernels {
  void (*add_to_sums)(const T* row, int64_t dim, double* sums);
  // out = row - centre, padded with zeros to padded_dim; its moments with w.
  Moments (*centre)(const T* row, const T* centre, const double* w, int64_t dim, int64_t padded_dim,
                    T* out);
  void (*fill_panel)(const T* rows, int64_t dim, T* panel);  // kPanel rows; see Block
  double (*squared_distance)(const T* a, const T* b, int64_t dim);
  double (*product)(const T* a, const T* b, int64_t dim);
  void (*add_difference)(const T* a, const T* b, double scale, int64_t dim, T* out);
  void (*add_scaled)(const T* b, double scale, int64_t dim, T* out);
  void (*hinge)(const Block<T>&, HingeBlock<T>*);
  void (*softmax_peaks)(const Block<T>&, SoftmaxBlock<T>*);
  void (*softmax_sums)(const Block<T>&, SoftmaxBlock<T>*);
  void (*softmax_slopes)(const Block<T>&, SoftmaxBlock<T>*);
  void (*sigmoid)(const Block<T>&, SigmoidBlock<T>*);
  void (*squared_distances)(const Block<T>&, const HingeBlock<T>&);  // into slopes
  // video_out += slopes . audio, audio_out += slopes^T . video
  void (*multiply_slopes)(const Block<T>&, T* video_out, T* audio_out);
  void (*find_minima)(const Block<T>&, const ScreenBlock<T>&, Minima<T>*);
  void (*screen)(const Block<T>&, const ScreenBlock<T>&);
  // Null where the machine does not multiply bytes. Quads of `to_bytes` lie `stride` bytes apart.
  void (*find_byte_minima)(const Block<T>&, const ScreenBlock<T>&, Minima<T>*);
  void (*screen_bytes)(const Block<T>&, const ScreenBlock<T>&);
  ByteRow (*to_bytes)(const T* row, int64_t dim, int bias, int64_t stride, uint8_t* out);
};

struct AllKernels {
  Kernels<float> f32;
  Kernels<double> f64;
};

#define AVTS_DECLARE(level)         \
  namespace level {                 \
  extern const AllKernels kKernels; \
  bool has_byte_products();         \
  }
AVTS_FOR_EACH_LEVEL(AVTS_DECLARE)
#undef AVTS_DECLARE

// The kernels of the active level.
template <typename T>
const Kernels<T>& kernels();
bool has_byte_products();

}  // namespace avts::sync_loss
