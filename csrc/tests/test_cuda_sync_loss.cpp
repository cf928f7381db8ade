// The sync losses' kernels on the host emulator, here so that the sanitizers see them. That they
// compute what they should is for the Python tests to say; here every order of threads and blocks
// must give the same bits.
#include <cstdlib>
#include <cstring>
#include <vector>

#include "sync_loss/cuda/sync_loss_cuda.h"
#include "sync_loss/cuda/tile.h"
#include "tests/expect.h"

using namespace avts::sync_loss;

namespace {

static_assert(sizeof(TileMemory<float>) == 43520, "as .ci/cuda_resources.py counts blocks");

constexpr int64_t kVideos = 70, kAudios = 66, kDim = 37, kNegatives = 3;

// Rows of few media, some of them silent or in groups, so that every kind of pair occurs.
template <typename T>
struct Rows {
  std::vector<T> rows;
  std::vector<int64_t> ids, groups;
  std::vector<double> start_s;
  std::vector<char> silent;

  Rows(int64_t count, int64_t salt) : rows(count * kDim) {
    for (size_t n = 0; n < rows.size(); ++n) {
      rows[n] = static_cast<T>((n * 7919 + salt) % 211) / 1000;
    }
    for (int64_t i = 0; i < count; ++i) {
      ids.push_back((i + salt) % 9);
      groups.push_back(i % 11 - 5);
      start_s.push_back(static_cast<double>(i % 5) * 0.5);
      silent.push_back(i % 13 == salt);
    }
  }
  Side<T> side() const {
    return {rows.data(),
            ids.data(),
            start_s.data(),
            groups.data(),
            reinterpret_cast<const bool*>(silent.data()),
            static_cast<int64_t>(ids.size()),
            kDim};
  }
};

struct Results {
  std::vector<char> bytes;
  template <typename T>
  void add(const std::vector<T>& values) {
    const char* data = reinterpret_cast<const char*>(values.data());
    bytes.insert(bytes.end(), data, data + values.size() * sizeof(T));
  }
};

template <typename T>
Results run(Objective objective, Mining mining) {
  const Rows<T> video(kVideos, 1), audio(kAudios, 2);
  Options options{};
  options.rule = {1.5, 0.25, {0, 1, 2, 0.5}};
  options.objective = objective;
  options.mining = mining;
  options.k = mining == Mining::all ? 0 : kNegatives;
  options.video_anchors = options.audio_anchors = true;
  options.squared = options.want_gradient = options.want_statistics = true;
  options.margin = 0.99;
  options.seed = 7;
  const double temperature = 0.1, bias = -1;
  std::vector<double> statistics(kStatistics), scalars(2);
  std::vector<T> loss(1), video_gradient(video.rows.size()), audio_gradient(audio.rows.size());
  std::vector<int64_t> video_negative(kVideos * options.k), audio_negative(kAudios * options.k);
  std::vector<char> workspace(workspace_bytes(kVideos, kAudios, options));
  sync_loss_cuda<T>(video.side(), audio.side(), options, &temperature, &bias, workspace.data(),
                    nullptr,
                    {loss.data(), video_gradient.data(), audio_gradient.data(), &scalars[0],
                     &scalars[1], video_negative.data(), audio_negative.data(), statistics.data()});
  Results results;
  results.add(loss);
  results.add(video_gradient);
  results.add(audio_gradient);
  results.add(scalars);
  results.add(video_negative);
  results.add(audio_negative);
  results.add(statistics);
  return results;
}

template <typename T>
Results run_pairs() {
  const Rows<T> video(kVideos, 1), audio(kAudios, 2);
  std::vector<int64_t> pairs;
  std::vector<double> labels;
  for (int64_t p = 0; p < 300; ++p) {
    pairs.push_back(p * 31 % kVideos);
    pairs.push_back(p * 17 % kAudios);
    labels.push_back(static_cast<double>(p % 2));
  }
  std::vector<double> terms(labels.size());
  std::vector<T> loss(1), video_gradient(video.rows.size()), audio_gradient(audio.rows.size());
  const auto count = static_cast<int64_t>(labels.size());
  pair_forward_cuda<T>(video.side(), audio.side(), pairs.data(), labels.data(), count, 0.99,
                       terms.data(), nullptr, loss.data());
  pair_backward_cuda<T>(video.side(), audio.side(), pairs.data(), labels.data(), count, 0.99,
                        loss.data(), terms.data(), nullptr, video_gradient.data(),
                        audio_gradient.data());
  Results results;
  results.add(loss);
  results.add(video_gradient);
  results.add(audio_gradient);
  return results;
}

template <typename Run>
void same_bits_in_any_order(const Run& run) {
  const Results expected = run();
  setenv("CUDA_ON_HOST_SEED", "1", 1);
  EXPECT(run().bytes == expected.bytes);
  unsetenv("CUDA_ON_HOST_SEED");
}

template <typename T>
void one_of_each_kernel() {
  same_bits_in_any_order([] { return run<T>(Objective::margin, Mining::all); });
  same_bits_in_any_order([] { return run<T>(Objective::triplet, Mining::semi_hard); });
  same_bits_in_any_order([] { return run<T>(Objective::infonce, Mining::all); });
  same_bits_in_any_order([] { return run<T>(Objective::sigmoid, Mining::all); });
  same_bits_in_any_order(run_pairs<T>);
}

}  // namespace

int main() {
  one_of_each_kernel<float>();
  one_of_each_kernel<double>();
  for (Mining mining : {Mining::nearest, Mining::distance_weighted}) {
    same_bits_in_any_order([=] { return run<float>(Objective::margin, mining); });
  }
  std::puts("ok");
}
