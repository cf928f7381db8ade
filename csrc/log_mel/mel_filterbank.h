// Triangular mel filters, each kept as its run of non-zero weights.
#pragma once

#include <cstdint>
#include <vector>

#include "log_mel/log_mel.h"

namespace avts {

struct MelFilter {
  int64_t first_bin = 0;
  std::vector<double> weights;  // of bins first_bin, first_bin + 1, ...; empty: touches no bin
};

std::vector<MelFilter> mel_filterbank(const LogMelOptions& options);

}  // namespace avts
