// Finding the longest earlier occurrence of the last tokens.
#include "engine/runtime/ngram_drafter.hpp"

#include <algorithm>

namespace deepwell::engine {

namespace {

constexpr std::size_t kMinMatch = 3;   // tokens that must stand there before a guess is made
constexpr std::size_t kLongMatch = 8;  // longer ones are not told apart
constexpr double kLearning = 0.2;      // what the last guess counts
constexpr double kRecovery = 0.02;     // what a skipped one does

std::size_t match_length(std::span<const TokenId> tokens, std::size_t end) {
  std::size_t n = 0;
  while (n < kLongMatch && n < end && tokens[end - 1 - n] == tokens[tokens.size() - 1 - n]) ++n;
  return n;
}

}  // namespace

void NgramDrafter::guess(std::span<const TokenId> tokens, std::uint32_t n_max,
                         std::vector<TokenId>& out) const {
  if (n_max == 0 || tokens.size() <= kMinMatch) return;
  std::size_t best_end = 0, best = kMinMatch - 1;
  for (std::size_t end = tokens.size() - 1; end >= kMinMatch && best < kLongMatch; --end) {
    if (tokens[end - 1] != tokens.back()) continue;
    const std::size_t n = match_length(tokens, end);
    if (n > best) best_end = end, best = n;
  }
  if (best_end == 0) return;
  const std::size_t n = std::min<std::size_t>(n_max, tokens.size() - best_end);
  const auto from = tokens.subspan(best_end, n);
  out.insert(out.end(), from.begin(), from.end());
}

void NgramDrafter::note(std::uint32_t n_guessed, std::uint32_t n_right) {
  if (n_guessed > 0) rate_ += kLearning * (static_cast<double>(n_right) / n_guessed - rate_);
}

void NgramDrafter::note_skipped() { rate_ += kRecovery * (1.0 - rate_); }

}  // namespace deepwell::engine
