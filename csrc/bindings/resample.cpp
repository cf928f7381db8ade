#include "resample/resample.h"

#include "bindings/bindings.h"
#include "bindings/tensor_view.h"
#include "core/check.h"

namespace py = pybind11;

namespace avts {
namespace {

void resample_array(py::handle samples, py::handle filters, int64_t step, py::handle out) {
  const TensorView in = view_of(samples, "samples"), taps = view_of(filters, "filters");
  const TensorView result = view_of(out, "out");
  in.expect_dtype(DType::f32).expect_shape({-1}).expect_contiguous();
  taps.expect_dtype(DType::f32).expect_shape({-1, -1}).expect_contiguous();
  result.expect_dtype(DType::f32).expect_shape({-1}).expect_contiguous();
  const ResampleShape shape{result.shape[0], taps.shape[0], step, taps.shape[1]};
  if (shape.out_count == 0) return;
  check_argument(shape.phases >= 1, "filters", shape.phases, "at least one row");
  check_argument(shape.taps % kTapsAtATime == 0, "filters", shape.taps, "columns by multiples of ",
                 kTapsAtATime);
  check_argument(step >= 1, "step", step, "at least 1");
  const int64_t needed = (shape.out_count - 1) * step / shape.phases + shape.taps;
  check_argument(in.shape[0] >= needed, "samples", in.shape[0], "at least ", needed, " of them");
  py::gil_scoped_release release;
  resample(shape, in.as<const float>(), taps.as<const float>(), result.as<float>());
}

}  // namespace

void bind_resample(py::module_& m) {
  m.def("resample", &resample_array, py::arg("samples"), py::arg("filters"), py::arg("step"),
        py::arg("out"));
}

}  // namespace avts
