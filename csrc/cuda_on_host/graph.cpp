#include "cuda_on_host/graph.h"

#include <stdexcept>

namespace cuda_on_host {
namespace {

char g_stream;
thread_local Graph* t_capturing = nullptr;

}  // namespace

void* Graph::stream() { return &g_stream; }
Graph* Graph::capturing() { return t_capturing; }

void Graph::begin_capture() {
  if (t_capturing) throw std::logic_error("this thread captures already");
  launches_.clear();
  kept_.clear();
  t_capturing = this;
}

void Graph::end_capture() { t_capturing = nullptr; }

LaunchStatus Graph::note(const void* stream, std::function<LaunchStatus()> launch) {
  if (stream != Graph::stream()) return LaunchStatus::not_captured;
  launches_.push_back(std::move(launch));
  return LaunchStatus::success;
}

LaunchStatus Graph::replay() const {
  for (const auto& launch : launches_) {
    const LaunchStatus status = launch();
    if (status != LaunchStatus::success) return status;
  }
  return LaunchStatus::success;
}

}  // namespace cuda_on_host
