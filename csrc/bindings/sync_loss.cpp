#include "sync_loss/sync_loss.h"

#include "bindings/bindings.h"
#include "bindings/tensor_view.h"
#include "core/check.h"

namespace py = pybind11;

namespace avts {
namespace {

using namespace sync_loss;

// One modality as Python passes it: (rows, ids, start_s), with the names for messages.
template <typename T>
Side<T> side_of(const TensorView& rows, py::handle ids, py::handle start_s) {
  rows.expect_shape({-1, -1}).expect_contiguous();
  const int64_t count = rows.shape[0];
  const TensorView id_view = view_of(ids, "ids");
  const TensorView start_view = view_of(start_s, "start_s");
  id_view.expect_dtype(DType::i64).expect_shape({count}).expect_contiguous();
  start_view.expect_dtype(DType::f64).expect_shape({count}).expect_contiguous();
  return {rows.as<T>(), id_view.as<int64_t>(), start_view.as<double>(), count, rows.shape[1]};
}

template <typename T>
T* data_of(py::handle tensor, const char* name, DType dtype, std::initializer_list<int64_t> shape) {
  return view_of(tensor, name).expect_dtype(dtype).expect_shape(shape).expect_contiguous().as<T>();
}

// Calls body(T{}) with the element type that both embeddings have.
template <typename Body>
auto with_dtype(const TensorView& video, const TensorView& audio, const Body& body) {
  audio.expect_dtype(video.dtype).expect_shape({-1, video.shape[1]});
  if (video.dtype == DType::f32) return body(float{});
  video.expect_dtype(DType::f64);
  return body(double{});
}

template <typename T>
constexpr DType kDType = sizeof(T) == 4 ? DType::f32 : DType::f64;

// The eight arguments with which every function over all pairs begins.
struct Batch {
  TensorView video, audio;
  py::handle video_ids, video_start_s, audio_ids, audio_start_s;
  PairRule rule;

