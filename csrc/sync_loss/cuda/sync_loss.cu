#include "sync_loss/cuda/kernels.h"

namespace avts::sync_loss {
namespace {

// Doubles that a side takes: its sums and totals, three numbers and k times three per row.
int64_t side_elements(int64_t count, int64_t k) {
  return kRowSums * count + kRowSums + 3 * count + 3 * count * k;
}

// Splits a side's part of the workspace.
RowMemory memory_of(double* next, int64_t count, int64_t k) {
  const auto take = [&next](int64_t elements) { return (next += elements) - elements; };
  RowMemory memory{};
  memory.sums = take(kRowSums * count);
  memory.totals = take(kRowSums);
  memory.far_d2 = take(count);
  memory.far_slope = take(count);
  memory.far = reinterpret_cast<int64_t*>(take(count));
  memory.mined_d2 = take(count * k);
  memory.mined_key = take(count * k);
  memory.mined_slope = take(count * k);
  return memory;
}

CudaOptions cuda_options(const Options& from, const double* temperature, const double* bias) {
  return {from.rule,    from.objective,     from.mining,
          from.k,       from.video_anchors, from.audio_anchors,
          from.squared, from.want_gradient, from.want_statistics,
          from.margin,  from.seed,          temperature,
          bias};
}

template <typename T>
class Evaluation {
 public:
  Evaluation(const Side<T>& video, const Side<T>& audio, const CudaOptions& options,
             double* workspace, void* stream, const CudaOutputs<T>& out)
      : options_(options), stream_(stream), out_(out) {
    const RowMemory of_video = memory_of(workspace, video.count, options.k);
    workspace += side_elements(video.count, options.k);
    const RowMemory of_audio = memory_of(workspace, audio.count, options.k);
    sides_[0] = {video, audio, of_video, of_audio, false};
    sides_[1] = {audio, video, of_audio, of_video, true};
  }

  void run() {
    for (const View<T>& view : sides_) inspect_rows(view, options_, stream_);
    for (const View<T>& view : sides_) scan_rows(view, options_, stream_);
    add_up();
    switch (options_.objective) {
      case Objective::margin:
        negatives_by_distance();
        if (options_.want_gradient) positives();
        break;
      case Objective::triplet:
        negatives_by_distance();
        if (options_.want_gradient) farthest();
        break;
      case Objective::infonce:
        infonce();
        break;
      case Objective::sigmoid:
        for (const View<T>& view : sides_) all_sigmoids(view, options_, gradient(view), stream_);
        positives();
        break;
    }
    if (options_.want_statistics && options_.mining == Mining::all) {
      distance_sums(sides_[0], options_, stream_);
    }
    add_up();
    finish_loss(sides_[0], options_, out_, stream_);
    if (!options_.want_gradient) return;
    for (const View<T>& view : sides_) spoil_gradient(view, gradient(view), stream_);
  }

 private:
  // Null unless it is wanted.
  T* gradient(const View<T>& view) const {
    return view.from_audio ? out_.audio_gradient : out_.video_gradient;
  }

  void add_up() {
    for (const View<T>& view : sides_) add_up_rows(view, stream_);
  }

  void negatives_by_distance() {
    for (const View<T>& view : sides_) {
      if (options_.mining == Mining::all) {
        all_hinges(view, options_, gradient(view), stream_);
      } else {
        mined(view, view.from_audio ? out_.audio_negative : out_.video_negative);
      }
    }
  }

  void mined(const View<T>& view, int64_t* negative) {
    mine(view, options_, negative, stream_);
    mined_terms(view, options_, negative, stream_);
    if (!options_.want_gradient || !options_.anchors(view.from_audio)) return;
    add_links(view, {view.self.count * options_.k, options_.k, nullptr, negative, 1,
                     view.own.mined_slope});
  }

  void farthest() {
    for (const View<T>& view : sides_) {
      if (!options_.anchors(view.from_audio)) continue;
      farthest_slopes(view, options_, stream_);
      add_links(view, {view.self.count, 1, nullptr, view.own.far, 1, view.own.far_slope});
    }
  }

  // To both sides, of links whose rows are the view's.
  void add_links(const View<T>& view, const Links& links) {
    const View<T>& reverse = sides_[view.from_audio ? 0 : 1];
    add_link_gradient(view.self, view.other, links, true, gradient(view), stream_);
    add_link_gradient(view.other, view.self, links, false, gradient(reverse), stream_);
  }

  void infonce() {
    for (const View<T>& view : sides_) {
      if (!options_.anchors(view.from_audio)) continue;
      softmax_sums(view, options_, stream_);
      finish_softmax(view, options_, stream_);
    }
    if (!options_.want_gradient) return;
    for (const View<T>& view : sides_) softmax_slopes(view, options_, gradient(view), stream_);
    positives();
  }

  void positives() {
    for (const View<T>& view : sides_) add_positives(view, options_, gradient(view), stream_);
  }

  View<T> sides_[2];  // video's, audio's
  const CudaOptions options_;
  void* stream_;
  const CudaOutputs<T> out_;
};

}  // namespace

int64_t workspace_bytes(int64_t videos, int64_t audios, const Options& options) {
  return (side_elements(videos, options.k) + side_elements(audios, options.k)) * sizeof(double);
}

template <typename T>
void sync_loss_cuda(const Side<T>& video, const Side<T>& audio, const Options& options,
                    const double* temperature, const double* bias, void* workspace, void* stream,
                    const CudaOutputs<T>& out) {
  Evaluation<T>(video, audio, cuda_options(options, temperature, bias),
                static_cast<double*>(workspace), stream, out)
      .run();
}

template void sync_loss_cuda(const Side<float>&, const Side<float>&, const Options&, const double*,
                             const double*, void*, void*, const CudaOutputs<float>&);
template void sync_loss_cuda(const Side<double>&, const Side<double>&, const Options&,
                             const double*, const double*, void*, void*,
                             const CudaOutputs<double>&);

}  // namespace avts::sync_loss
