#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/openmp_team.h"
#include "core/parallel.h"
#include "tests/expect.h"

static std::atomic<int> g_teams{0};
static std::chrono::milliseconds g_last_thread_late{0};

// The entry of an OpenMP runtime, as parallel_for looks it up in the process.
extern "C" __attribute__((visibility("default"))) void GOMP_parallel(void (*body)(void*),
                                                                     void* data, unsigned threads,
                                                                     unsigned) {
  ++g_teams;
  std::vector<std::thread> members;
  for (unsigned n = 1; n < threads; ++n) {
    members.emplace_back([=] {
      std::this_thread::sleep_for(g_last_thread_late);
      body(data);
    });
  }
  body(data);
  for (auto& member : members) member.join();
}

static bool visits_every_item_once() {
  std::vector<int> visits(1000, 0);
  avts::parallel_for(1000, 3, 3, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) ++visits[i];
  });
  return visits == std::vector<int>(1000, 1);
}

// On a busy machine any call may have been a late one.
static void let_the_team_rest() { std::this_thread::sleep_for(2 * avts::kOpenMpRest); }

static void the_team_does_the_work() {
  EXPECT(visits_every_item_once());
  EXPECT(g_teams == 1);
  EXPECT(avts::started_worker_threads() == 0);
}

static void one_thread_needs_no_team() {
  avts::parallel_for(10, 1, 1, [](int64_t, int64_t) {});
  avts::parallel_for(10, 10, 4, [](int64_t, int64_t) {});
  EXPECT(g_teams == 1);
}

static void what_a_member_throws_arrives() {
  let_the_team_rest();
  EXPECT_THROW(avts::parallel_for(100, 1, 3,
                                  [](int64_t begin, int64_t) {
                                    if (begin == 50) throw std::runtime_error("body");
                                  }),
               std::runtime_error);
  EXPECT(g_teams == 2);
}

static void a_forked_child_uses_the_pool() {
  const pid_t child = fork();
  EXPECT(child >= 0);
  if (child == 0) {
    alarm(20);  // a hang must end as a failure
    const bool works = visits_every_item_once();
    _exit(works && g_teams == 2 && avts::started_worker_threads() > 0 ? 0 : 1);
  }
  int status = 0;
  EXPECT(waitpid(child, &status, 0) == child);
  EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void a_late_team_is_left_alone() {
  let_the_team_rest();
  g_last_thread_late = std::chrono::milliseconds(20);
  EXPECT(visits_every_item_once());
  EXPECT(g_teams == 3);
  EXPECT(visits_every_item_once());
  EXPECT(g_teams == 3);
  EXPECT(avts::started_worker_threads() > 0);
}

int main() {
  the_team_does_the_work();
  one_thread_needs_no_team();
  what_a_member_throws_arrives();
#if !defined(__SANITIZE_THREAD__)  // ThreadSanitizer does not support threads after a fork
  a_forked_child_uses_the_pool();
#endif
  a_late_team_is_left_alone();
  std::puts("ok");
}
