// Tests of answers that outlive readers and servers, without sockets.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "base/ids.hpp"
#include "base/thread_pool.hpp"
#include "cluster/synthetic/synthetic_generator.hpp"
#include "service/dialogue/answer_book.hpp"
#include "service/dialogue/answer_reader.hpp"
#include "service/dialogue/dialogue.hpp"
#include "service/dialogue/testing/held_store.hpp"
#include "service/store/sqlite.hpp"

namespace deepwell::service {
namespace {

using namespace std::chrono_literals;
using cluster::SyntheticGenerator;
using cluster::SyntheticOptions;
using testing::HeldStore;

template <class Condition>
bool eventually(Condition condition) {
  for (int i = 0; i < 1000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(5ms);
  }
  return false;
}

// What a reader put together.
struct Read {
  std::string text;
  std::optional<Error> error;
};

class LiveTest : public ::testing::Test {
 protected:
  std::unique_ptr<Dialogue> make(std::string front_id, std::vector<std::string> dead_fronts = {}) {
    DialogueOptions options;
    options.front_id = std::move(front_id);
    options.dead_fronts = std::move(dead_fronts);
    options.lease = 300ms;
    options.survives_process = true;
    options.on_end = [this](const AnswerSummary& summary) {
      n_continued_ += summary.is_continued ? 1 : 0;
      ++n_ended_;
    };
    auto made = Dialogue::create(*generator_, pool_, store_, null_log(), std::move(options));
    EXPECT_TRUE(made) << (made ? "" : made.error().message);
    return made ? std::move(*made) : nullptr;
  }

  Result<std::unique_ptr<Answer>> start(Dialogue& dialogue, std::uint32_t max_tokens,
                                        std::string key = "") {
    Turn turn;
    turn.messages.push_back({.role = "user", .content = "hi"});
    turn.max_tokens = max_tokens;
    Ask ask{.id = random_id("chatcmpl-"), .model = "m", .is_streamed = true};
    ask.request_hash = key.empty() ? "" : "hash";
    ask.idempotency_key = std::move(key);
    return sync_wait(dialogue.start(std::move(turn), std::move(ask), local_principal(), home_));
  }
  Result<std::unique_ptr<Answer>> attach(Dialogue& dialogue, std::string id,
                                         ChoiceCursor from = {}) {
    const auto cursor = [from](std::uint32_t) -> Result<Cursor> {
      return Cursor{.choices = {from}};
    };
    return sync_wait(dialogue.attach(std::move(id), cursor, local_principal(), home_));
  }

  Task<Result<std::vector<AnswerDelta>>> next(Answer& answer, std::chrono::milliseconds limit) {
    co_await resume_on(home_);
    const CancelToken never;
    const SteadyTime deadline = std::chrono::steady_clock::now() + limit;
    co_return co_await answer.next(deadline, never);
  }
  Read read_all(Answer& answer) {
    Read read;
    while (!answer.is_finished()) {
      auto deltas = sync_wait(next(answer, 10s));
      if (!deltas) {
        read.error = std::move(deltas).error();
        break;
      }
      for (const AnswerDelta& delta : *deltas) read.text += delta.content;
    }
    return read;
  }
  StreamRecord record(const std::string& id) {
    auto look = [&](StoreDone<StreamRecord> done) { store_.find(id, std::move(done)); };
    return sync_wait(await_store<StreamRecord>(home_, look)).value_or({});
  }

