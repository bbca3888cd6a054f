// Appending a sequence's piece to the batch.
#include "engine/runtime/step_batch.hpp"

#include <algorithm>

namespace deepwell::engine {

void StepBatch::clear() {
  tokens_.clear();
  sequences_.clear();
  output_rows_.clear();
}

std::uint32_t StepBatch::add(std::span<const TokenId> tokens, std::uint32_t pos_begin,
                             std::span<const std::uint32_t> kv_blocks, Outputs outputs) {
  const auto n = static_cast<std::uint32_t>(tokens.size());
  const std::uint32_t n_last = outputs == Outputs::kNone ? 0 : std::min(1U, n);
  return add(tokens, pos_begin, kv_blocks, outputs == Outputs::kAll ? n : n_last);
}

std::uint32_t StepBatch::add(std::span<const TokenId> tokens, std::uint32_t pos_begin,
                             std::span<const std::uint32_t> kv_blocks, std::uint32_t n_outputs) {
  const std::uint32_t row_begin = n_rows();
  const auto first_output = static_cast<std::uint32_t>(output_rows_.size());
  const auto n = static_cast<std::uint32_t>(tokens.size());
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  sequences_.push_back({row_begin, n, pos_begin, kv_blocks});
  for (std::uint32_t r = n - n_outputs; r < n; ++r) output_rows_.push_back(row_begin + r);
  return first_output;
}

}  // namespace deepwell::engine
