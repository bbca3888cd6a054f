// BlockPool: which blocks of the key/value arena are free.
#pragma once

#include <cstdint>
#include <vector>

namespace deepwell::engine {

/// Hands out block numbers 0..n_blocks-1. Owned and used by the engine's thread alone. All operations O(1) per block.
class BlockPool {
 public:
  explicit BlockPool(std::uint32_t n_blocks);

  std::uint32_t n_blocks() const { return static_cast<std::uint32_t>(is_used_.size()); }
  std::uint32_t n_free() const { return static_cast<std::uint32_t>(free_.size()); }
  bool can_take(std::uint32_t n) const { return n <= n_free(); }

  /// Appends n blocks to `blocks`. The caller has asked can_take(n).
  void take(std::uint32_t n, std::vector<std::uint32_t>& blocks);
  /// Gives all of `blocks` back and empties it.
  void release(std::vector<std::uint32_t>& blocks);

  /// Whether every block is either free once or used; for tests and idle moments.
  bool check_integrity() const;

 private:
  std::vector<std::uint32_t> free_;  // the last one is taken first
  std::vector<bool> is_used_;        // [n_blocks]
};

}  // namespace deepwell::engine
