// Checks of the log-mel options and what follows from them about lengths.
#pragma once

#include "log_mel/log_mel.h"

namespace avts {

// Throws ArgumentError naming the first option that is out of its range.
void check_log_mel_options(const LogMelOptions& options);

// Samples from a frame's first to its last, padding included; and padding at each end.
int64_t frame_samples(const LogMelOptions& options);
int64_t padding(const LogMelOptions& options);

// See LogMel.
int64_t samples_needed(const LogMelOptions& options);
int64_t frames_of(const LogMelOptions& options, int64_t samples);

}  // namespace avts
