// Speculation: whether guesses of a draft model pay, and how many.
#pragma once

#include <algorithm>
#include <cstdint>

namespace deepwell::engine {

/// What decides how many tokens one sequence has guessed in one step. Times in seconds, of this step.
struct GuessPrices {
  double token_s =
      0.0;  // that a token takes without guesses: the step's time over the sequences that share it
  double row_s = 0.0;    // of a row more in the step of the model itself
  double round_s = 0.0;  // of a step of the draft model, over the sequences that share it
};

/// The number of guesses, 0 to n_most, that makes most tokens a second if each is right with probability `rate` where
/// those before it were (Leviathan et al. 2023, section 3.5); 0 unless it is faster than none by a margin.
std::uint32_t best_guesses(const GuessPrices& prices, double rate, std::uint32_t n_most);
/// Tokens a second with n guesses, as a multiple of those with none.
double speedup(const GuessPrices& prices, double rate, std::uint32_t n);

/// How often the guesses of one sequence were right lately. A wrong one counts once: what follows it was not tried.
class GuessRecord {
 public:
  explicit GuessRecord(double rate) : rate_(rate) {}
  void note(std::uint32_t n_guessed, std::uint32_t n_right);
  /// A step without guesses because they would not have paid: after many of them they are tried again.
  void note_skipped();
  double rate() const { return rate_; }

  static constexpr double kHope = 0.6;  // of a sequence and a model that nobody knows yet

 private:
  double rate_;
};

/// What guesses cost and what they saved, in seconds of the engine's time. Estimates may be wrong and texts differ, so
/// this is what bounds the loss: a small share of all steps' time may be lost for trying, and what was won.
class SpeculationAccount {
 public:
  void note_step(double seconds) { add(kTrialShare * seconds); }
  void earn(double seconds) { add(seconds); }
  void spend(double seconds) { credit_s_ -= seconds; }
  bool can_spend(double seconds) const { return seconds <= credit_s_; }
  double credit_s() const { return credit_s_; }

  static constexpr double kTrialShare = 0.015;
  static constexpr double kFirstCredit_s = 0.5;
  static constexpr double kMostCredit_s = 4.0;

 private:
  void add(double seconds) { credit_s_ = std::min(kMostCredit_s, credit_s_ + seconds); }

  double credit_s_ = kFirstCredit_s;
};

}  // namespace deepwell::engine