  ThreadPool pool_{2};
  ThreadPool home_{1};
  HeldStore store_{open_sqlite_store({}, null_log())};
  std::atomic<int> n_continued_ = 0;
  std::atomic<int> n_ended_ = 0;
  std::unique_ptr<SyntheticGenerator> generator_ =
      std::make_unique<SyntheticGenerator>(SyntheticOptions{.pace = 1ms});
};

TEST_F(LiveTest, GivesNothingBeforeTheJournalHasTheAnswer) {
  const auto dialogue = make("a");
  store_.hold_admissions();
  auto answer = start(*dialogue, 5);
  ASSERT_TRUE(answer);
  ASSERT_TRUE(eventually([this] { return generator_->status().n_generated_tok == 5; }));
  EXPECT_FALSE((*answer)->is_decided());
  EXPECT_EQ(sync_wait(next(**answer, 30ms)).error().code, Code::kDeadlineExceeded);
  store_.release();
  EXPECT_EQ(read_all(**answer).text.size(), 5U);
  EXPECT_TRUE((*answer)->is_resumable());
}

TEST_F(LiveTest, JournalsWhatAnAnswerCameTo) {
  const auto dialogue = make("a");
  auto answer = start(*dialogue, 5);
  const std::string id = (*answer)->info().id;
  const std::string text = read_all(**answer).text;
  ASSERT_TRUE(eventually([&] { return record(id).state == StreamState::kFinished; }));
  const auto outcome = decode_outcome(record(id).outcome);
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->choices.at(0).ids.size(), 5U);
  EXPECT_EQ(outcome->usage, (*answer)->usage());
  EXPECT_EQ(dialogue->stats().n_live, 0U) << "a journalled answer needs no memory";
  EXPECT_EQ(read_all(**attach(*dialogue, id)).text, text);
}

TEST_F(LiveTest, KeepsAnEndUntilTheJournalTakesIt) {
  const auto dialogue = make("a");
  store_.fail_ends(2);
  auto answer = start(*dialogue, 5);
  const std::string id = (*answer)->info().id;
  const std::string text = read_all(**answer).text;
  ASSERT_TRUE(eventually([this] { return n_ended_ == 1; }));
  EXPECT_EQ(read_all(**attach(*dialogue, id)).text, text);
  EXPECT_EQ(record(id).state, StreamState::kRunning);
  EXPECT_TRUE(eventually([&] { return record(id).state == StreamState::kFinished; }));
  EXPECT_TRUE(eventually([&] { return dialogue->stats().n_live == 0; }));
}

TEST_F(LiveTest, SubmitsTheSameTagsSeedAndPromptAfterItsServerLeft) {
  std::mutex mutex;
  std::vector<engine::GenerateRequest> submitted;
  SyntheticOptions options;
  options.pace = 1ms;
  options.script = [&](const engine::GenerateRequest& request) {
    const std::lock_guard lock(mutex);
    submitted.push_back(request);
    return std::string(300, 'x');
  };
  generator_ = std::make_unique<SyntheticGenerator>(options);
  std::string id;
  {
    auto dialogue = make("a");
    auto answer = start(*dialogue, 300);
    id = (*answer)->info().id;
    ASSERT_TRUE(sync_wait(next(**answer, 10s)));
    answer->reset();
  }
  EXPECT_EQ(record(id).state, StreamState::kRunning);
  const auto dialogue = make("b");  // "a" let its lease go: nobody has to say that it is dead
  EXPECT_EQ(dialogue->stats().n_taken_over, 1U);
  EXPECT_EQ(read_all(**attach(*dialogue, id)).text.size(), 300U);
  const std::lock_guard lock(mutex);
  ASSERT_EQ(submitted.size(), 2U);
  EXPECT_NE(submitted[0].tag, 0U);
  EXPECT_EQ(submitted[1].tag, submitted[0].tag);
  EXPECT_EQ(submitted[1].sampling.seed, submitted[0].sampling.seed);
  EXPECT_EQ(submitted[1].prompt, submitted[0].prompt);
  EXPECT_TRUE(submitted[1].generated.empty());
}

TEST_F(LiveTest, LeavesTheAnswerOfALivingServerAlone) {
  const auto one = make("a");
  auto answer = start(*one, 3000);
  const std::string id = (*answer)->info().id;
  const auto two = make("b");
  const auto refused = attach(*two, id);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, kReasonElsewhere);
  std::this_thread::sleep_for(600ms);  // two leases long
  EXPECT_EQ(two->stats().n_taken_over, 0U) << "its lease is renewed";
}

TEST_F(LiveTest, RunsAnAbandonedAnswerOfAKeyAgainWithTheSameTokens) {
  const auto dialogue = make("a");
  auto first = start(*dialogue, 400, "key");
  const std::string id = (*first)->info().id;
  auto some = sync_wait(next(**first, 10s));
  ASSERT_TRUE(some);
  const std::string begun = some->front().content;
  (*first)->stop();
  first->reset();
  ASSERT_TRUE(eventually([&] { return record(id).state == StreamState::kAbandoned; }));
  ASSERT_TRUE(eventually([&] { return dialogue->stats().n_live == 0; }));
  auto again = start(*dialogue, 400, "key");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ((*again)->info().id, id);
  const Read whole = read_all(**again);
  EXPECT_EQ(whole.text.size(), 400U);
  EXPECT_TRUE(whole.text.starts_with(begun));
  EXPECT_EQ(record(id).epoch, 2U);
}

TEST_F(LiveTest, InterruptsReadersAndNotTheAnswer) {
  const auto dialogue = make("a");
  auto answer = start(*dialogue, 60);
  ASSERT_TRUE(sync_wait(next(**answer, 10s)));
  dialogue->interrupt(Error{.code = Code::kUnavailable, .message = "leaving", .reason = "r"});
  const Read read = read_all(**answer);
  ASSERT_TRUE(read.error);
  EXPECT_EQ(read.error->reason, "r");
  EXPECT_TRUE(
      eventually([&] { return record((*answer)->info().id).state == StreamState::kFinished; }));
}

