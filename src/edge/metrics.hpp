// Metrics: what the server counts, in the text form that Prometheus reads.
// Names follow vLLM's, with the prefix `deepwell:`, so that existing dashboards need only the
// prefix changed.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "edge/balance_report.hpp"
#include "engine/runtime/generator.hpp"
#include "service/dialogue/dialogue.hpp"

namespace deepwell::edge {

/// What is read at the moment of rendering.
struct ServiceGauges {
  engine::GeneratorStatus generator;
  service::DialogueStats dialogue;
  bool is_journal_degraded = false;
  std::optional<BalanceReport> balance;  // none: the engine is in this process
};

/// Thread-safe.
class Metrics {
 public:
  Metrics();
  explicit Metrics(std::string model_name);
  ~Metrics();

  /// Before anything of a model is counted: its name was not known while it was loading.
  void set_model_name(std::string model_name);

  /// One answered request. `endpoint` and `key_name` come from short lists, never from what a
  /// client sent.
  void count_request(std::string_view endpoint, int status, std::string_view key_name,
                     double seconds);
  void count_tokens(std::string_view key_name, std::uint64_t n_prompt, std::uint64_t n_cached,
                    std::uint64_t n_generated, std::uint64_t n_reasoning);
  void observe_time_to_first_token(double seconds);
  void observe_inter_token(double seconds);
  void count_client_left();
  /// An answer that moved and did not come out the same.
  void count_resume_mismatch();
  void observe_journal_commit(double seconds);

  std::string render(const ServiceGauges& gauges) const;

 private:
  struct Model;
  struct State;
  Model& model() const;
  std::unique_ptr<State> state_;
};

}  // namespace deepwell::edge
