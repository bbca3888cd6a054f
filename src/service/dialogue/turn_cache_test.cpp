// What is computed for a next turn, when, and what it gives way to.
#include "service/dialogue/turn_cache.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <fstream>
#include <thread>

#include "base/ids.hpp"
#include "base/thread_pool.hpp"
#include "cluster/synthetic/byte_tokenizer.hpp"
#include "cluster/synthetic/synthetic_generator.hpp"
#include "service/dialogue/dialogue.hpp"
#include "service/store/sqlite.hpp"

namespace deepwell::service {
namespace {

using namespace std::chrono_literals;
using cluster::ByteTokenizer;
using cluster::SyntheticGenerator;
using cluster::SyntheticOptions;
using engine::GenerateRequest;
using engine::TokenId;

bool is_prefix(const std::vector<TokenId>& beginning, const std::vector<TokenId>& whole) {
  return beginning.size() <= whole.size() &&
         std::equal(beginning.begin(), beginning.end(), whole.begin());
}

std::vector<ChatMessage> messages_of(std::vector<std::string> contents) {
  std::vector<ChatMessage> messages;
  for (std::string& content : contents) {
    const char* role = messages.size() % 2 == 0 ? "user" : "assistant";
    messages.push_back({.role = role, .content = std::move(content)});
  }
  return messages;
}

TEST(NextTurnPrefix, IsWhatEveryNextTurnBeginsWithWhateverItSays) {
  const ByteTokenizer tokenizer;
  const auto chat_template = ChatTemplate::parse(cluster::byte_chat_template(true));
  ASSERT_TRUE(chat_template);
  const Conversation conversation{.messages = messages_of({"hi", "hello"}), .tenant = "t"};
  const auto prefix = next_turn_prefix(*chat_template, tokenizer, conversation);
  ASSERT_TRUE(prefix);
  EXPECT_EQ(tokenizer.decode(*prefix, true), "<|user|>hi<|end|><|assistant|>hello<|end|><|user|>");
  for (const char* next : {"", " and?", "\n", "And then? What?", "你好"}) {
    const auto whole = chat_template->render({.messages = messages_of({"hi", "hello", next})});
    ASSERT_TRUE(whole);
    EXPECT_TRUE(is_prefix(*prefix, tokenizer.encode_spans(whole->views()))) << next;
  }
}

TEST(NextTurnPrefix, FailsWithTheTemplate) {
  const auto chat_template = ChatTemplate::parse("{{ raise_exception('no second turn') }}");
  ASSERT_TRUE(chat_template);
  EXPECT_FALSE(next_turn_prefix(*chat_template, ByteTokenizer(), {.messages = messages_of({"a"})}));
}

class PowerSupplies : public ::testing::Test {
 protected:
  PowerSupplies() { directory_ = make_directory(::testing::TempDir() + "power-" + random_hex(8)); }

  static std::string make_directory(const std::string& path) {
    EXPECT_EQ(::mkdir(path.c_str(), 0700), 0);
    return path;
  }
  void add(const std::string& name, const std::map<std::string, std::string>& attributes) const {
    const std::string supply = make_directory(directory_ + "/" + name);
    for (const auto& [attribute, text] : attributes) {
      std::ofstream(supply + "/" + attribute) << text << "\n";
    }
  }

  std::string directory_;
};

TEST_F(PowerSupplies, AServerHasNoBattery) {
  EXPECT_FALSE(is_on_battery(directory_));
  EXPECT_FALSE(is_on_battery(directory_ + "/missing"));
}

TEST_F(PowerSupplies, ABatteryThatDischargesCountsUnlessItIsAMouses) {
  add("hidpp_battery_0", {{"type", "Battery"}, {"scope", "Device"}, {"status", "Discharging"}});
  EXPECT_FALSE(is_on_battery(directory_));
  add("AC", {{"type", "Mains"}, {"online", "0"}});
  add("BAT0", {{"type", "Battery"}, {"status", "Discharging"}});
  EXPECT_TRUE(is_on_battery(directory_));
}

TEST_F(PowerSupplies, MainsCountMoreThanABattery) {
  add("AC", {{"type", "Mains"}, {"online", "1"}});
  add("BAT0", {{"type", "Battery"}, {"status", "Discharging"}});
  EXPECT_FALSE(is_on_battery(directory_));
}

template <class Condition>
bool eventually(Condition condition) {
  for (int i = 0; i < 2000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(5ms);
  }
  return false;
}

/// A dialogue with a turn cache over a synthetic model that thinks "hm" and says "yes".
class TurnCacheTest : public ::testing::Test {
 protected:
  void serve(std::uint32_t n_prefill_tok = 64, std::chrono::microseconds pace = 0us) {
    SyntheticOptions options;
    options.chat_template = cluster::byte_chat_template(true);
    options.n_prefill_tok = n_prefill_tok;
    options.pace = pace;
    options.script = [this](const GenerateRequest& request) {
      const std::lock_guard lock(mutex_);
      requests_.push_back(request);
      return std::string("hm</think>yes");
    };
    generator_.emplace(std::move(options));
    auto dialogue = Dialogue::create(*generator_, pool_, *store_, null_log(),
                                     {.reattach_grace = 60s, .use_turn_cache = true});
    ASSERT_TRUE(dialogue) << dialogue.error().message;
    dialogue_ = std::move(*dialogue);
  }

