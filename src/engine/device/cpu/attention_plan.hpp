// How the attention of a step is cut into chunks for the threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/device/device.hpp"

namespace deepwell::engine {

/// Rows of one sequence that are computed together, for each key/value head.
struct AttentionTask {
  std::uint32_t sequence = 0, first_row = 0, n_rows = 0;  // rows counted within the sequence
  std::uint32_t n_key_blocks = 0;                         // of 128 keys, that the last row sees
  // If several threads share the task: what each key block's part takes to where, and who counts the parts done.
  std::uint32_t n_parts = 1;
  std::size_t parts_begin = 0;      // float, of key/value head 0
  std::size_t n_part_floats = 0;    // of all key blocks of one head
  std::uint32_t counter_begin = 0;  // of key/value head 0
};

/// What one thread does at a time, for one key/value head: [key_block_begin, key_block_end) of a task.
struct AttentionChunk {
  std::uint32_t task = 0;
  std::uint32_t key_block_begin = 0, key_block_end = 0;
};

struct AttentionPlan {
  std::vector<AttentionTask> tasks;
  std::vector<AttentionChunk> chunks;
  std::uint32_t n_counters = 0;
};

struct AttentionPlanLimits {
  std::uint32_t n_kv_heads = 1;
  std::uint32_t n_group_heads = 1;  // query heads of a key/value head
  std::uint32_t d_head = 0;
  std::uint32_t n_threads = 1;
  std::size_t n_part_floats = 0;  // room for parts
};

/// Split tasks of one step, heads counted apart, are always fewer than this.
constexpr std::uint32_t max_attention_counters(std::uint32_t n_threads) { return 2 * n_threads; }

/// Cuts every sequence's rows into tasks of as many rows as share a pass over the keys well. A task with more than half
/// a thread's fair share of the step's work is split over its key blocks, if there is room for the parts: the parts are
/// merged in ascending order whoever computed them, so the split changes no bit (rule 5).
void plan_attention(std::span<const StepSequence> sequences, const AttentionPlanLimits& limits,
                    AttentionPlan& plan);

}  // namespace deepwell::engine
