// Appending a sequence's piece to the batch.
#include "engine/runtime/step_batch.hpp"

namespace deepwell::engine {

void StepBatch::clear() {
  tokens_.clear();
  sequences_.clear();
  output_rows_.clear();
}

std::uint32_t StepBatch::add(std::span<const TokenId> tokens, std::uint32_t pos_begin,
                             std::span<const std::uint32_t> kv_blocks, Outputs outputs) {
  const std::uint32_t row_begin = n_rows();
  const auto first_output = static_cast<std::uint32_t>(output_rows_.size());
  const auto n = static_cast<std::uint32_t>(tokens.size());
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  sequences_.push_back({row_begin, n, pos_begin, kv_blocks});
  for (std::uint32_t r = 0; r < n; ++r) {
    if (outputs == Outputs::kAll || (outputs == Outputs::kLast && r + 1 == n))
      output_rows_.push_back(row_begin + r);
  }
  return first_output;
}

}  // namespace deepwell::engine
