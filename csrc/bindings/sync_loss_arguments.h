// The arguments of the sync losses, which CPU and CUDA read alike. `view(tensor, name)` gives the
// TensorView of a tensor of the device.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>

#include "bindings/tensor_view.h"
#include "core/check.h"
#include "sync_loss/sync_loss.h"

namespace avts::sync_loss {

template <typename T>
constexpr DType kDType = sizeof(T) == 4 ? DType::f32 : DType::f64;

// Calls body(T{}) with the element type that both embeddings have.
template <typename Body>
auto with_dtype(const TensorView& video, const TensorView& audio, const Body& body) {
  audio.expect_dtype(video.dtype).expect_shape({-1, video.shape[1]});
  if (video.dtype == DType::f32) return body(float{});
  video.expect_dtype(DType::f64);
  return body(double{});
}

template <typename T, typename View>
T* data_of(const View& view, pybind11::handle tensor, const char* name, DType dtype,
           std::initializer_list<int64_t> shape) {
  return view(tensor, name)
      .expect_dtype(dtype)
      .expect_shape(shape)
      .expect_contiguous()
      .template as<T>();
}

// One modality as Python passes it: (rows, ids, start_s, groups, silent), of which all but the rows
// may be None.
template <typename T, typename View>
Side<T> side_of(const View& view, const pybind11::tuple& tensors, const char* name) {
  const TensorView rows = view(tensors[0], name);
  rows.expect_shape({-1, -1}).expect_contiguous();
  const int64_t count = rows.shape[0];
  check_argument(count < int64_t{1} << 31, name, count, "fewer than 2^31 rows");
  const auto vector_of = [&](int i, const char* what, auto zero, DType dtype) {
    using Element = decltype(zero);
    return tensors[i].is_none() ? nullptr
                                : data_of<Element>(view, tensors[i], what, dtype, {count});
  };
  return {rows.as<T>(),
          vector_of(1, "ids", int64_t{}, DType::i64),
          vector_of(2, "start_s", double{}, DType::f64),
          vector_of(3, "groups", int64_t{}, DType::i64),
          vector_of(4, "silent", bool{}, DType::boolean),
          count,
          rows.shape[1]};
}

// The explicit-pair form needs no ids and no times.
template <typename T>
Side<T> bare_side(const TensorView& rows) {
  rows.expect_shape({-1, -1}).expect_contiguous();
  return {rows.as<T>(), nullptr, nullptr, nullptr, nullptr, rows.shape[0], rows.shape[1]};
}

// The operator's lists; see Choices and Numbers in avts_ext/ops/_sync_operators.py.
using Choices = std::array<int64_t, 9>;
using Numbers = std::array<double, 8>;
Options sync_loss_options(const Choices& choices, const Numbers& numbers, int threads);

// Members of Statistics in their order, behind the derivatives by temperature and bias.
constexpr int kSums = 2 + kStatistics;

}  // namespace avts::sync_loss
