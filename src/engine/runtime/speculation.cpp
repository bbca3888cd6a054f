// Expected tokens and expected time.
#include "engine/runtime/speculation.hpp"

namespace deepwell::engine {

namespace {

constexpr double kLearning = 0.1;   // what the last guess counts
constexpr double kRecovery = 0.01;  // what a skipped step does
constexpr double kMargin = 1.03;    // by which guesses must promise to be faster

}  // namespace

double speedup(const GuessPrices& prices, double rate, std::uint32_t n) {
  double n_tok = 1.0, probability = 1.0;
  for (std::uint32_t i = 0; i < n; ++i) n_tok += probability *= rate;
  return n_tok * prices.token_s / (prices.token_s + n * (prices.round_s + prices.row_s));
}

std::uint32_t best_guesses(const GuessPrices& prices, double rate, std::uint32_t n_most) {
  std::uint32_t best = 0;
  double most = kMargin;
  for (std::uint32_t n = 1; n <= n_most; ++n) {
    const double gain = speedup(prices, rate, n);
    if (gain > most) best = n, most = gain;
  }
  return best;
}

void GuessRecord::note(std::uint32_t n_guessed, std::uint32_t n_right) {
  for (std::uint32_t i = 0; i < n_right; ++i) rate_ += kLearning * (1.0 - rate_);
  if (n_right < n_guessed) rate_ -= kLearning * rate_;
}

void GuessRecord::note_skipped() { rate_ += kRecovery * (kHope - rate_); }

}  // namespace deepwell::engine
