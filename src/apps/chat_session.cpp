// Asking and printing.
#include "apps/chat_session.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "apps/command.hpp"
#include "base/clock.hpp"
#include "base/concat.hpp"
#include "base/ids.hpp"
#include "base/task.hpp"
#include "service/store/sqlite.hpp"

namespace deepwell::apps {

namespace {

using service::Answer;
using service::AnswerDelta;

/// Writes an answer's deltas, and remembers what was said.
class AnswerPrinter {
 public:
  AnswerPrinter(bool is_terminal, bool is_thought_hidden)
      : is_terminal_(is_terminal), is_thought_shown_(is_terminal && !is_thought_hidden) {}

  Status print(const AnswerDelta& delta) {
    if (delta.n_tok > 0 && first_ns_ == 0) first_ns_ = monotonic_ns();
    finish_ = delta.finish == engine::FinishReason::kNone ? finish_ : delta.finish;
    thought_ += delta.reasoning;
    if (is_thought_shown_ && !delta.reasoning.empty()) {
      if (!is_thinking_) DW_TRY(print_text("\033[2mThinking...\n"));
      is_thinking_ = true;
      DW_TRY(print_text(delta.reasoning));
    }
    if (delta.content.empty()) return {};
    DW_TRY(end_thought());
    said_ += delta.content;
    return print_text(delta.content);
  }

  Status end_thought() {
    if (!is_thinking_) return {};
    is_thinking_ = false;
    return print_text("\n...done thinking.\033[0m\n\n");
  }

  /// Leaves the terminal on a fresh line, in its usual colour.
  Status end() {
    DW_TRY(end_thought());
    if (is_terminal_) return print_text("\n\n");
    return said_.ends_with('\n') ? Status() : print_text("\n");
  }

  const std::string& said() const { return said_; }
  const std::string& thought() const { return thought_; }
  engine::FinishReason finish() const { return finish_; }
  std::int64_t first_ns() const { return first_ns_; }

 private:
  bool is_terminal_;
  bool is_thought_shown_;
  bool is_thinking_ = false;
  std::string said_;
  std::string thought_;
  engine::FinishReason finish_ = engine::FinishReason::kNone;
  std::int64_t first_ns_ = 0;
};

/// `n_timed_tok` of the tokens fell into the measured time.
std::string rate_lines(std::string_view what, std::uint64_t n_tok, std::uint64_t n_timed_tok,
                       std::int64_t ns) {
  const double seconds = static_cast<double>(ns) / 1e9;
  const double rate = seconds > 0 ? static_cast<double>(n_timed_tok) / seconds : 0;
  const auto line = [&](std::string_view aspect, const std::string& value) {
    std::string label = concat(what, " ", aspect, ":");
    label.resize(std::max<std::size_t>(label.size(), 23), ' ');
    return concat(label, value, "\n");
  };
  return line("count", concat(n_tok, " token(s)")) + line("duration", format_duration(ns)) +
         line("rate", concat(format_fixed(rate, 2), " tokens/s"));
}

service::ChatMessage message(std::string_view role, const std::string& content) {
  service::ChatMessage made;
  made.role = role;
  made.content = content;
  return made;
}

void print_statistics(const service::Usage& usage, std::int64_t start_ns, std::int64_t first_ns,
                      std::int64_t load_ns) {
  const std::int64_t now_ns = monotonic_ns();
  const std::int64_t prompt_ns = (first_ns == 0 ? now_ns : first_ns) - start_ns;
  const std::uint64_t n_computed =
      usage.n_prompt_tok - std::min(usage.n_prompt_tok, usage.n_cached_tok);
  std::string text = concat("total duration:        ", format_duration(now_ns - start_ns),
                            "\nload duration:         ", format_duration(load_ns), "\n");
  text += rate_lines("prompt eval", n_computed, n_computed, prompt_ns);
  if (usage.n_cached_tok > 0)
    text += concat("prompt cached:         ", usage.n_cached_tok, " token(s)\n");
  // The first token belongs to the prompt's time.
  const std::uint64_t n_after_first = usage.n_generated_tok > 0 ? usage.n_generated_tok - 1 : 0;
  text += rate_lines("eval", usage.n_generated_tok, n_after_first, now_ns - start_ns - prompt_ns);
  std::fputs(text.c_str(), stderr);
}

}  // namespace

Result<std::unique_ptr<ChatSession>> ChatSession::create(engine::Generator& generator,
                                                         Interrupts& interrupts, Log& log,
                                                         bool is_terminal) {
  std::unique_ptr<ChatSession> session(new ChatSession(generator, interrupts, is_terminal));
  session->store_ = service::open_sqlite_store({}, log);
  service::DialogueOptions options;
  options.reattach_grace = std::chrono::milliseconds(0);
  DW_ASSIGN(session->dialogue_,
            service::Dialogue::create(generator, session->pool_, *session->store_, log,
                                      std::move(options)));
  return session;
}

service::Turn ChatSession::turn(const std::string& question) const {
  service::Turn turn;
  if (!settings.system.empty()) turn.messages.push_back(message("system", settings.system));
  turn.messages.insert(turn.messages.end(), messages_.begin(), messages_.end());
  turn.messages.push_back(message("user", question));
  turn.enable_thinking = settings.use_thinking;
  turn.sampling = settings.sampling;
  turn.seed = settings.seed;
  turn.max_tokens = settings.max_tokens;
  turn.stop = settings.stop;
  return turn;
}

Status ChatSession::ask(const std::string& question) {
  constexpr std::chrono::milliseconds kLook{50};  // how soon Ctrl-C is seen
  (void)interrupts_.take();
  const std::int64_t start_ns = monotonic_ns();
  Result<std::unique_ptr<Answer>> started = sync_wait(dialogue_->start(
      turn(question), service::Ask{.id = random_id("chat-")}, service::local_principal(), pool_));
  if (!started) return std::move(started).error();
  const std::unique_ptr<Answer> answer = std::move(*started);
  AnswerPrinter printer(is_terminal_, settings.is_thought_hidden);
  Status ended;
  while (ended && !answer->is_finished()) {
    if (interrupts_.take()) ended = Error{Code::kCancelled, "interrupted"};
    const SteadyTime deadline = std::chrono::steady_clock::now() + kLook;
    Result<std::vector<AnswerDelta>> deltas = sync_wait(answer->next(deadline, {}));
    if (!deltas) {
      if (deltas.error().code != Code::kDeadlineExceeded) ended = deltas.error();
      continue;
    }
    for (const AnswerDelta& delta : *deltas) {
      if (ended) ended = printer.print(delta);
    }
  }
  const Status closed = printer.end();
  messages_.push_back(message("user", question));
  messages_.push_back(message("assistant", printer.said()));
  messages_.back().reasoning = printer.thought();
  if (!ended) return ended;
  if (printer.finish() == engine::FinishReason::kLength) {
    const std::string_view limit = settings.max_tokens ? "num_predict" : "the context (--ctx-size)";
    std::fputs(
        concat("(cut: ", limit, " is used up after ", answer->usage().n_generated_tok, " tokens)\n")
            .c_str(),
        stderr);
  }
  if (settings.is_verbose) print_statistics(answer->usage(), start_ns, printer.first_ns(), load_ns);
  return closed;
}

}  // namespace deepwell::apps
