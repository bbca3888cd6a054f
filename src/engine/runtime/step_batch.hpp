// StepBatch: collects pieces of sequences into the ragged batch of one step.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/device/device.hpp"
#include "engine/sampling/params.hpp"

namespace deepwell::engine {

/// Which rows of a piece want logits.
enum class Outputs : std::uint8_t { kNone, kLast, kAll };

/// Reused from step to step; does not allocate once it has seen its largest step.
class StepBatch {
 public:
  void clear();
  /// `tokens` at positions pos_begin.. of a sequence whose keys and values lie in `kv_blocks`, which must stay valid
  /// while the step runs. Returns the number of the piece's first output row among the step's outputs.
  std::uint32_t add(std::span<const TokenId> tokens, std::uint32_t pos_begin,
                    std::span<const std::uint32_t> kv_blocks, Outputs outputs);
  /// The same; the logits of the last `n_outputs` rows are wanted.
  std::uint32_t add(std::span<const TokenId> tokens, std::uint32_t pos_begin,
                    std::span<const std::uint32_t> kv_blocks, std::uint32_t n_outputs);
  std::uint32_t n_rows() const { return static_cast<std::uint32_t>(tokens_.size()); }
  bool is_empty() const { return tokens_.empty(); }
  /// Valid until the next clear() or add().
  Step step() const {
    return {.tokens = tokens_, .sequences = sequences_, .output_rows = output_rows_};
  }

 private:
  std::vector<TokenId> tokens_;
  std::vector<StepSequence> sequences_;
  std::vector<std::uint32_t> output_rows_;
};

}  // namespace deepwell::engine
