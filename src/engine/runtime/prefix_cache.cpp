// Walking a sequence's names, and keeping the table of names true.
#include "engine/runtime/prefix_cache.hpp"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

namespace deepwell::engine {

namespace {

constexpr std::uint32_t kMaxLooks =
    64;  // at blocks in one call of spill(): each costs a microsecond

BlockIds ids_of_block(const Sequence& sequence, std::uint32_t i) {
  return BlockIds(sequence.tokens.data() + std::size_t{i} * kKvBlockTok, kKvBlockTok);
}

}  // namespace

PrefixCache::PrefixCache(KvArena& arena, BlockPool& blocks, std::string fingerprint,
                         BlockSpill* spill)
    : arena_(arena),
      blocks_(blocks),
      fingerprint_(std::move(fingerprint)),
      spill_(spill),
      offers_(spill == nullptr ? 0 : arena.n_blocks()) {
  std::vector<std::uint32_t> all;
  blocks_.take(blocks_.n_free(), all);
  const auto end_of_whole =
      std::partition(all.begin(), all.end(), [&](auto b) { return arena_.is_whole(b); });
  const auto released_at = [&](std::uint32_t b) {
    return arena_.entry(b).released_at.load(std::memory_order_relaxed);
  };
  std::sort(all.begin(), end_of_whole,
            [&](auto a, auto b) { return released_at(a) > released_at(b); });
  for (auto b = all.begin(); b != end_of_whole; ++b) {
    by_name_.emplace(arena_.entry(*b).name, *b);
    if (released_at(*b) != KvBlockEntry::kInUse)
      n_released_ = std::max(n_released_, released_at(*b));
  }
  blocks_.release(all, static_cast<std::uint32_t>(end_of_whole - all.begin()));
}

const BlockName& PrefixCache::name_of(Sequence& sequence, std::uint32_t i) const {
  while (sequence.names.size() <= i) {
    const auto next = static_cast<std::uint32_t>(sequence.names.size());
    sequence.names.push_back(
        next_block_name(parent_of(sequence, next), ids_of_block(sequence, next)));
  }
  return sequence.names[i];
}

BlockName PrefixCache::parent_of(Sequence& sequence, std::uint32_t i) const {
  return i == 0 ? root_block_name(fingerprint_, sequence.request.tenant) : name_of(sequence, i - 1);
}

std::optional<std::uint32_t> PrefixCache::find(const BlockName& name, const BlockName& parent,
                                               BlockIds ids, bool may_be_shared) {
  std::optional<std::uint32_t> found;
  std::vector<std::uint32_t> damaged;
  const auto [begin, end] = by_name_.equal_range(name);
  for (auto it = begin; it != end && !found; ++it) {
    const std::uint32_t block = it->second;
    if (!(may_be_shared || blocks_.is_free(block)) || !arena_.holds(block, name, parent, ids))
      continue;
    if (arena_.has_right_bytes(block)) {
      found = block;
    } else {
      damaged.push_back(block);
    }
  }
  for (const std::uint32_t block : damaged) forget(block);
  return found;
}

bool PrefixCache::take_prefix(Sequence& sequence) {
  const std::uint32_t n_kept = sequence.verify_begin - 1;  // rows from here on are computed again
  const std::uint32_t n_computed = sequence.n_computed;
  bool is_coming = false;
  for (std::uint32_t i = sequence.n_named_blocks; (i + 1) * kKvBlockTok <= sequence.n_tokens();
       ++i) {
    const BlockName name = name_of(sequence, i);
    const auto block = find(name, parent_of(sequence, i), ids_of_block(sequence, i),
                            (i + 1) * kKvBlockTok <= n_kept);
    if (block) {
      blocks_.take_block(*block);
      arena_.set_released_at(*block, KvBlockEntry::kInUse);
      if (i < sequence.blocks.size()) {
        blocks_.release_block(std::exchange(sequence.blocks[i], *block));
      } else {
        sequence.blocks.push_back(*block);
      }
    } else {
      const BlockNews news = ask_spill(sequence, i);
      is_coming = news == BlockNews::kComing;
      if (news != BlockNews::kHere || i >= sequence.blocks.size()) break;
      fill_from_spill(sequence, i);
    }
    ++sequence.n_named_blocks;
  }
  const std::uint32_t n_found = std::min(sequence.n_named_blocks * kKvBlockTok, n_kept);
  if (n_found <= n_computed) return is_coming;
  sequence.n_computed = n_found;
  // What it finds again after a preemption was counted, or was computed.
  const std::uint32_t n_counted = std::max(n_computed, sequence.n_reached);
  if (n_found > n_counted)
    sequence.n_cached +=
        std::min(n_found, sequence.n_prompt) - std::min(n_counted, sequence.n_prompt);
  return is_coming;
}

void PrefixCache::take(std::uint32_t n, Sequence& sequence) {
  blocks_.take(n, sequence.blocks);
  for (auto it = sequence.blocks.end() - n; it != sequence.blocks.end(); ++it) forget(*it);
}

void PrefixCache::commit(Sequence& sequence) {
  while ((sequence.n_named_blocks + 1) * kKvBlockTok <= sequence.n_computed) {
    const std::uint32_t i = sequence.n_named_blocks++;
    const BlockName name = name_of(sequence, i);
    arena_.commit(sequence.blocks[i], name, parent_of(sequence, i), ids_of_block(sequence, i));
    by_name_.emplace(name, sequence.blocks[i]);
    offer(sequence, i);
  }
}

void PrefixCache::release(Sequence& sequence) {
  for (std::uint32_t i = 0; i < sequence.n_named_blocks; ++i) offer(sequence, i);
  for (std::uint32_t i = sequence.n_named_blocks; i > 0; --i) {
    const std::uint32_t block = sequence.blocks[i - 1];
    if (!blocks_.is_shared(block)) arena_.set_released_at(block, ++n_released_);
  }
  blocks_.release(sequence.blocks, sequence.n_named_blocks);
  sequence.n_named_blocks = 0;
}

void PrefixCache::forget(std::uint32_t block) {
  if (!arena_.is_whole(block)) return;
  const auto [begin, end] = by_name_.equal_range(arena_.entry(block).name);
  const auto it =
      std::find_if(begin, end, [&](const auto& named) { return named.second == block; });
  if (it != end) by_name_.erase(it);
  arena_.forget(block);
}

// --- to the spill and back -------------------------------------------------------------------------------------------

BlockLabel PrefixCache::label_of(Sequence& sequence, std::uint32_t i) const {
  BlockLabel label{.name = name_of(sequence, i),
                   .parent = parent_of(sequence, i),
                   .index = i,
                   .tenant = sequence.request.tenant};
  std::ranges::copy(ids_of_block(sequence, i), label.ids.begin());
  return label;
}

/// What the spill says of the i-th block; the ones behind it are asked for too, so that they are read meanwhile.
BlockNews PrefixCache::ask_spill(Sequence& sequence, std::uint32_t i) {
  if (spill_ == nullptr) return BlockNews::kAbsent;
  const BlockNews news = spill_->ask(label_of(sequence, i));
  if (news == BlockNews::kAbsent) return news;
  const std::uint32_t end = std::min(i + spill_->n_copies(), sequence.n_tokens() / kKvBlockTok);
  for (std::uint32_t next = i + 1; next < end; ++next) {
    if (spill_->ask(label_of(sequence, next)) == BlockNews::kAbsent) break;
  }
  return news;
}

/// The block is the sequence's own: it was taken to be computed, and nobody else knows it yet.
void PrefixCache::fill_from_spill(Sequence& sequence, std::uint32_t i) {
  const std::uint32_t block = sequence.blocks[i];
  const BlockName name = name_of(sequence, i);
  spill_->take(name, arena_.bytes_of(block));
  arena_.commit(block, name, parent_of(sequence, i), ids_of_block(sequence, i));
  by_name_.emplace(name, block);
}

void PrefixCache::offer(const Sequence& sequence, std::uint32_t i) {
  if (spill_ == nullptr) return;
  const std::uint32_t block = sequence.blocks[i];
  Offer& offer = offers_[block];
  if (!offer.is_queued) to_spill_.push_back(block);
  offer = {sequence.names[i], i, sequence.request.tenant, true};
}

void PrefixCache::spill(std::uint32_t n_copies) {
  std::uint32_t n_looks = kMaxLooks;
  while (n_copies > 0 && n_looks-- > 0 && !to_spill_.empty() && spill_->can_keep()) {
    const std::uint32_t block = to_spill_.front();
    to_spill_.pop_front();
    Offer& offer = offers_[block];
    offer.is_queued = false;
    const KvBlockEntry& entry = arena_.entry(block);
    if (!arena_.is_whole(block) || entry.name != offer.name) continue;
    BlockLabel label{entry.name, entry.parent, entry.ids, offer.index, offer.tenant};
    n_copies -= spill_->keep(std::move(label), arena_.bytes_of(block)) ? 1 : 0;
  }
}

bool PrefixCache::check_integrity() const {
  std::size_t n_whole = 0;
  for (std::uint32_t b = 0; b < arena_.n_blocks(); ++b) n_whole += arena_.is_whole(b) ? 1 : 0;
  const bool are_named = std::all_of(by_name_.begin(), by_name_.end(), [&](const auto& named) {
    return arena_.is_whole(named.second) && arena_.entry(named.second).name == named.first;
  });
  return blocks_.check_integrity() && are_named && by_name_.size() == n_whole;
}

}  // namespace deepwell::engine
