// ModelDrafter: guesses the next tokens of sequences with a smaller model of the same vocabulary.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "engine/runtime/loaded_model.hpp"
#include "engine/runtime/prefix_cache.hpp"
#include "engine/runtime/sequence.hpp"
#include "engine/runtime/speculation.hpp"
#include "engine/runtime/step_times.hpp"
#include "engine/sampling/sampler.hpp"

namespace deepwell::engine {

/// A decoding sequence that may get guesses in the step that is being planned.
struct GuessWish {
  Sequence* sequence = nullptr;
  std::uint32_t n_most = 0;  // guesses at most
  std::uint32_t n = 0;       // guesses to make; 0: the draft model only catches up
  std::uint32_t n_rows = 0;  // known tokens that it computes before that
};

struct ModelDrafterOptions {
  std::uint32_t n_vocab = 0;  // of the model that is guessed for
  // Whether it guesses only as far as that pays; if not, always as many as it may (tests, measurements).
  bool is_adaptive = true;
};

struct TokenGuess {
  TokenId id = 0;
  double probability = 0.0;  // of being right
};
/// The likeliest token, the lowest of equal ones, and about how likely it is (within 5 %).
TokenGuess likeliest_token(std::span<const float> logits);

/// Speculative decoding (Leviathan et al. 2023). What is guessed changes no token: the model itself computes each guess
/// as a row of its step and keeps it only if it is what it would have chosen. So nothing here must be exact. All that
/// get guesses share the draft model's steps.
///
/// The draft model has an arena of its own and finds common beginnings there as the model does. It catches up with a
/// prompt in chunks, each of which takes less than a step. Without blocks, past its own context, or for tokens that it
/// lacks it makes no guesses. Used by the engine's thread alone.
class ModelDrafter {
 public:
  ModelDrafter(LoadedModel model, const ModelDrafterOptions& options);
  ModelDrafter(const ModelDrafter&) = delete;
  ModelDrafter& operator=(const ModelDrafter&) = delete;

  /// Gives back what sequences have that do not run (any more).
  void keep_only(std::span<const std::unique_ptr<Sequence>> running);
  /// Decides how many tokens each wish guesses in a step of n_sequences whose work without guesses is `alone`. Wishes
  /// that get nothing are taken out.
  void plan(std::vector<GuessWish>& wishes, const StepWork& alone, std::uint32_t n_sequences,
            const StepTimes& times);
  /// Fills the sequences' drafts as planned. False if `is_unwanted` (may be null) became true meanwhile.
  bool guess(std::span<const GuessWish> wishes, const std::atomic<bool>* is_unwanted);
  /// Of the guesses of a sequence so many were right.
  void note(const Sequence& sequence, std::uint32_t n_guessed, std::uint32_t n_right);
  /// A step took so long, with its guesses.
  void note_step(double seconds) { account_.note_step(seconds); }

  /// Whether the last plan found somebody for whom guesses pay.
  bool is_guessing() const { return is_guessing_; }
  /// How long the last guess() took.
  double seconds() const { return seconds_; }
  const LoadedModel& model() const { return model_; }
  std::uint32_t n_blocks_used() const { return model_.blocks.n_blocks() - model_.blocks.n_free(); }

 private:
  /// A sequence as the draft model has it.
  struct State {
    Sequence known;  // its tokens; those before n_computed are computed, never the newest
    std::vector<TokenId>
        fed;  // computed behind them: the newest and guesses, as far as these turn out right
    GuessRecord record;
    std::uint64_t seen_at = 0;
    bool is_foreign = false;  // it has, or favours, a token that the draft model lacks
  };
  struct Guessing {
    const GuessWish* wish = nullptr;
    double probability = 1.0;  // that all its guesses so far are right, says the draft model
    std::uint32_t output_row = 0;
  };

  bool lacks(TokenId token) const;
  State& state_of(const Sequence& sequence);
  void follow(State& state, const Sequence& sequence);
  bool can_guess(const GuessWish& wish);
  void choose_numbers(std::vector<GuessWish>& wishes);
  bool is_worth_catching_up(const GuessWish& wish, const State& state) const;
  void share_rows(std::vector<GuessWish>& wishes, double alone_s);
  bool take_blocks(const GuessWish& wish);
  bool compute_known(std::span<const GuessWish> wishes, const std::atomic<bool>* is_unwanted);
  bool compute_guesses(const std::atomic<bool>* is_unwanted);
  std::optional<TokenGuess> next_guess(const Guessing& guessing);
  bool add_guess(Guessing& guessing);
  std::uint32_t add_rows(State& state, std::span<const TokenId> tokens, std::uint32_t position,
                         Outputs outputs);
  bool forward(const std::atomic<bool>* is_unwanted);

  LoadedModel model_;
  ModelDrafterOptions options_;
  PrefixCache cache_;
  std::unordered_map<GenerationId, State> states_;
  std::uint64_t n_looks_ = 0;  // calls of keep_only()
  StepTimes times_;            // of the draft model
  SpeculationAccount account_;
  GuessPrices prices_;  // of the step that is being planned
  double rate_ =
      GuessRecord::kHope;  // of the guesses for all sequences: what a new one is expected to have
  double seconds_ = 0.0;
  bool is_guessing_ = false;
  bool is_warm_ = false;  // it has computed something
  StepBatch batch_;
  StepWork work_;  // of the batch
  std::vector<Guessing> guessing_;
  SamplerScratch scratch_;
};

}  // namespace deepwell::engine
