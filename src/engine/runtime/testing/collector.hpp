// Collector: a sink for tests of the engine.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "engine/runtime/generator.hpp"

namespace deepwell::engine {

/// Collects events and lets a test wait for them. A pace holds up the engine, so that a test can act in the middle.
class Collector final : public GenerationSink {
 public:
  explicit Collector(std::chrono::milliseconds pace = {}) : pace_(pace) {}
  void on_event(GenerationEvent event) override {
    std::this_thread::sleep_for(pace_);
    const std::lock_guard lock(mutex_);
    EXPECT_FALSE(is_done_) << "an event after the last one";
    EXPECT_EQ(event.position, ids_.size()) << "a gap or a repeat";
    ids_.insert(ids_.end(), event.ids.begin(), event.ids.end());
    n_prompt_tok_done_ = event.n_prompt_tok_done;
    n_cached_tok_ = std::max(n_cached_tok_, event.n_cached_tok);
    n_mismatched_tok_ += event.n_mismatched_tok;
    if (event.is_last()) {
      finish_ = event.finish;
      error_ = event.error;
      is_done_ = true;
    }
    changed_.notify_all();
  }
  void expect_from(std::uint32_t position) { ids_.resize(position, -1); }
  /// The ids that the reader has already.
  void expect(std::vector<TokenId> known) { ids_ = std::move(known); }
  void wait_done() {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(changed_.wait_for(lock, std::chrono::seconds(60), [&] { return is_done_; }));
  }
  void wait_tokens(std::size_t n) {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(
        changed_.wait_for(lock, std::chrono::seconds(60), [&] { return ids_.size() >= n; }));
  }
  std::vector<TokenId> ids() const {
    const std::lock_guard lock(mutex_);
    return ids_;
  }
  bool is_done() const {
    const std::lock_guard lock(mutex_);
    return is_done_;
  }
  std::uint32_t n_cached_tok() const {
    const std::lock_guard lock(mutex_);
    return n_cached_tok_;
  }
  std::uint32_t n_mismatched_tok() const {
    const std::lock_guard lock(mutex_);
    return n_mismatched_tok_;
  }
  FinishReason finish() const { return finish_; }
  const std::optional<Error>& error() const { return error_; }

 private:
  std::chrono::milliseconds pace_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<TokenId> ids_;
  FinishReason finish_ = FinishReason::kNone;
  std::optional<Error> error_;
  std::uint32_t n_prompt_tok_done_ = 0, n_cached_tok_ = 0, n_mismatched_tok_ = 0;
  bool is_done_ = false;
};

/// Submits and waits for the end. The sink has the known ids too.
inline std::shared_ptr<Collector> run_to_end(Generator& generator, GenerateRequest request) {
  auto sink = std::make_shared<Collector>();
  sink->expect(request.generated);
  const auto id = generator.submit(std::move(request), sink);
  if (!id) {
    ADD_FAILURE() << id.error().message;
    return sink;
  }
  sink->wait_done();
  return sink;
}

}  // namespace deepwell::engine
