#include "bindings/log_mel_arguments.h"

#include <pybind11/stl.h>

#include "core/check.h"

namespace py = pybind11;

namespace avts {
namespace {

template <typename T>
T option(const py::dict& values, const char* name) {
  check_argument(values.contains(name), name, "missing", "an option");
  const py::object value = values[name];
  try {
    // Anything casts to bool.
    if (std::is_same_v<T, bool> && !py::isinstance<py::bool_>(value)) throw py::cast_error();
    return value.cast<T>();
  } catch (const py::cast_error&) {
    throw py::type_error(std::string(name) + " is " + py::repr(value).cast<std::string>() +
                         ", of a wrong type");
  }
}

}  // namespace

LogMelOptions log_mel_options(const py::dict& values) {
  LogMelOptions options;
  size_t known = 0;
#define AVTS_TAKE(type, name) options.name = option<type>(values, #name), ++known;
  AVTS_LOG_MEL_OPTIONS(AVTS_TAKE)
#undef AVTS_TAKE
  check_argument(values.size() == known, "options", values.size(), known, " options");
  return options;
}

SampleType sample_type(const TensorView& view) {
  switch (view.dtype) {
    case DType::f32:
      return SampleType::f32;
    case DType::f64:
      return SampleType::f64;
    case DType::f16:
      return SampleType::f16;
    case DType::bf16:
      return SampleType::bf16;
    case DType::i16:
      return SampleType::i16;
    default:
      check_argument(false, view.name, name_of(view.dtype),
                     "float32, float64, float16, bfloat16 or int16");
      return SampleType::f32;
  }
}

DType precision_of(SampleType type) { return type == SampleType::f64 ? DType::f64 : DType::f32; }

const TensorView& expect_values(const LogMelOptions& options, const TensorView& view, int64_t items,
                                int64_t frames) {
  const bool time_mel = options.layout == "time_mel";
  view.expect_shape(
      {items, time_mel ? frames : options.n_mels, time_mel ? options.n_mels : frames});
  return view.expect_contiguous();
}

}  // namespace avts
