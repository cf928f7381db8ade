// The arguments of the clip-offset operator, which CPU and CUDA read alike.
#pragma once

#include <pybind11/pybind11.h>

#include <algorithm>
#include <array>

#include "bindings/tensor_view.h"
#include "clip_offset/clip_offset.h"

namespace avts {

struct ClipOffsetArguments {
  ClipMedia media;
  const int64_t* query;
  int64_t query_count, draws;
  ClipOffsetOutput out;
};

// outputs: starts, kind, audio_media, fallback. view(tensor, name) gives the
// TensorView of a tensor of the device.
template <typename View>
ClipOffsetArguments clip_offset_arguments(pybind11::handle media_table,
                                          pybind11::handle range_table, pybind11::handle query,
                                          const std::array<pybind11::handle, 4>& outputs,
                                          const View& view) {
  const auto table = [&](pybind11::handle tensor, const char* name, DType dtype, int64_t rows,
                         int64_t columns) {
    return view(tensor, name).expect_dtype(dtype).expect_shape({rows, columns}).expect_contiguous();
  };
  const TensorView rows_of_media = table(media_table, "media", DType::i64, -1, 4);
  const TensorView rows_of_ranges = table(range_table, "ranges", DType::i64, -1, 2);
  const ClipMedia media{rows_of_media.as<Medium>(), rows_of_ranges.as<StartRange>(),
                        rows_of_media.shape[0] - 1, rows_of_ranges.shape[0] - 1};
  const TensorView queries = view(query, "query");
  queries.expect_dtype(DType::i64).expect_shape({-1}).expect_contiguous();
  const int64_t rows = queries.shape[0];
  const TensorView starts = view(outputs[0], "starts");
  starts.expect_dtype(DType::i64).expect_shape({2, rows, -1}).expect_contiguous();
  const int64_t draws = starts.shape[2];
  const TensorView kind = table(outputs[1], "kind", DType::i8, rows, draws);
  const TensorView audio_media = table(outputs[2], "audio_media", DType::i64, rows, draws);
  const TensorView fallback = table(outputs[3], "fallback", DType::boolean, rows, draws);
  int64_t* video_start = starts.as<int64_t>();
  return {media,
          queries.as<int64_t>(),
          rows,
          draws,
          {video_start, video_start + rows * draws, audio_media.as<int64_t>(), kind.as<int8_t>(),
           fallback.as<bool>()}};
}

inline ClipOffsetOptions clip_offset_options(int64_t hard_distance, int64_t min_offset,
                                             int64_t max_offset,
                                             const std::array<uint64_t, 4>& kind_bound,
                                             int64_t seed, uint32_t epoch, uint32_t first_draw) {
  ClipOffsetOptions options{hard_distance, min_offset, max_offset, {}, static_cast<uint64_t>(seed),
                            epoch,         first_draw};
  std::copy(kind_bound.begin(), kind_bound.end(), options.kind_bound);
  return options;
}

}  // namespace avts
