// ChatSession over a scripted generator: how thoughts, answers, failures and lengths are shown.
#include "apps/chat_session.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <thread>

#include "cluster/synthetic/byte_tokenizer.hpp"
#include "cluster/synthetic/synthetic_generator.hpp"

namespace deepwell::apps {
namespace {

using cluster::byte_chat_template;
using cluster::SyntheticGenerator;
using cluster::SyntheticOptions;

constexpr std::string_view kThoughtful = "a thought\n</think>\n\nthe answer";

class ChatSessionTest : public testing::Test {
 protected:
  void open(std::string_view says, bool is_terminal, std::optional<std::uint32_t> fail_at = {}) {
    SyntheticOptions options;
    options.script = [this, says](const engine::GenerateRequest& request) {
      n_prompt_tok_ = request.prompt.size();
      return std::string(says);
    };
    options.chat_template = byte_chat_template(/*is_thought_open=*/true);
    options.fail_at = fail_at;
    generator_ = std::make_unique<SyntheticGenerator>(options);
    auto created = ChatSession::create(*generator_, interrupts_, null_log(), is_terminal);
    ASSERT_TRUE(created) << created.error().message;
    session_ = std::move(*created);
  }

  /// What a question puts on stdout.
  std::string ask(const std::string& question) {
    testing::internal::CaptureStdout();
    status_ = session_->ask(question);
    return testing::internal::GetCapturedStdout();
  }

  Interrupts interrupts_;
  std::size_t n_prompt_tok_ = 0;
  std::unique_ptr<SyntheticGenerator> generator_;
  std::unique_ptr<ChatSession> session_;
  Status status_;
};

TEST_F(ChatSessionTest, ShowsAThoughtDimOnATerminal) {
  open(kThoughtful, true);
  const std::string shown = ask("hi");
  EXPECT_TRUE(status_);
  EXPECT_TRUE(shown.starts_with("\033[2mThinking...\na thought")) << shown;
  EXPECT_NE(shown.find("...done thinking.\033[0m\n\nthe answer\n"), std::string::npos) << shown;
}

TEST_F(ChatSessionTest, GivesTheAnswerAloneWhereNobodyReads) {
  open(kThoughtful, false);
  EXPECT_EQ(ask("hi"), "the answer\n");
  open(kThoughtful, true);
  session_->settings.is_thought_hidden = true;
  EXPECT_EQ(ask("hi"), "the answer\n\n");
}

TEST_F(ChatSessionTest, RemembersUntilCleared) {
  open(kThoughtful, false);
  ask("hi");
  const std::size_t n_first = n_prompt_tok_;
  EXPECT_EQ(session_->n_messages(), 2U);
  ask("hi");
  EXPECT_GT(n_prompt_tok_, n_first);
  session_->clear();
  ask("hi");
  EXPECT_EQ(n_prompt_tok_, n_first);
}

TEST_F(ChatSessionTest, ReportsAFailureInTheMiddleAndRestoresTheColour) {
  open(kThoughtful, true, 4);
  const std::string shown = ask("hi");
  ASSERT_FALSE(status_);
  EXPECT_FALSE(status_.error().message.empty());
  EXPECT_NE(shown.find("\033[0m"), std::string::npos) << shown;
}

TEST_F(ChatSessionTest, RefusesWhatDoesNotFitAndForgetsIt) {
  open(kThoughtful, false);
  EXPECT_EQ(ask(std::string(5000, 'x')), "");
  ASSERT_FALSE(status_);
  EXPECT_EQ(status_.error().code, Code::kOutOfRange);
  EXPECT_EQ(session_->n_messages(), 0U);
}

TEST_F(ChatSessionTest, StopsAtCtrlC) {
  SyntheticOptions endless;  // without a script it never ends by itself
  endless.chat_template = byte_chat_template(false);
  endless.pace = std::chrono::milliseconds(1);
  generator_ = std::make_unique<SyntheticGenerator>(endless);
  session_ = std::move(*ChatSession::create(*generator_, interrupts_, null_log(), false));
  std::thread user([] {
    std::this_thread::sleep_for(std::chrono::milliseconds(150));
    ::kill(::getpid(), SIGINT);
  });
  ask("hi");
  user.join();
  ASSERT_FALSE(status_);
  EXPECT_EQ(status_.error().code, Code::kCancelled);
  EXPECT_EQ(session_->n_messages(), 2U) << "what was said stays";
}

}  // namespace
}  // namespace deepwell::apps
