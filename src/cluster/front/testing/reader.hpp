// Reader: what a test hears of a generation.
#pragma once

#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <optional>
#include <vector>

#include "base/log.hpp"
#include "engine/runtime/generator.hpp"

namespace deepwell::cluster {

using engine::FinishReason;
using engine::GenerationEvent;
using engine::TokenId;

class QuietLog final : public Log {
 public:
  void write(LogLevel, std::string_view) override {}
};

/// Collects a generation's tokens; any gap, repeat or word after the last fails the test.
class Reader final : public engine::GenerationSink {
 public:
  void on_event(GenerationEvent event) override {
    const std::lock_guard lock(mutex_);
    EXPECT_FALSE(is_over_) << "an event after the last one";
    EXPECT_EQ(event.position, ids_.size()) << "a gap or a repeat";
    ids_.insert(ids_.end(), event.ids.begin(), event.ids.end());
    n_mismatched_ += event.n_mismatched_tok;
    if (event.is_last()) {
      is_over_ = true;
      finish_ = event.finish;
      error_ = event.error;
    }
    changed_.notify_all();
  }
  bool wait_tokens(std::size_t n) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20),
                             [&] { return ids_.size() >= n || is_over_; });
  }
  bool wait_over() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20), [&] { return is_over_; });
  }
  std::vector<TokenId> ids() const {
    const std::lock_guard lock(mutex_);
    return ids_;
  }
  FinishReason finish() const {
    const std::lock_guard lock(mutex_);
    return finish_;
  }
  std::optional<Error> error() const {
    const std::lock_guard lock(mutex_);
    return error_;
  }
  std::uint32_t n_mismatched() const {
    const std::lock_guard lock(mutex_);
    return n_mismatched_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<TokenId> ids_;
  FinishReason finish_ = FinishReason::kNone;
  std::optional<Error> error_;
  std::uint32_t n_mismatched_ = 0;
  bool is_over_ = false;
};

}  // namespace deepwell::cluster
