// ChatSession: a conversation in the terminal with a model in this process.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/interrupts.hpp"
#include "base/result.hpp"
#include "base/thread_pool.hpp"
#include "engine/runtime/generator.hpp"
#include "service/dialogue/dialogue.hpp"
#include "service/store/store.hpp"

namespace deepwell::apps {

/// What the user can change between two questions.
struct ChatSettings {
  std::string system;
  engine::SamplingParams sampling;
  std::optional<std::uint64_t> seed;
  std::optional<std::uint32_t> max_tokens;
  std::vector<std::string> stop;
  std::optional<bool> use_thinking;  // none: the model's template decides
  bool is_thought_hidden = false;
  bool is_verbose = false;
};

/// Used on one thread. The generator and the interrupts must outlive it.
class ChatSession {
 public:
  /// `is_terminal`: whether a person reads stdout.
  static Result<std::unique_ptr<ChatSession>> create(engine::Generator& generator,
                                                     Interrupts& interrupts, Log& log,
                                                     bool is_terminal);

  /// Asks, and prints the answer to stdout as it comes: a thought dim and between "Thinking..." lines where stdout is
  /// a terminal, nothing of it elsewhere. Ctrl-C ends the answer; what was said stays in the conversation. Errors:
  /// kOutOfRange (the conversation no longer fits), kCancelled (interrupted), and what the engine reports.
  Status ask(const std::string& question);

  void clear() { messages_.clear(); }
  std::size_t n_messages() const { return messages_.size(); }
  const engine::ModelDescription& model() const { return generator_.describe(); }

  ChatSettings settings;
  std::int64_t load_ns = 0;  // shown by the statistics

 private:
  ChatSession(engine::Generator& generator, Interrupts& interrupts, bool is_terminal)
      : generator_(generator), interrupts_(interrupts), is_terminal_(is_terminal) {}

  service::Turn turn(const std::string& question) const;

  engine::Generator& generator_;
  Interrupts& interrupts_;
  bool is_terminal_;
  ThreadPool pool_{2};
  std::unique_ptr<service::Store> store_;        // in memory: nothing of a chat is written down
  std::unique_ptr<service::Dialogue> dialogue_;  // after the pool and the store that it uses
  std::vector<service::ChatMessage> messages_;
};

}  // namespace deepwell::apps
