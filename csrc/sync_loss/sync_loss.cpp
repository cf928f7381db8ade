#include "sync_loss/sync_loss.h"

#include <algorithm>
#include <limits>

#include "core/parallel.h"
#include "sync_loss/dense.h"
#include "sync_loss/kernels.h"
#include "sync_loss/mine.h"
#include "sync_loss/pairing.h"

namespace avts::sync_loss {
namespace {

double inverse_or_zero(double count) { return count > 0 ? 1 / count : 0.0; }
double sum_of(const std::vector<double>& values) {
  double sum = 0;
  for (double x : values) sum += x;
  return sum;
}

double hinge(bool squared, double gap) {
  if (gap <= 0) return 0;
  return squared ? gap * gap : gap;
}
double hinge_derivative(bool squared, double gap) {
  if (gap <= 0) return 0;
  return squared ? 2 * gap : 1;
}
double softplus(double z) { return std::max(z, 0.0) + std::log1p(std::exp(-std::fabs(z))); }
double sigmoid(double z) { return 1 / (1 + std::exp(-z)); }

template <typename Body>
void for_places(int64_t count, int threads, const Body& body) {
  parallel_for(count, 32, threads, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) body(p);
  });
}

template <typename T>
Farthest farthest_positives(const View<T>& view, const PairRule& rule, int threads) {
  const int64_t count = view.self_rows.count();
  Farthest farthest{std::vector<int64_t>(count, -1), std::vector<double>(count)};
  for_places(count, threads, [&](int64_t p) {
    view.for_each_positive(rule, p, [&](int64_t q) {
      const double d2 =
          kernels<T>().squared_distance(view.row(p), view.other_row(q), view.self.dim);
      if (farthest.place[p] >= 0 && d2 <= farthest.d2[p]) return;
      farthest.place[p] = q;
      farthest.d2[p] = d2;
    });
  });
  return farthest;
}

// Slopes of the distance to a few places of the other side, `width` for each place of one side:
// the derivative of the loss by d, divided by d.
struct Links {
  int64_t width;
  const std::vector<int64_t>& place;  // -1: none
  std::vector<double> slope;
};

// Adds what one side's links do to the other side, in the order of the links.
template <typename T>
void add_backlinks(const View<T>& view, const Links& links, int threads, T* other_gradient) {
  const int64_t dim = view.self.dim, count = static_cast<int64_t>(links.slope.size());
  std::vector<int64_t> begin(view.other_rows.count() + 1), link(count);
  for (int64_t q : links.place) {
    if (q >= 0) ++begin[q + 1];
  }
  for (size_t q = 1; q < begin.size(); ++q) begin[q] += begin[q - 1];
  std::vector<int64_t> next(begin.begin(), begin.end() - 1);
  for (int64_t n = 0; n < count; ++n) {
    if (links.place[n] >= 0) link[next[links.place[n]]++] = n;
  }
  for_places(view.other_rows.count(), threads, [&](int64_t q) {
    T* gradient = other_gradient + view.other_rows.index[q] * dim;
    for (int64_t n = begin[q]; n < begin[q + 1]; ++n) {
      if (links.slope[link[n]] == 0) continue;
      kernels<T>().add_difference(view.other_row(q), view.row(link[n] / links.width),
                                  links.slope[link[n]], dim, gradient);
    }
  });
}

template <typename T>
void add_links(const View<T>& view, const Links& links, int threads, T* gradient, T* other) {
  const int64_t dim = view.self.dim;
  for_places(view.self_rows.count(), threads, [&](int64_t p) {
    for (int64_t n = p * links.width; n < (p + 1) * links.width; ++n) {
      if (links.place[n] < 0 || links.slope[n] == 0) continue;
      kernels<T>().add_difference(view.row(p), view.other_row(links.place[n]), links.slope[n], dim,
                                  gradient + view.self_rows.index[p] * dim);
    }
  });
  add_backlinks(view, links, threads, other);
}

