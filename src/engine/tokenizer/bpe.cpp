// Byte-pair merging over a doubly linked list of symbols and a heap of the possible merges.
#include "engine/tokenizer/bpe.hpp"

#include <algorithm>
#include <functional>
#include <limits>

#include "base/check.hpp"

namespace deepwell::engine {
namespace {

constexpr TokenId kMerged = -1;
constexpr std::size_t kNoSymbol = std::numeric_limits<std::size_t>::max();
constexpr std::uint64_t kPositionMask = (std::uint64_t{1} << BpeMerger::kPositionBits) - 1;

}  // namespace

BpeMerger::BpeMerger(const std::array<ByteIds, 256>& ids_of_byte,
                     const std::vector<BpeMerge>& merges)
    : ids_of_byte_(ids_of_byte), rank_of_pair_(merges.size()) {
  DW_CHECK(merges.size() < kNMaxMerges, "too many merges");
  merged_of_rank_.reserve(merges.size());
  for (const BpeMerge& merge : merges) {
    const auto rank = static_cast<std::uint32_t>(merged_of_rank_.size());
    rank_of_pair_.insert(static_cast<std::uint32_t>(merge.left),
                         static_cast<std::uint32_t>(merge.right), rank);
    merged_of_rank_.push_back(merge.merged);
  }
}

void BpeMerger::append(std::string_view word, Scratch& scratch, std::vector<TokenId>& ids) const {
  start(word, scratch);
  auto& [symbols, queue] = scratch;
  while (!queue.empty()) {
    std::pop_heap(queue.begin(), queue.end(), std::greater<>());
    const std::uint64_t best = queue.back();
    queue.pop_back();
    const std::size_t position = best & kPositionMask;
    // Entries are never removed when a merge makes them moot: they no longer agree with their
    // symbol then.
    const auto& symbol = symbols[position];
    if (symbol.id == kMerged || symbol.rank != best >> kPositionBits) continue;
    merge_at(position, scratch);
  }
  for (std::size_t i = 0; i < symbols.size(); ++i) {
    if (symbols[i].id != kMerged) ids.push_back(symbols[i].id);
  }
}

void BpeMerger::start(std::string_view word, Scratch& scratch) const {
  auto& [symbols, queue] = scratch;
  symbols.clear();
  queue.clear();
  for (const char c : word) {
    const ByteIds& byte = ids_of_byte_[static_cast<std::uint8_t>(c)];
    for (std::uint8_t i = 0; i < byte.n_ids; ++i) {
      const std::size_t position = symbols.size();
      symbols.push_back(
          {byte.ids[i], PairTable::kNone, position == 0 ? kNoSymbol : position - 1, position + 1});
    }
  }
  if (symbols.empty()) return;
  DW_CHECK(symbols.size() <= kPositionMask, "a word of more than 2^40 bytes");
  symbols.back().next = kNoSymbol;
  for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
    symbols[i].rank = rank_of_pair_.find(static_cast<std::uint32_t>(symbols[i].id),
                                         static_cast<std::uint32_t>(symbols[i + 1].id));
    if (symbols[i].rank != PairTable::kNone)
      queue.push_back(std::uint64_t{symbols[i].rank} << kPositionBits | i);
  }
  std::make_heap(queue.begin(), queue.end(), std::greater<>());
}

void BpeMerger::merge_at(std::size_t position, Scratch& scratch) const {
  auto& symbols = scratch.symbols;
  auto& left = symbols[position];
  auto& right = symbols[left.next];
  left.id = merged_of_rank_[left.rank];
  left.next = right.next;
  right.id = kMerged;
  if (left.next != kNoSymbol) symbols[left.next].previous = position;
  rank_pair(position, scratch);
  if (left.previous != kNoSymbol) rank_pair(left.previous, scratch);
}

/// Finds out again what the symbol at `position` and its next one merge to.
void BpeMerger::rank_pair(std::size_t position, Scratch& scratch) const {
  auto& symbol = scratch.symbols[position];
  symbol.rank = PairTable::kNone;
  if (symbol.next == kNoSymbol) return;
  symbol.rank = rank_of_pair_.find(static_cast<std::uint32_t>(symbol.id),
                                   static_cast<std::uint32_t>(scratch.symbols[symbol.next].id));
  if (symbol.rank == PairTable::kNone) return;
  scratch.queue.push_back(std::uint64_t{symbol.rank} << kPositionBits | position);
  std::push_heap(scratch.queue.begin(), scratch.queue.end(), std::greater<>());
}

}  // namespace deepwell::engine
