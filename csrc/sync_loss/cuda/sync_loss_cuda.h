// The sync losses on a GPU: arguments, options and results of sync_loss/sync_loss.h.
//
// A block owns 64 rows of one side and meets the other side's rows 64 at a time: inner products or
// squared differences in registers, and from there the terms, the negatives mined or the gradient
// of the rows it owns, without a matrix of pairs. Each side owns its rows once, so nothing is
// summed by atomics and every result repeats bit for bit.
#pragma once

#include <cstdint>

#include "sync_loss/sync_loss.h"

namespace avts::sync_loss {

// Everything is in memory of the current device. Sides have ids and starts.
template <typename T>
struct CudaOutputs {
  T* loss;
  T *video_gradient, *audio_gradient;  // (count, dim) each, zero; null without want_gradient
  double *by_temperature, *by_bias;
  int64_t *video_negative, *audio_negative;  // (count, k)
  double* statistics;                        // members of Statistics in their order
};

// Bytes that a call needs beside its tensors.
int64_t workspace_bytes(int64_t videos, int64_t audios, const Options& options);

// Queues kernels on `stream` and does not wait for them. Of the options, temperature and bias are
// ignored: they are read on the device, where a temperature that is not positive traps.
template <typename T>
void sync_loss_cuda(const Side<T>& video, const Side<T>& audio, const Options& options,
                    const double* temperature, const double* bias, void* workspace, void* stream,
                    const CudaOutputs<T>& out);

// pair_forward() and pair_backward(), whose gradients the caller has set to zero. A pair that names
// no row traps. `terms`: room for pair_count numbers.
template <typename T>
void pair_forward_cuda(const Side<T>& video, const Side<T>& audio, const int64_t* pairs,
                       const double* labels, int64_t pair_count, double margin, double* terms,
                       void* stream, T* loss);
template <typename T>
void pair_backward_cuda(const Side<T>& video, const Side<T>& audio, const int64_t* pairs,
                        const double* labels, int64_t pair_count, double margin, const T* scale,
                        double* terms, void* stream, T* video_gradient, T* audio_gradient);

}  // namespace avts::sync_loss
