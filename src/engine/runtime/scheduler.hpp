// Scheduler: which sequences run in the next step, and how many tokens of each.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "engine/runtime/block_pool.hpp"
#include "engine/runtime/prefix_cache.hpp"
#include "engine/runtime/sequence.hpp"
#include "engine/runtime/step_batch.hpp"

namespace deepwell::engine {

struct SchedulerOptions {
  std::uint32_t n_parallel = 16;   // sequences running at once
  std::uint32_t n_max_rows = 512;  // tokens of a step at most
  std::uint32_t n_mixed_budget_tok =
      128;  // prompt tokens of a step in which others decode: bounds their pause
  std::uint32_t n_ctx_tok = 4096;
};

/// A sequence's part of the step that schedule() planned.
struct StepPiece {
  Sequence* sequence = nullptr;
  std::uint32_t n_tok = 0;
  std::uint32_t output_row = 0;  // of its first row that has logits
  std::uint32_t n_outputs = 0;   // so many of its last rows have logits
  bool has_output =
      false;  // the step ends with this sequence's newest token: its logits choose the next one
};

/// Continuous batching with chunked prefill: in every step each decoding sequence gets its token, and prompts share
/// what is left of the budget, first come first served. A sequence is admitted when the blocks for the longest it may
/// become are free, so whoever was admitted can finish. Used by the engine's thread alone; knows no model.
class Scheduler {
 public:
  /// Without a cache every token of a sequence is computed.
  Scheduler(const SchedulerOptions& options, BlockPool& blocks, PrefixCache* cache = nullptr)
      : options_(options), blocks_(blocks), cache_(cache) {}

  /// Queues a sequence.
  void add(std::unique_ptr<Sequence> sequence) { waiting_.push_back(std::move(sequence)); }

  /// Admits whom it can and plans a step. False if there is nothing to do. Pieces stay valid until the next call of
  /// schedule(), finish() or remove().
  bool schedule(StepBatch& batch, std::vector<StepPiece>& pieces);

  /// Takes a sequence out, running or waiting, and frees its blocks. Null if it is not here.
  std::unique_ptr<Sequence> remove(GenerationId id);
  Sequence* find(GenerationId id);

  std::uint32_t n_running() const { return static_cast<std::uint32_t>(running_.size()); }
  std::uint32_t n_waiting() const { return static_cast<std::uint32_t>(waiting_.size()); }
  std::uint32_t n_blocks_used() const { return blocks_.n_blocks() - blocks_.n_free(); }
  const std::vector<std::unique_ptr<Sequence>>& running() const { return running_; }
  const std::deque<std::unique_ptr<Sequence>>& waiting() const { return waiting_; }

 private:
  std::uint32_t blocks_for(const Sequence& sequence) const;
  void admit();
  void add_piece(Sequence& sequence, std::uint32_t n_tok, StepBatch& batch,
                 std::vector<StepPiece>& pieces);

  SchedulerOptions options_;
  BlockPool& blocks_;
  PrefixCache* cache_;  // may be null
  std::deque<std::unique_ptr<Sequence>> waiting_;
  std::vector<std::unique_ptr<Sequence>> running_;  // in order of admission
};

}  // namespace deepwell::engine
