#include "sync_loss/sync_loss.h"

#include <pybind11/stl.h>

#include <array>

#include "bindings/bindings.h"
#include "bindings/tensor_view.h"
#include "core/check.h"

namespace py = pybind11;

namespace avts {
namespace {

using namespace sync_loss;

template <typename T>
constexpr DType kDType = sizeof(T) == 4 ? DType::f32 : DType::f64;

// Calls body(T{}) with the element type that both embeddings have.
template <typename Body>
auto with_dtype(const TensorView& video, const TensorView& audio, const Body& body) {
  audio.expect_dtype(video.dtype).expect_shape({-1, video.shape[1]});
  if (video.dtype == DType::f32) return body(float{});
  video.expect_dtype(DType::f64);
  return body(double{});
}

template <typename T>
T* data_of(py::handle tensor, const char* name, DType dtype, std::initializer_list<int64_t> shape) {
  return view_of(tensor, name).expect_dtype(dtype).expect_shape(shape).expect_contiguous().as<T>();
}

// One modality as Python passes it: (rows, ids, start_s, groups or None, silent or None).
template <typename T>
Side<T> side_of(const py::tuple& tensors, const char* name) {
  const TensorView rows = view_of(tensors[0], name);
  rows.expect_shape({-1, -1}).expect_contiguous();
  const int64_t count = rows.shape[0];
  check_argument(count < int64_t{1} << 31, name, count, "fewer than 2^31 rows");
  Side<T> side{rows.as<T>(),
               data_of<int64_t>(tensors[1], "ids", DType::i64, {count}),
               data_of<double>(tensors[2], "start_s", DType::f64, {count}),
               nullptr,
               nullptr,
               count,
               rows.shape[1]};
  if (!tensors[3].is_none()) {
    side.groups = data_of<int64_t>(tensors[3], "groups", DType::i64, {count});
  }
  if (!tensors[4].is_none()) {
    side.silent = data_of<bool>(tensors[4], "silent", DType::boolean, {count});
  }
  return side;
}

Options options_of(const py::dict& from) {
  const auto weights = from["kind_weights"].cast<std::array<double, 3>>();
  Options options{};
  options.rule = {from["hard_from_s"].cast<double>(),
                  from["super_hard_from_s"].cast<double>(),
                  {0, weights[0], weights[1], weights[2]}};
  options.objective = static_cast<Objective>(from["objective"].cast<int>());
  options.mining = static_cast<Mining>(from["mining"].cast<int>());
  options.k = from["k"].cast<int64_t>();
  options.video_anchors = from["video_anchors"].cast<bool>();
  options.audio_anchors = from["audio_anchors"].cast<bool>();
  options.squared = from["squared"].cast<bool>();
  options.margin = from["margin"].cast<double>();
  options.temperature = from["temperature"].cast<double>();
  options.bias = from["bias"].cast<double>();
  options.seed = static_cast<uint64_t>(from["seed"].cast<int64_t>());
  options.want_gradient = from["want_gradient"].cast<bool>();
  options.want_statistics = from["want_statistics"].cast<bool>();
  options.threads = from["threads"].cast<int>();
  check_argument(!(options.temperature <= 0), "temperature", options.temperature,
                 "a positive number");
  return options;
}

// Returns (loss, by temperature, by bias, statistics) and fills the tensors of `outputs`: the
// gradients (unused without want_gradient) and the mined negatives, video first.
py::tuple py_sync_loss(const py::tuple& video, const py::tuple& audio, const py::dict& from,
                       const py::tuple& outputs) {
  const Options options = options_of(from);
  const TensorView video_view = view_of(video[0], "video"), audio_view = view_of(audio[0], "audio");
  return with_dtype(video_view, audio_view, [&](auto zero) {
    using T = decltype(zero);
    const Side<T> v = side_of<T>(video, "video"), a = side_of<T>(audio, "audio");
    Outputs<T> out{};
    if (options.want_gradient) {
      out.video_gradient = data_of<T>(outputs[0], "video_gradient", kDType<T>, {v.count, v.dim});
      out.audio_gradient = data_of<T>(outputs[1], "audio_gradient", kDType<T>, {a.count, a.dim});
    }
    const int64_t k = options.k;
    out.video_negative = data_of<int64_t>(outputs[2], "video_negative", DType::i64, {v.count, k});
    out.audio_negative = data_of<int64_t>(outputs[3], "audio_negative", DType::i64, {a.count, k});
    {
      py::gil_scoped_release release;
      sync_loss::sync_loss(v, a, options, &out);
    }
    const Statistics& s = out.statistics;
    py::list statistics;
    for (double x : s.count) statistics.append(x);
    for (double x : s.distance_sum) statistics.append(x);
    for (double x : {s.terms, s.active_terms, s.weight_sum, s.rows, s.rows_without_negative}) {
      statistics.append(x);
    }
    return py::make_tuple(out.loss, out.by_temperature, out.by_bias, statistics);
  });
}

// The explicit-pair form needs no ids and no times.
template <typename T>
Side<T> bare_side(const TensorView& rows) {
  rows.expect_shape({-1, -1}).expect_contiguous();
  return {rows.as<T>(), nullptr, nullptr, nullptr, nullptr, rows.shape[0], rows.shape[1]};
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
    const double* y = data_of<double>(labels, "labels", DType::f64, {count});
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
    const double* y = data_of<double>(labels, "labels", DType::f64, {count});
    T* dv = data_of<T>(video_gradient, "video_gradient", kDType<T>, {v.count, v.dim});
    T* da = data_of<T>(audio_gradient, "audio_gradient", kDType<T>, {a.count, a.dim});
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