// --- Margin and triplet ------------------------------------------------------------------------

template <typename T>
class DistanceLoss {
 public:
  DistanceLoss(const Pairing<T>& pairing, const Options& options, bool finite, Outputs<T>* out)
      : pairing_(pairing), options_(options), finite_(finite), out_(out) {}

  void run() {
    const bool triplet = options_.objective == Objective::triplet;
    if (triplet || options_.mining == Mining::semi_hard) {
      video_farthest_ = farthest_positives(pairing_.video(), options_.rule, options_.threads);
      audio_farthest_ = farthest_positives(pairing_.audio(), options_.rule, options_.threads);
    }
    video_reach_ = reaches(pairing_.video(), video_farthest_, options_.video_anchors);
    audio_reach_ = reaches(pairing_.audio(), audio_farthest_, options_.audio_anchors);
    options_.mining == Mining::all ? add_all_negatives() : add_mined_negatives();
    triplet ? add_farthest_positives() : add_positives();
  }

 private:
  // Distance below which a negative costs something; negative for a row without terms.
  std::vector<double> reaches(const View<T>& view, const Farthest& farthest, bool anchors) const {
    std::vector<double> reach(view.self_rows.count(), anchors ? options_.margin : -1);
    if (options_.objective != Objective::triplet || !anchors) return reach;
    for (size_t p = 0; p < reach.size(); ++p) {
      reach[p] = farthest.place[p] < 0 ? -1 : options_.margin + std::sqrt(farthest.d2[p]);
    }
    return reach;
  }

  // The margin loss is half positives, half negatives.
  double share() const { return options_.objective == Objective::triplet ? 1 : 0.5; }

  void add_all_negatives() {
    Statistics& statistics = out_->statistics;
    count_negatives(pairing_, options_, &statistics);
    double pairs = 0, weights = 0;
    for (Kind kind : {kEasy, kHard, kSuperHard}) {
      pairs += statistics.count[kind];
      weights += options_.rule.weight[kind] * statistics.count[kind];
    }
    const double anchors = options_.video_anchors + options_.audio_anchors;
    statistics.terms = anchors * pairs;
    statistics.weight_sum = anchors * weights;
    if (!finite_) return;
    const HingeSums sums = all_hinges(pairing_, options_, video_reach_, audio_reach_, out_);
    const double factor = share() * inverse_or_zero(statistics.terms);
    statistics.active_terms = sums.active;
    out_->loss += factor * sums.loss;
    scale_gradients(factor);
    video_pull_ = scaled(sums.video_pull, factor);
    audio_pull_ = scaled(sums.audio_pull, factor);
  }

  static std::vector<double> scaled(std::vector<double> values, double factor) {
    for (double& x : values) x *= factor;
    return values;
  }

  void scale_gradients(double factor) {
    if (!options_.want_gradient) return;
    const auto scale = [&](const Side<T>& side, T* gradient) {
      for (int64_t n = 0; n < side.count * side.dim; ++n) {
        gradient[n] = static_cast<T>(gradient[n] * factor);
      }
    };
    scale(pairing_.video_side, out_->video_gradient);
    scale(pairing_.audio_side, out_->audio_gradient);
  }

  void add_mined_negatives() {
    Mined video, audio;
    mine(pairing_, options_, video_farthest_, audio_farthest_, finite_, &video, &audio);
    const double terms =
        static_cast<double>(options_.k * (options_.video_anchors * pairing_.video_rows.count() +
                                          options_.audio_anchors * pairing_.audio_rows.count()));
    out_->statistics.terms = terms;
    const double factor = share() * inverse_or_zero(terms);
    add_mined(pairing_.video(), video, video_reach_, options_.video_anchors, factor, &video_pull_,
              out_->video_negative, out_->video_gradient, out_->audio_gradient);
    add_mined(pairing_.audio(), audio, audio_reach_, options_.audio_anchors, factor, &audio_pull_,
              out_->audio_negative, out_->audio_gradient, out_->video_gradient);
  }

