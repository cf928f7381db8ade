#include "sync_loss/sync_loss.h"

#include <algorithm>
#include <limits>

#include "sync_loss/kernels.h"
#include "sync_loss/objectives.h"
#include "sync_loss/pairing.h"

namespace avts::sync_loss {
namespace {

// The greatest square of a length that float products and distances bear.
constexpr double kGreatestSquare = 1e36;

template <typename T>
double greatest_square(const Side<T>& side, const Rows& rows) {
  double most = 0;
  for (int64_t i : rows.index) {
    const T* row = side.rows + i * side.dim;
    const double square = kernels<T>().product(row, row, side.dim);
    if (!(square <= most)) most = square;
    if (!std::isfinite(square)) return std::numeric_limits<double>::infinity();
  }
  return most;
}

// A row that is not finite makes all of the result so.
template <typename T>
void spoil(const Side<T>& video, const Side<T>& audio, const Options& options, Outputs<T>* out) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  out->loss = out->by_temperature = out->by_bias = kNan;
  if (!options.want_gradient) return;
  std::fill_n(out->video_gradient, video.count * video.dim, static_cast<T>(kNan));
  std::fill_n(out->audio_gradient, audio.count * audio.dim, static_cast<T>(kNan));
}

template <typename T>
void evaluate(const Side<T>& video, const Side<T>& audio, const Options& options, bool finite,
              const Pairing<T>& pairing, Outputs<T>* out) {
  out->loss = out->by_temperature = out->by_bias = 0;
  out->statistics = Statistics{};
  out->statistics.rows =
      static_cast<double>(pairing.video_rows.count() + pairing.audio_rows.count());
  std::fill_n(out->video_negative, video.count * options.k, -1);
  std::fill_n(out->audio_negative, audio.count * options.k, -1);
  if (options.want_gradient) {
    std::fill_n(out->video_gradient, video.count * video.dim, T{0});
    std::fill_n(out->audio_gradient, audio.count * audio.dim, T{0});
  }
  const bool by_distance =
      options.objective == Objective::margin || options.objective == Objective::triplet;
  if (by_distance) distance_loss(pairing, options, finite, out);
  if (!by_distance && finite) product_loss(pairing, options, out);
  if (!finite) spoil(video, audio, options, out);
}

// Whether float would keep too few digits of a triplet's terms, which are differences of distances:
// of distances that may be many margins long. Mined ones are measured in double anyway.
bool loses_digits(const Options& options, double greatest_square) {
  constexpr double kMargins = 16;
  return options.objective == Objective::triplet && options.mining == Mining::all &&
         2 * std::sqrt(greatest_square) > kMargins * options.margin;
}

template <typename T>
bool evaluate_wider(const Side<T>&, const Side<T>&, const Options&, Outputs<T>*) {
  return false;
}
template <>
bool evaluate_wider(const Side<float>& video, const Side<float>& audio, const Options& options,
                    Outputs<float>* out) {
  const auto widened = [](const Side<float>& side, const std::vector<double>& rows) {
    return Side<double>{rows.data(), side.ids,   side.start_s, side.groups,
                        side.silent, side.count, side.dim};
  };
  const std::vector<double> v(video.rows, video.rows + video.count * video.dim);
  const std::vector<double> a(audio.rows, audio.rows + audio.count * audio.dim);
  std::vector<double> v_gradient(v.size()), a_gradient(a.size());
  Outputs<double> wide{};
  wide.video_gradient = v_gradient.data();
  wide.audio_gradient = a_gradient.data();
  wide.video_negative = out->video_negative;
  wide.audio_negative = out->audio_negative;
  sync_loss(widened(video, v), widened(audio, a), options, &wide);
  out->loss = wide.loss;
  out->by_temperature = wide.by_temperature;
  out->by_bias = wide.by_bias;
  out->statistics = wide.statistics;
  if (options.want_gradient) {
    std::transform(v_gradient.begin(), v_gradient.end(), out->video_gradient,
                   [](double x) { return static_cast<float>(x); });
    std::transform(a_gradient.begin(), a_gradient.end(), out->audio_gradient,
                   [](double x) { return static_cast<float>(x); });
  }
  return true;
}

const AllKernels& all_kernels() {
#define AVTS_SELECT(level) \
  if (active_cpu_level() == CpuLevel::level) return level::kKernels;
  AVTS_FOR_EACH_LEVEL(AVTS_SELECT)
#undef AVTS_SELECT
  return base::kKernels;
}

}  // namespace

template <>
const Kernels<float>& kernels<float>() {
  return all_kernels().f32;
}
template <>
const Kernels<double>& kernels<double>() {
  return all_kernels().f64;
}

bool has_byte_products() {
#define AVTS_ASK(level) \
  if (active_cpu_level() == CpuLevel::level) return level::has_byte_products();
  AVTS_FOR_EACH_LEVEL(AVTS_ASK)
#undef AVTS_ASK
  return false;
}

template <typename T>
void sync_loss(const Side<T>& video, const Side<T>& audio, const Options& options,
               Outputs<T>* out) {
  const Pairing<T> pairing(video, audio);
  const double square = std::max(greatest_square(video, pairing.video_rows),
                                 greatest_square(audio, pairing.audio_rows));
  const bool finite = std::isfinite(square);
  const bool wider = square > kGreatestSquare || loses_digits(options, square);
  if (finite && wider && evaluate_wider(video, audio, options, out)) return;
  evaluate(video, audio, options, finite, pairing, out);
}

template void sync_loss(const Side<float>&, const Side<float>&, const Options&, Outputs<float>*);
template void sync_loss(const Side<double>&, const Side<double>&, const Options&, Outputs<double>*);

}  // namespace avts::sync_loss
