#include "bindings/cuda_arguments.h"
#include "bindings/cuda_bindings.h"
#include "bindings/sync_loss_arguments.h"
#include "sync_loss/cuda/sync_loss_cuda.h"

namespace py = pybind11;

namespace avts {
namespace {

using namespace sync_loss;

// scalars: temperature and bias. outputs: those of the operator.
void py_sync_loss(const py::tuple& video, const py::tuple& audio, const py::tuple& scalars,
                  const Choices& choices, const Numbers& numbers, const py::tuple& outputs,
                  py::handle workspace) {
  const Options options = sync_loss_options(choices, numbers, 1);
  CudaArguments arguments;
  const auto view = [&](py::handle tensor, const char* name) {
    return arguments.view(tensor, name);
  };
  const TensorView video_view = view(video[0], "video"), audio_view = view(audio[0], "audio");
  with_dtype(video_view, audio_view, [&](auto zero) {
    using T = decltype(zero);
    const Side<T> v = side_of<T>(view, video, "video"), a = side_of<T>(view, audio, "audio");
    const auto gradient = [&](int i, const char* name, const Side<T>& side) -> T* {
      if (!options.want_gradient) return nullptr;
      return data_of<T>(view, outputs[i], name, kDType<T>, {side.count, side.dim});
    };
    const auto negative = [&](int i, const char* name, const Side<T>& side) {
      return data_of<int64_t>(view, outputs[i], name, DType::i64, {side.count, options.k});
    };
    const auto number = [&](const py::object& tensor, const char* name) {
      return data_of<double>(view, tensor, name, DType::f64, {});
    };
    double* sums = data_of<double>(view, outputs[5], "sums", DType::f64, {kSums});
    const CudaOutputs<T> out{data_of<T>(view, outputs[0], "loss", kDType<T>, {}),
                             gradient(1, "video_gradient", v),
                             gradient(2, "audio_gradient", a),
                             sums,
                             sums + 1,
                             negative(3, "video_negative", v),
                             negative(4, "audio_negative", a),
                             sums + 2};
    void* memory = data_of<uint8_t>(view, workspace, "workspace", DType::u8,
                                    {workspace_bytes(v.count, a.count, options)});
    const double* temperature = number(scalars[0], "temperature");
    const double* bias = number(scalars[1], "bias");
    py::gil_scoped_release release;
    sync_loss_cuda(v, a, options, temperature, bias, memory, arguments.stream(), out);
  });
}

// Calls body with the arguments of both passes, as typed pointers.
template <typename Body>
void with_pairs(py::handle video, py::handle audio, py::handle pairs, py::handle labels,
                py::handle terms, const Body& body) {
  CudaArguments arguments;
  const auto view = [&](py::handle tensor, const char* name) {
    return arguments.view(tensor, name);
  };
  const TensorView video_view = view(video, "video"), audio_view = view(audio, "audio");
  const TensorView pair_view = view(pairs, "pairs");
  pair_view.expect_dtype(DType::i64).expect_shape({-1, 2}).expect_contiguous();
  const int64_t count = pair_view.shape[0];
  const double* y = data_of<double>(view, labels, "labels", DType::f64, {count});
  double* room = data_of<double>(view, terms, "terms", DType::f64, {count});
  with_dtype(video_view, audio_view, [&](auto zero) {
    using T = decltype(zero);
    body(view, bare_side<T>(video_view), bare_side<T>(audio_view), pair_view.as<int64_t>(), y,
         count, room, arguments.stream());
  });
}

void py_pair_forward(py::handle video, py::handle audio, py::handle pairs, py::handle labels,
                     double margin, py::handle loss, py::handle terms) {
  with_pairs(video, audio, pairs, labels, terms,
             [&](const auto& view, const auto& v, const auto& a, const int64_t* rows,
                 const double* y, int64_t count, double* room, void* stream) {
               using T = std::decay_t<decltype(*v.rows)>;
               T* out = data_of<T>(view, loss, "loss", kDType<T>, {});
               py::gil_scoped_release release;
               pair_forward_cuda<T>(v, a, rows, y, count, margin, room, stream, out);
             });
}

void py_pair_backward(py::handle video, py::handle audio, py::handle pairs, py::handle labels,
                      double margin, py::handle scale, py::handle video_gradient,
                      py::handle audio_gradient, py::handle terms) {
  with_pairs(video, audio, pairs, labels, terms,
             [&](const auto& view, const auto& v, const auto& a, const int64_t* rows,
                 const double* y, int64_t count, double* room, void* stream) {
               using T = std::decay_t<decltype(*v.rows)>;
               const auto gradient = [&](py::handle tensor, const char* name, const auto& side) {
                 return data_of<T>(view, tensor, name, kDType<T>, {side.count, side.dim});
               };
               T* dv = gradient(video_gradient, "video_gradient", v);
               T* da = gradient(audio_gradient, "audio_gradient", a);
               const T* factor = data_of<T>(view, scale, "grad_loss", kDType<T>, {});
               py::gil_scoped_release release;
               pair_backward_cuda<T>(v, a, rows, y, count, margin, factor, room, stream, dv, da);
             });
}

}  // namespace

void bind_cuda_sync_loss(py::module_& m) {
  m.def("sync_loss", &py_sync_loss);
  m.def("sync_loss_workspace_bytes",
        [](int64_t videos, int64_t audios, const Choices& choices, const Numbers& numbers) {
          return workspace_bytes(videos, audios, sync_loss_options(choices, numbers, 1));
        });
  m.def("sync_pair_forward", &py_pair_forward);
  m.def("sync_pair_backward", &py_pair_backward);
}

}  // namespace avts
