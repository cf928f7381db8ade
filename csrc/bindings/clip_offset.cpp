#include "clip_offset/clip_offset.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <vector>

#include "bindings/bindings.h"
#include "bindings/tensor_view.h"

namespace py = pybind11;

namespace avts {
namespace {

TensorView vector_of(py::handle object, const char* name, DType dtype, int64_t size) {
  return view_of(object, name).expect_dtype(dtype).expect_shape({size}).expect_contiguous();
}

TensorView table_of(py::handle object, const char* name, DType dtype, int64_t rows,
                    int64_t columns) {
  return view_of(object, name)
      .expect_dtype(dtype)
      .expect_shape({rows, columns})
      .expect_contiguous();
}

void clip_offset(py::handle media_table, py::handle range_table, py::handle query,
                 int64_t hard_distance, int64_t min_offset, int64_t max_offset,
                 std::array<uint64_t, 4> kind_bound, int64_t seed, uint32_t epoch,
                 uint32_t first_draw, int threads, py::handle video_start, py::handle audio_start,
                 py::handle kind, py::handle audio_media, py::handle fallback) {
  const TensorView rows_of_media = table_of(media_table, "media", DType::i64, -1, 2);
  const TensorView rows_of_ranges = table_of(range_table, "ranges", DType::i64, -1, 2);
  const ClipMedia media{rows_of_media.as<Medium>(), rows_of_ranges.as<StartRange>(),
                        rows_of_media.shape[0] - 1, rows_of_ranges.shape[0] - 1};
  const TensorView queries = vector_of(query, "query", DType::i64, -1);
  const int64_t rows = queries.shape[0];
  const TensorView video = table_of(video_start, "video_start", DType::i64, rows, -1);
  const int64_t draws = video.shape[1];
  const ClipOffsetOutput out{
      video.as<int64_t>(),
      table_of(audio_start, "audio_start", DType::i64, rows, draws).as<int64_t>(),
      table_of(audio_media, "audio_media", DType::i64, rows, draws).as<int64_t>(),
      table_of(kind, "kind", DType::i8, rows, draws).as<int8_t>(),
      table_of(fallback, "fallback", DType::boolean, rows, draws).as<bool>()};
  ClipOffsetOptions options{hard_distance, min_offset, max_offset, {}, static_cast<uint64_t>(seed),
                            epoch,         first_draw};
  std::copy(kind_bound.begin(), kind_bound.end(), options.kind_bound);
  py::gil_scoped_release release;
  sample_clip_offsets(media, queries.as<int64_t>(), rows, draws, options, threads, out);
}

}  // namespace

void bind_clip_offset(py::module_& m) {
  m.def("clip_offset", &clip_offset);
  m.def("philox", [](std::array<uint32_t, 4> counter, uint64_t key) {
    const Philox block = philox(counter[0], counter[1], counter[2], counter[3], key);
    return std::vector<uint32_t>(block.word, block.word + 4);
  });
}

}  // namespace avts
