// Catching up, guessing in rounds, and what of it pays.
#include "engine/runtime/model_drafter.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cmath>
#include <utility>

#include "engine/sampling/weights.hpp"

namespace deepwell::engine {

namespace {

constexpr double kCatchUpShare =
    0.8;  // of a step: so long may the draft model compute known tokens before it
constexpr std::uint32_t kFirstCatchUpTok = 64;   // before its times are known
constexpr std::uint32_t kFewestCatchUpTok = 16;  // else it would not get on
constexpr std::uint32_t kFewBehindTok = 16;      // so many cost about as much as one
// An answer is thought to go on for as long as it did so far, and so many tokens more.
constexpr std::uint32_t kMoreTok = 64;
constexpr double kRateLearning = 0.02;

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

ModelDrafter::ModelDrafter(LoadedModel model, const ModelDrafterOptions& options)
    : model_(std::move(model)), options_(options), cache_(model_.arena, model_.blocks, "draft") {}

void ModelDrafter::keep_only(std::span<const std::unique_ptr<Sequence>> running) {
  ++n_looks_;
  for (const auto& sequence : running) {
    const auto it = states_.find(sequence->id);
    if (it != states_.end()) it->second.seen_at = n_looks_;
  }
  for (auto it = states_.begin(); it != states_.end();) {
    if (it->second.seen_at == n_looks_) {
      ++it;
    } else {
      cache_.release(it->second.known);
      it = states_.erase(it);
    }
  }
}

// --- the plan --------------------------------------------------------------------------------------------------------

bool ModelDrafter::lacks(TokenId token) const {
  return static_cast<std::uint32_t>(token) >= model_.model->hyper.n_vocab;
}

ModelDrafter::State& ModelDrafter::state_of(const Sequence& sequence) {
  const auto [it, is_new] =
      states_.try_emplace(sequence.id, State{.known = {}, .fed = {}, .record = GuessRecord(rate_)});
  State& state = it->second;
  state.seen_at = n_looks_;
  if (is_new) {
    state.known.request.tenant = sequence.request.tenant;
    const auto& biases = sequence.request.sampling.logit_bias;
    state.is_foreign = std::any_of(biases.begin(), biases.end(),
                                   [this](const auto& bias) { return lacks(bias.first); });
  }
  follow(state, sequence);
  if (is_new && !state.is_foreign) cache_.take_prefix(state.known);
  return state;
}

/// Takes over what the sequence has by now. Guesses that were right are computed already.
void ModelDrafter::follow(State& state, const Sequence& sequence) {
  Sequence& known = state.known;
  for (std::uint32_t t = known.n_tokens(); t < sequence.n_tokens(); ++t) {
    state.is_foreign = state.is_foreign || lacks(sequence.tokens[t]);
    known.tokens.push_back(sequence.tokens[t]);
  }
  known.n_prompt = known.n_known = known.verify_begin = known.n_tokens();
  for (const TokenId token : state.fed) {
    if (known.n_pending() == 1 || known.tokens[known.n_computed] != token) break;
    ++known.n_computed;
  }
  state.fed.clear();
  cache_.commit(known);
}

bool ModelDrafter::can_guess(const GuessWish& wish) {
  return wish.sequence->n_tokens() + wish.n_most <= model_.n_ctx_tok &&
         !state_of(*wish.sequence).is_foreign;
}

void ModelDrafter::plan(std::vector<GuessWish>& wishes, const StepWork& alone,
                        std::uint32_t n_sequences, const StepTimes& times) {
  const double alone_s = times.predict(alone);
  is_guessing_ = false;
  prices_ = {.token_s = alone_s / n_sequences, .row_s = times.predict(alone.plus(1, 0)) - alone_s};
  if (options_.is_adaptive && !account_.can_spend(0.0)) return wishes.clear();
  std::erase_if(wishes, [this](const GuessWish& wish) { return !can_guess(wish); });
  choose_numbers(wishes);
  share_rows(wishes, alone_s);
  std::erase_if(wishes,
                [this](const GuessWish& wish) { return wish.n_rows == 0 || !take_blocks(wish); });
  is_guessing_ = std::any_of(wishes.begin(), wishes.end(), [](const auto& w) { return w.n > 0; });
}

/// Those for whom guesses pay share a round's time: with fewer it is dearer for each.
void ModelDrafter::choose_numbers(std::vector<GuessWish>& wishes) {
  for (std::size_t n_sharing = 0; n_sharing != wishes.size() && !wishes.empty();) {
    n_sharing = wishes.size();
    StepWork round;
    for (const GuessWish& wish : wishes) round = round.plus(1, wish.sequence->n_tokens());
    prices_.round_s = times_.predict(round) / static_cast<double>(n_sharing);
    std::erase_if(wishes, [this](GuessWish& wish) {
      GuessRecord& record = states_.at(wish.sequence->id).record;
      wish.n =
          options_.is_adaptive ? best_guesses(prices_, record.rate(), wish.n_most) : wish.n_most;
      if (wish.n == 0) record.note_skipped();
      return wish.n == 0;
    });
  }
}

/// Whether what the guesses save in the rest of the answer is more than what it costs to begin with them.
bool ModelDrafter::is_worth_catching_up(const GuessWish& wish, const State& state) const {
  const std::uint32_t n_behind = state.known.n_pending();
  if (!options_.is_adaptive || n_behind <= kFewBehindTok) return true;
  const Sequence& sequence = *wish.sequence;
  const std::uint32_t n_left = sequence.request.max_tokens - sequence.n_generated();
  const std::uint32_t n_more = std::min(n_left, sequence.n_generated() + kMoreTok);
  const double saved_s =
      prices_.token_s * (1.0 - 1.0 / speedup(prices_, state.record.rate(), wish.n));
  const double cost_s = times_.predict(StepWork{}.plus(n_behind, state.known.n_computed));
  return cost_s <= saved_s * n_more && account_.can_spend(cost_s);
}

/// Known tokens go first, of those that are least behind first, and together take less than a step.
void ModelDrafter::share_rows(std::vector<GuessWish>& wishes, double alone_s) {
  const auto state_of = [this](const GuessWish& wish) -> State& {
    return states_.at(wish.sequence->id);
  };
  std::stable_sort(wishes.begin(), wishes.end(), [&](const GuessWish& a, const GuessWish& b) {
    return state_of(a).known.n_pending() < state_of(b).known.n_pending();
  });
  const std::uint32_t n_max = model_.device->n_max_rows();
  const std::uint32_t pos = wishes.empty() ? 0 : state_of(wishes.back()).known.n_computed;
  std::uint32_t n_left = times_.is_known()
                             ? times_.n_tok_within(kCatchUpShare * alone_s, StepWork{}, pos, n_max)
                             : kFirstCatchUpTok;
  n_left = std::min(n_max, std::max(n_left, kFewestCatchUpTok));
  for (GuessWish& wish : wishes) {
    State& state = state_of(wish);
    if (!is_worth_catching_up(wish, state)) {
      state.record.note_skipped();
      continue;
    }
    wish.n_rows = std::min(state.known.n_pending(), n_left);
    if (wish.n_rows < state.known.n_pending()) wish.n = 0;
    n_left -= wish.n_rows;
  }
}

/// For the known tokens that it computes, and the guesses that it feeds: all but the last.
bool ModelDrafter::take_blocks(const GuessWish& wish) {
  Sequence& known = states_.at(wish.sequence->id).known;
  const std::uint32_t n_fed = wish.n > 0 ? wish.n - 1 : 0;
  const std::uint32_t n_wanted = n_kv_blocks_for(known.n_computed + wish.n_rows + n_fed);
  const auto n_has = static_cast<std::uint32_t>(known.blocks.size());
  if (n_wanted <= n_has) return true;
  if (!model_.blocks.can_take(n_wanted - n_has)) return false;
  cache_.take(n_wanted - n_has, known);
  return true;
}

// --- the guesses -----------------------------------------------------------------------------------------------------

std::uint32_t ModelDrafter::add_rows(State& state, std::span<const TokenId> tokens,
                                     std::uint32_t position, Outputs outputs) {
  work_ = work_.plus(static_cast<std::uint32_t>(tokens.size()), position);
  return batch_.add(tokens, position, state.known.blocks, outputs);
}

bool ModelDrafter::forward(const std::atomic<bool>* is_unwanted) {
  const Clock::time_point start = Clock::now();
  if (!model_.forward(batch_, is_unwanted)) return false;
  times_.note(work_, seconds_since(start));
  return true;
}

bool ModelDrafter::guess(std::span<const GuessWish> wishes, const std::atomic<bool>* is_unwanted) {
  const Clock::time_point start = Clock::now();
  const bool is_done = compute_known(wishes, is_unwanted) && compute_guesses(is_unwanted);
  seconds_ = seconds_since(start);
  if (is_warm_) account_.spend(seconds_);  // the first time is like no other, see StepTimes
  is_warm_ = is_warm_ || is_done;
  return is_done;
}

/// Afterwards the newest token of all that guess has its logits.
bool ModelDrafter::compute_known(std::span<const GuessWish> wishes,
                                 const std::atomic<bool>* is_unwanted) {
  batch_.clear();
  work_ = {};
  guessing_.clear();
  for (const GuessWish& wish : wishes) {
    State& state = states_.at(wish.sequence->id);
    const Sequence& known = state.known;
    const std::uint32_t row =
        add_rows(state, std::span(known.tokens).subspan(known.n_computed, wish.n_rows),
                 known.n_computed, wish.n > 0 ? Outputs::kLast : Outputs::kNone);
    if (wish.n > 0) guessing_.push_back({.wish = &wish, .output_row = row});
  }
  if (!forward(is_unwanted)) return false;
  for (const GuessWish& wish : wishes) {
    State& state = states_.at(wish.sequence->id);
    const bool has_newest = wish.n_rows == state.known.n_pending();
    state.known.n_computed += wish.n_rows - (has_newest ? 1 : 0);
    if (has_newest) state.fed.push_back(state.known.tokens.back());
    cache_.commit(state.known);
  }
  return true;
}

bool ModelDrafter::compute_guesses(const std::atomic<bool>* is_unwanted) {
  for (;;) {
    std::erase_if(guessing_, [this](Guessing& guessing) { return !add_guess(guessing); });
    if (guessing_.empty()) return true;
    batch_.clear();
    work_ = {};
    for (Guessing& guessing : guessing_) {
      State& state = states_.at(guessing.wish->sequence->id);
      const auto n_fed = static_cast<std::uint32_t>(state.fed.size());
      const TokenId& token = guessing.wish->sequence->draft.back();
      guessing.output_row =
          add_rows(state, {&token, 1}, state.known.n_computed + n_fed, Outputs::kLast);
    }
    if (!forward(is_unwanted)) return false;
    for (const Guessing& guessing : guessing_) {
      Sequence& sequence = *guessing.wish->sequence;
      states_.at(sequence.id).fed.push_back(sequence.draft.back());
    }
  }
}

/// What the draft model would say, drawn with the very random number with which the model will draw: where they think
/// alike they choose alike, at any temperature. How likely that is, experience says; without temperature also how sure
/// the draft model is, which counts less the more often it is right.
std::optional<TokenGuess> ModelDrafter::next_guess(const Guessing& guessing) {
  const Sequence& sequence = *guessing.wish->sequence;
  const std::span<const float> logits = model_.logits(guessing.output_row);
  const double rate = states_.at(sequence.id).record.rate();
  if (sequence.request.sampling.temperature == 0.0F) {
    const TokenGuess guess = likeliest_token(logits);
    return TokenGuess{guess.id, std::pow(guess.probability, 2.0 * (1.0 - rate))};
  }
  const auto drawn = sample_token({.logits = logits,
                                   .params = sequence.request.sampling,
                                   .generated = sequence.generated_counts,
                                   .position = sequence.n_tokens() + sequence.draft.size()},
                                  scratch_);
  if (!drawn) return std::nullopt;
  return TokenGuess{*drawn, rate};
}

/// Another guess. False if it is the last: that many were wanted, or one more is too unlikely to pay.
bool ModelDrafter::add_guess(Guessing& guessing) {
  std::vector<TokenId>& draft = guessing.wish->sequence->draft;
  const auto next = next_guess(guessing);
  if (!next || static_cast<std::uint32_t>(next->id) >= options_.n_vocab) return false;
  guessing.probability *= next->probability;
  const double saved_s = guessing.probability * prices_.token_s;
  if (options_.is_adaptive && saved_s < prices_.row_s) return false;
  draft.push_back(next->id);
  if (draft.size() >= guessing.wish->n) return false;
  const double rate = states_.at(guessing.wish->sequence->id).record.rate();
  return !options_.is_adaptive || saved_s * rate >= prices_.row_s + prices_.round_s;
}

void ModelDrafter::note(const Sequence& sequence, std::uint32_t n_guessed, std::uint32_t n_right) {
  const auto it = states_.find(sequence.id);
  if (it == states_.end()) return;
  GuessRecord& record = it->second.record;
  record.note(n_guessed, n_right);
  if (n_guessed > 0) rate_ += kRateLearning * (record.rate() - rate_);
  account_.spend(prices_.row_s * n_guessed);
  account_.earn(prices_.token_s * n_right);
}

// --- the likeliest token ---------------------------------------------------------------------------------------------

namespace {

constexpr std::size_t kLanes = 16;

/// e^x for x <= 0 within 4 %, by writing it into a float's exponent (Schraudolph 1999): enough to say how sure a guess
/// is.
float rough_exp(float x) {
  constexpr float kPerUnit = 12102203.16F;  // 2^23 / ln 2
  constexpr float kOne = 1064866805.0F;     // the bits of 1.0F, less what makes the error even
  const float bits = std::max(0.0F, x * kPerUnit + kOne);
  return std::bit_cast<float>(static_cast<std::int32_t>(bits));
}

}  // namespace

TokenGuess likeliest_token(std::span<const float> logits) {
  const std::size_t n_whole = logits.size() / kLanes * kLanes;
  std::array<float, kLanes> sums{};
  const float highest = max_of(logits);
  for (std::size_t i = 0; i < n_whole; i += kLanes) {
    for (std::size_t l = 0; l < kLanes; ++l) sums[l] += rough_exp(logits[i + l] - highest);
  }
  for (std::size_t i = n_whole; i < logits.size(); ++i) sums[0] += rough_exp(logits[i] - highest);
  double sum = 0.0;
  for (const float s : sums) sum += static_cast<double>(s);
  const auto found = std::find(logits.begin(), logits.end(), highest);
  if (found == logits.end()) return {};  // not a number: the model will say so of its own
  return {static_cast<TokenId>(found - logits.begin()), sum > 1.0 ? 1.0 / sum : 1.0};
}

}  // namespace deepwell::engine
