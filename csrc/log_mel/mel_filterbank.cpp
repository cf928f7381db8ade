#include "log_mel/mel_filterbank.h"

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

struct Edges {
  std::vector<double> hz, mel;  // n_mels + 2
};

Edges filter_edges(const LogMelOptions& options) {
  const bool slaney = options.mel_scale == "slaney";
  const double low = mel_of_hz(options.f_min, slaney);
  const double high = mel_of_hz(options.f_max, slaney);
  Edges edges;
  for (int64_t i = 0; i < options.n_mels + 2; ++i) {
    edges.mel.push_back(low + (high - low) * i / (options.n_mels + 1));
    edges.hz.push_back(hz_of_mel(edges.mel.back(), slaney));
  }
  return edges;
}

}  // namespace

MelFilterbank mel_filterbank(const LogMelOptions& options) {
  const bool in_mel = options.mel_slopes == "mel";
  const Edges all = filter_edges(options);
  const std::vector<double>& edges = in_mel ? all.mel : all.hz;
  const int64_t n_bins = options.n_fft / 2 + 1;
  const auto place = [&](int64_t bin) {
    const double hz = bin * options.sample_rate / options.n_fft;
    return in_mel ? mel_of_hz(hz, options.mel_scale == "slaney") : hz;
  };
  const auto gain = [&](int64_t filter) {
    return options.norm == "slaney" ? 2 / (all.hz[filter + 2] - all.hz[filter]) : 1;
  };
  MelFilterbank bank;
  bank.rising.resize(n_bins);
  bank.falling.resize(n_bins);
  int64_t bin = 0;
  while (bin < n_bins && place(bin) < edges[0]) ++bin;
  for (int64_t s = 0; s <= options.n_mels; ++s) {
    bank.segment_begin.push_back(bin);
    const double width = edges[s + 1] - edges[s];
    for (; bin < n_bins && place(bin) < edges[s + 1]; ++bin) {
      if (s < options.n_mels) bank.rising[bin] = gain(s) * (place(bin) - edges[s]) / width;
      if (s > 0) bank.falling[bin] = gain(s - 1) * (edges[s + 1] - place(bin)) / width;
    }
  }
  bank.segment_begin.push_back(bin);
  return bank;
}

}  // namespace avts
