// Answers over workers that come, die, lie and come back: always the same tokens, each once.
#include "cluster/front/cluster_generator.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <thread>

#include "base/concat.hpp"
#include "cluster/front/testing/reader.hpp"
#include "cluster/synthetic/synthetic_generator.hpp"
#include "cluster/worker/worker_server.hpp"

namespace deepwell::cluster {
namespace {

using engine::GenerateRequest;
using std::chrono::milliseconds;

/// A worker in this process.
struct LocalWorker {
  explicit LocalWorker(WorkerId the_id, SyntheticOptions options = slow()) : id(the_id) {
    const std::uint32_t n_parallel = options.n_slots;
    const std::uint32_t n_max_waiting = options.n_queue;
    generator = std::make_unique<SyntheticGenerator>(std::move(options));
    address = concat("unix:", ::testing::TempDir(), "worker-", ::getpid(), "-", id.index, "-",
                     id.epoch, ".sock");
    auto started = WorkerServer::start(
        {.address = address, .n_parallel = n_parallel, .n_max_waiting = n_max_waiting}, *generator,
        log);
    EXPECT_TRUE(started) << started.error().message;
    server = std::move(*started);
  }
  static SyntheticOptions slow() {
    SyntheticOptions options;
    options.pace = std::chrono::microseconds(2000);
    options.n_slots = 64;
    return options;
  }

  QuietLog log;
  WorkerId id;
  std::string address;
  std::unique_ptr<SyntheticGenerator> generator;
  std::unique_ptr<WorkerServer> server;  // last: its streams end first
};

GenerateRequest request(std::uint64_t tag, std::uint32_t max_tokens = 200) {
  GenerateRequest request;
  request.prompt = {'h', 'e', 'l', 'l', 'o', static_cast<TokenId>('a' + tag % 20)};
  request.sampling.seed = tag * 7;
  request.max_tokens = max_tokens;
  request.tag = tag;
  return request;
}

std::vector<TokenId> expected(const GenerateRequest& request) {
  std::vector<TokenId> ids;
  for (std::uint32_t i = 0; i < request.max_tokens; ++i) {
    ids.push_back(SyntheticGenerator::formula(request, i));
  }
  return ids;
}

class ClusterGeneratorTest : public ::testing::Test {
 protected:
  void add(const LocalWorker& worker, bool is_supervised = true) {
    const Status added = cluster->add_worker(worker.id, worker.address, is_supervised);
    ASSERT_TRUE(added) << added.error().message;
  }
  void wait_ready(std::size_t n_workers) {
    for (int i = 0; i < 2000; ++i) {
      std::size_t n_ready = 0;
      for (const WorkerReport& report : cluster->workers()) {
        n_ready += report.state == WorkerState::kReady || report.state == WorkerState::kBusy;
      }
      if (cluster->is_ready() && n_ready >= n_workers) return;
      std::this_thread::sleep_for(milliseconds(5));
    }
    FAIL() << "workers did not come up";
  }
  std::shared_ptr<Reader> start(const GenerateRequest& what) {
    auto reader = std::make_shared<Reader>();
    const auto id = cluster->submit(what, reader);
    EXPECT_TRUE(id) << id.error().message;
    return reader;
  }
  void expect_whole(const GenerateRequest& what, Reader& reader) {
    ASSERT_TRUE(reader.wait_over());
    EXPECT_FALSE(reader.error()) << reader.error()->message;
    EXPECT_EQ(reader.finish(), FinishReason::kLength);
    EXPECT_EQ(reader.ids(), expected(what));
    EXPECT_EQ(reader.n_mismatched(), 0U);
  }

