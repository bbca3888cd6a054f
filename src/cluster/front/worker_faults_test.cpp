// Workers that go silent, come back, forget, crash, or are of another age.
#include <gtest/gtest.h>

#include "cluster/front/testing/fake_cluster.hpp"

namespace deepwell::cluster {
namespace {

using Tags = std::vector<std::uint64_t>;
using Ids = std::vector<TokenId>;
class WorkerFaults : public FakeClusterTest {};

Ids ids_of(const google::protobuf::RepeatedField<std::int32_t>& ids) {
  return {ids.begin(), ids.end()};
}

TEST_F(WorkerFaults, AResumedAnswerIsNotOvertakenByNewOnes) {
  FakeWorker first({0, 1});
  add(first);
  const auto resumed = start(1);
  first.say(first.wait_submit(1), 0, {'x'});
  ASSERT_TRUE(resumed->wait_tokens(1));
  FakeWorker second({1, 2});  // one place, and two may wait in it
  add(second);
  const auto running = start(2);
  const proto::Submit its_submit = second.wait_submit(2);
  cluster->worker_died({0, 1}, {});
  const auto newcomer = start(3);  // the second worker would let it wait
  let_it_come();
  EXPECT_EQ(second.submitted(), Tags({2})) << "a resumed answer waits for a free place";
  second.say(its_submit, 0, {'y'}, FinishReason::kLength);
  const proto::Submit again = second.wait_submit(1);
  EXPECT_EQ(ids_of(again.generated()), Ids({'x'}));
  second.wait_submit(3);
  EXPECT_EQ(second.submitted(), Tags({2, 1, 3}));
}

TEST_F(WorkerFaults, HearsNothingFromAWorkerThatWasReplacedAndWakesUp) {
  FakeWorker first({0, 1});
  FakeWorker second({1, 2});
  add(first);
  const auto reader = start(1);
  const proto::Submit old = first.wait_submit(1);
  first.say(old, 0, {'a'});
  ASSERT_TRUE(reader->wait_tokens(1));
  add(second);
  first.set_silent(true);
  const proto::Submit fresh = second.wait_submit(1);  // hedged, then moved
  EXPECT_GT(fresh.epoch(), old.epoch());
  ASSERT_TRUE(wait_until([&] { return n_kills > 0; }));
  second.say(fresh, 1, {'b'});
  ASSERT_TRUE(reader->wait_tokens(2));
  first.say(old, 2, {'X'});  // it was only stopped, and goes on where it was
  first.set_silent(false);
  let_it_come();
  second.say(fresh, 2, {'c'}, FinishReason::kLength);
  ASSERT_TRUE(reader->wait_over());
  EXPECT_EQ(reader->ids(), Ids({'a', 'b', 'c'}));
}

TEST_F(WorkerFaults, HearsNothingOfAnEarlierAttemptOnTheSameWorker) {
  FakeWorker worker({0, 1});
  add(worker);
  const auto reader = start(1);
  const proto::Submit old = worker.wait_submit(1);
  worker.say(old, 0, {'a'});
  ASSERT_TRUE(reader->wait_tokens(1));
  worker.cut({1});
  const proto::Submit fresh = worker.wait_submit(1, 1);
  worker.say(old, 1, {'X'});
  worker.say(fresh, 1, {'b'}, FinishReason::kLength);
  ASSERT_TRUE(reader->wait_over());
  EXPECT_EQ(reader->ids(), Ids({'a', 'b'}));
}

TEST_F(WorkerFaults, TakesUpWhatWentOnWhileTheStreamWasBroken) {
  FakeWorker worker({0, 1});
  add(worker);
  const auto reader = start(1);
  const proto::Submit old = worker.wait_submit(1);
  worker.say(old, 0, {'a', 'b'});
  ASSERT_TRUE(reader->wait_tokens(2));
  worker.cut({1});
  const proto::Submit fresh = worker.wait_submit(1, 1);
  EXPECT_GT(fresh.epoch(), old.epoch());
  EXPECT_EQ(ids_of(fresh.generated()), Ids({'a', 'b'}));
  worker.say(fresh, 2, {'c'}, FinishReason::kLength);
  ASSERT_TRUE(reader->wait_over());
  EXPECT_EQ(reader->ids(), Ids({'a', 'b', 'c'}));
}

TEST_F(WorkerFaults, SubmitsAgainWhatTheWorkerForgotWhileTheStreamWasBroken) {
  FakeWorker worker({0, 1});
  add(worker);
  const auto reader = start(1);
  worker.say(worker.wait_submit(1), 0, {'a'});
  ASSERT_TRUE(reader->wait_tokens(1));
  worker.cut({});
  const proto::Submit fresh = worker.wait_submit(1, 1);
  EXPECT_EQ(ids_of(fresh.generated()), Ids({'a'}));
  worker.say(fresh, 1, {'b'}, FinishReason::kLength);
  ASSERT_TRUE(reader->wait_over());
  EXPECT_EQ(reader->ids(), Ids({'a', 'b'}));
}

TEST_F(WorkerFaults, CancelsWhatWentOnElsewhereMeanwhile) {
  FakeWorker first({1000, 1});
  FakeWorker second({1001, 1});
  add(first, false);
  const auto reader = start(1);
  const proto::Submit old = first.wait_submit(1);
  first.say(old, 0, {'a'});
  ASSERT_TRUE(reader->wait_tokens(1));
  add(second, false);
  first.cut({1});
  const proto::Submit fresh = second.wait_submit(1);
  EXPECT_TRUE(first.wait_cancel(1));
  first.say(old, 1, {'X'});
  let_it_come();
  second.say(fresh, 1, {'b'}, FinishReason::kLength);
  ASSERT_TRUE(reader->wait_over());
  EXPECT_EQ(reader->ids(), Ids({'a', 'b'}));
}

TEST_F(WorkerFaults, ComputesOneSuspectAtATimeUntilItsNextToken) {
  FakeWorker first({0, 1}, {.n_parallel = 8});
  add(first);
  for (const std::uint64_t tag : {1, 2, 3}) static_cast<void>(start(tag));
  for (const std::uint64_t tag : {1, 2, 3}) first.say(first.wait_submit(tag), 0, {'a'});
  let_it_come();
  cluster->worker_died({0, 1}, {1, 2});
  FakeWorker second({0, 2}, {.n_parallel = 8});
  add(second);
  second.wait_submit(3);  // no suspect
  const proto::Submit suspect = second.wait_submit(1);
  let_it_come();
  EXPECT_EQ(second.submitted().size(), 2U) << "the second suspect waits for the first";
  second.say(suspect, 1, {'b'});
  second.wait_submit(2);
}

TEST_F(WorkerFaults, RefusesAWorkerOfAnotherAge) {
  class Listening final : public Log {
   public:
    void write(LogLevel, std::string_view line) override {
      const std::lock_guard lock(mutex_);
      text_ += line;
    }
    bool has(std::string_view part) const {
      const std::lock_guard lock(mutex_);
      return text_.find(part) != std::string::npos;
    }

   private:
    mutable std::mutex mutex_;
    std::string text_;
  } heard;
  const FakeWorker newer({0, 1}, {.protocol = kOurVersions.newest + 1});
  const FakeWorker older({1, 2}, {.protocol = kOurVersions.oldest - 1});
  cluster = std::make_unique<ClusterGenerator>(options, heard);
  ASSERT_TRUE(cluster->add_worker(newer.id, newer.address, true));
  ASSERT_TRUE(cluster->add_worker(older.id, older.address, true));
  ASSERT_TRUE(wait_until([&] {
    return heard.has(concat("protocol ", kOurVersions.newest + 1)) &&
           heard.has(concat("protocol ", kOurVersions.oldest - 1));
  }));
  EXPECT_TRUE(heard.has(concat("speaks ", kOurVersions.oldest, " to ", kOurVersions.newest)));
  EXPECT_FALSE(cluster->is_ready());
  EXPECT_EQ(state(newer), WorkerState::kDown);
  EXPECT_EQ(state(older), WorkerState::kDown);
  std::this_thread::sleep_for(std::chrono::milliseconds(800));
  EXPECT_EQ(newer.n_streams(), 1U) << "it is asked again after a while only";
}

}  // namespace
}  // namespace deepwell::cluster
