#include "sync_loss/sync_loss.h"

#include <cstring>

#include "bindings/bindings.h"
#include "bindings/sync_loss_arguments.h"
#include "bindings/tensor_view.h"
#include "core/check.h"

namespace py = pybind11;

namespace avts {
namespace {

using namespace sync_loss;

// Fills `outputs`: those of the operator. The gradients are unused without want_gradient.
void py_sync_loss(const py::tuple& video, const py::tuple& audio, const Choices& choices,
                  const Numbers& numbers, int threads, const py::tuple& outputs) {
  const Options options = sync_loss_options(choices, numbers, threads);
  const TensorView video_view = view_of(video[0], "video"), audio_view = view_of(audio[0], "audio");
  with_dtype(video_view, audio_view, [&](auto zero) {
    using T = decltype(zero);
    const Side<T> v = side_of<T>(view_of, video, "video"), a = side_of<T>(view_of, audio, "audio");
    const int64_t k = options.k;
    Outputs<T> out{};
    T* loss = data_of<T>(view_of, outputs[0], "loss", kDType<T>, {});
    if (options.want_gradient) {
      out.video_gradient =
          data_of<T>(view_of, outputs[1], "video_gradient", kDType<T>, {v.count, v.dim});
      out.audio_gradient =
          data_of<T>(view_of, outputs[2], "audio_gradient", kDType<T>, {a.count, a.dim});
    }
    out.video_negative =
        data_of<int64_t>(view_of, outputs[3], "video_negative", DType::i64, {v.count, k});
    out.audio_negative =
        data_of<int64_t>(view_of, outputs[4], "audio_negative", DType::i64, {a.count, k});
    double* sums = data_of<double>(view_of, outputs[5], "sums", DType::f64, {kSums});
    py::gil_scoped_release release;
    sync_loss::sync_loss(v, a, options, &out);
    *loss = static_cast<T>(out.loss);
    sums[0] = out.by_temperature;
    sums[1] = out.by_bias;
    std::memcpy(sums + 2, &out.statistics, sizeof(out.statistics));
  });
}

// The pairs, each of which must name rows that exist.
const int64_t* pairs_of(const TensorView& pairs, int64_t videos, int64_t audios) {
  pairs.expect_dtype(DType::i64).expect_shape({-1, 2}).expect_contiguous();
  const int64_t* rows = pairs.as<int64_t>();
  for (int64_t p = 0; p < pairs.shape[0]; ++p) {
    const int64_t i = rows[2 * p], j = rows[2 * p + 1];
    check_argument(i >= 0 && i < videos, "pairs[:, 0]", i, "a video row in [0, ", videos, ")");
    check_argument(j >= 0 && j < audios, "pairs[:, 1]", j, "an audio row in [0, ", audios, ")");
  }
  return rows;
}

double py_pair_forward(py::handle video, py::handle audio, py::handle pairs, py::handle labels,
                       double margin, int threads) {
  const TensorView video_view = view_of(video, "video"), audio_view = view_of(audio, "audio");
  return with_dtype(video_view, audio_view, [&](auto zero) {
    using T = decltype(zero);
    const Side<T> v = bare_side<T>(video_view), a = bare_side<T>(audio_view);
    const TensorView pair_view = view_of(pairs, "pairs");
    const int64_t* rows = pairs_of(pair_view, v.count, a.count);
    const int64_t count = pair_view.shape[0];
    const double* y = data_of<double>(view_of, labels, "labels", DType::f64, {count});
    py::gil_scoped_release release;
    return pair_forward(v, a, rows, y, count, margin, threads);
  });
}

void py_pair_backward(py::handle video, py::handle audio, py::handle pairs, py::handle labels,
                      double margin, double scale, py::handle video_gradient,
                      py::handle audio_gradient) {
  const TensorView video_view = view_of(video, "video"), audio_view = view_of(audio, "audio");
  with_dtype(video_view, audio_view, [&](auto zero) {
    using T = decltype(zero);
    const Side<T> v = bare_side<T>(video_view), a = bare_side<T>(audio_view);
    const TensorView pair_view = view_of(pairs, "pairs");
    const int64_t* rows = pairs_of(pair_view, v.count, a.count);
    const int64_t count = pair_view.shape[0];
    const double* y = data_of<double>(view_of, labels, "labels", DType::f64, {count});
    T* dv = data_of<T>(view_of, video_gradient, "video_gradient", kDType<T>, {v.count, v.dim});
    T* da = data_of<T>(view_of, audio_gradient, "audio_gradient", kDType<T>, {a.count, a.dim});
    py::gil_scoped_release release;
    pair_backward(v, a, rows, y, count, margin, scale, dv, da);
  });
}

}  // namespace

void bind_sync_loss(py::module_& m) {
  m.def("sync_loss", &py_sync_loss);
  m.def("sync_pair_forward", &py_pair_forward);
  m.def("sync_pair_backward", &py_pair_backward);
}

}  // namespace avts
