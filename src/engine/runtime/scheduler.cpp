// Admission and the plan of a step.
#include "engine/runtime/scheduler.hpp"

#include <algorithm>

namespace deepwell::engine {

/// The longest it may become: prompt and all tokens it may generate, within the context.
std::uint32_t Scheduler::blocks_for(const Sequence& sequence) const {
  const std::uint64_t longest = std::min<std::uint64_t>(
      std::uint64_t{sequence.n_prompt} + sequence.request.max_tokens, options_.n_ctx_tok);
  const std::uint64_t n_tok = std::max<std::uint64_t>(longest, sequence.n_tokens());
  return static_cast<std::uint32_t>((n_tok + kKvBlockTok - 1) / kKvBlockTok);
}

void Scheduler::admit() {
  while (!waiting_.empty() && running_.size() < options_.n_parallel) {
    const std::uint32_t n_blocks = blocks_for(*waiting_.front());
    // Nobody overtakes the first in the queue: a long request would wait for ever behind short ones.
    if (!blocks_.can_take(n_blocks)) return;
    Sequence& sequence = *waiting_.front();
    if (cache_ != nullptr) cache_->take_prefix(sequence);
    blocks_.take(n_blocks - static_cast<std::uint32_t>(sequence.blocks.size()), sequence.blocks);
    running_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
  }
}

void Scheduler::add_piece(Sequence& sequence, std::uint32_t n_tok, StepBatch& batch,
                          std::vector<StepPiece>& pieces) {
  const bool has_output = n_tok == sequence.n_pending() && sequence.request.max_tokens > 0;
  const auto tokens = std::span<const TokenId>(sequence.tokens).subspan(sequence.n_computed, n_tok);
  const std::uint32_t n_outputs =
      std::max(sequence.n_rows_from_verifying(sequence.n_computed, sequence.n_computed + n_tok),
               has_output ? 1U : 0U);
  const std::uint32_t output_row =
      batch.add(tokens, sequence.n_computed, sequence.blocks, n_outputs);
  pieces.push_back({&sequence, n_tok, output_row, n_outputs, has_output});
}

bool Scheduler::schedule(StepBatch& batch, std::vector<StepPiece>& pieces) {
  batch.clear();
  pieces.clear();
  admit();
  for (const auto& sequence : running_) {
    if (batch.n_rows() == options_.n_max_rows) break;
    if (sequence->n_pending() == 1) add_piece(*sequence, 1, batch, pieces);
  }
  std::uint32_t budget = options_.n_max_rows - batch.n_rows();
  if (!pieces.empty()) budget = std::min(budget, options_.n_mixed_budget_tok);
  for (const auto& sequence : running_) {
    if (budget == 0) break;
    if (sequence->n_pending() <= 1) continue;
    const std::uint32_t n_tok = std::min(budget, sequence->n_pending());
    add_piece(*sequence, n_tok, batch, pieces);
    budget -= n_tok;
  }
  return !batch.is_empty();
}

Sequence* Scheduler::find(GenerationId id) {
  for (const auto& sequence : running_) {
    if (sequence->id == id) return sequence.get();
  }
  for (const auto& sequence : waiting_) {
    if (sequence->id == id) return sequence.get();
  }
  return nullptr;
}

std::unique_ptr<Sequence> Scheduler::remove(GenerationId id) {
  const auto has_id = [id](const auto& sequence) { return sequence->id == id; };
  std::unique_ptr<Sequence> removed;
  if (const auto it = std::find_if(running_.begin(), running_.end(), has_id);
      it != running_.end()) {
    removed = std::move(*it);
    running_.erase(it);
  } else if (const auto w = std::find_if(waiting_.begin(), waiting_.end(), has_id);
             w != waiting_.end()) {
    removed = std::move(*w);
    waiting_.erase(w);
  }
  if (removed == nullptr) return nullptr;
  if (cache_ != nullptr) {
    cache_->release(*removed);
  } else {
    blocks_.release(removed->blocks);
  }
  return removed;
}

}  // namespace deepwell::engine
