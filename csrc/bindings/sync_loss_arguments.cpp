#include "bindings/sync_loss_arguments.h"

namespace avts::sync_loss {

Options sync_loss_options(const Choices& choices, const Numbers& numbers, int threads) {
  const auto [objective, mining, k, video_anchors, audio_anchors, squared, seed, want_gradient,
              want_statistics] = choices;
  const auto [hard_from_s, super_hard_from_s, easy, hard, super_hard, margin, temperature, bias] =
      numbers;
  check_argument(!(temperature <= 0), "temperature", temperature, "a positive number");
  return {{hard_from_s, super_hard_from_s, {0, easy, hard, super_hard}},
          static_cast<Objective>(objective),
          static_cast<Mining>(mining),
          k,
          video_anchors != 0,
          audio_anchors != 0,
          squared != 0,
          margin,
          temperature,
          bias,
          static_cast<uint64_t>(seed),
          want_gradient != 0,
          want_statistics != 0,
          threads};
}

}  // namespace avts::sync_loss
