#include "resample/resample.h"

#include "resample/kernels.h"

namespace avts {

void resample(const ResampleShape& shape, const float* in, const float* filters, float* out) {
#define AVTS_SELECT(level)                                     \
  if (active_cpu_level() == CpuLevel::level) {                 \
    level::kResampleKernels.resample(shape, in, filters, out); \
    return;                                                    \
  }
  AVTS_FOR_EACH_LEVEL(AVTS_SELECT)
#undef AVTS_SELECT
}

}  // namespace avts
