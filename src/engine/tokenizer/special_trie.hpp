// SpecialTrie: finds the spellings of special tokens in a text, the longest at each place.
#pragma once

#include <cstddef>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/tokenizer/pair_table.hpp"
#include "engine/tokenizer/token_id.hpp"

namespace deepwell::engine {

/// Immutable and thread-safe.
class SpecialTrie {
 public:
  struct Match {
    std::size_t begin;
    std::size_t n_bytes;  // 0: no match
    TokenId id;
  };

  SpecialTrie() = default;
  /// `spellings` are views only read here; empty ones are ignored, of equal ones the first counts.
  explicit SpecialTrie(const std::vector<std::pair<std::string_view, TokenId>>& spellings);

  /// The leftmost match at or after `from`; of several there, the longest.
  Match find(std::string_view text, std::size_t from) const;

 private:
  Match longest_at(std::string_view text, std::size_t begin) const;

  PairTable child_;                  // (node, byte) -> node; node 0 is the root
  std::vector<TokenId> id_of_node_;  // kNoToken where no spelling ends
};

}  // namespace deepwell::engine
