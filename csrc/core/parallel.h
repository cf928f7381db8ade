// Loops over several threads: the OpenMP team that PyTorch's operators use, or, where that would
// hang (a forked DataLoader worker) or stall (a busy machine), a small pool of our own.
#pragma once

#include <cstdint>
#include <functional>

namespace avts {

// Calls body(begin, end) for consecutive chunks of [0, count), each of at most `grain` items, on at
// most `threads` threads, of which the caller is one. Returns when all are done; the first
// exception thrown by a body is rethrown here and stops chunks that have not begun.
//
// Chunk boundaries depend on count and grain only, never on the number of threads. The pool's
// threads are started at the first call that needs them, sleep when idle, and are forgotten in a
// forked child, which starts its own. Safe to call from several threads at once and from inside a
// body. Choose the grain so that a chunk is worth about 50 microseconds: waking a thread costs a
// few.
void parallel_for(int64_t count, int64_t grain, int threads,
                  const std::function<void(int64_t begin, int64_t end)>& body);

// Threads that the pool of this process has started so far.
int started_worker_threads();

}  // namespace avts
