// Between two operators of PyTorch its OpenMP threads spin for milliseconds, so threads of our own
// find no idle core: measured, two threads were then no faster than one. The runtime is looked up
// rather than linked: a second copy of it would start a second team, which spins too.
#include "core/openmp_team.h"

#include <dlfcn.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <thread>

namespace avts {
namespace {

using Clock = std::chrono::steady_clock;

// A team waits for its last thread, to begin and to end. On cores that others use that one may be
// asleep: 12 ms for a call of 1 ms were measured. After such a wait the team is left alone for a
// hundred times as long, but no longer than kOpenMpRest.
constexpr std::chrono::milliseconds kLongWait{1};

std::atomic<Clock::rep> g_rests_until{0};
bool g_forked = false;
[[maybe_unused]] const int g_fork_handler =
    pthread_atfork(nullptr, nullptr, [] { g_forked = true; });

// GNU's entry, which the runtimes of LLVM and Intel offer as well. PyTorch loads its runtime for
// the whole process, possibly after this module.
using Parallel = void (*)(void (*)(void*), void*, unsigned threads, unsigned flags);
Parallel find_parallel() {
  static std::atomic<Parallel> found{nullptr};
  if (!found) found = reinterpret_cast<Parallel>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
  return found;
}

struct Team {
  const std::function<void()>& body;
  const std::thread::id caller = std::this_thread::get_id();
  Clock::duration caller_worked{0};
};

void run_member(void* data) {
  Team& team = *static_cast<Team*>(data);
  const auto begin = Clock::now();
  team.body();
  if (std::this_thread::get_id() == team.caller) team.caller_worked = Clock::now() - begin;
}

}  // namespace

bool run_in_openmp_team(int threads, const std::function<void()>& body) {
  const auto begin = Clock::now();
  if (g_forked || begin.time_since_epoch().count() < g_rests_until) return false;
  const Parallel parallel = find_parallel();
  if (!parallel) return false;
  Team team{body};
  parallel(run_member, &team, threads, 0);
  const auto end = Clock::now();
  const auto waited = end - begin - team.caller_worked;
  if (waited > kLongWait) {
    const auto rest = std::min<Clock::duration>(100 * waited, kOpenMpRest);
    g_rests_until = (end + rest).time_since_epoch().count();
  }
  return true;
}

}  // namespace avts
