#include "bindings/tensor_view.h"

#include <pybind11/numpy.h>

#include <algorithm>
#include <stdexcept>

#include "bindings/dlpack.h"
#include "core/check.h"

namespace py = pybind11;

namespace avts {
namespace {

// nullptr when the type publishes no DLPack 1.x exchange API.
const dlpack::ExchangeApi* exchange_api_of(PyTypeObject* type) {
  static PyTypeObject* last_type = nullptr;  // guarded by the GIL
  static const dlpack::ExchangeApi* last_api = nullptr;
  if (type == last_type) return last_api;
  py::object capsule =
      py::getattr(reinterpret_cast<PyObject*>(type), "__dlpack_c_exchange_api__", py::none());
  if (capsule.is_none()) return nullptr;
  auto* header = static_cast<dlpack::ExchangeApiHeader*>(
      PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
  if (!header) throw py::error_already_set();
  while (header && header->version.major != 1) header = header->previous;
  if (!header) return nullptr;
  last_type = type;
  last_api = reinterpret_cast<const dlpack::ExchangeApi*>(header);
  return last_api;
}

DType dtype_of(dlpack::DataType type, const char* name) {
  if (type.lanes == 1) {
    switch (type.code * 256 + type.bits) {
      case dlpack::kFloat * 256 + 32:
        return DType::f32;
      case dlpack::kFloat * 256 + 64:
        return DType::f64;
      case dlpack::kFloat * 256 + 16:
        return DType::f16;
      case dlpack::kBfloat * 256 + 16:
        return DType::bf16;
      case dlpack::kInt * 256 + 8:
        return DType::i8;
      case dlpack::kInt * 256 + 16:
        return DType::i16;
      case dlpack::kInt * 256 + 32:
        return DType::i32;
      case dlpack::kInt * 256 + 64:
        return DType::i64;
      case dlpack::kUInt * 256 + 8:
        return DType::u8;
      case dlpack::kBool * 256 + 8:
        return DType::boolean;
    }
  }
  throw ArgumentError(std::string(name) + " has an element type of " + std::to_string(type.bits) +
                      " bits and DLPack code " + std::to_string(type.code) +
                      ", expected a real floating, integer or boolean type");
}

TensorView view_of_dlpack(const dlpack::Tensor& tensor, const char* name) {
  check_argument(tensor.ndim <= TensorView::kMaxDims, name,
                 std::to_string(tensor.ndim) + "-dimensional", "at most 8 dimensions");
  TensorView view{};
  view.name = name;
  view.data = static_cast<char*>(tensor.data) + (tensor.data ? tensor.byte_offset : 0);
  view.dtype = dtype_of(tensor.dtype, name);
  view.device_type = tensor.device.type;
  view.device_id = tensor.device.id;
  view.ndim = tensor.ndim;
  for (int i = 0; i < tensor.ndim; ++i) {
    view.shape[i] = tensor.shape[i];
    view.strides[i] = tensor.strides[i];
  }
  return view;
}

uint8_t type_code_of_numpy_kind(char kind) {
  switch (kind) {
    case 'f':
      return dlpack::kFloat;
    case 'i':
      return dlpack::kInt;
    case 'u':
      return dlpack::kUInt;
    case 'b':
      return dlpack::kBool;
    default:
      return 255;  // no such DLPack code: dtype_of() refuses it
  }
}

TensorView view_of_numpy(const py::array& array, const char* name) {
  check_argument(array.ndim() <= TensorView::kMaxDims, name,
                 std::to_string(array.ndim()) + "-dimensional", "at most 8 dimensions");
  const py::dtype dtype = array.dtype();
  const dlpack::DataType type{type_code_of_numpy_kind(dtype.kind()),
                              static_cast<uint8_t>(dtype.itemsize() * 8), 1};
  check_argument(dtype.byteorder() != '>', name, "big-endian", "native byte order");
  TensorView view{};
  view.name = name;
  view.data = const_cast<void*>(array.data());
  view.dtype = dtype_of(type, name);
  view.device_type = dlpack::kCpu;
  view.ndim = static_cast<int>(array.ndim());
  for (int i = 0; i < view.ndim; ++i) {
    view.shape[i] = array.shape(i);
    check_argument(array.strides(i) % array.itemsize() == 0, name, "a byte-strided array",
                   "strides of whole elements");
    view.strides[i] = array.strides(i) / array.itemsize();
  }
  return view;
}

std::string shape_text(const int64_t* sizes, size_t count) {
  std::string text = "(";
  for (size_t i = 0; i < count; ++i) {
    text += (i ? ", " : "") + (sizes[i] < 0 ? std::string("*") : std::to_string(sizes[i]));
  }
  return text + ")";
}

}  // namespace

const char* name_of(DType dtype) {
  static const char* const names[] = {"float32", "float64", "float16", "bfloat16", "int8",
                                      "int16",   "int32",   "int64",   "uint8",    "bool"};
  return names[static_cast<int>(dtype)];
}

int64_t TensorView::numel() const {
  int64_t count = 1;
  for (int i = 0; i < ndim; ++i) count *= shape[i];
  return count;
}

bool TensorView::is_contiguous() const {
  int64_t expected = 1;
  for (int i = ndim - 1; i >= 0; --i) {
    if (shape[i] != 1 && strides[i] != expected) return numel() == 0;
    expected *= shape[i];
  }
  return true;
}

const TensorView& TensorView::expect_dtype(DType wanted) const {
  check_argument(dtype == wanted, name, name_of(dtype), name_of(wanted));
  return *this;
}

const TensorView& TensorView::expect_shape(std::initializer_list<int64_t> wanted) const {
  bool ok = ndim == static_cast<int>(wanted.size());
  int i = 0;
  for (int64_t size : wanted) {
    if (ok && size >= 0) ok = shape[i] == size;
    ++i;
  }
  if (!ok) {  // the texts would cost a call half a microsecond
    check_argument(false, name, "of shape " + shape_text(shape.data(), ndim),
                   shape_text(wanted.begin(), wanted.size()));
  }
  return *this;
}

const TensorView& TensorView::expect_contiguous() const {
  check_argument(is_contiguous(), name, "strided", "a contiguous tensor");
  return *this;
}

TensorView view_on_any_device(py::handle object, const char* name) {
  TensorView view;
  if (py::isinstance<py::array>(object)) {  // first: to find no API costs a call 1 us
    view = view_of_numpy(py::reinterpret_borrow<py::array>(object), name);
  } else if (const dlpack::ExchangeApi* api = exchange_api_of(Py_TYPE(object.ptr()))) {
    dlpack::Tensor tensor;
    if (api->view(object.ptr(), &tensor) != 0) throw py::error_already_set();
    view = view_of_dlpack(tensor, name);
  } else {
    throw py::type_error(std::string(name) + " is of type " + Py_TYPE(object.ptr())->tp_name +
                         ", expected a torch.Tensor or a numpy.ndarray");
  }
  check_argument(view.data != nullptr || view.numel() == 0, name, "a tensor without memory",
                 "a real one (fake and meta tensors go through torch.ops.avts)");
  return view;
}

TensorView view_of(py::handle object, const char* name) {
  const TensorView view = view_on_any_device(object, name);
  check_argument(view.device_type == dlpack::kCpu, name, "not in CPU memory", "a CPU tensor");
  return view;
}

py::object new_tensor(py::handle like, DType dtype, const int64_t* shape, int ndim,
                      TensorView* view) {
  const dlpack::ExchangeApi* api = exchange_api_of(Py_TYPE(like.ptr()));
  if (!api) return py::none();
  std::array<int64_t, TensorView::kMaxDims> sizes{};
  std::copy(shape, shape + ndim, sizes.begin());
  dlpack::Tensor prototype{};
  prototype.device = {dlpack::kCpu, 0};
  prototype.ndim = ndim;
  prototype.dtype = {dlpack::kFloat, static_cast<uint8_t>(dtype == DType::f64 ? 64 : 32), 1};
  prototype.shape = sizes.data();
  std::string failure;
  const auto fail = [](void* context, const char* kind, const char* message) {
    *static_cast<std::string*>(context) = std::string(kind) + ": " + message;
  };
  dlpack::ManagedTensor* tensor = nullptr;
  if (api->allocate(&prototype, &tensor, &failure, fail) != 0) throw std::runtime_error(failure);
  *view = view_of_dlpack(tensor->tensor, "out");
  void* object = nullptr;
  if (api->to_python(tensor, &object) != 0) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(static_cast<PyObject*>(object));
}

void* current_stream(py::handle tensor, const TensorView& view) {
  void* stream = nullptr;
  const dlpack::ExchangeApi* api = exchange_api_of(Py_TYPE(tensor.ptr()));
  if (api && api->current_stream(view.device_type, view.device_id, &stream) != 0) {
    throw py::error_already_set();
  }
  return stream;
}

}  // namespace avts
