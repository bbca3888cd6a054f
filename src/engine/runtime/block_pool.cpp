// Taking and giving back blocks.
#include "engine/runtime/block_pool.hpp"

#include "base/check.hpp"

namespace deepwell::engine {

BlockPool::BlockPool(std::uint32_t n_blocks) : is_used_(n_blocks, false) {
  free_.reserve(n_blocks);
  for (std::uint32_t b = n_blocks; b > 0; --b) free_.push_back(b - 1);
}

void BlockPool::take(std::uint32_t n, std::vector<std::uint32_t>& blocks) {
  DW_CHECK(can_take(n), "take() after can_take() only");
  for (std::uint32_t i = 0; i < n; ++i) {
    is_used_[free_.back()] = true;
    blocks.push_back(free_.back());
    free_.pop_back();
  }
}

void BlockPool::release(std::vector<std::uint32_t>& blocks) {
  for (const std::uint32_t block : blocks) {
    DW_CHECK(is_used_[block], "a block is released once");
    is_used_[block] = false;
    free_.push_back(block);
  }
  blocks.clear();
}

bool BlockPool::check_integrity() const {
  std::vector<bool> is_free(is_used_.size(), false);
  for (const std::uint32_t block : free_) {
    if (is_used_[block] || is_free[block]) return false;
    is_free[block] = true;
  }
  for (std::size_t b = 0; b < is_used_.size(); ++b) {
    if (!is_used_[b] && !is_free[b]) return false;
  }
  return true;
}

}  // namespace deepwell::engine
