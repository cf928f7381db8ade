// Triangular mel filters, told by segments: segment s lies between the mel edges s and s + 1, where
// filter s rises and filter s - 1 falls. A bin is in one segment, so that one pass over the bins
// serves all filters.
#pragma once

#include <cstdint>
#include <vector>

#include "log_mel/log_mel.h"

namespace avts {

struct MelFilterbank {
  std::vector<int64_t> segment_begin;   // first bin of each of the n_mels + 1 segments, then an end
  std::vector<double> rising, falling;  // per bin: its weight in filter s and in filter s - 1
};

MelFilterbank mel_filterbank(const LogMelOptions& options);

}  // namespace avts
