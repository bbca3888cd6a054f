// SyntheticGenerator: a Generator without a model. It says a scripted text, or tokens by a formula,
// at a set pace: what a front is tested with at thousands of streams.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/runtime/crash_page.hpp"
#include "engine/runtime/generator.hpp"

namespace deepwell::cluster {

struct SyntheticOptions {
  /// What a generation says, as bytes; then it ends by itself. Empty function: letters by a formula
  /// over the prompt, the seed and the position, without an end.
  std::function<std::string(const engine::GenerateRequest&)> script;
  /// Between two tokens of one generation, each by its own clock: a generation that is submitted
  /// (again) is served at once.
  std::chrono::microseconds pace{0};
  std::uint32_t n_prefill_tok = 64;  // prompt tokens per step and generation
  std::uint32_t n_slots = 16;        // generations that run at once
  std::uint32_t n_queue = 64;        // generations that may wait
  std::uint32_t n_ctx_tok = 4096;
  std::optional<std::uint32_t> fail_at;  // every generation fails after that many tokens
  std::string name = "synthetic";
  std::string fingerprint = "synthetic-2";
  std::string chat_template;
  engine::CrashPage* crash_page = nullptr;      // noted as a real engine does; may be null
  std::optional<engine::TokenId> poison_token;  // a prompt that holds it ends the process (drills)
};

/// Keeps the contract of engine::Generator: one thread calls the sinks; a cancelled generation
/// falls silent; a resumed one goes on with the very tokens that would have come.
class SyntheticGenerator final : public engine::Generator {
 public:
  explicit SyntheticGenerator(SyntheticOptions options);
  ~SyntheticGenerator() override;

  const engine::ModelDescription& describe() const override { return description_; }
  Result<engine::GenerationId> submit(engine::GenerateRequest request,
                                      std::shared_ptr<engine::GenerationSink> sink) override;
  void cancel(engine::GenerationId id) override;
  Status force(engine::GenerationId id, std::vector<engine::TokenId> ids) override;
  Status attach(engine::GenerationId id, std::uint32_t from,
                std::shared_ptr<engine::GenerationSink> sink) override;
  engine::GeneratorStatus status() const override;

  /// Stops making progress, as a hung engine would, until called with false.
  void set_stalled(bool is_stalled);
  /// Generations that were cancelled before they ended.
  std::uint32_t n_cancelled() const;

  /// The formula: a lower-case letter that depends on everything it is given.
  static engine::TokenId formula(const engine::GenerateRequest& request, std::uint32_t position);

 private:
  struct Running {
    engine::GenerationId id = 0;
    engine::GenerateRequest request;
    std::shared_ptr<engine::GenerationSink> sink;
    std::uint64_t mix = 0;  // of prompt and seed
    std::vector<engine::TokenId> script;
    std::vector<engine::TokenId> said;
    std::uint32_t n_prompt_tok_done = 0;
    std::uint32_t n_mismatched_tok = 0;  // not reported yet
    bool is_over = false;                // ended or cancelled: leaves order_ after the step
    std::chrono::steady_clock::time_point due{};  // of its next part
  };

  engine::TokenId next_token(const Running& running, std::uint32_t position) const;
  void verify(Running& running) const;
  std::chrono::steady_clock::time_point next_due() const;
  void loop();
  void step(std::unique_lock<std::mutex>& lock);
  void note_step(const std::vector<Running*>& due);
  engine::GenerationEvent advance(Running& running) const;

  const SyntheticOptions options_;
  engine::ModelDescription description_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::unique_ptr<Running>> order_;  // by arrival: the first n_slots run
  std::unordered_map<engine::GenerationId, Running*> live_;
  engine::GenerationId next_id_ = 1;
  std::uint32_t n_cancelled_ = 0;
  bool has_arrival_ = false;  // since the loop began to wait
  bool is_stalled_ = false;
  bool is_stopping_ = false;
  engine::GeneratorStatus counters_;
  std::chrono::steady_clock::time_point last_step_;
  std::thread thread_;
};

}  // namespace deepwell::cluster
