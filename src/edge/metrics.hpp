// Metrics: what the server counts, in the text form that Prometheus reads.
// Names follow vLLM's, with the prefix `deepwell:`, so that existing dashboards need only the
// prefix changed.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "engine/runtime/generator.hpp"

namespace deepwell::edge {

/// Thread-safe.
class Metrics {
 public:
  explicit Metrics(std::string model_name);
  ~Metrics();

  /// One answered request. `endpoint` and `key_name` come from short lists, never from what a
  /// client sent.
  void count_request(std::string_view endpoint, int status, std::string_view key_name,
                     double seconds);
  void count_tokens(std::string_view key_name, std::uint64_t n_prompt, std::uint64_t n_cached,
                    std::uint64_t n_generated, std::uint64_t n_reasoning);
  void observe_time_to_first_token(double seconds);
  void observe_inter_token(double seconds);
  void count_client_left();

  /// Everything, with the engine's gauges read now.
  std::string render(const engine::GeneratorStatus& status) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace deepwell::edge
