// Margin and triplet: hinges of distances, over all or over mined negatives.
#include <algorithm>

#include "core/parallel.h"
#include "sync_loss/dense.h"
#include "sync_loss/kernels.h"
#include "sync_loss/mine.h"
#include "sync_loss/objectives.h"

namespace avts::sync_loss {
namespace {

double hinge(bool squared, double gap) {
  if (gap <= 0) return 0;
  return squared ? gap * gap : gap;
}
double hinge_derivative(bool squared, double gap) {
  if (gap <= 0) return 0;
  return squared ? 2 * gap : 1;
}

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

constexpr int64_t kAhead = 2;  // links whose rows are on their way

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
      if (n + kAhead < count) prefetch_row(view.row(link[n + kAhead] / links.width), dim);
      if (links.slope[link[n]] == 0) continue;
      kernels<T>().add_difference(view.other_row(q), view.row(link[n] / links.width),
                                  links.slope[link[n]], dim, gradient);
    }
  });
}

template <typename T>
void add_links(const View<T>& view, const Links& links, int threads, T* gradient, T* other) {
  const int64_t dim = view.self.dim, count = static_cast<int64_t>(links.slope.size());
  for_places(view.self_rows.count(), threads, [&](int64_t p) {
    for (int64_t n = p * links.width; n < (p + 1) * links.width; ++n) {
      if (n + kAhead < count && links.place[n + kAhead] >= 0) {
        prefetch_row(view.other_row(links.place[n + kAhead]), dim);
      }
      if (links.place[n] < 0 || links.slope[n] == 0) continue;
      kernels<T>().add_difference(view.row(p), view.other_row(links.place[n]), links.slope[n], dim,
                                  gradient + view.self_rows.index[p] * dim);
    }
  });
  add_backlinks(view, links, threads, other);
}

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

}  // namespace

template <typename T>
void distance_loss(const Pairing<T>& pairing, const Options& options, bool finite,
                   Outputs<T>* out) {
  DistanceLoss<T>(pairing, options, finite, out).run();
}

template void distance_loss(const Pairing<float>&, const Options&, bool, Outputs<float>*);
template void distance_loss(const Pairing<double>&, const Options&, bool, Outputs<double>*);

}  // namespace avts::sync_loss