  template <typename T>
  Side<T> video_side() const {
    return side_of<T>(video, video_ids, video_start_s);
  }
  template <typename T>
  Side<T> audio_side() const {
    return side_of<T>(audio, audio_ids, audio_start_s);
  }
};

Batch batch_of(const py::tuple& video, const py::tuple& audio, const py::tuple& rule) {
  return {view_of(video[0], "video"),
          view_of(audio[0], "audio"),
          video[1],
          video[2],
          audio[1],
          audio[2],
          {rule[0].cast<double>(), rule[1].cast<double>(), rule[2].cast<unsigned>()}};
}

py::tuple py_margin_forward(const py::tuple& video, const py::tuple& audio, const py::tuple& rule,
                            double margin, bool hardest, int threads, py::handle video_hardest,
                            py::handle audio_hardest) {
  const Batch batch = batch_of(video, audio, rule);
  return with_dtype(batch.video, batch.audio, [&](auto zero) {
    using T = decltype(zero);
    const Side<T> v = batch.video_side<T>(), a = batch.audio_side<T>();
    auto* v_hardest = data_of<int64_t>(video_hardest, "video_hardest", DType::i64, {v.count});
    auto* a_hardest = data_of<int64_t>(audio_hardest, "audio_hardest", DType::i64, {a.count});
    MarginResult result;
    {
      py::gil_scoped_release release;
      result = margin_forward(v, a, batch.rule, margin, hardest, threads, v_hardest, a_hardest);
    }
    return py::make_tuple(result.loss, result.positive_weight, result.negative_weight);
  });
}

void py_margin_backward(const py::tuple& video, const py::tuple& audio, const py::tuple& rule,
                        double margin, bool hardest, double positive_weight, double negative_weight,
                        int threads, py::handle video_hardest, py::handle audio_hardest,
                        py::handle video_gradient, py::handle audio_gradient) {
  const Batch batch = batch_of(video, audio, rule);
  with_dtype(batch.video, batch.audio, [&](auto zero) {
    using T = decltype(zero);
    const Side<T> v = batch.video_side<T>(), a = batch.audio_side<T>();
    auto* v_hardest = data_of<int64_t>(video_hardest, "video_hardest", DType::i64, {v.count});
    auto* a_hardest = data_of<int64_t>(audio_hardest, "audio_hardest", DType::i64, {a.count});
    T* dv = data_of<T>(video_gradient, "video_gradient", kDType<T>, {v.count, v.dim});
    T* da = data_of<T>(audio_gradient, "audio_gradient", kDType<T>, {a.count, a.dim});
    py::gil_scoped_release release;
    margin_backward(v, a, batch.rule, {positive_weight, negative_weight, margin}, hardest,
                    v_hardest, a_hardest, threads, dv, da);
  });
}

double py_infonce_forward(const py::tuple& video, const py::tuple& audio, const py::tuple& rule,
                          double temperature, int threads, py::handle video_lse,
                          py::handle video_positives, py::handle audio_lse,
                          py::handle audio_positives) {
  check_argument(!(temperature <= 0), "temperature", temperature, "a positive number");
  const Batch batch = batch_of(video, audio, rule);
  return with_dtype(batch.video, batch.audio, [&](auto zero) {
    using T = decltype(zero);
    const Side<T> v = batch.video_side<T>(), a = batch.audio_side<T>();
    auto* v_lse = data_of<double>(video_lse, "video_lse", DType::f64, {v.count});
    auto* a_lse = data_of<double>(audio_lse, "audio_lse", DType::f64, {a.count});
    auto* v_pos = data_of<int64_t>(video_positives, "video_positives", DType::i64, {v.count});
    auto* a_pos = data_of<int64_t>(audio_positives, "audio_positives", DType::i64, {a.count});
    py::gil_scoped_release release;
    return infonce_forward(v, a, batch.rule, temperature, threads, v_lse, v_pos, a_lse, a_pos);
  });
}

double py_infonce_backward(const py::tuple& video, const py::tuple& audio, const py::tuple& rule,
                           double temperature, double scale, int threads, py::handle video_lse,
                           py::handle video_positives, py::handle audio_lse,
                           py::handle audio_positives, py::handle video_gradient,
                           py::handle audio_gradient) {
  const Batch batch = batch_of(video, audio, rule);
  return with_dtype(batch.video, batch.audio, [&](auto zero) {
    using T = decltype(zero);
    const Side<T> v = batch.video_side<T>(), a = batch.audio_side<T>();
    auto* v_lse = data_of<double>(video_lse, "video_lse", DType::f64, {v.count});
    auto* a_lse = data_of<double>(audio_lse, "audio_lse", DType::f64, {a.count});
    auto* v_pos = data_of<int64_t>(video_positives, "video_positives", DType::i64, {v.count});
    auto* a_pos = data_of<int64_t>(audio_positives, "audio_positives", DType::i64, {a.count});
    T* dv = data_of<T>(video_gradient, "video_gradient", kDType<T>, {v.count, v.dim});
    T* da = data_of<T>(audio_gradient, "audio_gradient", kDType<T>, {a.count, a.dim});
    py::gil_scoped_release release;
    return infonce_backward(v, a, batch.rule, temperature, scale, v_lse, v_pos, a_lse, a_pos,
                            threads, dv, da);
  });
}

// The explicit-pair form needs no ids and no times.
template <typename T>
Side<T> bare_side(const TensorView& rows) {
  rows.expect_shape({-1, -1}).expect_contiguous();
  return {rows.as<T>(), nullptr, nullptr, rows.shape[0], rows.shape[1]};
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
  m.def("sync_margin_forward", &py_margin_forward);
  m.def("sync_margin_backward", &py_margin_backward);
  m.def("sync_infonce_forward", &py_infonce_forward);
  m.def("sync_infonce_backward", &py_infonce_backward);
  m.def("sync_pair_forward", &py_pair_forward);
  m.def("sync_pair_backward", &py_pair_backward);
}

}  // namespace avts