  void add_mined(const View<T>& view, const Mined& mined, const std::vector<double>& reach,
                 bool anchors, double factor, std::vector<double>* pull, int64_t* negatives,
                 T* gradient, T* other_gradient) {
    const int64_t k = options_.k;
    Statistics& statistics = out_->statistics;
    Links links{k, mined.place, std::vector<double>(mined.place.size())};
    pull->assign(view.self_rows.count(), 0);
    for (int64_t p = 0; p < view.self_rows.count(); ++p) {
      if (anchors && k > 0 && mined.place[p * k] < 0) ++statistics.rows_without_negative;
      for (int64_t n = p * k; n < (p + 1) * k; ++n) {
        const int64_t q = mined.place[n];
        if (q < 0) break;
        negatives[view.self_rows.index[p] * k + n - p * k] = view.other_rows.index[q];
        if (!anchors) continue;
        const Kind kind = kind_of(options_.rule, view.self_rows, p, view.other_rows, q);
        const double w = options_.rule.weight[kind], d = std::sqrt(mined.d2[n]);
        const double gap = reach[p] - d;
        out_->loss += factor * w * hinge(options_.squared, gap);
        const double slope = factor * w * hinge_derivative(options_.squared, gap);
        (*pull)[p] += slope;
        links.slope[n] = d == 0 ? 0 : -slope / d;
        statistics.count[kind] += 1;
        statistics.distance_sum[kind] += d;
        statistics.weight_sum += w;
        statistics.active_terms += gap > 0;
      }
    }
    if (!options_.want_gradient || !anchors) return;
    add_links(view, links, options_.threads, gradient, other_gradient);
  }

  // d^2 of all positives.
  void add_positives() {
    const View<T> video = pairing_.video(), audio = pairing_.audio();
    std::vector<double> squares(video.self_rows.count()), distances(squares), counts(squares);
    for_places(video.self_rows.count(), options_.threads, [&](int64_t p) {
      video.for_each_positive(options_.rule, p, [&](int64_t q) {
        const double d2 =
            kernels<T>().squared_distance(video.row(p), video.other_row(q), video.self.dim);
        squares[p] += d2;
        distances[p] += std::sqrt(d2);
        counts[p] += 1;
      });
    });
    out_->statistics.count[kPositive] = sum_of(counts);
    out_->statistics.distance_sum[kPositive] = sum_of(distances);
    const double factor = 0.5 * inverse_or_zero(sum_of(counts));
    out_->loss += factor * sum_of(squares);
    if (!options_.want_gradient) return;
    add_positive_gradient(video, 2 * factor, out_->video_gradient);
    add_positive_gradient(audio, 2 * factor, out_->audio_gradient);
  }

  void add_positive_gradient(const View<T>& view, double slope, T* gradient) const {
    const int64_t dim = view.self.dim;
    for_places(view.self_rows.count(), options_.threads, [&](int64_t p) {
      view.for_each_positive(options_.rule, p, [&](int64_t q) {
        kernels<T>().add_difference(view.row(p), view.other_row(q), slope, dim,
                                    gradient + view.self_rows.index[p] * dim);
      });
    });
  }

  // A triplet's positive is the farthest of its row; the negatives' hinges pull it in.
  void add_farthest_positives() {
    add_farthest(pairing_.video(), video_farthest_, video_pull_, options_.video_anchors,
                 out_->video_gradient, out_->audio_gradient);
    add_farthest(pairing_.audio(), audio_farthest_, audio_pull_, options_.audio_anchors,
                 out_->audio_gradient, out_->video_gradient);
  }

