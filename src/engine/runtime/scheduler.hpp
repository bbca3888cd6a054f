// Scheduler: which sequences run in the next step, and how many tokens of each.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_set>
#include <vector>

#include "engine/runtime/block_pool.hpp"
#include "engine/runtime/fair_queue.hpp"
#include "engine/runtime/model_drafter.hpp"
#include "engine/runtime/ngram_drafter.hpp"
#include "engine/runtime/prefix_cache.hpp"
#include "engine/runtime/sequence.hpp"
#include "engine/runtime/speculation.hpp"
#include "engine/runtime/step_batch.hpp"
#include "engine/runtime/step_pace.hpp"
#include "engine/runtime/step_times.hpp"

namespace deepwell::engine {

struct SchedulerOptions {
  std::uint32_t n_parallel = 16;   // sequences running at once
  std::uint32_t n_max_rows = 512;  // tokens of a step at most
  std::uint32_t n_ctx_tok = 4096;
  // A step in which some decode aims at no more than so many times what their tokens alone take, or took lately with
  // what was guessed, unless more prompts than they wait: so much prompts may slow them down. Below 2, so that what is
  // predicted wrongly stays below that.
  double max_slowdown = 1.75;
  std::uint32_t n_mixed_budget_tok = 128;  // prompt tokens of such a step before times are known
  std::uint32_t n_max_draft_tok = 0;       // tokens guessed at once; 0: none
};

/// A sequence's part of the step that schedule() planned.
struct StepPiece {
  Sequence* sequence = nullptr;
  std::uint32_t n_tok = 0;       // known tokens to compute
  std::uint32_t n_draft = 0;     // guessed tokens behind them (Sequence::draft)
  std::uint32_t output_row = 0;  // of its first row that has logits
  std::uint32_t n_outputs = 0;   // so many of its last rows have logits
  bool has_output =
      false;  // the step reaches this sequence's newest token: its logits choose the next one
};

/// Continuous batching with chunked prefill. In every step each decoding sequence gets its token, and prompts share
/// what is left of the step's time; whose turn it is says FairQueue. A sequence is admitted when there are blocks for
/// the tokens that it has. When one that decodes needs a block and none is free, the last in rank gives all of its
/// blocks back and waits again: its tokens are known, so it goes on later as if nothing had been (docs/numerics.md), and
/// most of its blocks are found again. The first in rank gets whatever it needs, and a single sequence always fits, so
/// whoever was admitted finishes. Whoever has less than its fair places takes one from those who have more. Used by the engine's thread alone; knows no model and no clock.
class Scheduler {
 public:
  /// Without a cache every token of a sequence is computed; without a drafter guesses come from what was said.
  Scheduler(const SchedulerOptions& options, BlockPool& blocks, PrefixCache* cache = nullptr,
            ModelDrafter* drafter = nullptr)
      : options_(options),
        blocks_(blocks),
        cache_(cache),
        drafter_(drafter),
        waiting_(options.n_parallel) {}

  /// Queues a sequence.
  void add(std::unique_ptr<Sequence> sequence, std::int64_t now_ms) {
    waiting_.add(std::move(sequence), now_ms);
  }

  /// Admits whom it can and plans a step. False if there is nothing to do now. Pieces stay valid until the next call of
  /// schedule(), finish() or remove().
  bool schedule(StepBatch& batch, std::vector<StepPiece>& pieces, std::int64_t now_ms);

  /// Makes the guesses that the plan wants of the draft model, and adds them to it. To be called before the step is
  /// computed; costs nothing where none are wanted. False if `is_unwanted` (may be null) became true meanwhile.
  bool guess(StepBatch& batch, std::vector<StepPiece>& pieces,
             const std::atomic<bool>* is_unwanted);
  /// Of a computed piece's guesses so many were right.
  void note_guesses(const StepPiece& piece, std::uint32_t n_right);

  /// The planned step was computed, and not abandoned: its tenants got that much.
  void charge(const std::vector<StepPiece>& pieces);
  /// How long it took.
  void note_time(double seconds);

  /// Takes a sequence out, running or waiting, and frees its blocks. Null if it is not here.
  std::unique_ptr<Sequence> remove(GenerationId id);
  Sequence* find(GenerationId id);
  /// Any sequence, running or waiting; null if there is none.
  Sequence* any() const { return running_.empty() ? waiting_.any() : running_.front().get(); }

  std::uint32_t n_running() const { return static_cast<std::uint32_t>(running_.size()); }
  std::uint32_t n_waiting() const { return waiting_.n_waiting(); }
  std::uint32_t n_blocks_used() const { return blocks_.n_blocks() - blocks_.n_free(); }
  std::uint64_t n_preempted() const { return n_preempted_; }
  const std::vector<std::unique_ptr<Sequence>>& running() const { return running_; }
  /// Whether all that run are mere background.
  bool is_background() const;
  /// Whether the planned step keeps a tenant that has nothing here yet from a part of the engine that is its own: prompts
  /// of others, who have more than theirs.
  bool is_in_the_way_of_newcomers() const {
    return !prompts_.empty() && waiting_.anybody_has_surplus(1.0);
  }

 private:
  void admit(std::int64_t now_ms);
  bool has_place_for(const Sequence& sequence) const;
  Sequence* whoever_yields_to(const Sequence& sequence) const;
  void start(std::unique_ptr<Sequence> sequence);
  void preempt(Sequence& sequence);
  void take_blocks(std::uint32_t n, Sequence& sequence);
  std::unique_ptr<Sequence> stop(GenerationId id);
  void grow();
  std::uint32_t n_most_guesses(const Sequence& sequence) const;
  bool take_blocks_for_guesses(Sequence& sequence, std::uint32_t n);
  GuessPrices guess_prices() const;
  void draft(Sequence& sequence);
  void drop_guesses_that_do_not_pay();
  void plan_guesses(const std::vector<StepPiece>& pieces);
  bool goes_before_others(const Sequence& sequence) const;
  std::uint32_t prompt_budget(std::size_t n_decoding) const;
  void add_prompts(StepBatch& batch, std::vector<StepPiece>& pieces);
  std::uint32_t next_chunk(Sequence& sequence, std::uint32_t budget);
  void add_piece(Sequence& sequence, std::uint32_t n_tok, StepBatch& batch,
                 std::vector<StepPiece>& pieces);
  void add_rows(StepPiece& piece, StepBatch& batch);

  SchedulerOptions options_;
  BlockPool& blocks_;
  PrefixCache* cache_;     // may be null
  ModelDrafter* drafter_;  // may be null
  FairQueue waiting_;
  std::vector<std::unique_ptr<Sequence>>
      running_;  // by rank: higher priority (at most normal) first, then admission
  StepTimes times_;
  StepPace pace_;                                         // of steps that had no prompts
  StepWork work_;                                         // of the step that is being planned
  std::vector<Sequence*> prompts_;                        // of this step
  std::vector<GuessWish> wishes_;                         // of this step
  double guess_s_ = 0.0;                                  // what guessing took before it
  std::unordered_set<BlockName, BlockNameHash> in_work_;  // blocks that this step computes
  std::vector<TokenId> rows_;                             // of one piece, known and guessed
  std::uint64_t n_preempted_ = 0;
};

}  // namespace deepwell::engine
