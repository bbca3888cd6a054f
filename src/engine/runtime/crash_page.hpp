// CrashPage: shared memory in which a worker notes whom the running step computes, for whoever
// looks after it has died.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace deepwell::engine {

/// One writer (the engine's thread), read by another process after the writer's death. Zeroed memory
/// is an empty page. The writer sets the tags, then the count; a step that ended sets the count to 0.
struct CrashPage {
  static constexpr std::uint32_t kMaxTags = 510;

  std::atomic<std::uint32_t> n_tags;  // 0: no step was running
  std::uint32_t reserved;
  std::atomic<std::uint64_t> tags[kMaxTags];  // GenerateRequest::tag of each sequence in the step

  /// The writer's two calls, around a step.
  void begin_step(std::span<const std::uint64_t> step_tags) {
    const auto n = std::min<std::size_t>(step_tags.size(), kMaxTags);
    for (std::size_t i = 0; i < n; ++i) tags[i].store(step_tags[i], std::memory_order_relaxed);
    n_tags.store(static_cast<std::uint32_t>(n), std::memory_order_release);
  }
  void end_step() { n_tags.store(0, std::memory_order_release); }

  /// The tags of the step in which the writer died; empty if it died between steps.
  std::vector<std::uint64_t> read() const {
    const std::uint32_t n = n_tags.load(std::memory_order_acquire);
    std::vector<std::uint64_t> found;
    for (std::uint32_t i = 0; i < n && i < kMaxTags; ++i) {
      found.push_back(tags[i].load(std::memory_order_relaxed));
    }
    return found;
  }
};
static_assert(sizeof(CrashPage) <= 4096);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

}  // namespace deepwell::engine
