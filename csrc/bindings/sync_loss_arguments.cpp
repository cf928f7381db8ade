#include "bindings/sync_loss_arguments.h"

#include <pybind11/stl.h>

#include <array>

namespace py = pybind11;

namespace avts::sync_loss {

Options sync_loss_options(const py::dict& from) {
  const auto weights = from["kind_weights"].cast<std::array<double, 3>>();
  Options options{};
  options.rule = {from["hard_from_s"].cast<double>(),
                  from["super_hard_from_s"].cast<double>(),
                  {0, weights[0], weights[1], weights[2]}};
  options.objective = static_cast<Objective>(from["objective"].cast<int>());
  options.mining = static_cast<Mining>(from["mining"].cast<int>());
  options.k = from["k"].cast<int64_t>();
  options.video_anchors = from["video_anchors"].cast<bool>();
  options.audio_anchors = from["audio_anchors"].cast<bool>();
  options.squared = from["squared"].cast<bool>();
  options.margin = from["margin"].cast<double>();
  options.temperature = from["temperature"].cast<double>();
  options.bias = from["bias"].cast<double>();
  options.seed = static_cast<uint64_t>(from["seed"].cast<int64_t>());
  options.want_gradient = from["want_gradient"].cast<bool>();
  options.want_statistics = from["want_statistics"].cast<bool>();
  options.threads = from["threads"].cast<int>();
  check_argument(!(options.temperature <= 0), "temperature", options.temperature,
                 "a positive number");
  return options;
}

}  // namespace avts::sync_loss
