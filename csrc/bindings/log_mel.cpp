#include "log_mel/log_mel.h"

#include <tuple>
#include <utility>

#include "bindings/bindings.h"
#include "bindings/tensor_view.h"
#include "core/check.h"

namespace py = pybind11;

namespace avts {
namespace {

// The options as the operator's schema lists them.
template <size_t... I>
LogMelOptions unpack(const py::tuple& values, std::index_sequence<I...>) {
  LogMelOptions o;
  auto fields = std::tie(o.sample_rate, o.n_fft, o.win_length, o.hop_length, o.window, o.power,
                         o.center, o.pad_mode, o.drop_last, o.n_mels, o.f_min, o.f_max, o.mel_scale,
                         o.norm, o.log, o.eps);
  ((std::get<I>(fields) =
        values[I].cast<std::remove_reference_t<std::tuple_element_t<I, decltype(fields)>>>()),
   ...);
  return o;
}

constexpr size_t kOptionCount = 16;

LogMelOptions options_from(const py::tuple& values) {
  check_argument(values.size() == kOptionCount, "options", values.size(), kOptionCount, " values");
  const LogMelOptions options = unpack(values, std::make_index_sequence<kOptionCount>());
  check_log_mel_options(options);
  return options;
}

void check_options(const py::tuple& options) { options_from(options); }

void check_floating(const TensorView& view) {
  check_argument(view.dtype == DType::f32 || view.dtype == DType::f64, view.name,
                 name_of(view.dtype), "float32 or float64");
}

void forward(py::handle waveform_object, py::handle out_object, const py::tuple& values,
             int threads) {
  const LogMelOptions options = options_from(values);
  const TensorView waveform = view_of(waveform_object, "waveform");
  waveform.expect_shape({-1, -1}).expect_contiguous();
  check_floating(waveform);
  const int64_t items = waveform.shape[0], samples = waveform.shape[1];
  const TensorView out = view_of(out_object, "out");
  out.expect_dtype(waveform.dtype)
      .expect_shape({items, options.n_mels, log_mel_frames(options, samples)})
      .expect_contiguous();
  py::gil_scoped_release release;
  if (waveform.dtype == DType::f32) {
    log_mel(options, waveform.as<const float>(), items, samples, out.as<float>(), threads);
  } else {
    log_mel(options, waveform.as<const double>(), items, samples, out.as<double>(), threads);
  }
}

void backward(py::handle grad_out_object, py::handle waveform_object, py::handle grad_object,
              const py::tuple& values, int threads) {
  const LogMelOptions options = options_from(values);
  const TensorView waveform = view_of(waveform_object, "waveform");
  waveform.expect_shape({-1, -1}).expect_contiguous();
  check_floating(waveform);
  const int64_t items = waveform.shape[0], samples = waveform.shape[1];
  const TensorView grad_out = view_of(grad_out_object, "grad_out");
  grad_out.expect_dtype(waveform.dtype)
      .expect_shape({items, options.n_mels, log_mel_frames(options, samples)})
      .expect_contiguous();
  const TensorView grad = view_of(grad_object, "grad_waveform");
  grad.expect_dtype(waveform.dtype).expect_shape({items, samples}).expect_contiguous();
  py::gil_scoped_release release;
  if (waveform.dtype == DType::f32) {
    log_mel_backward(options, grad_out.as<const float>(), waveform.as<const float>(), items,
                     samples, grad.as<float>(), threads);
  } else {
    log_mel_backward(options, grad_out.as<const double>(), waveform.as<const double>(), items,
                     samples, grad.as<double>(), threads);
  }
}

}  // namespace

void bind_log_mel(py::module_& m) {
  m.def("log_mel_check_options", &check_options, py::arg("options"));
  m.def("log_mel", &forward, py::arg("waveform"), py::arg("out"), py::arg("options"),
        py::arg("threads"));
  m.def("log_mel_backward", &backward, py::arg("grad_out"), py::arg("waveform"),
        py::arg("grad_waveform"), py::arg("options"), py::arg("threads"));
}

}  // namespace avts
