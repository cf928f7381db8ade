#include "core/parallel.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <new>
#include <thread>

#include "core/openmp_team.h"

namespace avts {
namespace {

constexpr int kMaxWorkers = 255;

// One parallel_for in flight. It lives on its caller's stack: the caller leaves only when no
// worker holds a ticket of it any more.
struct Job {
  Job(int64_t count, int64_t grain, const std::function<void(int64_t, int64_t)>& body)
      : count(count), grain(grain), body(body) {}
  const int64_t count, grain;
  const std::function<void(int64_t, int64_t)>& body;
  std::atomic<int64_t> next{0};
  int running_workers = 0;     // guarded by Pool::mutex
  std::exception_ptr failure;  // guarded by Pool::mutex
};

struct Pool {
  std::mutex mutex;
  std::condition_variable ticket_added, worker_done;
  std::deque<Job*> tickets;  // a job stands here once per worker it would like to have
  int workers = 0;
};

// Leaked on purpose: workers may still sleep on it while the process exits.
Pool* g_pool = new Pool;

void run_chunks(Job& job) {
  try {
    for (;;) {
      const int64_t begin = job.next.fetch_add(job.grain, std::memory_order_relaxed);
      if (begin >= job.count) return;
      job.body(begin, std::min(job.count, begin + job.grain));
    }
  } catch (...) {
    job.next.store(job.count, std::memory_order_relaxed);
    std::lock_guard<std::mutex> lock(g_pool->mutex);
    if (!job.failure) job.failure = std::current_exception();
  }
}

void worker_main(Pool* pool) {
  std::unique_lock<std::mutex> lock(pool->mutex);
  for (;;) {
    pool->ticket_added.wait(lock, [&] { return !pool->tickets.empty(); });
    Job* job = pool->tickets.front();
    pool->tickets.pop_front();
    ++job->running_workers;
    lock.unlock();
    run_chunks(*job);
    lock.lock();
    if (--job->running_workers == 0) pool->worker_done.notify_all();
  }
}

// A fork copies the memory but not the workers. The mutex is held across the fork so that the
// child gets consistent memory; the child then starts from an empty pool.
void before_fork() { g_pool->mutex.lock(); }
void after_fork_in_parent() { g_pool->mutex.unlock(); }
void after_fork_in_child() { g_pool = new Pool; }
[[maybe_unused]] const int g_fork_handlers =
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);

void post_tickets(Pool& pool, Job& job, int wanted) {
  std::lock_guard<std::mutex> lock(pool.mutex);
  for (; pool.workers < std::min(wanted, kMaxWorkers); ++pool.workers) {
    std::thread(worker_main, &pool).detach();
  }
  pool.tickets.insert(pool.tickets.end(), wanted, &job);
  pool.ticket_added.notify_all();
}

// Takes back the tickets nobody picked up, then waits for the workers that did pick one up.
void wait_for_workers(Pool& pool, Job& job) {
  std::unique_lock<std::mutex> lock(pool.mutex);
  auto& tickets = pool.tickets;
  tickets.erase(std::remove(tickets.begin(), tickets.end(), &job), tickets.end());
  pool.worker_done.wait(lock, [&] { return job.running_workers == 0; });
}

}  // namespace

void parallel_for(int64_t count, int64_t grain, int threads,
                  const std::function<void(int64_t, int64_t)>& body) {
  if (count <= 0) return;
  grain = std::max<int64_t>(grain, 1);
  const int64_t chunks = (count + grain - 1) / grain;
  const int helpers = static_cast<int>(std::min<int64_t>(threads, chunks)) - 1;
  Job job(count, grain, body);
  if (helpers <= 0) {
    run_chunks(job);
  } else if (!run_in_openmp_team(threads, [&] { run_chunks(job); })) {
    post_tickets(*g_pool, job, helpers);
    run_chunks(job);
    wait_for_workers(*g_pool, job);
  }
  if (job.failure) std::rethrow_exception(job.failure);
}

int started_worker_threads() {
  std::lock_guard<std::mutex> lock(g_pool->mutex);
  return g_pool->workers;
}

}  // namespace avts
