// Tasks of rows, and the splitting of long ones over key blocks.
#include "engine/device/cpu/attention_plan.hpp"

#include <algorithm>

#include "engine/device/cpu/kernels.hpp"
#include "engine/device/cpu/rounding.hpp"

namespace deepwell::engine {

namespace {

constexpr std::uint32_t kChunksPerThread = 4;

/// Work of a task for one key/value head.
std::uint64_t cost_of(const AttentionTask& task) {
  return std::uint64_t{task.n_rows} * task.n_key_blocks;
}

/// Rows of a task: whole tiles of queries where that is possible, for tiles are powers of two.
std::uint32_t n_task_rows(std::uint32_t n_group_heads) {
  const std::uint32_t n_rows = std::max(1U, kMaxTileQueries / n_group_heads);
  return n_rows > 16 ? n_rows / 16 * 16 : n_rows;
}

}  // namespace

void plan_attention(std::span<const StepSequence> sequences, const AttentionPlanLimits& limits,
                    AttentionPlan& plan) {
  plan.tasks.clear();
  plan.chunks.clear();
  plan.n_counters = 0;
  const std::uint32_t n_most_rows = n_task_rows(limits.n_group_heads);
  std::uint64_t total = 0;
  for (std::uint32_t s = 0; s < sequences.size(); ++s) {
    for (std::uint32_t r = 0; r < sequences[s].n_rows; r += n_most_rows) {
      AttentionTask task{.sequence = s, .first_row = r};
      task.n_rows = std::min(n_most_rows, sequences[s].n_rows - r);
      task.n_key_blocks = ceil_div(sequences[s].pos_begin + r + task.n_rows, kKeyBlockTok);
      total += cost_of(task) * limits.n_kv_heads;
      plan.tasks.push_back(task);
    }
  }
  const std::uint64_t n_wanted = std::uint64_t{limits.n_threads} * kChunksPerThread;
  const std::uint64_t share = (total + n_wanted - 1) / n_wanted;
  std::size_t n_floats = 0;
  for (std::uint32_t t = 0; t < plan.tasks.size(); ++t) {
    AttentionTask& task = plan.tasks[t];
    task.n_part_floats = task.n_key_blocks *
                         attention_part_floats(task.n_rows * limits.n_group_heads, limits.d_head);
    const std::size_t n_needed = task.n_part_floats * limits.n_kv_heads;
    if (limits.n_threads > 1 && cost_of(task) > 2 * share &&
        n_floats + n_needed <= limits.n_part_floats) {
      task.n_parts = static_cast<std::uint32_t>(
          std::min<std::uint64_t>(task.n_key_blocks, (cost_of(task) + share - 1) / share));
      task.parts_begin = n_floats;
      task.counter_begin = plan.n_counters;
      n_floats += n_needed;
      plan.n_counters += limits.n_kv_heads;
    }
    for (std::uint32_t p = 0; p < task.n_parts; ++p) {
      plan.chunks.push_back(
          {t, task.n_key_blocks * p / task.n_parts, task.n_key_blocks * (p + 1) / task.n_parts});
    }
  }
}

}  // namespace deepwell::engine