TEST_F(LiveTest, RunsOneAnswerWhenTwoServersBeginAKeyAtOnce) {
  const auto a = make("a");
  const auto b = make("b");
  auto mine = start(*a, 200, "key");
  ASSERT_TRUE(mine);
  const std::string id = (*mine)->info().id;
  ASSERT_TRUE(eventually([&] { return (*mine)->is_decided(); }));
  store_.hide_keys(true);  // b looks before a's record is written, and writes behind it
  auto late = start(*b, 200, "key");
  store_.hide_keys(false);
  ASSERT_TRUE(late);
  const Read refused = read_all(**late);
  EXPECT_TRUE(refused.text.empty()) << "it would be another answer than the key's";
  ASSERT_TRUE(refused.error);
  EXPECT_EQ(refused.error->reason, kReasonElsewhere);
  EXPECT_TRUE(eventually([&] { return generator_->status().n_running <= 1; }));
  const std::string text = read_all(**mine).text;
  EXPECT_EQ(text.size(), 200U);
  ASSERT_TRUE(eventually([&] { return record(id).state == StreamState::kFinished; }));
  auto again = start(*b, 200, "key");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ((*again)->info().id, id);
  EXPECT_EQ(read_all(**again).text, text);
}

TEST_F(LiveTest, ShowsNothingOfAnAnswerThatCameTooLateForItsKeyEvenIfItHasEnded) {
  const auto a = make("a");
  const auto b = make("b");
  auto mine = start(*a, 200, "key");
  ASSERT_TRUE(eventually([&] { return (*mine)->is_decided(); }));
  store_.hide_keys(true);
  store_.hold_admissions();
  auto late = start(*b, 3, "key");
  ASSERT_TRUE(late);
  ASSERT_TRUE(eventually([&] { return n_ended_ == 1; }));
  store_.release();
  const Read refused = read_all(**late);
  EXPECT_TRUE(refused.text.empty());
  ASSERT_TRUE(refused.error);
  EXPECT_EQ(refused.error->reason, kReasonElsewhere);
}

TEST_F(LiveTest, TellsTheOtherServerOfAKeyWhoseAnswerStillRuns) {
  const auto a = make("a");
  const auto b = make("b");
  auto mine = start(*a, 2000, "key");
  ASSERT_TRUE(mine);
  ASSERT_TRUE(eventually([&] { return (*mine)->is_decided(); }));
  auto other = start(*b, 2000, "key");
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().reason, kReasonElsewhere);
  EXPECT_EQ(other.error().code, Code::kUnavailable);
}

TEST_F(LiveTest, TakesACursorAtTheVeryEndAndNoneBehindIt) {
  const auto dialogue = make("a");
  auto answer = start(*dialogue, 5);
  const std::string id = (*answer)->info().id;
  // Of an answer that runs, any cursor may come true yet.
  auto ahead = attach(*dialogue, id, {.n_tok = 6});
  auto at_end = attach(*dialogue, id, {.n_tok = 5});
  ASSERT_TRUE(ahead);
  ASSERT_TRUE(at_end);
  const Read too_far = read_all(**ahead);
  ASSERT_TRUE(too_far.error);
  EXPECT_EQ(too_far.error->code, Code::kInvalidArgument);
  EXPECT_EQ(too_far.error->field, "starting_after");
  const Read rest = read_all(**at_end);
  EXPECT_FALSE(rest.error);
  EXPECT_TRUE(rest.text.empty());
  EXPECT_TRUE((*at_end)->is_finished()) << "its end was given";
  // Of one that has ended, it is known at once.
  EXPECT_EQ(attach(*dialogue, id, {.n_tok = 6}).error().field, "starting_after");
  EXPECT_EQ(attach(*dialogue, id, {.n_tok = 4, .has_finished = true}).error().field,
            "starting_after");
  auto all = attach(*dialogue, id, {.n_tok = 5, .has_finished = true});
  ASSERT_TRUE(all);
  EXPECT_TRUE((*all)->is_finished());
}

