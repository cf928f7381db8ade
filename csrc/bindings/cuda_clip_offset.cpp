#include <pybind11/stl.h>

#include <array>

#include "bindings/clip_offset_arguments.h"
#include "bindings/cuda_arguments.h"
#include "bindings/cuda_bindings.h"
#include "clip_offset/cuda/clip_offset_cuda.h"

namespace py = pybind11;

namespace avts {
namespace {

void clip_offset(py::handle media, py::handle ranges, py::handle query, int64_t hard_distance,
                 int64_t min_offset, int64_t max_offset, std::array<uint64_t, 4> kind_bound,
                 int64_t seed, uint32_t epoch, uint32_t first_draw, py::handle starts,
                 py::handle kind, py::handle audio_media, py::handle fallback) {
  CudaArguments tensors;
  const ClipOffsetOptions options = clip_offset_options(hard_distance, min_offset, max_offset,
                                                        kind_bound, seed, epoch, first_draw);
  const ClipOffsetArguments a = clip_offset_arguments(
      media, ranges, query, {starts, kind, audio_media, fallback},
      [&](py::handle tensor, const char* name) { return tensors.view(tensor, name); });
  py::gil_scoped_release release;
  sample_clip_offsets_cuda(a.media, a.query, a.query_count, a.draws, options, tensors.stream(),
                           a.out);
}

}  // namespace

void bind_cuda_clip_offset(py::module_& m) { m.def("clip_offset", &clip_offset); }

}  // namespace avts