  void add_farthest(const View<T>& view, const Farthest& farthest, const std::vector<double>& pull,
                    bool anchors, T* gradient, T* other_gradient) {
    if (!anchors || pull.empty()) return;
    Links links{1, farthest.place, std::vector<double>(farthest.place.size())};
    for (size_t p = 0; p < links.slope.size(); ++p) {
      if (farthest.place[p] < 0) continue;
      const double d = std::sqrt(farthest.d2[p]);
      links.slope[p] = d == 0 ? 0 : pull[p] / d;
      out_->statistics.count[kPositive] += 1;
      out_->statistics.distance_sum[kPositive] += d;
    }
    if (options_.want_gradient) {
      add_links(view, links, options_.threads, gradient, other_gradient);
    }
  }

  const Pairing<T>& pairing_;
  const Options& options_;
  const bool finite_;
  Outputs<T>* out_;
  Farthest video_farthest_, audio_farthest_;
  std::vector<double> video_reach_, audio_reach_, video_pull_, audio_pull_;
};

// --- InfoNCE and sigmoid -----------------------------------------------------------------------

template <typename T>
class ProductLoss {
 public:
  ProductLoss(const Pairing<T>& pairing, const Options& options, Outputs<T>* out)
      : pairing_(pairing), options_(options), out_(out) {}

  void run() {
    count_negatives(pairing_, options_, &out_->statistics);
    Statistics& statistics = out_->statistics;
    for (Kind kind : {kEasy, kHard, kSuperHard}) {
      statistics.terms += statistics.count[kind];
      statistics.weight_sum += options_.rule.weight[kind] * statistics.count[kind];
    }
    measure_positives();
    options_.objective == Objective::infonce ? infonce() : pairwise_sigmoid();
  }

 private:
  static double product(const View<T>& view, int64_t p, int64_t q) {
    return kernels<T>().product(view.row(p), view.other_row(q), view.self.dim);
  }

  void measure_positives() {
    const View<T> view = pairing_.video();
    for (int64_t p = 0; p < view.self_rows.count(); ++p) {
      view.for_each_positive(options_.rule, p, [&](int64_t q) {
        out_->statistics.count[kPositive] += 1;
        if (!options_.want_statistics) return;
        const double d2 =
            kernels<T>().squared_distance(view.row(p), view.other_row(q), view.self.dim);
        out_->statistics.distance_sum[kPositive] += std::sqrt(d2);
      });
    }
  }

  // One side's anchors. A row's term is lse - mean logit of its positives; without one it has none.
  struct Softmax {
    std::vector<double> lse, positives;
    double weight;  // of a term
  };

  // From the logarithm of the negatives' sum; adds the terms to the loss.
  Softmax finish(const View<T>& view, std::vector<double> log_sums, double share) {
    Softmax side{std::move(log_sums), std::vector<double>(view.self_rows.count()), 0};
    std::vector<double> terms(side.lse.size());
    double rows = 0;
    for (size_t p = 0; p < terms.size(); ++p) {
      double logits = 0, peak = side.lse[p];
      view.for_each_positive(options_.rule, p, [&](int64_t q) {
        const double logit = product(view, p, q) / options_.temperature;
        peak = std::max(peak, logit);
        logits += logit;
        side.positives[p] += 1;
      });
      if (side.positives[p] == 0) continue;
      double sum = std::exp(side.lse[p] - peak);
      view.for_each_positive(options_.rule, p, [&](int64_t q) {
        sum += std::exp(product(view, p, q) / options_.temperature - peak);
      });
      side.lse[p] = peak + std::log(sum);
      terms[p] = side.lse[p] - logits / side.positives[p];
      rows += 1;
    }
    side.weight = share * inverse_or_zero(rows);
    out_->loss += side.weight * sum_of(terms);
    return side;
  }

  // What the softmax gradient subtracts from the logits, the weight of a row's term included.
  static std::vector<double> references(const Softmax& side) {
    constexpr double kNothing = 1e30;  // exp(-kNothing) is zero
    std::vector<double> reference(side.lse.size(), kNothing);
    if (side.weight == 0) return reference;
    for (size_t p = 0; p < reference.size(); ++p) {
      if (side.positives[p] > 0) reference[p] = side.lse[p] - std::log(side.weight);
    }
    return reference;
  }

