// Taking and giving back blocks.
#include "engine/runtime/block_pool.hpp"

#include "base/check.hpp"

namespace deepwell::engine {

BlockPool::BlockPool(std::uint32_t n_blocks)
    : links_(std::size_t{n_blocks} + 1), n_users_(n_blocks) {
  links_[n_blocks] = {n_blocks, n_blocks};
  for (std::uint32_t b = 0; b < n_blocks; ++b) insert_before(n_blocks, b);
}

void BlockPool::insert_before(std::uint32_t place, std::uint32_t block) {
  const std::uint32_t previous = links_[place].previous;
  links_[block] = {previous, place};
  links_[previous].next = block;
  links_[place].previous = block;
  ++n_free_;
}

void BlockPool::take_block(std::uint32_t block) {
  if (n_users_[block]++ > 0) return;
  const Link link = links_[block];
  links_[link.previous].next = link.next;
  links_[link.next].previous = link.previous;
  links_[block] = {};
  --n_free_;
}

void BlockPool::take(std::uint32_t n, std::vector<std::uint32_t>& blocks) {
  DW_CHECK(can_take(n), "take() after can_take() only");
  for (std::uint32_t i = 0; i < n; ++i) {
    blocks.push_back(links_[n_blocks()].next);
    take_block(blocks.back());
  }
}

void BlockPool::give_back(std::uint32_t place, std::uint32_t block) {
  DW_CHECK(n_users_[block] > 0, "a block is given back as often as it was taken");
  if (--n_users_[block] == 0) insert_before(place, block);
}

void BlockPool::release(std::vector<std::uint32_t>& blocks, std::uint32_t n_kept) {
  const std::uint32_t first = links_[n_blocks()].next;
  for (std::size_t i = n_kept; i < blocks.size(); ++i) give_back(first, blocks[i]);
  for (std::uint32_t i = n_kept; i > 0; --i) give_back(n_blocks(), blocks[i - 1]);
  blocks.clear();
}

bool BlockPool::check_integrity() const {
  std::uint32_t n_seen = 0;
  for (std::uint32_t b = links_.back().next; b != n_blocks(); b = links_[b].next) {
    if (n_seen++ == n_free_ || links_[links_[b].next].previous != b) return false;
  }
  std::uint32_t n_linked = 0;
  for (std::uint32_t b = 0; b < n_blocks(); ++b) {
    if (is_free(b) != (links_[b].next != kUsed)) return false;
    n_linked += is_free(b) ? 1 : 0;
  }
  return n_seen == n_free_ && n_linked == n_free_;
}

}  // namespace deepwell::engine
