// TokenCounts: how often each token was generated so far; what the penalties look at.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/tokenizer/token_id.hpp"

namespace deepwell::engine {

struct TokenCount {
  TokenId id = 0;
  std::uint32_t n = 0;
};

/// Sorted by id: an answer has some hundreds of different tokens, so inserting into a vector is cheap.
class TokenCounts {
 public:
  void add(TokenId id) {
    const auto at =
        std::lower_bound(counts_.begin(), counts_.end(), id,
                         [](const TokenCount& count, TokenId wanted) { return count.id < wanted; });
    if (at != counts_.end() && at->id == id) {
      ++at->n;
    } else {
      counts_.insert(at, {id, 1});
    }
  }

  void clear() { counts_.clear(); }
  void reserve(std::size_t n_tokens) { counts_.reserve(n_tokens); }
  std::span<const TokenCount> counts() const { return counts_; }

 private:
  std::vector<TokenCount> counts_;
};

}  // namespace deepwell::engine
