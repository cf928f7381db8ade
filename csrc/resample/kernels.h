#pragma once

#include "core/cpu_level.h"
#include "resample/resample.h"

namespace avts {

struct ResampleKernels {
  void (*resample)(const ResampleShape& shape, const float* in, const float* filters, float* out);
};

#define AVTS_DECLARE(level)                      \
  namespace level {                              \
  extern const ResampleKernels kResampleKernels; \
  }
AVTS_FOR_EACH_LEVEL(AVTS_DECLARE)
#undef AVTS_DECLARE

}  // namespace avts
