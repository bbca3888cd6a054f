// Tasks, executors, queues: order, results, exceptions, cancellation, timers.
#include "base/task.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "base/async_queue.hpp"
#include "base/cancel.hpp"
#include "base/thread_pool.hpp"

namespace deepwell {
namespace {

using std::chrono::milliseconds;

#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
constexpr bool kMakesTailCalls = true;
#else
constexpr bool kMakesTailCalls = false;
#endif

SteadyTime in(milliseconds delay) { return std::chrono::steady_clock::now() + delay; }

Task<int> answer(int value) { co_return value; }

Task<int> add(int a, int b) {
  const int x = co_await answer(a);
  const int y = co_await answer(b);
  co_return x + y;
}

Task<void> fail(std::string message) {
  throw std::runtime_error(message);
  co_return;
}

/// A task that waits for `signal` and counts how often it was resumed.
Task<void> wait_for(Signal& signal, std::atomic<int>& n_woken) {
  co_await signal.wait();
  ++n_woken;
}

TEST(Task, IsLazyAndGivesItsResult) {
  bool has_run = false;
  auto body = [&]() -> Task<int> {
    has_run = true;
    co_return 7;
  };
  {
    auto unused = body();
    EXPECT_FALSE(has_run);
  }
  EXPECT_FALSE(has_run);
  EXPECT_EQ(sync_wait(body()), 7);
  EXPECT_EQ(sync_wait(add(2, 3)), 5);
}

TEST(Task, CarriesMoveOnlyResults) {
  auto make = []() -> Task<std::unique_ptr<int>> { co_return std::make_unique<int>(5); };
  EXPECT_EQ(*sync_wait(make()), 5);
}

TEST(Task, RethrowsWhereItIsAwaited) {
  auto outer = []() -> Task<std::string> {
    try {
      co_await fail("inner");
    } catch (const std::runtime_error& error) {
      co_return std::string("caught ") + error.what();
    }
    co_return "nothing";
  };
  EXPECT_EQ(sync_wait(outer()), "caught inner");
  EXPECT_THROW(sync_wait(fail("outer")), std::runtime_error);
}

TEST(Task, AwaitsInALoopWithoutGrowingTheStack) {
  constexpr int kRounds = kMakesTailCalls ? 200'000 : 1'000;
  auto loop = []() -> Task<int> {
    int sum = 0;
    for (int i = 0; i < kRounds; ++i) sum += co_await answer(1);
    co_return sum;
  };
  EXPECT_EQ(sync_wait(loop()), kRounds);
}

TEST(Task, DestroysWhatItHoldsOnce) {
  struct Counter {
    std::shared_ptr<int> alive;
  };
  const auto alive = std::make_shared<int>(0);
  auto hold = [](Counter counter) -> Task<long> { co_return counter.alive.use_count(); };
  Counter counter{alive};
  EXPECT_GE(sync_wait(hold(counter)), 3);
  EXPECT_EQ(alive.use_count(), 2);
}

TEST(ThreadPool, RunsWorkOnItsThreads) {
  ThreadPool pool(3);
  auto hop = [&]() -> Task<bool> {
    co_await resume_on(pool);
    co_return pool.is_current();
  };
  EXPECT_FALSE(pool.is_current());
  EXPECT_TRUE(sync_wait(hop()));
}

TEST(ThreadPool, RunsEverythingThatIsPosted) {
  std::atomic<int> n_run{0};
  {
    ThreadPool pool(4);
    std::vector<std::thread> posters;
    for (int i = 0; i < 4; ++i) {
      posters.emplace_back([&] {
        for (int j = 0; j < 1000; ++j) pool.post([&] { ++n_run; });
      });
    }
    for (std::thread& poster : posters) poster.join();
    while (n_run < 4000) std::this_thread::yield();
  }
  EXPECT_EQ(n_run, 4000);
}

TEST(ThreadPool, DropsQueuedWorkAtItsEnd) {
  const auto alive = std::make_shared<int>(0);
  {
    ThreadPool pool(1);
    pool.post_at(in(std::chrono::hours(1)), [alive] {});
    EXPECT_EQ(alive.use_count(), 2);
  }
  EXPECT_EQ(alive.use_count(), 1);
}

TEST(ThreadPool, RunsTimersInOrderAndForgetsCancelledOnes) {
  ThreadPool pool(1);
  std::mutex mutex;
  std::vector<int> order;
  std::atomic<bool> is_done{false};
  const auto note = [&](int which) {
    return [&, which] {
      const std::lock_guard lock(mutex);
      order.push_back(which);
    };
  };
  pool.post_at(in(milliseconds(60)), [&] { is_done = true; });
  pool.post_at(in(milliseconds(40)), note(2));
  const TimerId cancelled = pool.post_at(in(milliseconds(30)), note(9));
  pool.post_at(in(milliseconds(20)), note(1));
  EXPECT_TRUE(pool.cancel_timer(cancelled));
  EXPECT_FALSE(pool.cancel_timer(cancelled));
  EXPECT_FALSE(pool.cancel_timer(0));
  while (!is_done) std::this_thread::sleep_for(milliseconds(1));
  EXPECT_EQ(order, (std::vector<int>{1, 2}));
}

TEST(Task, GoesOnWhereTheAwaitedTaskEnded) {
  ThreadPool pool(1);
  auto hop = [&]() -> Task<void> { co_await resume_on(pool); };
  auto run = [&]() -> Task<bool> {
    co_await hop();
    co_return pool.is_current();
  };
  for (int i = 0; i < 2'000; ++i) ASSERT_TRUE(sync_wait(run())) << i;
}

TEST(Offload, ComesHomeWithResultsAndExceptions) {
  ThreadPool pool(1);
  ThreadPool home(1);
  auto run = [&]() -> Task<int> {
    auto work = [&] { return pool.is_current() ? 1 : 0; };
    int score = co_await offload(pool, home, std::move(work));
    score += home.is_current() ? 1 : 0;
    auto bad_work = [] { throw std::runtime_error("bad"); };
    try {
      co_await offload(pool, home, std::move(bad_work));
    } catch (const std::runtime_error&) {
      score += home.is_current() ? 1 : 0;
    }
    co_return score;
  };
  EXPECT_EQ(sync_wait(run()), 3);
}

TEST(Spawn, ReportsTheEndAndWhatWasThrown) {
  ThreadPool pool(1);
  std::atomic<int> n_done{0};
  std::atomic<int> n_failed{0};
  const auto count = [&](std::exception_ptr failure) {
    if (failure) ++n_failed;
    ++n_done;
  };
  auto quiet = []() -> Task<void> { co_return; };
  spawn(pool, quiet(), count);
  spawn(pool, fail("loud"), count);
  while (n_done < 2) std::this_thread::yield();
  EXPECT_EQ(n_failed, 1);
}

TEST(Signal, RemembersANotifyThatCameFirst) {
  ThreadPool pool(1);
  Signal signal(pool);
  std::atomic<int> n_woken{0};
  signal.notify();
  signal.notify();
  sync_wait(wait_for(signal, n_woken));
  EXPECT_EQ(n_woken, 1);
  spawn(pool, wait_for(signal, n_woken));
  std::this_thread::sleep_for(milliseconds(10));
  EXPECT_EQ(n_woken, 1);  // two notifications counted as one
  signal.notify();
  while (n_woken < 2) std::this_thread::yield();
}

TEST(AsyncQueue, GivesItemsInOrderThenSaysThatItIsClosed) {
  ThreadPool pool(1);
  AsyncQueue<int> queue(pool);
  queue.push(1);
  queue.push(2);
  queue.close();
  EXPECT_FALSE(queue.push(3));
  EXPECT_EQ(sync_wait(queue.pop({})).value(), 1);
  EXPECT_EQ(sync_wait(queue.pop({})).value(), 2);
  EXPECT_EQ(sync_wait(queue.pop({})).error().code, Code::kOutOfRange);
}

TEST(AsyncQueue, RefusesMoreThanItsBound) {
  ThreadPool pool(1);
  AsyncQueue<int> queue(pool, 2);
  EXPECT_TRUE(queue.push(1));
  EXPECT_TRUE(queue.push(2));
  EXPECT_FALSE(queue.push(3));
  EXPECT_EQ(queue.size(), 2U);
  EXPECT_EQ(queue.try_pop(), 1);
  EXPECT_TRUE(queue.push(3));
}

TEST(AsyncQueue, EndsAWaitByCancellationAndByDeadline) {
  ThreadPool pool(1);
  AsyncQueue<int> queue(pool);
  CancelSource source;
  std::thread canceller([&] {
    std::this_thread::sleep_for(milliseconds(10));
    source.request_stop();
  });
  EXPECT_EQ(sync_wait(queue.pop(source.get_token())).error().code, Code::kCancelled);
  canceller.join();
  EXPECT_EQ(sync_wait(queue.pop(source.get_token())).error().code, Code::kCancelled);
  queue.push(4);
  EXPECT_EQ(sync_wait(queue.pop(source.get_token())).value(), 4);  // what is queued comes first
  EXPECT_EQ(sync_wait(queue.pop_until(in(milliseconds(10)), {})).error().code,
            Code::kDeadlineExceeded);
}

TEST(AsyncQueue, LosesNothingBetweenThreads) {
  ThreadPool pool(2);
  constexpr int kItems = kMakesTailCalls ? 20'000 : 1'000;
  for (int round = 0; round < 3; ++round) {
    const auto queue = std::make_shared<AsyncQueue<int>>(pool);
    CancelSource source;
    std::vector<std::thread> producers;
    for (int p = 0; p < 2; ++p) {
      producers.emplace_back([queue] {
        for (int i = 0; i < kItems; ++i) queue->push(1);
      });
    }
    auto consume = [&]() -> Task<int> {
      int sum = 0;
      while (sum < 2 * kItems) {
        const auto item = co_await queue->pop_until(in(milliseconds(5)), source.get_token());
        if (item) sum += *item;
      }
      co_return sum;
    };
    EXPECT_EQ(sync_wait(consume()), 2 * kItems);
    for (std::thread& producer : producers) producer.join();
  }
}

TEST(AsyncQueue, SurvivesRacesOfPushCancelAndTimeout) {
  ThreadPool pool(2);
  for (int i = 0; i < 300; ++i) {
    const auto queue = std::make_shared<AsyncQueue<int>>(pool);
    CancelSource source;
    std::thread pusher([queue] { queue->push(1); });
    std::thread canceller([&source] { source.request_stop(); });
    const auto item = sync_wait(queue->pop_until(in(milliseconds(0)), source.get_token()));
    if (!item) {
      EXPECT_NE(item.error().code, Code::kOutOfRange);
    }
    pusher.join();
    canceller.join();
  }
}

TEST(Sleep, EndsAtItsTimeOrWhenCancelled) {
  ThreadPool pool(1);
  const auto start = std::chrono::steady_clock::now();
  sync_wait(sleep_until(pool, in(milliseconds(20)), {}));
  EXPECT_GE(std::chrono::steady_clock::now() - start, milliseconds(20));
  CancelSource source;
  std::thread canceller([&] { source.request_stop(); });
  sync_wait(sleep_until(pool, in(std::chrono::hours(1)), source.get_token()));
  canceller.join();
}

TEST(UniqueFunction, HoldsMoveOnlyCaptures) {
  auto number = std::make_unique<int>(3);
  UniqueFunction<int(int)> times = [number = std::move(number)](int x) { return *number * x; };
  UniqueFunction<int(int)> moved = std::move(times);
  EXPECT_FALSE(times);  // NOLINT(bugprone-use-after-move): that is what is tested
  EXPECT_EQ(moved(4), 12);
}

}  // namespace
}  // namespace deepwell
