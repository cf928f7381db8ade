// InfoNCE and sigmoid: losses of inner products, over all negatives.
#include <algorithm>

#include "sync_loss/dense.h"
#include "sync_loss/kernels.h"
#include "sync_loss/objectives.h"

namespace avts::sync_loss {
namespace {

double softplus(double z) { return std::max(z, 0.0) + std::log1p(std::exp(-std::fabs(z))); }
double sigmoid(double z) { return 1 / (1 + std::exp(-z)); }

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

}  // namespace

template <typename T>
void product_loss(const Pairing<T>& pairing, const Options& options, Outputs<T>* out) {
  ProductLoss<T>(pairing, options, out).run();
}

template void product_loss(const Pairing<float>&, const Options&, Outputs<float>*);
template void product_loss(const Pairing<double>&, const Options&, Outputs<double>*);

}  // namespace avts::sync_loss
