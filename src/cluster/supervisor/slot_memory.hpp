// Shared memory that outlives a worker: crash page, KV arena, weights image.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "base/scoped_fd.hpp"
#include "engine/runtime/crash_page.hpp"

namespace deepwell::cluster {

/// An anonymous file in memory, close-on-exec. It may be sealed by whoever fills it.
Result<ScopedFd> make_memfd(const std::string& name);

/// What the workers of one place hand down to each other. The arena starts empty; a worker sizes it,
/// and its successor adopts what lies there.
class SlotMemory {
 public:
  static Result<SlotMemory> create(std::uint32_t worker);

  SlotMemory(SlotMemory&& other) noexcept;
  SlotMemory& operator=(SlotMemory&& other) noexcept;
  ~SlotMemory();

  int crash_fd() const { return crash_fd_.get(); }
  int kv_fd() const { return kv_fd_.get(); }
  /// Whom the running step computed; the page is empty again afterwards. Only while no worker has it.
  std::vector<std::uint64_t> take_suspects();

 private:
  SlotMemory() = default;

  ScopedFd crash_fd_;
  ScopedFd kv_fd_;
  engine::CrashPage* page_ = nullptr;  // mapped shared
};

}  // namespace deepwell::cluster