  QuietLog log;
  ClusterOptions options;
  std::unique_ptr<ClusterGenerator> cluster = std::make_unique<ClusterGenerator>(options, log);
};

TEST_F(ClusterGeneratorTest, BringsTheTokensAndTheDescriptionOfItsWorker) {
  const LocalWorker worker({0, 1});
  EXPECT_FALSE(cluster->is_ready());
  EXPECT_FALSE(cluster->submit(request(1), std::make_shared<Reader>()));
  add(worker);
  wait_ready(1);
  EXPECT_EQ(cluster->describe().name, "synthetic");
  EXPECT_EQ(cluster->describe().tokenizer->decode(std::vector<TokenId>{'o', 'k'}), "ok");
  const auto reader = start(request(1, 20));
  expect_whole(request(1, 20), *reader);
  for (int i = 0; i < 400 && worker.server->n_held() > 0; ++i) {
    std::this_thread::sleep_for(milliseconds(5));
  }
  EXPECT_EQ(worker.server->n_held(), 0U) << "a worker forgets what its front has";
}

TEST_F(ClusterGeneratorTest, GoesOnElsewhereWithTheSameTokensWhenAWorkerDies) {
  auto first = std::make_unique<LocalWorker>(WorkerId{0, 1});
  const LocalWorker second({1, 2});
  add(*first);
  add(second);
  wait_ready(2);
  std::vector<std::shared_ptr<Reader>> readers;
  for (std::uint64_t tag = 1; tag <= 20; ++tag) readers.push_back(start(request(tag)));
  ASSERT_TRUE(readers.back()->wait_tokens(30));
  first.reset();
  cluster->worker_died({0, 1}, {});
  for (std::uint64_t tag = 1; tag <= 20; ++tag) expect_whole(request(tag), *readers[tag - 1]);
  EXPECT_GE(cluster->counters().n_resumed, 5U);
  EXPECT_EQ(cluster->counters().n_failed, 0U);
}

TEST_F(ClusterGeneratorTest, MovesAfterAMomentWhenOnlyTheStreamBreaks) {
  auto first = std::make_unique<LocalWorker>(WorkerId{0, 1});
  add(*first);
  wait_ready(1);
  const auto reader = start(request(3));
  ASSERT_TRUE(reader->wait_tokens(10));
  first.reset();  // nobody says that it died
  const LocalWorker second({1, 2});
  add(second);
  expect_whole(request(3), *reader);
}

TEST_F(ClusterGeneratorTest, WaitsForTheSuccessorOfItsOnlyWorker) {
  auto first = std::make_unique<LocalWorker>(WorkerId{0, 1});
  add(*first);
  wait_ready(1);
  const auto reader = start(request(4));
  ASSERT_TRUE(reader->wait_tokens(10));
  first.reset();
  cluster->worker_died({0, 1}, {});
  const auto later = start(request(5, 10));  // accepted meanwhile, and computed afterwards
  std::this_thread::sleep_for(milliseconds(100));
  const LocalWorker successor({0, 2});
  add(successor);
  expect_whole(request(4), *reader);
  expect_whole(request(5, 10), *later);
}

TEST_F(ClusterGeneratorTest, FindsWhatWentOnWithoutItsFront) {
  const LocalWorker worker({0, 1});
  add(worker);
  wait_ready(1);
  const auto before = start(request(6, 400));
  ASSERT_TRUE(before->wait_tokens(50));
  cluster = std::make_unique<ClusterGenerator>(options, log);  // the front before has gone
  ASSERT_TRUE(before->error());
  add(worker);
  wait_ready(1);
  const std::uint64_t n_before = worker.generator->status().n_generated_tok;
  EXPECT_GT(n_before, 40U);
  const auto after = start(request(6, 400));
  expect_whole(request(6, 400), *after);
  EXPECT_LE(worker.generator->status().n_generated_tok, 400U) << "nothing was computed twice";
  EXPECT_EQ(worker.generator->n_cancelled(), 0U);
}

TEST_F(ClusterGeneratorTest, GivesUpWhoWasInTheStepsOfTwoCrashesAndNobodyElse) {
  auto first = std::make_unique<LocalWorker>(WorkerId{0, 1});
  add(*first);
  wait_ready(1);
  std::vector<std::shared_ptr<Reader>> readers;
  for (std::uint64_t tag = 1; tag <= 6; ++tag) readers.push_back(start(request(tag)));
  ASSERT_TRUE(readers.back()->wait_tokens(5));
  first.reset();
  cluster->worker_died({0, 1}, {1, 2, 3});  // 2 is the one
  auto second = std::make_unique<LocalWorker>(WorkerId{0, 2}, [] {
    auto slow = LocalWorker::slow();
    slow.pace = milliseconds(50);
    return slow;
  }());
  add(*second);
  // 4, 5 and 6 go on; of the suspects only the first, alone.
  ASSERT_TRUE(readers[3]->wait_tokens(readers[3]->ids().size() + 1));
  second.reset();
  cluster->worker_died({0, 2}, {1, 4, 5, 6});
  ASSERT_TRUE(readers[0]->wait_over());
  ASSERT_TRUE(readers[0]->error());
  EXPECT_EQ(readers[0]->error()->reason, "engine_crashed");
  const LocalWorker third({0, 3});
  add(third);
  for (std::uint64_t tag = 2; tag <= 6; ++tag) expect_whole(request(tag), *readers[tag - 1]);
}

TEST_F(ClusterGeneratorTest, RefusesBeyondTheQueuesAndFreesPlacesAgain) {
  SyntheticOptions small = LocalWorker::slow();
  small.n_slots = 2;
  small.n_queue = 1;
  const LocalWorker worker({0, 1}, small);
  add(worker);
  wait_ready(1);
  std::vector<std::shared_ptr<Reader>> readers;
  for (std::uint64_t tag = 1; tag <= 3; ++tag) readers.push_back(start(request(tag, 1000)));
  const auto refused = cluster->submit(request(9), std::make_shared<Reader>());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kResourceExhausted);
  cluster->cancel(1);
  const auto accepted = start(request(9, 5));
  cluster->cancel(2);
  expect_whole(request(9, 5), *accepted);
}

TEST_F(ClusterGeneratorTest, LetsTheUrgentPassItsOwnTenantAndNobodyElse) {
  SyntheticOptions small = LocalWorker::slow();
  small.n_slots = 1;
  small.n_queue = 64;
  const LocalWorker worker({0, 1}, small);
  add(worker);
  wait_ready(1);
  const auto of = [](std::uint64_t tag, const char* tenant, engine::Priority priority) {
    GenerateRequest one = request(tag, 20);
    one.tenant = tenant;
    one.priority = priority;
    return one;
  };
  std::vector<std::shared_ptr<Reader>> first;  // the place, and two ahead of it
  for (std::uint64_t tag = 1; tag <= 3; ++tag)
    first.push_back(start(of(tag, "a", engine::Priority::kNormal)));
  std::map<std::uint64_t, std::shared_ptr<Reader>> waiting;
  for (std::uint64_t tag = 11; tag <= 13; ++tag)
    waiting[tag] = start(of(tag, "a", engine::Priority::kNormal));
  waiting[21] = start(of(21, "b", engine::Priority::kNormal));
  waiting[31] = start(of(31, "a", engine::Priority::kHigh));
  waiting[32] = start(of(32, "a", engine::Priority::kHigh));
  std::vector<std::uint64_t> order;
  for (int i = 0; i < 20'000 && order.size() < waiting.size(); ++i) {
    for (const auto& [tag, reader] : waiting) {
      const bool has_begun = !reader->ids().empty();
      if (has_begun && std::find(order.begin(), order.end(), tag) == order.end())
        order.push_back(tag);
    }
    std::this_thread::sleep_for(milliseconds(1));
  }
  EXPECT_EQ((std::vector<std::uint64_t>{21, 31, 32, 11, 12, 13}), order);
}

TEST_F(ClusterGeneratorTest, TellsWhatAWorkerRefuses) {
  SyntheticOptions small = LocalWorker::slow();
  small.n_ctx_tok = 4;
  const LocalWorker worker({0, 1}, small);
  add(worker);
  wait_ready(1);
  const auto reader = start(request(1));
  ASSERT_TRUE(reader->wait_over());
  ASSERT_TRUE(reader->error());
  EXPECT_EQ(reader->error()->code, Code::kOutOfRange);
}

TEST_F(ClusterGeneratorTest, GivesLessToAWorkerWhoseTokensComeLate) {
  SyntheticOptions late = LocalWorker::slow();
  late.pace = milliseconds(800);
  const LocalWorker slow({0, 1}, late);
  SyntheticOptions quick = LocalWorker::slow();
  quick.pace = milliseconds(20);
  const LocalWorker well({1, 2}, quick);
  add(slow);
  add(well);
  wait_ready(2);
  const auto report_of = [&](const LocalWorker& worker) {
    for (const WorkerReport& report : cluster->workers()) {
      if (report.id == worker.id) return report;
    }
    return WorkerReport();
  };
  std::vector<std::shared_ptr<Reader>> readers;
  for (std::uint64_t tag = 1; tag <= 8; ++tag) readers.push_back(start(request(tag, 4000)));
  ASSERT_EQ(report_of(slow).n_assigned, 4U);
  for (int i = 0; i < 4000 && !report_of(slow).is_slow; ++i) {
    std::this_thread::sleep_for(milliseconds(5));
  }
  ASSERT_TRUE(report_of(slow).is_slow);
  EXPECT_FALSE(report_of(well).is_slow);
  for (std::uint64_t tag = 9; tag <= 16; ++tag) readers.push_back(start(request(tag, 4000)));
  EXPECT_EQ(report_of(slow).n_assigned, 4U);
  EXPECT_EQ(report_of(well).n_assigned, 12U);
  EXPECT_EQ(cluster->counters().n_slow, 1U);
}

}  // namespace
}  // namespace deepwell::cluster