  // Derivative by a positive's logit of the term of row p.
  static double positive_slope(const Softmax& side, int64_t p, double logit) {
    if (side.weight == 0 || side.positives[p] == 0) return 0;
    return side.weight * (std::expm1(logit - side.lse[p]) + 1 - 1 / side.positives[p]);
  }

  void infonce() {
    const View<T> video = pairing_.video(), audio = pairing_.audio();
    const bool both = options_.video_anchors && options_.audio_anchors;
    LogSums sums = log_sums(pairing_, options_);
    const Softmax of_video =
        finish(video, std::move(sums.video), both ? 0.5 : options_.video_anchors);
    const Softmax of_audio =
        finish(audio, std::move(sums.audio), both ? 0.5 : options_.audio_anchors);
    if (!options_.want_gradient) return;
    double slope_times_logit =
        add_softmax_gradient(pairing_, options_, references(of_video), references(of_audio), out_);
    slope_times_logit += add_positive_gradient(video, of_video, of_audio, out_->video_gradient);
    add_positive_gradient(audio, of_audio, of_video, out_->audio_gradient);
    out_->by_temperature = -slope_times_logit / options_.temperature;
  }

  double add_positive_gradient(const View<T>& view, const Softmax& own, const Softmax& other,
                               T* gradient) const {
    double sum = 0;
    for (int64_t p = 0; p < view.self_rows.count(); ++p) {
      view.for_each_positive(options_.rule, p, [&](int64_t q) {
        const double logit = product(view, p, q) / options_.temperature;
        const double slope = positive_slope(own, p, logit) + positive_slope(other, q, logit);
        sum += slope * logit;
        kernels<T>().add_scaled(view.other_row(q), slope / options_.temperature, view.self.dim,
                                gradient + view.self_rows.index[p] * view.self.dim);
      });
    }
    return sum;
  }

  // Divided by the mean number of rows of the two sides.
  void pairwise_sigmoid() {
    const View<T> video = pairing_.video(), audio = pairing_.audio();
    const double rows =
        0.5 * static_cast<double>(video.self_rows.count() + audio.self_rows.count());
    const double factor = inverse_or_zero(rows);
    const SigmoidSums sums = all_sigmoids(pairing_, options_, factor, out_);
    double loss = sums.loss, by_bias = sums.by_bias, by_scale = sums.by_scale;
    const auto add_positives = [&](const View<T>& view, T* gradient, bool count) {
      for (int64_t p = 0; p < view.self_rows.count(); ++p) {
        view.for_each_positive(options_.rule, p, [&](int64_t q) {
          const double s = product(view, p, q), z = s / options_.temperature + options_.bias;
          const double slope = -sigmoid(-z);
          if (count) {
            loss += softplus(-z);
            by_bias += slope;
            by_scale += slope * s;
          }
          if (!options_.want_gradient) return;
          kernels<T>().add_scaled(view.other_row(q), factor * slope / options_.temperature,
                                  view.self.dim,
                                  gradient + view.self_rows.index[p] * view.self.dim);
        });
      }
    };
    add_positives(video, out_->video_gradient, true);
    add_positives(audio, out_->audio_gradient, false);
    out_->loss = factor * loss;
    out_->by_bias = factor * by_bias;
    out_->by_temperature = -factor * by_scale / (options_.temperature * options_.temperature);
  }

  const Pairing<T>& pairing_;
  const Options& options_;
  Outputs<T>* out_;
};

// --- The whole ---------------------------------------------------------------------------------

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
  if (by_distance) DistanceLoss<T>(pairing, options, finite, out).run();
  if (!by_distance && finite) ProductLoss<T>(pairing, options, out).run();
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
