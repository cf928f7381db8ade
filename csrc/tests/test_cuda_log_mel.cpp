// The log-mel kernels on the host emulator, here so that the sanitizers see them. That they compute
// what they should is for the Python tests to say; here every placing of threads and memory must
// give the same bits.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "log_mel/cuda/log_mel_cuda.h"
#include "log_mel/options.h"
#include "tests/expect.h"

using namespace avts;

namespace {

LogMelOptions options_of(int64_t n_fft, int64_t win_length, int64_t hop_length) {
  LogMelOptions o;
  o.sample_rate = 16000;
  o.n_fft = n_fft;
  o.win_length = win_length;
  o.hop_length = hop_length;
  o.window = "hann";
  o.center = true;
  o.pad_mode = "reflect";
  o.frame_span = "n_fft";
  o.power = 2;
  o.n_mels = n_fft / 8 + 1;
  o.f_max = 8000;
  o.mel_scale = "htk";
  o.mel_slopes = "hz";
  o.norm = "none";
  o.log = "ln_add";
  o.eps = 1e-6;
  o.std = 1;
  o.layout = "mel_time";
  return o;
}

struct Results {
  std::vector<char> out, grad;
  bool operator==(const Results& other) const { return out == other.out && grad == other.grad; }
};

// Three items, of which the second is shorter, in rows with room to spare.
template <typename T>
Results run(const LogMelOptions& options) {
  const int64_t items = 3, samples = samples_needed(options) + 11 * options.hop_length;
  const int64_t row = samples + 5, frames = frames_of(options, samples);
  const bool in_double = sizeof(T) == sizeof(double);
  std::vector<T> waveform(items * row), grad_out, mel;
  for (size_t i = 0; i < waveform.size(); ++i) waveform[i] = static_cast<T>(i * 7919 % 101) - 50;
  const std::vector<int64_t> starts{0, 2, 5}, lengths{samples, samples_needed(options), samples};
  grad_out.assign(items * options.n_mels * frames, 1);
  mel.assign(grad_out.size(), 0);
  Results results{std::vector<char>(mel.size() * sizeof(T)),
                  std::vector<char>(waveform.size() * sizeof(T))};
  const CudaLogMel log_mel(options);
  const std::vector<char> tables = log_mel.tables(in_double);
  const SampleType type = in_double ? SampleType::f64 : SampleType::f32;
  const Waveforms waveforms{waveform.data(), type,           items,  row,
                            starts.data(),   lengths.data(), samples};
  std::vector<char> workspace(log_mel.workspace_bytes(items, frames, in_double, false));
  log_mel.forward(tables.data(), waveforms, row, {results.out.data(), type, frames}, mel.data(),
                  workspace.data(), nullptr);
  workspace.assign(log_mel.workspace_bytes(items, frames, in_double, true), 0);
  log_mel.backward(tables.data(), waveforms, row, mel.data(), grad_out.data(), frames,
                   results.grad.data(), workspace.data(), nullptr);
  return results;
}

template <typename T>
void same_bits_everywhere(const LogMelOptions& options) {
  const Results expected = run<T>(options);
  setenv("CUDA_ON_HOST_SEED", "1", 1);
  EXPECT(run<T>(options) == expected);
  setenv("CUDA_ON_HOST_SHARED_KB", "1", 1);  // too little: the workspace takes its place
  EXPECT(run<T>(options) == expected);
  unsetenv("CUDA_ON_HOST_SHARED_KB");
  unsetenv("CUDA_ON_HOST_SEED");
}

}  // namespace

int main() {
  for (int64_t n_fft : {16, 60, 98, 45}) {
    LogMelOptions options = options_of(n_fft, n_fft - n_fft / 5, n_fft / 3);
    same_bits_everywhere<float>(options);
    options.remove_dc = true;
    options.preemphasis = 0.5;
    options.layout = "time_mel";
    same_bits_everywhere<double>(options);
    options.hop_length = 2 * n_fft;
    same_bits_everywhere<float>(options);
  }
  std::puts("ok");
}
