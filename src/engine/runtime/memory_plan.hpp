// MemoryPlan: whether a model fits into memory.
#pragma once

#include <cstdint>
#include <string>

#include "engine/device/device.hpp"
#include "engine/gguf/gguf.hpp"

namespace deepwell::engine {

struct MemoryPlan {
  std::uint64_t n_available_bytes = 0;  // for all of the below
  std::uint64_t n_weights_bytes = 0;    // packed
  std::uint64_t n_kv_block_bytes = 0;   // a block of keys and values
  std::uint32_t n_blocks_longest = 0;   // of the longest sequence
  std::uint64_t n_kv_longest_bytes() const { return n_blocks_longest * n_kv_block_bytes; }

  /// Rows of a step, vocabulary, code; and the processes beside the engine.
  static constexpr std::uint64_t kWorkingBytes = std::uint64_t{80} << 20;

  /// Whether weights stay in memory beside one longest sequence and what a step works in.
  bool fits() const {
    return n_weights_bytes + n_kv_longest_bytes() + kWorkingBytes <= n_available_bytes;
  }
  /// Whether they and one sequence take more than there is.
  bool lacks_memory() const { return n_weights_bytes + n_kv_longest_bytes() > n_available_bytes; }
  /// Blocks for n_sequences of the longest sequence, or as many as half of the memory holds that the weights leave (a
  /// quarter of all of it if they do not fit, for then every block makes each step read more).
  /// Errors: kResourceExhausted (not even one such sequence beside what a step works in).
  Result<std::uint32_t> n_blocks(std::uint32_t n_sequences) const;
  /// What pages of the weights may take of n_available_bytes (now), when a step of n_rows comes.
  std::uint64_t budget_bytes(std::uint64_t n_available_bytes, std::uint32_t n_rows) const;

  /// For the log and for people.
  std::string explain_streaming(std::uint64_t n_kept_bytes) const;
  Error lack(const std::string& image_directory) const;
};

/// Bytes of a model file's matrices once they are packed, all but a table that is read by rows. Up to 3 % too few.
std::uint64_t estimate_weight_bytes(const GgufFile& file);

}  // namespace deepwell::engine
