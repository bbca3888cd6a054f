// The compute pool: every chunk once, whoever runs it, whenever the threads arrive.
#include "engine/device/cpu/compute_pool.hpp"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <numeric>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace deepwell::engine {
namespace {

TEST(ComputePool, RunsEveryChunkOnce) {
  for (const std::uint32_t n_threads : {1U, 2U, 3U, 8U}) {
    ComputePool pool(n_threads);
    pool.begin_step();
    for (std::uint32_t n_chunks = 0; n_chunks < 200; ++n_chunks) {
      std::vector<int> n_runs(n_chunks, 0);
      pool.run(n_chunks, [&](std::uint32_t chunk, std::uint32_t thread) {
        ASSERT_LT(thread, n_threads);
        ++n_runs[chunk];
      });
      for (const int n : n_runs)
        ASSERT_EQ(1, n) << n_threads << " threads, " << n_chunks << " chunks";
    }
    pool.end_step();
  }
}

/// Processes that never sleep while this lives.
class BusyLoops {
 public:
  /// On every processor, or all on one.
  explicit BusyLoops(unsigned n_loops, int processor = -1) {
    for (unsigned i = 0; i < n_loops; ++i) {
      const pid_t child = ::fork();
      if (child == 0) {
        if (processor >= 0) keep_to_processor(0, processor);
        const volatile bool goes_on = true;
        while (goes_on) {
        }
        ::_exit(0);
      }
      children_.push_back(child);
    }
  }
  ~BusyLoops() {
    for (const pid_t child : children_) {
      ::kill(child, SIGKILL);
      ::waitpid(child, nullptr, 0);
    }
  }

 private:
  std::vector<pid_t> children_;
};

/// Works until the pool is as wished, or a minute is over; what it computes is right all the time.
template <class IsDone>
bool works_until(ComputePool& pool, IsDone is_done) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  std::vector<std::uint32_t> results(64);
  for (std::uint32_t round = 1; std::chrono::steady_clock::now() < end; ++round) {
    pool.begin_step();
    pool.run(64, [&](std::uint32_t chunk, std::uint32_t) {
      std::uint32_t x = chunk + round;
      for (int i = 0; i < 20'000; ++i) x = x * 1664525 + 1013904223;
      results[chunk] = x == 0 ? round : round + 1;
    });
    pool.end_step();
    for (const std::uint32_t result : results) EXPECT_GE(result, round);
    if (is_done()) return true;
  }
  return false;
}

TEST(ComputePool, IsSmallerWhileOthersNeedTheProcessorsAndGrowsAgain) {
  ComputePool pool(2);
  {
    const BusyLoops busy(2 * std::thread::hardware_concurrency());
    EXPECT_TRUE(works_until(pool, [&] { return pool.n_active() == 1; }));
  }
  EXPECT_TRUE(works_until(pool, [&] { return pool.n_active() == 2 && pool.n_part_time() == 0; }));
}

TEST(ComputePool, WorksHalfOfTheTimeOnAProcessorThatAnotherNeeds) {
  const cpu_set_t allowed = allowed_processors();
  const std::uint32_t n_threads = n_processors(allowed);
  if (n_threads < 2) GTEST_SKIP() << "needs two processors";
  int processor = 0;
  while (!CPU_ISSET(processor, &allowed)) ++processor;
  ComputePool pool(n_threads);
  {
    const BusyLoops busy(1, processor);
    EXPECT_TRUE(works_until(pool, [&] { return pool.n_part_time() == 1; }));
    // The driver has a processor of its own meanwhile, and may use all of them when it is over.
    EXPECT_EQ(1U, n_processors(allowed_processors()));
  }
  EXPECT_TRUE(works_until(pool, [&] {
    const cpu_set_t now = allowed_processors();
    return pool.n_active() == n_threads && pool.n_part_time() == 0 && CPU_EQUAL(&now, &allowed);
  }));
}

#if defined(__x86_64__)
TEST(ComputePoolDeathTest, RefusesThreadsThatFlushSubnormals) {
  EXPECT_DEATH(
      {
        _mm_setcsr(_mm_getcsr() | 0x8040U);
        ComputePool pool(2);
        std::this_thread::sleep_for(std::chrono::seconds(5));
      },
      "FTZ");
}
#endif

TEST(ComputePool, ShowsAnOperationsResultsToTheNext) {
  ComputePool pool(3);
  std::vector<std::uint64_t> values(64, 1);
  for (int step = 0; step < 200; ++step) {
    pool.begin_step();
    for (int op = 0; op < 5; ++op) {
      std::vector<std::uint64_t> next(values.size());
      pool.run(64, [&](std::uint32_t chunk, std::uint32_t) {
        next[chunk] = values[chunk] + values[(chunk + 1) % 64];
      });
      for (std::uint64_t& value : next) value %= 1'000'003;
      values = next;
    }
    pool.end_step();
  }
  EXPECT_TRUE(std::equal(values.begin() + 1, values.end(), values.begin()));
}

TEST(ComputePool, EndsAnOperationThoughAThreadIsLate) {
  ComputePool pool(2);
  // Parked threads do not run outside a step: the caller does all the work and returns.
  int sum = 0;
  pool.run(100, [&](std::uint32_t chunk, std::uint32_t thread) {
    EXPECT_EQ(0U, thread);
    sum += static_cast<int>(chunk);
  });
  EXPECT_EQ(4950, sum);
}

TEST(ComputePool, StopsWhateverItsThreadsAreAboutToDo) {
  for (int i = 0; i < 2000; ++i) {
    ComputePool pool(3);
    if (i % 2 == 0) {
      pool.begin_step();
      pool.run(4, [](std::uint32_t, std::uint32_t) {});
      pool.end_step();
    }
  }
}

TEST(ComputePool, TakesChunksFromASlowThread) {
  ComputePool pool(2);
  pool.begin_step();
  std::atomic<int> n_fast{0};
  pool.run(64, [&](std::uint32_t chunk, std::uint32_t) {
    if (chunk == 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    } else {
      n_fast.fetch_add(1);
    }
  });
  pool.end_step();
  EXPECT_EQ(63, n_fast.load());
}

}  // namespace
}  // namespace deepwell::engine