  std::unique_ptr<Answer> start(std::vector<std::string> contents) {
    Turn turn;
    turn.messages = messages_of(std::move(contents));
    auto started = sync_wait(start_on_home(std::move(turn)));
    EXPECT_TRUE(started) << (started ? "" : started.error().message);
    return started ? std::move(*started) : nullptr;
  }

  std::string finish(Answer& answer) { return sync_wait(read(answer)); }

  std::vector<GenerateRequest> background() const {
    const std::lock_guard lock(mutex_);
    std::vector<GenerateRequest> found;
    for (const GenerateRequest& request : requests_) {
      if (request.max_tokens == 0) found.push_back(request);
    }
    return found;
  }
  std::vector<TokenId> last_prompt() const {
    const std::lock_guard lock(mutex_);
    return requests_.back().prompt;
  }
  std::uint64_t n_prepared() const { return dialogue_->stats().n_turns_prepared; }
  std::uint64_t n_interrupted() const { return dialogue_->stats().n_turns_interrupted; }

 private:
  Task<Result<std::unique_ptr<Answer>>> start_on_home(Turn turn) {
    co_await resume_on(home_);
    Ask ask;
    ask.id = random_id("chatcmpl-");
    Principal principal = local_principal();
    co_return co_await dialogue_->start(std::move(turn), std::move(ask), std::move(principal),
                                        home_);
  }

  Task<std::string> read(Answer& answer) {
    co_await resume_on(home_);
    std::string content;
    const CancelToken never;
    while (!answer.is_finished()) {
      const SteadyTime deadline = std::chrono::steady_clock::now() + 10s;
      auto deltas = co_await answer.next(deadline, never);
      if (!deltas) co_return "error: " + deltas.error().message;
      for (const AnswerDelta& delta : *deltas) content += delta.content;
    }
    co_return content;
  }

  mutable std::mutex mutex_;
  std::vector<GenerateRequest> requests_;
  ThreadPool pool_{2};
  ThreadPool home_{1};
  std::unique_ptr<Store> store_ = open_sqlite_store({}, null_log());
  std::optional<SyntheticGenerator> generator_;

 protected:
  std::unique_ptr<Dialogue> dialogue_;
};

TEST_F(TurnCacheTest, ComputesTheNextTurnsHistoryWithoutTheThought) {
  serve();
  EXPECT_EQ(finish(*start({"hi"})), "yes");
  ASSERT_TRUE(eventually([&] { return n_prepared() == 1; }));
  ASSERT_EQ(background().size(), 1U);
  const GenerateRequest warmed = background()[0];
  EXPECT_EQ(warmed.priority, engine::Priority::kBackground);
  EXPECT_EQ(warmed.tenant, local_principal().tenant);
  EXPECT_EQ(ByteTokenizer().decode(warmed.prompt, true),
            "<|user|>hi<|end|><|assistant|>yes<|end|><|user|>");
  finish(*start({"hi", "yes", "why?"}));
  ASSERT_TRUE(eventually([&] { return n_prepared() == 2; }));
  EXPECT_TRUE(is_prefix(warmed.prompt, background()[1].prompt));
}

TEST_F(TurnCacheTest, GivesWayToRealWorkAndComesBackWhenThatHasEnded) {
  serve(1, 1ms);  // a token of a prompt each millisecond
  finish(*start({std::string(300, 'a')}));
  ASSERT_TRUE(eventually([&] { return background().size() == 1; }));
  const auto other = start({"another conversation"});
  ASSERT_TRUE(eventually([&] { return n_interrupted() == 1; }));
  EXPECT_EQ(background().size(), 1U) << "nothing begins while somebody waits";
  finish(*other);
  ASSERT_TRUE(eventually([&] { return n_prepared() == 2; }));
  ASSERT_EQ(background().size(), 3U);
  EXPECT_EQ(background()[1].prompt.size() + background()[2].prompt.size(),
            background()[0].prompt.size() + 20 + 3 + 5);
}

TEST_F(TurnCacheTest, LetsGoOfATurnThatHasCome) {
  serve(1, 1ms);
  finish(*start({std::string(300, 'a')}));
  ASSERT_TRUE(eventually([&] { return background().size() == 1; }));
  finish(*start({std::string(300, 'a'), "yes", "next"}));
  ASSERT_TRUE(eventually([&] { return n_prepared() == 1; }));
  std::this_thread::sleep_for(50ms);
  EXPECT_EQ(n_prepared(), 1U);
  ASSERT_EQ(background().size(), 2U);
  EXPECT_GT(background()[1].prompt.size(), background()[0].prompt.size());
}

TEST_F(TurnCacheTest, EndsWithTheDialogueInTheMiddleOfItsWork) {
  serve(1, 1ms);
  finish(*start({std::string(300, 'a')}));
  ASSERT_TRUE(eventually([&] { return background().size() == 1; }));
  dialogue_.reset();
}

}  // namespace
}  // namespace deepwell::service
