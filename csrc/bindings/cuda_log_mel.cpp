#include <pybind11/stl.h>

#include "bindings/cuda_arguments.h"
#include "bindings/cuda_bindings.h"
#include "bindings/log_mel_arguments.h"
#include "core/check.h"
#include "log_mel/cuda/log_mel_cuda.h"
#include "log_mel/options.h"

namespace py = pybind11;

namespace avts {
namespace {

// The arguments that forward and backward share; their values are checked on the device.
struct Inputs {
  CudaArguments arguments;
  Waveforms waveforms;
  int64_t row_length, frames;
  const void* tables;
  void* workspace;

  Inputs(const CudaLogMel& log_mel, py::handle waveform, py::handle starts, py::handle lengths,
         int64_t clip_length, py::handle tables_, bool backward, py::handle workspace_) {
    const TensorView view = arguments.view(waveform, "waveform");
    view.expect_shape({-1, -1});
    check_argument(view.shape[1] <= 1 || view.strides[1] == 1, view.name, "strided in time",
                   "consecutive samples");
    const int64_t items = view.shape[0];
    row_length = view.shape[1];
    waveforms = {view.data,
                 sample_type(view),
                 items,
                 items > 1 ? view.strides[0] : row_length,
                 per_item(starts, "starts", items),
                 per_item(lengths, "lengths", items),
                 clip_length < 0 ? row_length : clip_length};
    check_argument(waveforms.samples >= samples_needed(log_mel.options()), view.name,
                   std::to_string(waveforms.samples) + " samples long", "at least ",
                   samples_needed(log_mel.options()));
    frames = frames_of(log_mel.options(), waveforms.samples);
    tables = bytes(tables_, "tables", log_mel.tables_bytes(in_double()));
    workspace = bytes(workspace_, "workspace",
                      log_mel.workspace_bytes(items, frames, in_double(), backward));
  }

  bool in_double() const { return waveforms.type == SampleType::f64; }

  TensorView mel(const CudaLogMel& log_mel, py::handle object) {
    return arguments.view(object, "mel")
        .expect_dtype(precision_of(waveforms.type))
        .expect_shape({waveforms.items, log_mel.options().n_mels, frames})
        .expect_contiguous();
  }

 private:
  const int64_t* per_item(py::handle object, const char* name, int64_t items) {
    if (object.is_none()) return nullptr;
    const TensorView view = arguments.view(object, name);
    view.expect_dtype(DType::i64).expect_shape({items}).expect_contiguous();
    return view.as<const int64_t>();
  }

  void* bytes(py::handle object, const char* name, int64_t count) {
    return arguments.view(object, name)
        .expect_dtype(DType::u8)
        .expect_shape({count})
        .expect_contiguous()
        .data;
  }
};

void forward(const CudaLogMel& log_mel, py::handle waveform, py::handle starts, py::handle lengths,
             int64_t clip_length, py::handle out_object, py::handle mel_object, py::handle tables,
             py::handle workspace) {
  Inputs inputs(log_mel, waveform, starts, lengths, clip_length, tables, false, workspace);
  const TensorView out = inputs.arguments.view(out_object, "out");
  expect_values(log_mel.options(), out, inputs.waveforms.items, inputs.frames);
  check_argument(out.dtype != DType::i16, "out", "int16", "a floating-point type");
  void* mel = mel_object.is_none() ? nullptr : inputs.mel(log_mel, mel_object).data;
  py::gil_scoped_release release;
  log_mel.forward(inputs.tables, inputs.waveforms, inputs.row_length,
                  {out.data, sample_type(out), inputs.frames}, mel, inputs.workspace,
                  inputs.arguments.stream());
}

void backward(const CudaLogMel& log_mel, py::handle waveform, py::handle starts, py::handle lengths,
              int64_t clip_length, py::handle mel_object, py::handle grad_out_object,
              py::handle grad_object, py::handle tables, py::handle workspace) {
  Inputs inputs(log_mel, waveform, starts, lengths, clip_length, tables, true, workspace);
  const DType precision = precision_of(inputs.waveforms.type);
  const TensorView mel = inputs.mel(log_mel, mel_object);
  const TensorView grad_out = inputs.arguments.view(grad_out_object, "grad_out");
  expect_values(log_mel.options(), grad_out, inputs.waveforms.items, inputs.frames)
      .expect_dtype(precision);
  const TensorView grad = inputs.arguments.view(grad_object, "grad_waveform");
  grad.expect_dtype(precision)
      .expect_shape({inputs.waveforms.items, inputs.row_length})
      .expect_contiguous();
  py::gil_scoped_release release;
  log_mel.backward(inputs.tables, inputs.waveforms, inputs.row_length, mel.data, grad_out.data,
                   inputs.frames, grad.data, inputs.workspace, inputs.arguments.stream());
}

}  // namespace

void bind_cuda_log_mel(py::module_& m) {
  py::class_<CudaLogMel>(m, "LogMel")
      .def(py::init([](const py::dict& options) {
             return std::make_unique<CudaLogMel>(log_mel_options(options));
           }),
           py::arg("options"))
      .def(
          "tables",
          [](const CudaLogMel& log_mel, bool in_double) {
            const std::vector<char> bytes = log_mel.tables(in_double);
            return py::bytes(bytes.data(), bytes.size());
          },
          py::arg("in_double"))
      .def("workspace_bytes", &CudaLogMel::workspace_bytes, py::arg("items"), py::arg("frames"),
           py::arg("in_double"), py::arg("backward"))
      .def("forward", &forward, py::arg("waveform"), py::arg("starts"), py::arg("lengths"),
           py::arg("clip_length"), py::arg("out"), py::arg("mel"), py::arg("tables"),
           py::arg("workspace"))
      .def("backward", &backward, py::arg("waveform"), py::arg("starts"), py::arg("lengths"),
           py::arg("clip_length"), py::arg("mel"), py::arg("grad_out"), py::arg("grad_waveform"),
           py::arg("tables"), py::arg("workspace"));
}

}  // namespace avts
