// SyntheticGenerator: a Generator without a model. It says a scripted text, or tokens by a formula,
// at a set pace.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "engine/runtime/generator.hpp"

namespace deepwell::service::testing {

struct SyntheticOptions {
  /// What a generation says, as bytes; then it ends by itself. Empty function: letters by a formula
  /// over the prompt, the seed and the position, without an end.
  std::function<std::string(const engine::GenerateRequest&)> script;
  /// Between two steps; one token per running generation and step.
  std::chrono::microseconds pace{0};
  std::uint32_t n_prefill_tok = 64;  // prompt tokens per step and generation
  std::uint32_t n_slots = 16;        // generations that run at once
  std::uint32_t n_queue = 64;        // generations that may wait
  std::uint32_t n_ctx_tok = 4096;
  std::optional<std::uint32_t> fail_at;  // every generation fails after that many tokens
  std::string name = "synthetic";
  std::string fingerprint = "synthetic-1";
  std::string chat_template;
};

/// Keeps the contract of engine::Generator: one thread calls the sinks; a cancelled generation
/// falls silent.
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
    engine::GenerateRequest request;
    std::shared_ptr<engine::GenerationSink> sink;
    std::vector<engine::TokenId> script;
    std::vector<engine::TokenId> said;
    std::uint32_t n_prompt_tok_done = 0;
  };

  void loop();
  void step(std::unique_lock<std::mutex>& lock);
  engine::GenerationEvent advance(Running& running) const;

  const SyntheticOptions options_;
  engine::ModelDescription description_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::map<engine::GenerationId, Running> running_;
  std::deque<engine::GenerationId> order_;  // ids by arrival: the first n_slots run
  engine::GenerationId next_id_ = 1;
  std::uint32_t n_cancelled_ = 0;
  bool is_stalled_ = false;
  bool is_stopping_ = false;
  engine::GeneratorStatus counters_;
  std::chrono::steady_clock::time_point last_step_;
  std::thread thread_;
};

}  // namespace deepwell::service::testing
