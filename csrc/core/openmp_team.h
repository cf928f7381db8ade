// The threads that PyTorch's own operators use, where the process has them.
#pragma once

#include <chrono>
#include <functional>

namespace avts {

// How long the team is left alone at most after a call that had to wait for it.
constexpr std::chrono::milliseconds kOpenMpRest{1000};

// Calls body once on each of up to `threads` threads, of which the caller is one, and returns when
// all are done. The body must not throw. False, and nothing has been called, if the process has
// no OpenMP runtime that everyone sees, if it is a forked child (whose OpenMP would hang), or if
// the cores were too busy less than kOpenMpRest ago.
bool run_in_openmp_team(int threads, const std::function<void()>& body);

}  // namespace avts
