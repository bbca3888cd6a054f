// NgramDrafter: guesses a sequence's next tokens from what it has said before.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/tokenizer/token_id.hpp"

namespace deepwell::engine {

/// Prompt look-up (Saxena 2023): where the last tokens stood before, what followed them may follow again. Right for
/// quotes, edits and code, useless for free text, so it counts how often it was right. Plain state of one sequence; a
/// guess costs one pass over the tokens, which is nothing beside a step.
class NgramDrafter {
 public:
  /// Appends at most n_max guesses.
  void guess(std::span<const TokenId> tokens, std::uint32_t n_max, std::vector<TokenId>& out) const;
  /// Of the last guess, so many were right.
  void note(std::uint32_t n_guessed, std::uint32_t n_right);
  /// A guess that was not tried because guesses cost more than they bring: after many of them one is tried again.
  void note_skipped();
  /// The share of guessed tokens that were right lately.
  double rate() const { return rate_; }

 private:
  double rate_ = 0.5;  // hopeful at first
};

}  // namespace deepwell::engine