// Keeps the sinks that it is given, as one does whose worker is long gone.
class KeepsSinks final : public engine::Generator {
 public:
  explicit KeepsSinks(engine::Generator& other) : other_(other) {}
  const engine::ModelDescription& describe() const override { return other_.describe(); }
  Result<engine::GenerationId> submit(engine::GenerateRequest,
                                      std::shared_ptr<engine::GenerationSink> sink) override {
    sinks.push_back(std::move(sink));
    return engine::GenerationId{sinks.size()};
  }
  void cancel(engine::GenerationId) override { ++n_cancelled; }
  Status force(engine::GenerationId, std::vector<engine::TokenId>) override { return {}; }
  Status attach(engine::GenerationId, std::uint32_t,
                std::shared_ptr<engine::GenerationSink>) override {
    return {};
  }
  engine::GeneratorStatus status() const override { return {}; }

  std::vector<std::shared_ptr<engine::GenerationSink>> sinks;
  std::atomic<int> n_cancelled = 0;

 private:
  engine::Generator& other_;
};

TEST_F(LiveTest, IsDeafToSinksThatOutliveIt) {
  KeepsSinks generator(*generator_);
  std::string id;
  {
    DialogueOptions options;
    options.survives_process = true;
    options.on_end = [this](const AnswerSummary&) { ++n_ended_; };
    const auto dialogue =
        std::move(*Dialogue::create(generator, pool_, store_, null_log(), std::move(options)));
    auto answer = start(*dialogue, 5);
    ASSERT_TRUE(answer);
    id = (*answer)->info().id;
    ASSERT_TRUE(eventually([&] { return (*answer)->is_resumable(); }));
  }
  ASSERT_EQ(generator.sinks.size(), 1U);
  engine::GenerationEvent last;
  last.ids = {'a', 'b'};
  last.finish = engine::FinishReason::kStop;
  generator.sinks.front()->on_event(std::move(last));
  EXPECT_EQ(n_ended_, 0) << "nobody is there to be told";
  EXPECT_EQ(generator.n_cancelled, 0);
  EXPECT_EQ(record(id).state, StreamState::kRunning) << "its successor goes on with it";
}

// A generator that says all at once what it is told to, such as what the cluster says when a moved
// answer came out differently.
class AllAtOnce final : public engine::Generator {
 public:
  AllAtOnce(engine::Generator& other, engine::GenerationEvent event)
      : other_(other), event_(std::move(event)) {}
  const engine::ModelDescription& describe() const override { return other_.describe(); }
  Result<engine::GenerationId> submit(engine::GenerateRequest,
                                      std::shared_ptr<engine::GenerationSink> sink) override {
    sink->on_event(event_);
    return engine::GenerationId{1};
  }
  void cancel(engine::GenerationId) override { ++n_cancelled; }
  Status force(engine::GenerationId, std::vector<engine::TokenId>) override { return {}; }
  Status attach(engine::GenerationId, std::uint32_t,
                std::shared_ptr<engine::GenerationSink>) override {
    return {};
  }
  engine::GeneratorStatus status() const override { return {}; }

  std::atomic<int> n_cancelled = 0;

 private:
  engine::Generator& other_;
  const engine::GenerationEvent event_;
};

TEST_F(LiveTest, CutsABatchOfTokensBehindTheStopString) {
  engine::GenerationEvent event;
  event.ids = {'a', 'b', 'S', 'T', 'O', 'P', 'c', 'd'};  // and it would go on
  AllAtOnce generator(*generator_, std::move(event));
  const auto dialogue = std::move(*Dialogue::create(generator, pool_, store_, null_log()));
  Turn turn;
  turn.messages.push_back({.role = "user", .content = "hi"});
  turn.stop = {"STOP"};
  Ask ask{.id = "chatcmpl-x", .model = "m"};
  auto answer =
      sync_wait(dialogue->start(std::move(turn), std::move(ask), local_principal(), home_));
  ASSERT_TRUE(answer);
  EXPECT_EQ(read_all(**answer).text, "ab");
  EXPECT_EQ((*answer)->usage().n_generated_tok, 6U);
  EXPECT_TRUE(eventually([&] { return generator.n_cancelled == 1; })) << "it must not go on";
}

TEST_F(LiveTest, MarksAnAnswerThatMovedAndDiffered) {
  engine::GenerationEvent event;
  event.ids = {'a', 'b'};
  event.n_mismatched_tok = 1;
  event.finish = engine::FinishReason::kStop;
  AllAtOnce generator(*generator_, std::move(event));
  DialogueOptions options;
  options.on_end = [this](const AnswerSummary& summary) {
    n_continued_ += summary.is_continued ? 1 : 0;
  };
  const auto dialogue =
      std::move(*Dialogue::create(generator, pool_, store_, null_log(), std::move(options)));
  auto answer = start(*dialogue, 5);
  const std::string id = (*answer)->info().id;
  EXPECT_EQ(read_all(**answer).text, "ab");
  EXPECT_TRUE((*answer)->is_continued());
  EXPECT_EQ(n_continued_, 1);
  ASSERT_TRUE(eventually([&] { return record(id).state == StreamState::kFinished; }));
  EXPECT_TRUE((*attach(*dialogue, id))->is_continued()) << "in the journal too";
}

