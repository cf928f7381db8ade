// Stream capture, as CUDA graphs have it: what the host queues is noted instead of run.
//
// Because no kernel runs during a capture, host code that waits for one or reads its results is
// found out, and so is a launch that leaves the stream its caller gave.
#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "cuda_on_host/emulator.h"

namespace cuda_on_host {

class Graph {
 public:
  // The stream that can be captured. All streams are otherwise one.
  static void* stream();

  // From here to end_capture(), launches on stream() by the calling thread become part of this
  // graph; those on any other stream are refused.
  void begin_capture();
  void end_capture();

  // Runs the kernels in order, with the arguments they were launched with, up to one that fails.
  LaunchStatus replay() const;

  // Holds on to memory that the kernels use.
  void keep(std::shared_ptr<void> memory) { kept_.push_back(std::move(memory)); }

  // The graph that the calling thread captures, or null.
  static Graph* capturing();
  LaunchStatus note(const void* stream, std::function<LaunchStatus()> launch);

 private:
  std::vector<std::function<LaunchStatus()>> launches_;
  std::vector<std::shared_ptr<void>> kept_;
};

}  // namespace cuda_on_host
