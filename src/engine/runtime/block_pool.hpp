// BlockPool: which blocks of the key/value arena are free, and how many sequences read the others.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace deepwell::engine {

/// Hands out block numbers 0..n_blocks-1, the longest free first: so what a block held stays findable as long as
/// possible. Several may have one block; it is free when all gave it back. Owned and used by the engine's thread alone.
/// All operations O(1) per block.
class BlockPool {
 public:
  explicit BlockPool(std::uint32_t n_blocks);

  std::uint32_t n_blocks() const { return static_cast<std::uint32_t>(links_.size() - 1); }
  std::uint32_t n_free() const { return n_free_; }
  bool can_take(std::uint32_t n) const { return n <= n_free_; }
  bool is_free(std::uint32_t block) const { return n_users_[block] == 0; }

  /// Appends n blocks to `blocks`. The caller has asked can_take(n).
  void take(std::uint32_t n, std::vector<std::uint32_t>& blocks);
  /// Takes this one, be it free or somebody's already.
  void take_block(std::uint32_t block);
  /// Whether several have it.
  bool is_shared(std::uint32_t block) const { return n_users_[block] > 1; }
  /// Gives one back that holds nothing of use.
  void release_block(std::uint32_t block) { give_back(links_[n_blocks()].next, block); }
  /// Gives all of `blocks` back and empties it. The first `n_kept` hold something that may be of use again: they are
  /// taken after all that are free now, the last of them first, because it is of no use without those before it. The
  /// others are taken before all that are free now.
  void release(std::vector<std::uint32_t>& blocks, std::uint32_t n_kept = 0);

  /// Whether every block is either free once or somebody's; for tests and idle moments.
  bool check_integrity() const;

 private:
  static constexpr std::uint32_t kUsed = UINT32_MAX;
  struct Link {
    std::uint32_t previous = kUsed, next = kUsed;
  };

  void give_back(std::uint32_t place, std::uint32_t block);
  void insert_before(std::uint32_t place, std::uint32_t block);

  // A ring of the free blocks; its last element, number n_blocks, is the ring's own. After it comes the next to take.
  std::vector<Link> links_;             // [n_blocks + 1]
  std::vector<std::uint32_t> n_users_;  // [n_blocks]; 0: free
  std::uint32_t n_free_ = 0;
};

}  // namespace deepwell::engine
