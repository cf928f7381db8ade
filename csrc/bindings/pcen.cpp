#include "log_mel/pcen.h"

#include "bindings/bindings.h"
#include "bindings/tensor_view.h"
#include "core/check.h"

namespace py = pybind11;

namespace avts {
namespace {

PcenOptions options_from(const py::dict& values) {
  const auto number = [&](const char* name) { return values[name].cast<double>(); };
  return {number("smoothing"), number("gain"), number("bias"), number("power"),
          number("eps"),       number("mean"), number("std")};
}

const int64_t* frames_present(py::handle object, const MelShape& shape) {
  if (object.is_none()) return nullptr;
  const TensorView view = view_of(object, "present");
  view.expect_dtype(DType::i64).expect_shape({shape.items}).expect_contiguous();
  const int64_t* present = view.as<const int64_t>();
  for (int64_t i = 0; i < shape.items; ++i) {
    check_argument(present[i] >= 0 && present[i] <= shape.frames, "present", present[i], "0 to ",
                   shape.frames);
  }
  return present;
}

MelShape shape_of(const TensorView& energies, bool time_mel, py::handle present) {
  energies.expect_shape({-1, -1, -1}).expect_contiguous();
  if (energies.dtype != DType::f64) energies.expect_dtype(DType::f32);
  const auto& sizes = energies.shape;
  MelShape shape{sizes[0], sizes[time_mel ? 2 : 1], sizes[time_mel ? 1 : 2], time_mel, nullptr};
  shape.present = frames_present(present, shape);
  return shape;
}

// Another array of the shape and type of `energies`.
TensorView like(const TensorView& energies, py::handle object, const char* name) {
  return view_of(object, name)
      .expect_dtype(energies.dtype)
      .expect_shape({energies.shape[0], energies.shape[1], energies.shape[2]})
      .expect_contiguous();
}

void forward(const py::dict& options, py::handle energies_object, bool time_mel, py::handle present,
             py::handle means_object, py::handle values_object, int threads) {
  const PcenOptions o = options_from(options);
  const TensorView energies = view_of(energies_object, "energies");
  const MelShape shape = shape_of(energies, time_mel, present);
  const TensorView means = view_of(means_object, "means");
  means.expect_dtype(DType::f64).expect_shape({shape.items, shape.n_mels}).expect_contiguous();
  const TensorView values = like(energies, values_object, "values");
  py::gil_scoped_release release;
  if (energies.dtype == DType::f64) {
    pcen(o, shape, energies.as<const double>(), means.as<double>(), values.as<double>(), threads);
  } else {
    pcen(o, shape, energies.as<const float>(), means.as<double>(), values.as<float>(), threads);
  }
}

void backward(const py::dict& options, py::handle energies_object, bool time_mel,
              py::handle present, double first_mean, py::handle grad_object,
              py::handle grad_energies_object, int threads) {
  const PcenOptions o = options_from(options);
  const TensorView energies = view_of(energies_object, "energies");
  const MelShape shape = shape_of(energies, time_mel, present);
  const TensorView grad = like(energies, grad_object, "grad");
  const TensorView out = like(energies, grad_energies_object, "grad_energies");
  py::gil_scoped_release release;
  if (energies.dtype == DType::f64) {
    pcen_gradient(o, shape, first_mean, energies.as<const double>(), grad.as<const double>(),
                  out.as<double>(), threads);
  } else {
    pcen_gradient(o, shape, first_mean, energies.as<const float>(), grad.as<const float>(),
                  out.as<float>(), threads);
  }
}

}  // namespace

void bind_pcen(py::module_& m) {
  m.def("pcen", &forward, py::arg("options"), py::arg("energies"), py::arg("time_mel"),
        py::arg("present"), py::arg("means"), py::arg("values"), py::arg("threads"));
  m.def("pcen_gradient", &backward, py::arg("options"), py::arg("energies"), py::arg("time_mel"),
        py::arg("present"), py::arg("first_mean"), py::arg("grad"), py::arg("grad_energies"),
        py::arg("threads"));
}

}  // namespace avts
