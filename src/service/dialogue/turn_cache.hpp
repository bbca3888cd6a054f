// TurnCache: computes, while nobody waits, the beginning of the prompt that a conversation's next turn will have.
//
// Templates drop the thoughts of earlier answers, so a next turn's prompt is not what the engine computed last: all
// behind the first dropped thought would be prefilled again while a person waits. What is computed here is the history
// as the template will render it, up to where the next message's text begins; the engine's prefix cache keeps it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/executor.hpp"
#include "base/result.hpp"
#include "engine/runtime/generator.hpp"
#include "service/chat/chat_template.hpp"
#include "service/dialogue/live_answer.hpp"

namespace deepwell::service {

/// What the next turn of a conversation begins with, but for the answer that is being given.
struct Conversation {
  std::vector<ChatMessage> messages;
  std::optional<bool> enable_thinking;
  std::string template_variables;
  std::string tenant;
};

/// The ids that the prompt of every next turn begins with, whatever its message says; empty if there are none. On a
/// pool: renders and encodes the conversation twice. Error: the template refuses the conversation.
Result<std::vector<engine::TokenId>> next_turn_prefix(const ChatTemplate& chat_template,
                                                      const engine::Tokenizer& tokenizer,
                                                      const Conversation& conversation);

/// Whether a machine with batteries lives on them now. `directory` is /sys/class/power_supply.
bool is_on_battery(const std::string& directory);

struct TurnCacheOptions {
  std::string power_supplies = "/sys/class/power_supply";
};

/// Since start.
struct TurnCacheStats {
  std::uint64_t n_computed = 0;
  std::uint64_t n_interrupted = 0;  // by real work; begun again when that has ended
};

/// Thread-safe. One conversation at a time, the latest first, each at most once per answer; real work ends it at once.
class TurnCache final : public std::enable_shared_from_this<TurnCache> {
 public:
  /// Conversations that wait for their turn; older ones are let go.
  static constexpr std::size_t kMaxWaiting = 16;

  /// Generator and pool must live until close() has returned.
  TurnCache(engine::Generator& generator, Executor& pool, ChatTemplate chat_template,
            TurnCacheOptions options = {});

  /// An answer begins: until it has ended nothing is computed here.
  void begin(const std::string& answer_id, Conversation conversation);
  /// It never began, after all.
  void drop(const std::string& answer_id);
  /// It has ended; on whatever thread, at once.
  void end(const LiveAnswer& answer);
  /// Nothing is touched any more once this has returned.
  void close();

  TurnCacheStats stats() const;

 private:
  class Sink;
  struct Waiting {
    Conversation conversation;
    AnswerPlan plan;  // without its prompt: how ids become text
    std::vector<engine::TokenId> ids;
    std::vector<engine::TokenId> prefix;  // once it is known
  };

  void start_soon();
  void start_one();
  Status prepare(Waiting& next) const;
  void on_event(std::uint64_t run, const engine::GenerationEvent& event);
  void interrupt();
  void put_back();

  engine::Generator& generator_;
  Executor& pool_;
  const ChatTemplate template_;
  const std::shared_ptr<const engine::Tokenizer> tokenizer_;  // owners: descriptions, answers
  const TurnCacheOptions options_;

  mutable std::mutex mutex_;
  std::condition_variable quiet_;
  bool is_closed_ = false;
  int n_working_ = 0;     // tasks of the pool that are posted or run
  bool is_busy_ = false;  // one of them prepares or submits, or a generation runs
  std::unordered_map<std::string, Conversation> live_;  // by answer
  std::deque<Waiting> waiting_;                         // the latest at the back
  std::optional<Waiting> current_;
  std::optional<engine::GenerationId> generation_;
  std::uint64_t run_ = 0;  // names the current one: events of earlier ones are not heard
  TurnCacheStats stats_;
};

}  // namespace deepwell::service
