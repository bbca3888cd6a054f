// Attention over the arena: storing keys and values, and reading them, some rows or key blocks at a time.
#include <algorithm>
#include <cstring>

#include "engine/device/cpu/cpu_device.hpp"
#include "engine/device/cpu/rounding.hpp"

namespace deepwell::engine {

/// One head's part of a block in one layer.
std::byte* CpuDevice::kv_block(std::uint32_t block, std::uint32_t layer, std::uint32_t kv_head) {
  const std::size_t head_bytes = kv_head_bytes(kv_shape_.type, kv_shape_.d_head);
  const std::size_t index =
      (static_cast<std::size_t>(block) * kv_shape_.n_layers + layer) * kv_shape_.n_kv_heads +
      kv_head;
  return kv_arena_.data() + index * head_bytes;
}

void CpuDevice::copy_block(std::uint32_t from, std::uint32_t to) {
  const std::size_t n_bytes = kv_block_bytes(kv_shape_);
  std::memcpy(kv_arena_.data() + to * n_bytes, kv_arena_.data() + from * n_bytes, n_bytes);
}

namespace {

void multiply_by(const float* factors, std::uint32_t n, float* x) {
  for (std::uint32_t i = 0; i < n; ++i) x[i] *= factors[i];
}

void divide_by(const float* divisors, std::uint32_t n, float* x) {
  for (std::uint32_t i = 0; i < n; ++i) x[i] /= divisors[i];
}

}  // namespace

void CpuDevice::rope_store(Rows q, Rows k, Rows v, const RopeParams& rope,
                           const AttentionParams& attention) {
  const bool is_interleaved = rope.kind == RopeKind::kInterleaved;
  const std::uint32_t d_head = attention.d_head;
  const auto kv_type = static_cast<std::size_t>(kv_shape_.type);
  const std::uint32_t group = attention.n_heads / attention.n_kv_heads;
  const float* key_scale = vector_data(attention.key_scale);
  run(ceil_div(n_rows_, kRowChunk), [&](std::uint32_t chunk, std::uint32_t) {
    for (std::uint32_t r = chunk * kRowChunk; r < std::min(n_rows_, (chunk + 1) * kRowChunk); ++r) {
      const StepSequence& sequence = step_.sequences[row_sequence_[r]];
      const std::uint32_t pos = sequence.pos_begin + r - sequence.row_begin;
      const float* cos_sin = rope.cos_sin + static_cast<std::size_t>(pos) * rope.d_rope;
      for (std::uint32_t h = 0; h < attention.n_heads; ++h) {
        float* query = rows_[q.index].row(r) + h * d_head;
        kernels_.rope(query, rope.d_rope, is_interleaved, cos_sin);
        if (key_scale != nullptr) multiply_by(key_scale + h / group * d_head, d_head, query);
      }
      const std::uint32_t block = sequence.kv_blocks[pos / kKvBlockTok];
      for (std::uint32_t h = 0; h < attention.n_kv_heads; ++h) {
        float* key = rows_[k.index].row(r) + h * d_head;
        kernels_.rope(key, rope.d_rope, is_interleaved, cos_sin);
        if (key_scale != nullptr) divide_by(key_scale + h * d_head, d_head, key);
        kernels_.store_kv[kv_type](key, rows_[v.index].row(r) + h * d_head, d_head,
                                   pos % kKvBlockTok, kv_block(block, attention.layer, h));
      }
    }
  });
}

void CpuDevice::attend(const AttentionChunk& chunk, std::uint32_t kv_head, Rows q,
                       const AttentionParams& params, std::uint32_t thread, ActSlot& out) {
  const AttentionTask& task = attention_plan_.tasks[chunk.task];
  ThreadScratch& scratch = scratch_[thread];
  const StepSequence& sequence = step_.sequences[task.sequence];
  const std::uint32_t group = params.n_heads / params.n_kv_heads;
  const std::uint32_t n_valid = sequence.pos_begin + task.first_row + task.n_rows;
  for (std::uint32_t b = 0; b < ceil_div(n_valid, kKvBlockTok); ++b) {
    scratch.kv_blocks[b] = kv_block(sequence.kv_blocks[b], params.layer, kv_head);
  }
  const float* queries[kMaxTileQueries];
  float* outputs[kMaxTileQueries];
  std::uint32_t n_valid_keys[kMaxTileQueries];
  std::uint32_t n_queries = 0;
  for (std::uint32_t i = 0; i < task.n_rows; ++i) {
    const std::uint32_t row = sequence.row_begin + task.first_row + i;
    for (std::uint32_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
      queries[n_queries] = rows_[q.index].row(row) + h * params.d_head;
      outputs[n_queries] = out.f32(row) + h * params.d_head;
      n_valid_keys[n_queries++] = sequence.pos_begin + task.first_row + i + 1;
    }
  }
  const AttentionTile tile{.queries = queries,
                           .outputs = outputs,
                           .n_valid_keys = n_valid_keys,
                           .n_queries = n_queries,
                           .d_head = params.d_head,
                           .scale = params.scale,
                           .kv_blocks = scratch.kv_blocks.data(),
                           .scratch = scratch.floats.data()};
  const auto kv_type = static_cast<std::size_t>(kv_shape_.type);
  if (task.n_parts == 1) {
    kernels_.attention[kv_type](tile);
    return;
  }
  float* parts = reinterpret_cast<float*>(attention_parts_.data()) + task.parts_begin +
                 kv_head * task.n_part_floats;
  kernels_.attention_part[kv_type](tile, chunk.key_block_begin, chunk.key_block_end, parts);
  // Whoever is last has everybody's parts.
  std::atomic<std::uint32_t>& n_left = attention_parts_left_[task.counter_begin + kv_head];
  if (n_left.fetch_sub(1, std::memory_order_acq_rel) == 1) kernels_.merge_parts(tile, parts);
}

/// Room for the parts of long single rows of two heads a thread, 16 queries each. Pages that nobody writes cost nothing.
std::size_t CpuDevice::n_attention_part_floats() const {
  if (options_.n_threads == 1) return 0;
  return max_attention_counters(options_.n_threads) *
         (std::size_t{options_.n_max_ctx_tok} / kKeyBlockTok + 1) *
         attention_part_floats(16, kv_shape_.d_head);
}

Act CpuDevice::attention(Rows q, const AttentionParams& params) {
  if (attention_plan_.tasks.empty()) {  // the same for every layer of the step
    plan_attention(step_.sequences,
                   {.n_kv_heads = params.n_kv_heads,
                    .n_group_heads = params.n_heads / params.n_kv_heads,
                    .d_head = params.d_head,
                    .n_threads = pool_.n_threads(),
                    .n_part_floats = n_attention_part_floats()},
                   attention_plan_);
  }
  for (const AttentionTask& task : attention_plan_.tasks) {
    for (std::uint32_t h = 0; task.n_parts > 1 && h < params.n_kv_heads; ++h)
      attention_parts_left_[task.counter_begin + h].store(task.n_parts, std::memory_order_relaxed);
  }
  ActSlot& out = next_act(params.n_heads * params.d_head);
  const auto n_chunks = static_cast<std::uint32_t>(attention_plan_.chunks.size());
  run(n_chunks * params.n_kv_heads, [&](std::uint32_t chunk, std::uint32_t thread) {
    attend(attention_plan_.chunks[chunk / params.n_kv_heads], chunk % params.n_kv_heads, q, params,
           thread, out);
  });
  out.has_f32 = true;
  return name_of(out);
}

}  // namespace deepwell::engine