// --- parts -------------------------------------------------------------------------------------

TEST(AnswerPlan, ComesBackFromTheJournalToTheLastBit) {
  AnswerPlan plan;
  plan.prompt = {1, 2, 3};
  plan.sampling.temperature = 0.1F;
  plan.sampling.top_p = 0.95F;
  plan.sampling.logit_bias = {{7, -1.3F}};
  plan.sampling.seed = UINT64_MAX;
  plan.max_tokens = 5;
  plan.tags = {UINT64_MAX, 1};
  plan.stop = {"\n", "停"};
  plan.reasoning = kThinkTags;
  plan.is_thought_open = plan.is_streamed = plan.use_usage_chunk = plan.ignore_end = true;
  plan.use_service_tier = true;
  plan.priority = engine::Priority::kHigh;
  const auto back = decode_plan(encode_plan(plan), plan.prompt);
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(back->sampling.temperature, plan.sampling.temperature);
  EXPECT_EQ(back->sampling.top_p, plan.sampling.top_p);
  EXPECT_EQ(back->sampling.logit_bias, plan.sampling.logit_bias);
  EXPECT_EQ(back->sampling.seed, plan.sampling.seed);
  EXPECT_EQ(back->tags, plan.tags);
  EXPECT_EQ(back->stop, plan.stop);
  EXPECT_EQ(back->reasoning->close, "</think>");
  EXPECT_EQ(back->priority, plan.priority);
  EXPECT_TRUE(back->use_service_tier);
  EXPECT_EQ(encode_plan(*back), encode_plan(plan));
}

TEST(AnswerPlan, ReadsWhatWasWrittenBeforeThereWerePriorities) {
  AnswerPlan plan;
  plan.tags = {1};
  nlohmann::json written = nlohmann::json::parse(encode_plan(plan));
  ASSERT_EQ(written.erase("priority") + written.erase("use_service_tier"), 2U);
  const auto back = decode_plan(written.dump(), {});
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(back->priority, engine::Priority::kNormal);
  EXPECT_FALSE(back->use_service_tier);
  written["priority"] = 4;
  EXPECT_EQ(decode_plan(written.dump(), {}).error().code, Code::kDataLoss);
}

TEST(AnswerPlan, RefusesWhatItDidNotWrite) {
  for (const char* text : {"", "{}", "[]", "{\"sampling\":1}", "nonsense"}) {
    EXPECT_EQ(decode_plan(text, {}).error().code, Code::kDataLoss) << text;
    EXPECT_EQ(decode_outcome(text).error().code, Code::kDataLoss) << text;
  }
}

TEST(QueueGate, CountsWhoWaitsByTenantAndInAll) {
  const auto gate = std::make_shared<QueueGate>(
      QueueLimits{.n_parallel = 2, .max_waiting = 3, .max_waiting_per_tenant = 2});
  auto first = gate->enter("a", 2);  // these can run at once
  ASSERT_TRUE(first);
  first->start_one();
  first->start_one();
  auto second = gate->enter("a", 2);
  ASSERT_TRUE(second);
  EXPECT_EQ(gate->enter("a", 1).error().reason, kReasonTenantQueueFull);
  auto other = gate->enter("b", 1);
  ASSERT_TRUE(other);
  EXPECT_EQ(gate->enter("c", 1).error().reason, kReasonQueueFull);
  EXPECT_EQ(gate->congestion().position, 4U);
  second->end();
  EXPECT_EQ(gate->congestion().position, 2U);
  EXPECT_TRUE(gate->enter("a", 1));
}

TEST(QueueGate, EstimatesTheWaitFromHowLongAnswersTook) {
  const auto gate = std::make_shared<QueueGate>(QueueLimits{.n_parallel = 1, .max_waiting = 100});
  {
    auto run = gate->enter("a", 1);
    run->start_one();
    std::this_thread::sleep_for(100ms);
  }
  std::vector<QueueTicket> waiting;
  for (int i = 0; i < 29; ++i) waiting.push_back(std::move(*gate->enter("a", 1)));
  EXPECT_GE(gate->congestion().wait, 3s);  // the thirtieth, 0.1 s each
  EXPECT_LE(gate->congestion().wait, 10s);
}

}  // namespace
}  // namespace deepwell::service
