// Log-mel spectrogram of a batch of waveforms and its gradient, fused: a tile of frames goes from
// samples to output without leaving the L1 and L2 caches, and no spectrogram is ever in memory.
//
// Every frame is computed in a vector lane of its own by the same instructions wherever it stands,
// so an item's result is bit-identical alone, in any batch and at any number of threads, and a NaN
// reaches only the frames that contain it.
#pragma once

#include <cstdint>
#include <string>

namespace avts {

struct LogMelOptions {
  double sample_rate;  // Hz
  int64_t n_fft, win_length, hop_length;
  std::string window;    // "hann" (periodic), "hamming" (periodic) or "rectangular"
  double power;          // 2: |X|^2; 1: |X|
  bool center;           // pad n_fft / 2 samples on both sides
  std::string pad_mode;  // "reflect" or "constant" (zeros); only used when centered
  bool drop_last;        // leave out the last frame, as Whisper does
  int64_t n_mels;
  double f_min, f_max;    // Hz
  std::string mel_scale;  // "htk" or "slaney"
  std::string norm;       // "none", or "slaney": filters of unit area
  std::string log;  // "none", "ln_add": ln(x + eps), "ln_clamp": ln(max(x, eps)), "log10_clamp"
  double eps;
};

bool operator==(const LogMelOptions& a, const LogMelOptions& b);

// Throws ArgumentError naming the first option that is out of its range.
void check_log_mel_options(const LogMelOptions& options);

// The functions below take options that passed this check.

// Frames of a waveform of `samples` samples; throws ArgumentError if it is too short for one.
int64_t log_mel_frames(const LogMelOptions& options, int64_t samples);

// waveform (items, samples) -> out (items, n_mels, frames), T float or double.
template <typename T>
void log_mel(const LogMelOptions& options, const T* waveform, int64_t items, int64_t samples,
             T* out, int threads);

// grad_out (items, n_mels, frames), waveform (items, samples) -> grad_waveform (items, samples).
template <typename T>
void log_mel_backward(const LogMelOptions& options, const T* grad_out, const T* waveform,
                      int64_t items, int64_t samples, T* grad_waveform, int threads);

}  // namespace avts
