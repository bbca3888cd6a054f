// TokenLog: one generation's tokens, append-only. The engine writes at its pace, a cursor reads at
// the client's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/async_queue.hpp"
#include "engine/runtime/generator.hpp"

namespace deepwell::service {

/// Thread-safe. Memory is bounded by the generation's max_tokens (4 bytes each), however slow the
/// reader is.
class TokenLog final : public engine::GenerationSink {
 public:
  /// `news` is notified after each event; several logs may share it.
  explicit TokenLog(std::shared_ptr<Signal> news) : news_(std::move(news)) {}

  void on_event(engine::GenerationEvent event) override;

  /// What a cursor that has read `from` tokens has not seen yet.
  struct Tail {
    std::vector<engine::TokenId> ids;
    engine::FinishReason finish = engine::FinishReason::kNone;  // set once, after the last id
    std::optional<Error> error;
    std::uint32_t n_cached_tok = 0;
    SteadyTime at;  // when the last token or the end came

    bool is_last() const { return finish != engine::FinishReason::kNone || error.has_value(); }
  };
  Tail read(std::size_t from) const;

 private:
  void append(const engine::GenerationEvent& event);

  const std::shared_ptr<Signal> news_;  // owners: the logs of one turn and its reader
  mutable std::mutex mutex_;
  std::vector<engine::TokenId> ids_;
  engine::FinishReason finish_ = engine::FinishReason::kNone;
  std::optional<Error> error_;
  std::uint32_t n_cached_tok_ = 0;
  SteadyTime at_ = std::chrono::steady_clock::now();
};

}  // namespace deepwell::service
