// BpeMerger: turns the bytes of one word into token ids by byte-pair merges.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "engine/tokenizer/pair_table.hpp"
#include "engine/tokenizer/token_id.hpp"

namespace deepwell::engine {

/// One merge: the token that replaces `left` followed by `right`.
struct BpeMerge {
  TokenId left;
  TokenId right;
  TokenId merged;
};

/// Immutable and thread-safe. Merges as Sennrich et al. (arXiv:1508.07909) apply them: always the
/// best-ranked pair of neighbours next, the leftmost of equals, in time n log n of the word's
/// bytes.
class BpeMerger {
 public:
  /// The ids that a byte starts as: one, or three for a byte that the vocabulary lacks (see
  /// Tokenizer).
  struct ByteIds {
    std::array<TokenId, 3> ids;
    std::uint8_t n_ids;
  };

  /// Scratch memory of a call, reused between words.
  struct Scratch {
    struct Symbol {
      TokenId id;          // kMerged once its left neighbour has swallowed it
      std::uint32_t rank;  // of the merge with the next symbol, or PairTable::kNone
      std::size_t previous;
      std::size_t next;
    };
    std::vector<Symbol> symbols;
    std::vector<std::uint64_t> queue;  // a heap of rank << kPositionBits | position
  };

  BpeMerger() = default;
  /// `merges`, best first, fewer than kNMaxMerges.
  BpeMerger(const std::array<ByteIds, 256>& ids_of_byte, const std::vector<BpeMerge>& merges);

  static constexpr int kPositionBits = 40;
  static constexpr std::size_t kNMaxMerges = std::size_t{1} << 24;

  /// Appends the ids of `word` to `ids`.
  void append(std::string_view word, Scratch& scratch, std::vector<TokenId>& ids) const;

 private:
  void start(std::string_view word, Scratch& scratch) const;
  void merge_at(std::size_t position, Scratch& scratch) const;
  void rank_pair(std::size_t position, Scratch& scratch) const;

  std::array<ByteIds, 256> ids_of_byte_{};
  PairTable rank_of_pair_;
  std::vector<TokenId> merged_of_rank_;
};

}  // namespace deepwell::engine
