#include "log_mel/mel_filterbank.h"

#include <algorithm>
#include <cmath>

namespace avts {
namespace {

// Slaney's scale (Auditory Toolbox): linear below 1 kHz, logarithmic above.
constexpr double kSlaneyHzPerMel = 200.0 / 3;
constexpr double kSlaneyBreakHz = 1000;
constexpr double kSlaneyBreakMel = kSlaneyBreakHz / kSlaneyHzPerMel;
const double kSlaneyLogStep = std::log(6.4) / 27;

double mel_of_hz(double hz, bool slaney) {
  if (!slaney) return 2595 * std::log10(1 + hz / 700);
  if (hz < kSlaneyBreakHz) return hz / kSlaneyHzPerMel;
  return kSlaneyBreakMel + std::log(hz / kSlaneyBreakHz) / kSlaneyLogStep;
}

double hz_of_mel(double mel, bool slaney) {
  if (!slaney) return 700 * (std::pow(10, mel / 2595) - 1);
  if (mel < kSlaneyBreakMel) return mel * kSlaneyHzPerMel;
  return kSlaneyBreakHz * std::exp(kSlaneyLogStep * (mel - kSlaneyBreakMel));
}

std::vector<double> filter_edges_hz(const LogMelOptions& options) {
  const bool slaney = options.mel_scale == "slaney";
  const double low = mel_of_hz(options.f_min, slaney);
  const double high = mel_of_hz(options.f_max, slaney);
  std::vector<double> edges;
  for (int64_t i = 0; i < options.n_mels + 2; ++i) {
    edges.push_back(hz_of_mel(low + (high - low) * i / (options.n_mels + 1), slaney));
  }
  return edges;
}

}  // namespace

std::vector<MelFilter> mel_filterbank(const LogMelOptions& options) {
  const std::vector<double> edges = filter_edges_hz(options);
  std::vector<MelFilter> filters(options.n_mels);
  for (int64_t m = 0; m < options.n_mels; ++m) {
    const double left = edges[m], peak = edges[m + 1], right = edges[m + 2];
    const double gain = options.norm == "slaney" ? 2 / (right - left) : 1;
    for (int64_t bin = 0; bin <= options.n_fft / 2; ++bin) {
      const double hz = bin * options.sample_rate / options.n_fft;
      const double weight = std::min((hz - left) / (peak - left), (right - hz) / (right - peak));
      if (weight <= 0) continue;
      if (filters[m].weights.empty()) filters[m].first_bin = bin;
      filters[m].weights.push_back(gain * weight);
    }
  }
  return filters;
}

}  // namespace avts
