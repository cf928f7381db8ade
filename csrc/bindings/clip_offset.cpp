#include "clip_offset/clip_offset.h"

#include <pybind11/stl.h>

#include <array>
#include <vector>

#include "bindings/bindings.h"
#include "bindings/clip_offset_arguments.h"

namespace py = pybind11;

namespace avts {
namespace {

void clip_offset(py::handle media, py::handle ranges, py::handle query, int64_t hard_distance,
                 int64_t min_offset, int64_t max_offset, std::array<uint64_t, 4> kind_bound,
                 int64_t seed, uint32_t epoch, uint32_t first_draw, int threads, py::handle starts,
                 py::handle kind, py::handle audio_media, py::handle fallback) {
  const ClipOffsetOptions options = clip_offset_options(hard_distance, min_offset, max_offset,
                                                        kind_bound, seed, epoch, first_draw);
  const ClipOffsetArguments a =
      clip_offset_arguments(media, ranges, query, {starts, kind, audio_media, fallback}, view_of);
  py::gil_scoped_release release;
  sample_clip_offsets(a.media, a.query, a.query_count, a.draws, options, threads, a.out);
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
