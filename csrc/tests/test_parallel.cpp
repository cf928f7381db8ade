#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/parallel.h"
#include "tests/expect.h"

using avts::parallel_for;

static std::vector<int> visit_counts(int64_t count, int64_t grain, int threads) {
  std::vector<int> visits(count, 0);
  parallel_for(count, grain, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) ++visits[i];
  });
  return visits;
}

static void visits_every_item_once() {
  for (int64_t count : {0, 1, 7, 1000})
    for (int64_t grain : {0, 1, 3, 5000})
      for (int threads : {0, 1, 2, 5})
        for (int visits : visit_counts(count, grain, threads)) EXPECT(visits == 1);
}

static void rethrows_and_stops() {
  std::atomic<int> calls{0};
  EXPECT_THROW(parallel_for(100000, 1, 4,
                            [&](int64_t, int64_t) {
                              ++calls;
                              throw std::runtime_error("body");
                            }),
               std::runtime_error);
  EXPECT(calls <= 4);
  EXPECT(visit_counts(50, 1, 4) == std::vector<int>(50, 1));  // still usable afterwards
}

static void nests_and_serves_several_callers() {
  std::atomic<int64_t> sum{0};
  std::vector<std::thread> callers;
  for (int c = 0; c < 4; ++c) {
    callers.emplace_back([&] {
      parallel_for(20, 1, 3, [&](int64_t begin, int64_t) {
        parallel_for(10, 2, 3, [&](int64_t b, int64_t e) { sum += (e - b) * (begin + 1); });
      });
    });
  }
  for (auto& caller : callers) caller.join();
  EXPECT(sum == 4 * 10 * 210);
}

// A forked DataLoader worker inherits the memory of the pool but none of its threads.
static void works_in_a_forked_child() {
  EXPECT(visit_counts(64, 1, 4) == std::vector<int>(64, 1));
  EXPECT(avts::started_worker_threads() >= 3);
  const pid_t child = fork();
  EXPECT(child >= 0);
  if (child == 0) {
    alarm(20);  // a hang must end as a failure
    const bool empty = avts::started_worker_threads() == 0;
    const bool works = visit_counts(64, 1, 4) == std::vector<int>(64, 1);
    _exit(empty && works ? 0 : 1);
  }
  int status = 0;
  EXPECT(waitpid(child, &status, 0) == child);
  EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main() {
  visits_every_item_once();
  rethrows_and_stops();
  nests_and_serves_several_callers();
#if !defined(__SANITIZE_THREAD__)  // ThreadSanitizer does not support threads after a fork
  works_in_a_forked_child();
#endif
  std::puts("ok");
}
