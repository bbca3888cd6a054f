// Admission, preemption, and the plan of a step.
#include "engine/runtime/scheduler.hpp"

#include <algorithm>
#include <tuple>
#include <utility>

namespace deepwell::engine {

namespace {

constexpr double kFirstTokenWeight =
    4.0;  // of one who waits for a first token, beside one who waits for the next
constexpr double kGuessGain = 1.5;    // a guess must bring so many times what it costs
constexpr double kOftenRight = 0.45;  // what repeats itself goes before a draft model
// Rows of a step in which tokens are guessed: each has logits, 0.6 MiB for 150,000 tokens, and more seldom pay.
constexpr std::uint32_t kMostGuessRows = 64;
constexpr std::uint32_t kTileTok = 16;  // rows of a step cost least in whole tiles of so many

/// n without what is over, unless that is much of it.
std::uint32_t less_rest(std::uint32_t n, std::uint32_t n_rest) {
  return 4 * n_rest > n ? n : n - n_rest;
}

/// As the device computes them: up to one tile each for itself, then in whole tiles.
std::uint32_t rows_in_tiles(std::uint32_t n) {
  return n <= kTileTok ? n : (n + kTileTok - 1) / kTileTok * kTileTok;
}

bool is_background(const Sequence& sequence) {
  return sequence.request.priority == Priority::kBackground;
}

void skip_guesses(Sequence& sequence) {
  sequence.drafter.note_skipped();
  sequence.draft.clear();
}

}  // namespace

bool Scheduler::is_background() const {
  return std::all_of(running_.begin(), running_.end(),
                     [](const auto& s) { return engine::is_background(*s); });
}

// --- who runs --------------------------------------------------------------------------------------------------------

/// Room for the tokens that it has, and a block for each that runs to go on with.
bool Scheduler::has_place_for(const Sequence& sequence) const {
  const std::uint32_t n_spare = running_.empty() ? 0 : n_running() + 1;
  return running_.size() < options_.n_parallel &&
         blocks_.can_take(n_kv_blocks_for(sequence.n_tokens()) + n_spare);
}

/// The last in rank of the tenant that has most beyond its fair places, while this one's has less than its own. Null
/// if nobody must make place.
Sequence* Scheduler::whoever_yields_to(const Sequence& sequence) const {
  if (waiting_.surplus_of(sequence) > -1.0) return nullptr;
  Sequence* yielding = nullptr;
  double most = 0.0;
  for (const auto& candidate : running_) {
    const double surplus = waiting_.surplus_of(*candidate);
    if (surplus <= 0.0 || surplus < most) continue;
    most = surplus;
    yielding = candidate.get();
  }
  return yielding;
}

void Scheduler::admit(std::int64_t now_ms) {
  // Background gives way to whoever wants the engine, and what it has computed stays findable.
  while (waiting_.n_wanted() > 0 && !running_.empty() && engine::is_background(*running_.back()))
    preempt(*running_.back());
  while (Sequence* next = waiting_.first(now_ms)) {
    if (engine::is_background(*next) && !is_background()) return;
    while (!has_place_for(*next)) {
      // Nobody overtakes the one whose turn it is: a long request would wait for ever behind short ones.
      Sequence* yielding = whoever_yields_to(*next);
      if (yielding == nullptr) return;
      preempt(*yielding);
    }
    start(waiting_.take(*next, now_ms));
  }
}

void Scheduler::take_blocks(std::uint32_t n, Sequence& sequence) {
  if (cache_ != nullptr) {
    cache_->take(n, sequence);
  } else {
    blocks_.take(n, sequence.blocks);
  }
}

void Scheduler::start(std::unique_ptr<Sequence> sequence) {
  if (cache_ != nullptr) cache_->take_prefix(*sequence);
  const auto n_taken = static_cast<std::uint32_t>(sequence->blocks.size());
  take_blocks(n_kv_blocks_for(sequence->n_tokens()) - n_taken, *sequence);
  const std::int64_t level = FairQueue::level_among_tenants(sequence->level);
  const auto place = std::find_if(running_.begin(), running_.end(), [&](const auto& other) {
    return FairQueue::level_among_tenants(other->level) < level;
  });
  running_.insert(place, std::move(sequence));
}

/// Out of `running_`, its blocks given back.
std::unique_ptr<Sequence> Scheduler::stop(GenerationId id) {
  const auto it = std::find_if(running_.begin(), running_.end(),
                               [id](const auto& sequence) { return sequence->id == id; });
  if (it == running_.end()) return nullptr;
  std::unique_ptr<Sequence> sequence = std::move(*it);
  running_.erase(it);
  waiting_.leave(*sequence);
  if (cache_ != nullptr) {
    cache_->release(*sequence);
  } else {
    blocks_.release(sequence->blocks);
  }
  return sequence;
}

void Scheduler::preempt(Sequence& sequence) {
  std::unique_ptr<Sequence> stopped = stop(sequence.id);
  // What it came with was compared already; of all that it has now only the newest token's logits are wanted.
  if (stopped->n_computed >= stopped->n_known)
    stopped->n_known = stopped->verify_begin = stopped->n_tokens();
  stopped->n_reached = std::max(stopped->n_reached, stopped->n_computed);
  stopped->n_computed = 0;
  ++n_preempted_;
  waiting_.add_again(std::move(stopped));
}

Sequence* Scheduler::find(GenerationId id) {
  for (const auto& sequence : running_) {
    if (sequence->id == id) return sequence.get();
  }
  return waiting_.find(id);
}

std::unique_ptr<Sequence> Scheduler::remove(GenerationId id) {
  std::unique_ptr<Sequence> stopped = stop(id);
  return stopped != nullptr ? std::move(stopped) : waiting_.remove(id);
}

// --- what they do ----------------------------------------------------------------------------------------------------

/// A block for every token of everyone, first in rank first; the last in rank make room.
void Scheduler::grow() {
  for (std::size_t i = 0; i < running_.size(); ++i) {
    Sequence& sequence = *running_[i];
    const std::uint32_t n_wanted = n_kv_blocks_for(sequence.n_tokens());
    while (sequence.blocks.size() < n_wanted && i < running_.size()) {
      if (blocks_.can_take(1)) {
        take_blocks(1, sequence);
      } else {
        preempt(*running_.back());  // at worst this one
      }
    }
  }
}

/// Tokens that may be guessed behind a sequence's newest one.
std::uint32_t Scheduler::n_most_guesses(const Sequence& sequence) const {
  if (sequence.request.max_tokens == 0) return 0;  // it only warms the cache
  const std::uint32_t n_rows = std::min(kMostGuessRows, options_.n_max_rows) / n_running();
  if (n_rows < 2) return 0;
  const std::uint32_t n_most = std::min(options_.n_max_draft_tok, n_rows - 1);
  const std::uint32_t n_left = sequence.request.max_tokens - sequence.n_generated();
  const std::uint32_t n_room = options_.n_ctx_tok - sequence.n_tokens();
  return std::min({n_most, n_left - 1, n_room - 1});
}

/// False if there is no room for n guesses without taking anybody's.
bool Scheduler::take_blocks_for_guesses(Sequence& sequence, std::uint32_t n) {
  while (sequence.blocks.size() < n_kv_blocks_for(sequence.n_tokens() + n)) {
    if (!blocks_.can_take(n_running() + 1)) return false;
    take_blocks(1, sequence);
  }
  return true;
}

/// In a step of all that run and nothing else.
GuessPrices Scheduler::guess_prices() const {
  const StepWork alone{.n_rows = n_running(), .n_keys = 0};
  const double alone_s = times_.predict(alone);
  return {.token_s = alone_s / alone.n_rows, .row_s = times_.predict(alone.plus(1, 0)) - alone_s};
}

/// Guesses what follows a sequence that decodes from what it said before, if that pays.
void Scheduler::draft(Sequence& sequence) {
  const std::uint32_t n_most = n_most_guesses(sequence);
  if (n_most == 0) return;
  sequence.is_draft_by_model = false;
  sequence.drafter.guess(sequence.tokens, n_most, sequence.draft);
  if (sequence.draft.empty()) return;
  if (drafter_ != nullptr && drafter_->is_guessing() && sequence.drafter.rate() < kOftenRight) {
    return skip_guesses(sequence);  // the draft model does better
  }
  const GuessPrices prices = guess_prices();  // all wait for a guess
  if (sequence.drafter.rate() * prices.token_s < kGuessGain * prices.row_s) {
    return skip_guesses(sequence);
  }
  const auto n_guesses = static_cast<std::uint32_t>(sequence.draft.size());
  if (!take_blocks_for_guesses(sequence, n_guesses)) sequence.draft.clear();
}

/// Beyond one tile rows cost whole tiles: what all guess from their text must be worth that together.
void Scheduler::drop_guesses_that_do_not_pay() {
  std::uint32_t n_guesses = 0;
  double n_right = 0.0;
  for (const auto& sequence : running_) {
    const auto n = static_cast<std::uint32_t>(sequence->draft.size());
    n_guesses += n;
    n_right += sequence->drafter.rate() * n;
  }
  if (n_guesses == 0) return;
  const GuessPrices prices = guess_prices();
  const std::uint32_t n_rows = rows_in_tiles(n_running() + n_guesses) - rows_in_tiles(n_running());
  if (n_right * prices.token_s >= kGuessGain * prices.row_s * n_rows) return;
  for (const auto& sequence : running_) {
    if (!sequence->draft.empty()) skip_guesses(*sequence);
  }
}

/// The draft model guesses for those that have no guesses of their own text.
void Scheduler::plan_guesses(const std::vector<StepPiece>& pieces) {
  if (drafter_ == nullptr || !prompts_.empty()) return;
  for (const StepPiece& piece : pieces) {
    Sequence& sequence = *piece.sequence;
    if (piece.n_draft > 0 || engine::is_background(sequence)) continue;
    const std::uint32_t n_most = n_most_guesses(sequence);
    if (n_most > 0) wishes_.push_back({.sequence = &sequence, .n_most = n_most});
  }
  if (wishes_.empty()) return;
  drafter_->plan(wishes_, work_, n_running(), times_);
  for (GuessWish& wish : wishes_) {
    if (!take_blocks_for_guesses(*wish.sequence, wish.n)) wish.n = 0;
  }
}

bool Scheduler::guess(StepBatch& batch, std::vector<StepPiece>& pieces,
                      const std::atomic<bool>* is_unwanted) {
  if (wishes_.empty()) return true;
  for (const GuessWish& wish : wishes_) wish.sequence->is_draft_by_model = true;
  if (!drafter_->guess(wishes_, is_unwanted)) return false;
  guess_s_ = drafter_->seconds();
  batch.clear();
  work_ = {};
  for (StepPiece& piece : pieces) add_rows(piece, batch);
  return true;
}

void Scheduler::note_guesses(const StepPiece& piece, std::uint32_t n_right) {
  Sequence& sequence = *piece.sequence;
  if (sequence.is_draft_by_model) {
    drafter_->note(sequence, piece.n_draft, n_right);
  } else {
    sequence.drafter.note(piece.n_draft, n_right);
  }
}

void Scheduler::add_piece(Sequence& sequence, std::uint32_t n_tok, StepBatch& batch,
                          std::vector<StepPiece>& pieces) {
  const bool has_output = n_tok == sequence.n_pending() && sequence.request.max_tokens > 0;
  pieces.push_back({.sequence = &sequence, .n_tok = n_tok, .has_output = has_output});
  add_rows(pieces.back(), batch);
}

/// A piece's known and guessed tokens.
void Scheduler::add_rows(StepPiece& piece, StepBatch& batch) {
  const Sequence& sequence = *piece.sequence;
  const std::uint32_t begin = sequence.n_computed;
  const auto tokens = std::span<const TokenId>(sequence.tokens).subspan(begin, piece.n_tok);
  rows_.assign(tokens.begin(), tokens.end());
  rows_.insert(rows_.end(), sequence.draft.begin(), sequence.draft.end());
  piece.n_draft = static_cast<std::uint32_t>(sequence.draft.size());
  piece.n_outputs = std::max(sequence.n_rows_from_verifying(begin, begin + piece.n_tok),
                             piece.has_output ? 1U : 0U) +
                    piece.n_draft;
  piece.output_row = batch.add(rows_, begin, sequence.blocks, piece.n_outputs);
  work_ = work_.plus(piece.n_tok + piece.n_draft, begin);
}

/// Whether its tenant has no more than its places while another has.
bool Scheduler::goes_before_others(const Sequence& sequence) const {
  return waiting_.surplus_of(sequence) <= 0.0 && waiting_.anybody_has_surplus();
}

/// Prompt tokens that fit beside the rows which decode.
std::uint32_t Scheduler::prompt_budget(std::size_t n_decoding) const {
  const std::uint32_t n_max = options_.n_max_rows - work_.n_rows;
  if (work_.n_rows == 0 || goes_before_others(*prompts_.front())) return n_max;
  if (!times_.is_known()) return std::min(n_max, options_.n_mixed_budget_tok);
  const std::uint32_t pos = prompts_.front()->n_computed;
  // The more others wait for a first token too, the less those who have theirs keep their pace.
  const double slowdown = std::max(
      options_.max_slowdown, 1.0 + kFirstTokenWeight * static_cast<double>(prompts_.size() - 1) /
                                       static_cast<double>(n_decoding));
  const double seconds = slowdown * std::max(times_.predict(work_), pace_.seconds());
  const std::uint32_t n_tok = times_.n_tok_within(seconds, work_, pos, n_max);
  const std::uint32_t n_fewest = kTileTok - work_.n_rows % kTileTok;  // else none would go on
  return std::min(n_max, std::max(less_rest(n_tok, (work_.n_rows + n_tok) % kTileTok), n_fewest));
}

/// Tokens of its prompt that it computes in this step. 0: the next ones are being read from disk, or somebody else
/// computes them just now, from whom it takes them afterwards.
std::uint32_t Scheduler::next_chunk(Sequence& sequence, std::uint32_t budget) {
  if (cache_ != nullptr && sequence.n_computed == sequence.n_named_blocks * kKvBlockTok &&
      cache_->take_prefix(sequence))
    return 0;
  const std::uint32_t n_tok = std::min(budget, sequence.n_pending());
  if (cache_ == nullptr) return n_tok;
  const std::uint32_t first = sequence.n_named_blocks;
  const std::uint32_t end = (sequence.n_computed + n_tok) / kKvBlockTok;
  if (first < end && sequence.n_computed == first * kKvBlockTok &&
      in_work_.contains(cache_->name_of(sequence, first)))
    return 0;
  for (std::uint32_t i = first; i < end; ++i) in_work_.insert(cache_->name_of(sequence, i));
  return n_tok;
}

/// Prompts, in turn by who has more than its places, by priority and by what tenants got, share the budget.
void Scheduler::add_prompts(StepBatch& batch, std::vector<StepPiece>& pieces) {
  if (prompts_.empty()) return;
  std::stable_sort(prompts_.begin(), prompts_.end(), [this](const auto* a, const auto* b) {
    return std::tuple(FairQueue::level_among_tenants(b->level), waiting_.n_served(*a), b->level) <
           std::tuple(FairQueue::level_among_tenants(a->level), waiting_.n_served(*b), a->level);
  });
  std::stable_partition(prompts_.begin(), prompts_.end(), [this](const Sequence* sequence) {
    return waiting_.surplus_of(*sequence) <= 0.0;
  });
  in_work_.clear();
  std::uint32_t budget = prompt_budget(pieces.size());
  for (Sequence* sequence : prompts_) {
    if (budget == 0) break;
    const std::uint32_t n_tok = next_chunk(*sequence, budget);
    if (n_tok == 0) continue;
    sequence->draft.clear();
    add_piece(*sequence, n_tok, batch, pieces);
    budget -= n_tok;
  }
}

void Scheduler::charge(const std::vector<StepPiece>& pieces) {
  for (const StepPiece& piece : pieces) waiting_.charge(*piece.sequence, piece.n_tok);
}

void Scheduler::note_time(double seconds) {
  times_.note(work_, seconds);
  seconds += guess_s_;
  if (drafter_ != nullptr) drafter_->note_step(seconds);
  if (prompts_.empty()) pace_.note(seconds);
}

bool Scheduler::schedule(StepBatch& batch, std::vector<StepPiece>& pieces, std::int64_t now_ms) {
  batch.clear();
  pieces.clear();
  work_ = {};
  wishes_.clear();
  guess_s_ = 0.0;
  admit(now_ms);
  grow();
  if (drafter_ != nullptr) drafter_->keep_only(running_);
  prompts_.clear();
  for (const auto& sequence : running_) {
    if (sequence->n_pending() > 1) prompts_.push_back(sequence.get());
  }
  for (const auto& sequence : running_) {
    sequence->draft.clear();
    if (prompts_.empty()) draft(*sequence);  // a first token is worth more than a guess
  }
  drop_guesses_that_do_not_pay();
  for (const auto& sequence : running_) {
    if (sequence->n_pending() != 1) continue;
    if (work_.n_rows == options_.n_max_rows) break;
    add_piece(*sequence, 1, batch, pieces);
  }
  plan_guesses(pieces);
  add_prompts(batch, pieces);
  return !batch.is_empty();
}

}  // namespace deepwell::engine
