#include "log_mel/log_mel.h"

#include <pybind11/stl.h>

#include <limits>

#include "bindings/bindings.h"
#include "bindings/log_mel_arguments.h"
#include "bindings/tensor_view.h"
#include "core/check.h"
#include "log_mel/dither.h"

namespace py = pybind11;

namespace avts {
namespace {

const int64_t* per_item(py::handle object, const char* name, int64_t items) {
  if (object.is_none()) return nullptr;
  const TensorView view = view_of(object, name);
  view.expect_dtype(DType::i64).expect_shape({items}).expect_contiguous();
  return view.as<const int64_t>();
}

// Each item must lie within its row and be long enough for a frame.
void check_items(const LogMel& log_mel, const Waveforms& waveforms, int64_t row_length) {
  if (!waveforms.starts && !waveforms.lengths) return;
  const int64_t needed = log_mel.samples_needed();
  for (int64_t item = 0; item < waveforms.items; ++item) {
    const std::string index = "[" + std::to_string(item) + "]";
    const int64_t start = waveforms.start(item), length = waveforms.length(item);
    check_argument(length >= needed && length <= waveforms.samples, ("lengths" + index).c_str(),
                   length, needed, " to ", waveforms.samples);
    check_argument(start >= 0 && start <= row_length - length, ("starts" + index).c_str(), start,
                   "0 to ", row_length - length);
  }
}

// waveform (items, time); clip_length < 0: an item's samples go on to the row's end.
Waveforms waveforms_from(const LogMel& log_mel, const TensorView& view, py::handle starts,
                         py::handle lengths, int64_t clip_length) {
  view.expect_shape({-1, -1});
  check_argument(view.shape[1] <= 1 || view.strides[1] == 1, view.name, "strided in time",
                 "consecutive samples");
  const int64_t items = view.shape[0], row_length = view.shape[1];
  Waveforms waveforms{view.data,
                      sample_type(view),
                      items,
                      items > 1 ? view.strides[0] : row_length,
                      per_item(starts, "starts", items),
                      per_item(lengths, "lengths", items),
                      clip_length < 0 ? row_length : clip_length};
  check_argument(waveforms.samples >= log_mel.samples_needed(), view.name,
                 std::to_string(waveforms.samples) + " samples long", "at least ",
                 log_mel.samples_needed());
  check_items(log_mel, waveforms, row_length);
  return waveforms;
}

TensorView values_view(const LogMel& log_mel, py::handle object, const char* name, int64_t items,
                       int64_t frames) {
  const TensorView view = view_of(object, name);
  return expect_values(log_mel.options(), view, items, frames);
}

TensorView mel_view(const LogMel& log_mel, py::handle object, const Waveforms& waveforms,
                    int64_t frames) {
  return view_of(object, "mel")
      .expect_dtype(precision_of(waveforms.type))
      .expect_shape({waveforms.items, log_mel.options().n_mels, frames})
      .expect_contiguous();
}

void forward(const LogMel& log_mel, py::handle waveform_object, py::handle starts,
             py::handle lengths, int64_t clip_length, py::handle out_object, py::handle mel_object,
             int threads, double dynamic_range) {
  const TensorView waveform = view_of(waveform_object, "waveform");
  const Waveforms waveforms = waveforms_from(log_mel, waveform, starts, lengths, clip_length);
  const int64_t frames = log_mel.frames(waveforms.samples);
  const TensorView out = values_view(log_mel, out_object, "out", waveforms.items, frames);
  check_argument(out.dtype != DType::i16, "out", "int16", "a floating-point type");
  const LogMelOutput output{out.data, sample_type(out), frames};
  void* mel =
      mel_object.is_none() ? nullptr : mel_view(log_mel, mel_object, waveforms, frames).data;
  py::gil_scoped_release release;
  log_mel.forward(waveforms, output, mel, dynamic_range, threads);
}

// The values of whole float32 waveforms (..., time) in a new tensor, or None where there is more to
// do: to convert, to copy, to refuse. The usual call of a short clip takes longer in Python than in
// the kernel, so this one asks for nothing twice.
py::object values(const LogMel& log_mel, double dynamic_range, py::handle waveform_object,
                  int threads) {
  const TensorView waveform = view_of(waveform_object, "waveform");
  const int time = waveform.ndim - 1;
  if (waveform.dtype != DType::f32 || time < 0 || time + 2 > TensorView::kMaxDims ||
      waveform.shape[time] < log_mel.samples_needed() || !waveform.is_contiguous()) {
    return py::none();
  }
  const int64_t samples = waveform.shape[time], frames = log_mel.frames(samples);
  const bool time_mel = log_mel.options().layout == "time_mel";
  std::array<int64_t, TensorView::kMaxDims> shape = waveform.shape;
  shape[time] = time_mel ? frames : log_mel.options().n_mels;
  shape[time + 1] = time_mel ? log_mel.options().n_mels : frames;
  TensorView out;
  py::object result = new_tensor(waveform_object, DType::f32, shape.data(), time + 2, &out);
  if (result.is_none() || out.numel() == 0) return result;
  const Waveforms waveforms{waveform.data, SampleType::f32, waveform.numel() / samples,
                            samples,       nullptr,         nullptr,
                            samples};
  const LogMelOutput output{out.data, SampleType::f32, frames};
  py::gil_scoped_release release;
  log_mel.forward(waveforms, output, nullptr, dynamic_range, threads);
  return result;
}

void backward(const LogMel& log_mel, py::handle waveform_object, py::handle starts,
              py::handle lengths, int64_t clip_length, py::handle mel_object,
              py::handle grad_out_object, py::handle grad_object, int threads) {
  const TensorView waveform = view_of(waveform_object, "waveform").expect_contiguous();
  const Waveforms waveforms = waveforms_from(log_mel, waveform, starts, lengths, clip_length);
  const int64_t frames = log_mel.frames(waveforms.samples);
  const DType precision = precision_of(waveforms.type);
  const TensorView mel = mel_view(log_mel, mel_object, waveforms, frames);
  const TensorView grad_out =
      values_view(log_mel, grad_out_object, "grad_out", waveforms.items, frames);
  grad_out.expect_dtype(precision);
  const TensorView grad = view_of(grad_object, "grad_waveform");
  grad.expect_dtype(precision)
      .expect_shape({waveforms.items, waveform.shape[1]})
      .expect_contiguous();
  py::gil_scoped_release release;
  log_mel.backward(waveforms, mel.data, grad_out.data, frames, grad.data, threads);
}

void dither(py::handle samples, double amplitude, int64_t seed, int64_t first) {
  const TensorView view = view_of(samples, "samples");
  view.expect_shape({-1}).expect_contiguous();
  if (view.dtype == DType::f64) {
    add_dither(amplitude, seed, first, view.shape[0], view.as<double>());
  } else {
    view.expect_dtype(DType::f32);
    add_dither(amplitude, seed, first, view.shape[0], view.as<float>());
  }
}

}  // namespace

void bind_log_mel(py::module_& m) {
  m.def("add_dither", &dither, py::arg("samples"), py::arg("amplitude"), py::arg("seed"),
        py::arg("first"));
  py::class_<LogMel>(m, "LogMel")
      .def(py::init([](const py::dict& options) {
             return std::make_unique<LogMel>(log_mel_options(options));
           }),
           py::arg("options"))
      .def("samples_needed", &LogMel::samples_needed)
      .def("frames", &LogMel::frames, py::arg("samples"))
      .def("forward", &forward, py::arg("waveform"), py::arg("starts"), py::arg("lengths"),
           py::arg("clip_length"), py::arg("out"), py::arg("mel"), py::arg("threads"),
           py::arg("dynamic_range") = std::numeric_limits<double>::infinity())
      .def("values", &values, py::arg("dynamic_range"), py::arg("waveform"), py::arg("threads"))
      .def("backward", &backward, py::arg("waveform"), py::arg("starts"), py::arg("lengths"),
           py::arg("clip_length"), py::arg("mel"), py::arg("grad_out"), py::arg("grad_waveform"),
           py::arg("threads"));
}

}  // namespace avts
