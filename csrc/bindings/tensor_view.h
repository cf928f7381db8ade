// Where Python arrays become pointers: a torch tensor (through DLPack's C exchange API, below a
// microsecond) or a NumPy array (through the buffer protocol), checked once and never copied.
#pragma once

#include <pybind11/pybind11.h>

#include <array>
#include <cstdint>
#include <string>

namespace avts {

enum class DType { f32, f64, f16, bf16, i8, i16, i32, i64, u8, boolean };

const char* name_of(DType dtype);

struct TensorView {
  static constexpr int kMaxDims = 8;

  const char* name;  // the argument's name, for messages
  void* data;
  DType dtype;
  int device_type, device_id;  // DLPack's numbers
  int ndim;
  std::array<int64_t, kMaxDims> shape, strides;  // strides in elements

  int64_t numel() const;
  bool is_contiguous() const;
  template <typename T>
  T* as() const {
    return static_cast<T*>(data);
  }

  // Each returns *this, so that an argument's demands read as one line; each throws ArgumentError.
  const TensorView& expect_dtype(DType wanted) const;
  const TensorView& expect_shape(std::initializer_list<int64_t> wanted) const;  // -1: any
  const TensorView& expect_contiguous() const;
};

// A view of `object`, which must be a CPU torch tensor or a NumPy array and must outlive the view.
// Fake and meta tensors, which have a shape but no memory, are refused.
TensorView view_of(pybind11::handle object, const char* name);

// A new contiguous CPU tensor of float32 or float64 of the framework that `like` is a tensor of,
// and its view: in half the time of a call of torch.empty, but its memory cannot be resized. None,
// and no view, for an array of NumPy, which publishes no way to make one.
pybind11::object new_tensor(pybind11::handle like, DType dtype, const int64_t* shape, int ndim,
                            TensorView* view);

// The same on whatever device; its data is not to be followed on the host.
TensorView view_on_any_device(pybind11::handle object, const char* name);

// The stream that PyTorch would queue work on, on the device of a tensor and its view.
void* current_stream(pybind11::handle tensor, const TensorView& view);

}  // namespace avts
