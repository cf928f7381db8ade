// The host's part of the log-mel kernels: tables, and how frames are shared out among blocks.
#include <algorithm>
#include <cstring>

#include "core/cuda_device.h"
#include "log_mel/cuda/log_mel_cuda.h"
#include "log_mel/options.h"

namespace avts {
namespace {

constexpr int64_t kMaxTileFrames = 8;
constexpr size_t kSharedGoal = 48 * 1024;  // two blocks and more on every multiprocessor
constexpr int64_t kWorkspaceBlocks = 64;   // that work in global memory at the same time

int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

// Calls visit(member, values, count) for each table of numbers, in the order they are stored in.
template <typename T, typename Visit>
void for_each_table(const LogMelPlan<double>& exact, CudaLogMelPlan<T>* plan, const Visit& visit) {
  visit(plan->window, exact.window, exact.win_length);
  visit(plan->weights, exact.weights, 2 * exact.n_bins);
  visit(plan->half_twiddles, exact.half_twiddles, 2 * (exact.fft_size + 1));
  for (int64_t i = 0; i < exact.n_stages; ++i) {
    const FftStage<double>& stage = exact.stages[i];
    visit(plan->stages[i].twiddles, stage.twiddles, 2 * stage.blocks * (stage.radix - 1));
    visit(plan->stages[i].roots, stage.roots, 2 * stage.radix);
  }
}

// Then follow the n_mels + 2 bounds of the segments, and each bin's segment.
std::vector<int32_t> segments_of(const LogMelPlan<double>& exact) {
  std::vector<int32_t> table(exact.segment_begin, exact.segment_begin + exact.n_mels + 2);
  std::vector<int32_t> of_bin(exact.n_bins, -1);
  for (int32_t segment = 0; segment <= exact.n_mels; ++segment) {
    std::fill(of_bin.begin() + table[segment], of_bin.begin() + table[segment + 1], segment);
  }
  table.insert(table.end(), of_bin.begin(), of_bin.end());
  return table;
}

template <typename T>
std::vector<char> packed_tables(const LogMelPlan<double>& exact) {
  std::vector<T> numbers;
  CudaLogMelPlan<T> unused{};
  for_each_table(exact, &unused, [&](const T*, const double* values, int64_t count) {
    for (int64_t i = 0; i < count; ++i) numbers.push_back(static_cast<T>(values[i]));
  });
  const std::vector<int32_t> segments = segments_of(exact);
  std::vector<char> bytes(numbers.size() * sizeof(T) + segments.size() * sizeof(int32_t));
  std::memcpy(bytes.data(), numbers.data(), numbers.size() * sizeof(T));
  std::memcpy(bytes.data() + numbers.size() * sizeof(T), segments.data(),
              segments.size() * sizeof(int32_t));
  return bytes;
}

}  // namespace

CudaLogMel::CudaLogMel(const LogMelOptions& options)
    : options_((check_log_mel_options(options), options)), exact_(options, 1) {}

std::vector<char> CudaLogMel::tables(bool in_double) const {
  return in_double ? packed_tables<double>(exact_.plan()) : packed_tables<float>(exact_.plan());
}

int64_t CudaLogMel::tables_bytes(bool in_double) const {
  const LogMelPlan<double>& exact = exact_.plan();
  int64_t numbers = 0;
  CudaLogMelPlan<double> unused{};
  for_each_table(exact, &unused,
                 [&](const double*, const double*, int64_t count) { numbers += count; });
  const int64_t segments = exact.n_mels + 2 + exact.n_bins;
  return numbers * (in_double ? sizeof(double) : sizeof(float)) + segments * sizeof(int32_t);
}

template <typename T>
CudaLogMelPlan<T> CudaLogMel::plan(const void* tables) const {
  const LogMelPlan<double>& exact = exact_.plan();
  CudaLogMelPlan<T> plan{};
  const T* next = static_cast<const T*>(tables);
  for_each_table(exact, &plan, [&](const T*& member, const double*, int64_t count) {
    member = next;
    next += count;
  });
  plan.segment_begin = reinterpret_cast<const int32_t*>(next);
  plan.segment_of_bin = plan.segment_begin + exact.n_mels + 2;
  plan.n_stages = static_cast<int>(exact.n_stages);
  for (int i = 0; i < plan.n_stages; ++i) {
    plan.stages[i].radix = static_cast<int>(exact.stages[i].radix);
    plan.stages[i].blocks = static_cast<int>(exact.stages[i].blocks);
    plan.stages[i].stride = static_cast<int>(exact.stages[i].stride);
  }
  plan.fft_size = static_cast<int>(exact.fft_size);
  plan.n_fft = static_cast<int>(exact.n_fft);
  plan.n_bins = static_cast<int>(exact.n_bins);
  plan.n_mels = static_cast<int>(exact.n_mels);
  plan.win_length = static_cast<int>(exact.win_length);
  plan.hop_length = static_cast<int>(exact.hop_length);
  plan.first_sample = static_cast<int>(exact.first_sample);
  plan.beyond_first = static_cast<int>(2 * padding(options_) - frame_samples(options_));
  plan.frames_more = options_.drop_last ? 0 : 1;
  plan.samples_needed = static_cast<int>(samples_needed(options_));
  plan.reflect = exact.reflect;
  plan.remove_dc = exact.remove_dc;
  plan.time_mel = exact.time_mel;
  plan.preemphasis = static_cast<T>(exact.preemphasis);
  plan.power = static_cast<T>(exact.power);
  plan.eps = static_cast<T>(exact.eps);
  plan.scale = static_cast<T>(exact.scale);
  plan.shift = static_cast<T>(exact.shift);
  plan.log = exact.log;
  plan.dither = options_.dither;
  plan.dither_seed = options_.dither_seed;
  return plan;
}

template CudaLogMelPlan<float> CudaLogMel::plan(const void*) const;
template CudaLogMelPlan<double> CudaLogMel::plan(const void*) const;

CudaLogMelShape CudaLogMel::shape(int64_t items, int64_t frames, size_t element_bytes) const {
  const LogMelPlan<double>& exact = exact_.plan();
  const int64_t step = std::min(exact.hop_length, exact.win_length);
  const auto bytes = [&](int64_t tile_frames) {
    const int64_t samples = round_up((tile_frames - 1) * step + exact.win_length, 4);
    return (samples + 4 * tile_frames * exact.fft_size) * element_bytes;
  };
  int64_t tile_frames = kMaxTileFrames;
  while (tile_frames > 1 && bytes(tile_frames) > kSharedGoal) tile_frames /= 2;
  const int64_t tiles = (frames + tile_frames - 1) / tile_frames;
  const bool in_shared = bytes(tile_frames) <= shared_bytes_per_block();
  const int64_t most_blocks = in_shared ? INT32_MAX : kWorkspaceBlocks;
  return {static_cast<int>(tile_frames), tiles, std::min(items * tiles, most_blocks),
          bytes(tile_frames), in_shared};
}

int64_t CudaLogMel::tile_span(const CudaLogMelShape& shape) const {
  return (shape.tile_frames - 1) * std::min(options_.hop_length, options_.win_length) +
         options_.win_length;
}

int64_t CudaLogMel::workspace_bytes(int64_t items, int64_t frames, bool in_double,
                                    bool backward) const {
  const int64_t element_bytes = in_double ? sizeof(double) : sizeof(float);
  const CudaLogMelShape of_call = shape(items, frames, element_bytes);
  int64_t bytes = of_call.in_shared ? 0 : of_call.blocks * of_call.block_bytes;
  if (backward) bytes += items * of_call.tiles_per_item * tile_span(of_call) * element_bytes;
  return bytes;
}

}  // namespace avts
