// The steps of a sync loss, each of which queues one kernel; sync_loss.cu puts them together.
#pragma once

#include "sync_loss/cuda/batch.h"

namespace avts::sync_loss {

// --- rows.cu: what belongs to single rows -------------------------------------------------------

// Sets all sums to zero, but for which rows are present and which of them are not finite.
template <typename T>
void inspect_rows(const View<T>& view, const CudaOptions& options, void* stream);

// Counts the pairs by kind and measures the positives, the farthest among them.
template <typename T>
void scan_rows(const View<T>& view, const CudaOptions& options, void* stream);

// Sums over a side's rows to its totals, in one order always.
template <typename T>
void add_up_rows(const View<T>& view, void* stream);

// The terms and slopes of mined negatives; a triplet's slope of the farthest positive.
template <typename T>
void mined_terms(const View<T>& view, const CudaOptions& options, const int64_t* negative,
                 void* stream);
template <typename T>
void farthest_slopes(const View<T>& view, const CudaOptions& options, void* stream);

// Infonce: positives join the sum of exponentials; the row's term.
template <typename T>
void finish_softmax(const View<T>& view, const CudaOptions& options, void* stream);

// Terms of positives that are known only now (sigmoid), and their gradient of the owned rows.
template <typename T>
void add_positives(const View<T>& view, const CudaOptions& options, T* gradient, void* stream);

// A NaN for every element if any row of either side is not finite.
template <typename T>
void spoil_gradient(const View<T>& view, T* gradient, void* stream);

// From both sides' totals to the results. `view` is the video's.
template <typename T>
void finish_loss(const View<T>& view, const CudaOptions& options, const CudaOutputs<T>& out,
                 void* stream);

// --- links.cu: pairs that are listed ------------------------------------------------------------

// Pairs (row of one side, row of the other) with the derivative of the loss by d, divided by d.
// Entry n is row own[n * own_stride], or n / width where own is null, and other[n * other_stride],
// where -1 stands for no pair.
struct Links {
  int64_t count, width;
  const int64_t *own, *other;
  int64_t stride;
  const double* slope;
};

// Adds the gradient of the rows of one side, each row's links in order.
template <typename T>
void add_link_gradient(const Side<T>& owner, const Side<T>& other, const Links& links,
                       bool owner_is_own, T* gradient, void* stream);

// --- all_pairs.cu: tiles of all negatives -------------------------------------------------------

// Each adds to the view's row sums and, unless it is null, to the gradient of its rows.
template <typename T>
void all_hinges(const View<T>& view, const CudaOptions& options, T* gradient, void* stream);
template <typename T>
void softmax_sums(const View<T>& view, const CudaOptions& options, void* stream);
template <typename T>
void softmax_slopes(const View<T>& view, const CudaOptions& options, T* gradient, void* stream);
template <typename T>
void all_sigmoids(const View<T>& view, const CudaOptions& options, T* gradient, void* stream);
template <typename T>
void distance_sums(const View<T>& view, const CudaOptions& options, void* stream);

// --- mine.cu ------------------------------------------------------------------------------------

// The negatives of each row of `self` by CPU's rules (sync_loss/mine.h), and their exact d^2.
template <typename T>
void mine(const View<T>& view, const CudaOptions& options, int64_t* negative, void* stream);

}  // namespace avts::sync_loss
