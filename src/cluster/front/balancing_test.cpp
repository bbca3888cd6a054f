// Who gets new work, who is asked again after a refusal, and who is left alone for a while.
#include <gtest/gtest.h>

#include "cluster/front/retry_budget.hpp"
#include "cluster/front/testing/fake_cluster.hpp"

namespace deepwell::cluster {
namespace {

using Tags = std::vector<std::uint64_t>;
constexpr FakeWorker::Options kRoomy{.n_parallel = 100};
constexpr FakeWorker::Options kFull{.n_parallel = 100, .refuses_with = Code::kResourceExhausted};

class Balancing : public FakeClusterTest {
 protected:
  /// Until all have arrived.
  void start_all(const Tags& tags, const std::vector<FakeWorker*>& workers) {
    std::size_t n_before = n_submitted(workers);
    for (const std::uint64_t tag : tags) {
      readers.push_back(start(tag));
      ++n_before;
      ASSERT_TRUE(wait_until([&] { return n_submitted(workers) >= n_before; }));
    }
  }
  static std::size_t n_submitted(const std::vector<FakeWorker*>& workers) {
    std::size_t n = 0;
    for (const FakeWorker* worker : workers) n += worker->submitted().size();
    return n;
  }
  std::vector<std::shared_ptr<Reader>> readers;
};

TEST_F(Balancing, TakesTurnsByWeightAsNginxDoes) {
  options.balance = Balance::kRoundRobin;
  FakeWorker heavy({1000, 1}, kRoomy);
  FakeWorker light({1001, 1}, kRoomy);
  add(heavy, false, {.weight = 2});
  add(light, false, {.weight = 1});
  start_all({1, 2, 3, 4, 5, 6}, {&heavy, &light});
  EXPECT_EQ(heavy.submitted(), Tags({1, 3, 4, 6}));
  EXPECT_EQ(light.submitted(), Tags({2, 5}));
}

TEST_F(Balancing, TakesTurnsOnlyAmongThoseWithAPlace) {
  options.balance = Balance::kRoundRobin;
  FakeWorker small({1000, 1}, {.n_parallel = 1, .n_max_waiting = 0});
  FakeWorker roomy({1001, 1}, kRoomy);
  add(small, false);
  add(roomy, false);
  start_all({1, 2, 3, 4, 5}, {&small, &roomy});
  EXPECT_EQ(small.submitted(), Tags({1}));
  EXPECT_EQ(roomy.submitted(), Tags({2, 3, 4, 5}));
}

TEST_F(Balancing, AsksABackupOnlyWhileTheOthersRest) {
  for (const Balance mode : {Balance::kRoundRobin, Balance::kLeastLoaded}) {
    options.balance = mode;
    FakeWorker primary({1000, 1}, kRoomy);
    FakeWorker backup({1001, 1}, kRoomy);
    add(primary, false);
    add(backup, false, {.is_backup = true});
    start_all({1, 2, 3}, {&primary, &backup});
    EXPECT_EQ(primary.submitted(), Tags({1, 2, 3}));
    primary.cut({});
    for (const std::uint64_t tag : {1, 2, 3}) backup.wait_submit(tag);
    ASSERT_TRUE(wait_until([&] { return primary.n_streams() == 2; }));
    ASSERT_TRUE(wait_until([&] { return state(primary) == WorkerState::kReady; }));
    start_all({4, 5}, {&primary, &backup});
    EXPECT_EQ(backup.submitted().size(), 5U) << "a lost stream is a failure, and it rests 10 s";
    cluster.reset();
  }
}

TEST_F(Balancing, LeavesAWorkerAloneThatFailedUntilItsRestIsOver) {
  for (const Balance mode : {Balance::kRoundRobin, Balance::kLeastLoaded}) {
    options.balance = mode;
    const RoundRobinPeer rules{.fail_timeout = std::chrono::seconds(1)};
    FakeWorker first({1000, 1}, kRoomy);
    FakeWorker second({1001, 1}, kRoomy);
    add(first, false, rules);
    add(second, false, rules);
    start_all({1}, {&first, &second});
    first.refuse(first.wait_submit(1), Code::kResourceExhausted);
    second.wait_submit(1);
    start_all({2, 3, 4}, {&first, &second});
    EXPECT_EQ(first.submitted(), Tags({1}));
    std::this_thread::sleep_for(std::chrono::milliseconds(2100));
    start_all({5, 6, 7, 8}, {&first, &second});
    EXPECT_EQ(first.submitted().size(), 2U) << "its rest is over: one answer tries it";
    EXPECT_EQ(cluster->counters().n_retried, 1U);
    cluster.reset();
  }
}

TEST_F(Balancing, AsksAWorkerThatRestsWhenNobodyElseIsUp) {
  for (const Balance mode : {Balance::kRoundRobin, Balance::kLeastLoaded}) {
    options.balance = mode;
    const RoundRobinPeer rules{.fail_timeout = std::chrono::hours(1)};
    FakeWorker first({1000, 1}, kRoomy);
    FakeWorker second({1001, 1}, kRoomy);
    add(first, false, rules);
    add(second, false, rules);
    start_all({1}, {&first, &second});
    first.refuse(first.wait_submit(1), Code::kResourceExhausted);
    second.refuse(second.wait_submit(1), Code::kResourceExhausted);  // and the client is told
    ASSERT_TRUE(readers.back()->wait_over());
    start_all({2, 3}, {&first, &second});
    cluster.reset();
  }
}

TEST_F(Balancing, GivesNothingToAWorkerThatIsDown) {
  FakeWorker down({1000, 1}, kRoomy);
  FakeWorker up({1001, 1}, kRoomy);
  add(down, false, {.is_down = true});
  add(up, false);
  start_all({1, 2, 3}, {&down, &up});
  EXPECT_EQ(up.submitted(), Tags({1, 2, 3}));
}

TEST_F(Balancing, GivesMoreToWhoWeighsMore) {
  FakeWorker light({1000, 1}, kRoomy);
  FakeWorker heavy({1001, 1}, kRoomy);
  add(light, false);
  add(heavy, false, {.weight = 3});
  start_all({1, 2, 3, 4, 5, 6, 7, 8}, {&light, &heavy});
  EXPECT_EQ(light.submitted().size(), 2U);
  EXPECT_EQ(heavy.submitted().size(), 6U);
}

TEST_F(Balancing, TellsTheClientWhenEverybodyRefuses) {
  FakeWorker first({1000, 1}, kFull);
  FakeWorker second({1001, 1}, kFull);
  add(first, false);
  add(second, false);
  const auto reader = start(1);
  ASSERT_TRUE(reader->wait_over());
  EXPECT_EQ(reader->error()->code, Code::kResourceExhausted);
  EXPECT_EQ(first.submitted().size(), 1U);
  EXPECT_EQ(second.submitted().size(), 1U);
}

TEST_F(Balancing, StopsAskingOthersWhenTheBudgetIsSpent) {
  FakeWorker first({1000, 1}, kFull);
  FakeWorker second({1001, 1}, kFull);
  add(first, false);
  add(second, false);
  constexpr std::uint64_t kRequests = 40;
  for (std::uint64_t tag = 1; tag <= kRequests; ++tag) {
    const auto reader = start(tag);
    ASSERT_TRUE(reader->wait_over());
    EXPECT_EQ(reader->error()->code, Code::kResourceExhausted);
  }
  const ClusterCounters counters = cluster->counters();
  EXPECT_EQ(counters.n_retried, RetryBudget::kBurst + kRequests / RetryBudget::kPerRetry - 1);
  EXPECT_EQ(counters.n_refused, kRequests + counters.n_retried);
}

TEST_F(Balancing, ARefusalDoesNotEndAnAnswerThatHasBegun) {
  FakeWorker first({1000, 1}, kRoomy);
  FakeWorker second({1001, 1}, kFull);
  add(first, false);
  const auto reader = start(1);
  first.say(first.wait_submit(1), 0, {'a'});
  ASSERT_TRUE(reader->wait_tokens(1));
  add(second, false);
  first.cut({});
  ASSERT_TRUE(wait_until([&] { return cluster->counters().n_refused > 0; }));
  first.say(first.wait_submit(1, 1), 1, {'b'}, FinishReason::kLength);
  ASSERT_TRUE(reader->wait_over());
  EXPECT_FALSE(reader->error());
  EXPECT_EQ(reader->ids(), std::vector<TokenId>({'a', 'b'}));
  EXPECT_EQ(cluster->counters().n_retried, 0U) << "a resumed answer costs no budget";
}

TEST(RetryBudget, AllowsOneInTenAndASmallReserve) {
  RetryBudget budget;
  std::uint32_t n_retries = 0;
  for (std::uint32_t i = 0; i < 1000; ++i) {
    budget.note_submission();
    n_retries += budget.try_spend();
  }
  EXPECT_LE(n_retries, 1000 / RetryBudget::kPerRetry + RetryBudget::kBurst);
  EXPECT_GE(n_retries, 1000 / RetryBudget::kPerRetry);
  for (std::uint32_t i = 0; i < 10'000; ++i) budget.note_submission();
  n_retries = 0;
  while (budget.try_spend()) ++n_retries;
  EXPECT_EQ(n_retries, RetryBudget::kBurst) << "a quiet night saves up no storm";
}

}  // namespace
}  // namespace deepwell::cluster
