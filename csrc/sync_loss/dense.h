// Losses over all admissible pairs of a batch.
#pragma once

#include <vector>

#include "sync_loss/pairing.h"

namespace avts::sync_loss {

// Unscaled sums over the negatives; gradients are added to the caller's rows.
struct HingeSums {
  double loss = 0, active = 0;
  std::vector<double> video_pull, audio_pull;  // derivative of `loss` by each row's reach
};

// Sum over all negatives of w max(reach - d, 0)^p for the reach of the video row plus that for the
// reach of the audio row.
template <typename T>
HingeSums all_hinges(const Pairing<T>& pairing, const Options& options,
                     const std::vector<double>& video_reach, const std::vector<double>& audio_reach,
                     Outputs<T>* out);

// ln of the sum of w exp(logit) over each row's negatives; -inf where there is none.
struct LogSums {
  std::vector<double> video, audio;
};
template <typename T>
LogSums log_sums(const Pairing<T>& pairing, const Options& options);

// Adds the gradient of sum over pairs of w (exp(logit - video_reference) + exp(logit -
// audio_reference)); returns the sum of the logits times their derivatives.
template <typename T>
double add_softmax_gradient(const Pairing<T>& pairing, const Options& options,
                            const std::vector<double>& video_reference,
                            const std::vector<double>& audio_reference, Outputs<T>* out);

// Sum over all negatives of w softplus(product / temperature + bias), and its derivatives.
struct SigmoidSums {
  double loss = 0, by_bias = 0, by_scale = 0;
};
template <typename T>
SigmoidSums all_sigmoids(const Pairing<T>& pairing, const Options& options, double factor,
                         Outputs<T>* out);

// Counts and distances of all negatives, by kind.
template <typename T>
void count_negatives(const Pairing<T>& pairing, const Options& options, Statistics* statistics);

}  // namespace avts::sync_loss
