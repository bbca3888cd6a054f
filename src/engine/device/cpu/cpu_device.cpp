// The CPU device: packing at load, and each operation as chunks for the compute pool.
#include "engine/device/cpu/cpu_device.hpp"

#include <algorithm>
#include <cstring>

#include "base/check.hpp"
#include "base/checksum.hpp"
#include "base/concat.hpp"
#include "engine/device/cpu/float_environment.hpp"
#include "engine/device/cpu/packed.hpp"
#include "engine/quant/codec.hpp"

namespace deepwell::engine {

namespace {

constexpr std::uint32_t kRowChunk = 8;  // rows in a chunk of a row-wise operation
constexpr std::uint32_t kRowPanel =
    128;  // rows whose activations stay in cache while a chunk's weights pass by
constexpr std::uint32_t kGluPanel = 128;  // rows of gate and up results held on one thread
constexpr std::uint32_t kWide =
    2 * kRowGroup;  // outputs of gate and up that a thread makes at once
constexpr std::size_t kGluFloats = 2 * kGluPanel * kWide;
constexpr std::size_t kProbeBytes = 4096;  // of a source weight, by which an image knows it

constexpr std::uint32_t round_up(std::uint32_t n, std::uint32_t to) {
  return (n + to - 1) / to * to;
}
constexpr std::uint32_t ceil_div(std::uint32_t n, std::uint32_t by) { return (n + by - 1) / by; }

}  // namespace

CpuDevice::CpuDevice(const CpuDeviceOptions& options, std::optional<WeightsImage> image)
    : options_(options),
      image_(std::move(image)),
      kernels_(kernel_table(options.isa)),
      pool_(options.n_threads) {
  weights_.resize(1);
  vectors_.resize(1);
  rows_.resize(1);
  scratch_.resize(options.n_threads);
  for (ThreadScratch& scratch : scratch_)
    scratch.kv_blocks.resize(options.n_max_ctx_tok / kKvBlockTok + 1);
  row_sequence_.resize(options.n_max_rows);
  attention_parts_left_ =
      std::make_unique<std::atomic<std::uint32_t>[]>(max_attention_counters(options.n_threads));
}

// --- memory ----------------------------------------------------------------------------------------------------------

Result<CpuDevice::PackedWeight> CpuDevice::pack(QuantType type, std::uint32_t n_out,
                                                std::uint32_t n_in,
                                                std::span<const std::byte> data) {
  const BlockShape block = block_shape(type);
  if (n_out == 0 || n_in == 0 || n_in % block.n_elements != 0) {
    return invalid_argument(
        concat("a weight of ", n_out, " x ", n_in, " does not fill blocks of ", block.n_elements));
  }
  const std::size_t row_bytes = static_cast<std::size_t>(n_in / block.n_elements) * block.n_bytes;
  DW_CHECK(data.size() == row_bytes * n_out, "the caller hands over exactly the matrix");
  PackedWeight weight{
      .type = type, .n_out = n_out, .n_in = n_in, .group_bytes = packed_group_bytes(type, n_in)};
  const std::uint32_t n_groups = ceil_div(n_out, kRowGroup);
  const std::size_t n_bytes = weight.group_bytes * n_groups;
  weight_bytes_ += n_bytes;
  if (image_) {
    const WeightLabel label{
        .type = static_cast<std::uint32_t>(type),
        .n_out = n_out,
        .n_in = n_in,
        .n_bytes = n_bytes,
        .source_sum = checksum64(data.first(std::min(data.size(), kProbeBytes)))};
    DW_ASSIGN(weight.packed, image_->next(label));
    if (image_->is_complete()) {
      DW_TRY(image_->check(checksum(weight.packed, n_bytes)));
      return weight;
    }
  } else {
    DW_ASSIGN(weight.packed, CpuMemory::allocate(n_bytes));
  }
  pool_.begin_step();
  pool_.run(n_groups, [&](std::uint32_t group, std::uint32_t) {
    pack_row_group(type, data.data(), row_bytes, n_out, n_in, group * kRowGroup,
                   weight.packed.data() + group * weight.group_bytes);
  });
  pool_.end_step();
  if (image_) {
    weight.packed.make_read_only();  // others read it too
    DW_TRY(image_->check(checksum(weight.packed, n_bytes)));
  }
  return weight;
}

/// Of the first n_bytes, by all threads.
std::uint64_t CpuDevice::checksum(const CpuMemory& memory, std::size_t n_bytes) {
  constexpr std::size_t kPart = std::size_t{1} << 20;
  std::vector<std::uint64_t> sums((n_bytes + kPart - 1) / kPart);
  pool_.begin_step();
  pool_.run(static_cast<std::uint32_t>(sums.size()), [&](std::uint32_t part, std::uint32_t) {
    const std::size_t begin = part * kPart;
    sums[part] = checksum64({memory.data() + begin, std::min(kPart, n_bytes - begin)});
  });
  pool_.end_step();
  return checksum64(std::as_bytes(std::span<const std::uint64_t>(sums)));
}

Weight CpuDevice::keep(PackedWeight weight) {
  const Weight name{static_cast<std::uint32_t>(weights_.size()), weight.n_out, weight.n_in};
  max_act_width_ = std::max(max_act_width_, weight.n_in);
  if (weight.packed.data() != nullptr && kernels_.gemm_q8(weight.type) == nullptr)
    has_float_weights_ = true;
  weights_.push_back(std::move(weight));
  return name;
}

Result<Weight> CpuDevice::add_weight(QuantType type, std::uint32_t n_out, std::uint32_t n_in,
                                     std::span<const std::byte> data) {
  DW_ASSIGN(PackedWeight weight, pack(type, n_out, n_in, data));
  return keep(std::move(weight));
}

Result<Weight> CpuDevice::add_embedding(QuantType type, std::uint32_t n_out, std::uint32_t n_in,
                                        std::span<const std::byte> data, bool is_tied) {
  if (is_tied) return add_weight(type, n_out, n_in, data);
  PackedWeight weight{.type = type, .n_out = n_out, .n_in = n_in, .row_major = data};
  return keep(std::move(weight));
}

Vector CpuDevice::add_vector(std::span<const float> values) {
  std::vector<float> padded(values.begin(), values.end());
  padded.resize(round_up(static_cast<std::uint32_t>(values.size()), 16), 0.0F);
  vectors_.push_back(std::move(padded));
  return {static_cast<std::uint32_t>(vectors_.size() - 1),
          static_cast<std::uint32_t>(values.size())};
}

Result<Rows> CpuDevice::add_rows(std::uint32_t width) {
  RowBuffer buffer{.width = width, .stride = round_up(width, 16)};
  DW_ASSIGN(buffer.memory, CpuMemory::allocate(sizeof(float) * buffer.stride *
                                               static_cast<std::size_t>(options_.n_max_rows)));
  rows_.push_back(std::move(buffer));
  return Rows{static_cast<std::uint32_t>(rows_.size() - 1), width};
}

Status CpuDevice::end_load() {
  const std::size_t n_rows = options_.n_max_rows;
  for (ActSlot& slot : acts_) {
    DW_ASSIGN(slot.f32_memory,
              CpuMemory::allocate(n_rows * sizeof(float) * round_up(max_act_width_, 32)));
    DW_ASSIGN(slot.q8_memory, CpuMemory::allocate(n_rows * sizeof(Q8Block) *
                                                  ceil_div(max_act_width_, kQ8BlockLen)));
    if (kernels_.has_tiles) {
      DW_ASSIGN(slot.tile_memory,
                CpuMemory::allocate(ceil_div(options_.n_max_rows, Q8Tile::kTokens) *
                                    sizeof(Q8Tile) * ceil_div(max_act_width_, kQ8BlockLen)));
    }
  }
  const std::size_t n_floats =
      std::max<std::size_t>({kGluFloats, round_up(max_act_width_, 32),
                             attention_scratch_floats(kMaxTileQueries, kv_shape_.d_head)});
  for (ThreadScratch& scratch : scratch_) {
    scratch.floats.resize(n_floats);
    DW_ASSIGN(scratch.panel, CpuMemory::allocate(panel_bytes(round_up(max_act_width_, 32))));
  }
  if (const std::size_t n_parts = n_attention_part_floats(); n_parts > 0) {
    DW_ASSIGN(attention_parts_, CpuMemory::allocate(n_parts * sizeof(float)));
  }
  if (image_) DW_TRY(image_->complete());
  return {};
}

Status CpuDevice::set_kv_arena(const KvShape& shape, std::span<std::byte> blocks) {
  if (shape.d_head % 16 != 0) {
    return Error{Code::kUnimplemented,
                 concat("a head of ", shape.d_head, " dimensions is not a multiple of 16")};
  }
  kv_shape_ = shape;
  kv_arena_ = blocks;
  return {};
}

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

// --- a step ----------------------------------------------------------------------------------------------------------

void CpuDevice::begin_step(const Step& step) {
  check_float_environment();
  step_ = step;
  is_abandoned_ = false;
  n_rows_ = static_cast<std::uint32_t>(step.tokens.size());
  DW_CHECK(n_rows_ <= options_.n_max_rows, "a step holds at most n_max_rows rows");
  attention_plan_.tasks.clear();
  for (std::uint32_t s = 0; s < step.sequences.size(); ++s) {
    const StepSequence& sequence = step.sequences[s];
    for (std::uint32_t r = 0; r < sequence.n_rows; ++r) row_sequence_[sequence.row_begin + r] = s;
  }
  pool_.begin_step();
}

bool CpuDevice::end_step() {
  pool_.end_step();
  return !is_abandoned_;
}

void CpuDevice::layer_done() {
  if (is_abandoned_) return;
  n_layers_done_.fetch_add(1, std::memory_order_relaxed);
  is_abandoned_ =
      step_.is_unwanted != nullptr && step_.is_unwanted->load(std::memory_order_relaxed);
}

void CpuDevice::embed_rows(Weight table, Rows out) {
  const PackedWeight& weight = weights_[table.index];
  RowBuffer& rows = rows_[out.index];
  run(ceil_div(n_rows_, kRowChunk), [&](std::uint32_t chunk, std::uint32_t) {
    for (std::uint32_t r = chunk * kRowChunk; r < std::min(n_rows_, (chunk + 1) * kRowChunk); ++r) {
      const auto token = static_cast<std::uint32_t>(step_.tokens[r]);
      if (weight.row_major.empty()) {
        unpack_row(weight.type, weight.packed.data() + token / kRowGroup * weight.group_bytes,
                   weight.n_in, token % kRowGroup, rows.row(r));
      } else {
        const std::size_t row_bytes = weight.row_major.size() / weight.n_out;
        decode_row(weight.type, weight.row_major.data() + token * row_bytes, weight.n_in,
                   rows.row(r));
      }
    }
  });
}

CpuDevice::ActSlot& CpuDevice::next_act(std::uint32_t width) {
  last_act_ = 1 - last_act_;
  ActSlot& slot = acts_[last_act_];
  DW_CHECK(width <= max_act_width_, "an activation is as wide as some weight's input");
  slot.width = width;
  slot.stride = round_up(width, 32);
  slot.n_q8_blocks = ceil_div(width, kQ8BlockLen);
  slot.has_f32 = slot.has_q8 = false;
  slot.norm_source = 0;
  return slot;
}

Act CpuDevice::name_of(const ActSlot& slot) const {
  return {static_cast<std::uint32_t>(&slot - acts_.data())};
}

Act CpuDevice::norm_act(Rows x, Vector gain, float eps) {
  ActSlot& slot = next_act(x.width);
  slot.norm_source = x.index;
  slot.norm_gain = gain.index;
  slot.norm_eps = eps;
  return name_of(slot);
}

/// In which forms the product with a weight reads its act.
CpuDevice::Forms CpuDevice::forms_for(Weight w) const {
  const bool is_quantised = kernels_.gemm_q8(weights_[w.index].type) != nullptr;
  return {.f32 = !is_quantised, .q8 = is_quantised};
}

/// n values of a row, from a block on.
void CpuDevice::quantise(const float* values, std::uint32_t n, ActSlot& slot, std::uint32_t row,
                         std::uint32_t first_block) {
  Q8Block* blocks = slot.q8(row) + first_block;
  kernels_.quantise(values, n, blocks);
  if (!uses_tiles()) return;
  Q8Tile* tiles = slot.tiles(row) + first_block;
  for (std::uint32_t b = 0; b < ceil_div(n, kQ8BlockLen); ++b)
    tiles[b].put(row % Q8Tile::kTokens, blocks[b]);
}

/// Computes the form of an act that its consumer reads, unless it is there already.
CpuDevice::ActSlot& CpuDevice::realise(Act act, Forms needed) {
  ActSlot& slot = acts_[act.index];
  const bool makes_f32 = needed.f32 && !slot.has_f32;  // of a norm: all else has it
  const bool makes_q8 = needed.q8 && !slot.has_q8;
  if (!makes_f32 && !makes_q8) return slot;
  run(ceil_div(n_rows_, kRowChunk), [&](std::uint32_t chunk, std::uint32_t thread) {
    for (std::uint32_t r = chunk * kRowChunk; r < std::min(n_rows_, (chunk + 1) * kRowChunk); ++r) {
      const float* values = slot.f32(r);
      if (!slot.has_f32) {
        float* normed = makes_f32 ? slot.f32(r) : scratch_[thread].floats.data();
        kernels_.rms_norm(rows_[slot.norm_source].row(r), vectors_[slot.norm_gain].data(),
                          slot.width, slot.norm_eps, normed);
        values = normed;
      }
      if (makes_q8) quantise(values, slot.width, slot, r, 0);
    }
  });
  slot.has_f32 = slot.has_f32 || makes_f32;
  slot.has_q8 = slot.has_q8 || makes_q8;
  return slot;
}

/// One row group times `n_rows` rows from `row` on.
void CpuDevice::multiply(ActSlot& act, const PackedWeight& w, std::uint32_t group,
                         std::uint32_t row, std::uint32_t n_rows, float* out,
                         std::size_t out_stride, const Epilogue& epilogue, std::uint32_t thread) {
  const std::byte* packed = w.packed.data() + group * w.group_bytes;
  if (const GemmQ8 gemm = kernels_.gemm_q8(w.type)) {
    gemm({.group = packed,
          .act = act.q8(row),
          .act_stride = act.n_q8_blocks,
          .n_tokens = n_rows,
          .n_in = w.n_in,
          .out = out,
          .out_stride = out_stride,
          .epilogue = epilogue,
          .scratch = scratch_[thread].panel.data(),
          .tiles = uses_tiles() ? act.tiles(row) : nullptr});
  } else {
    kernels_.gemm_f32(w.type)({.group = packed,
                               .act = act.f32(row),
                               .act_stride = act.stride,
                               .n_tokens = n_rows,
                               .n_in = w.n_in,
                               .out = out,
                               .out_stride = out_stride,
                               .epilogue = epilogue});
  }
}

/// Row groups [begin, end), counted over all outs, times the rows of one panel.
void CpuDevice::multiply_groups(ActSlot& act, std::span<const LinearOut> outs, std::uint32_t begin,
                                std::uint32_t end, std::uint32_t row, bool is_added,
                                std::uint32_t thread) {
  const std::uint32_t n_rows = std::min(kRowPanel, n_rows_ - row);
  std::uint32_t first = 0;  // of `out`
  for (const LinearOut& out : outs) {
    const std::uint32_t n_here = ceil_div(out.weight.n_out, kRowGroup);
    RowBuffer& rows = rows_[out.out.index];
    for (std::uint32_t g = std::max(begin, first); g < std::min(end, first + n_here); ++g) {
      const std::uint32_t group = g - first;
      const float* bias = vector_data(out.bias);
      const Epilogue epilogue{.bias = bias == nullptr ? nullptr : bias + group * kRowGroup,
                              .is_added = is_added};
      multiply(act, weights_[out.weight.index], group, row, n_rows,
               rows.row(row) + group * kRowGroup, rows.stride, epilogue, thread);
    }
    first += n_here;
  }
}

void CpuDevice::run_linear(Act act, std::span<const LinearOut> outs, bool is_added) {
  Forms needed;
  std::uint32_t n_groups = 0;
  for (const LinearOut& out : outs) {
    needed = needed | forms_for(out.weight);
    n_groups += ceil_div(out.weight.n_out, kRowGroup);
  }
  ActSlot& slot = realise(act, needed);
  // A chunk is some row groups times one panel of rows. Many threads keep to a panel, which then stays in their cache;
  // few keep to their weights, which then pass by once.
  const std::uint32_t n_panels = ceil_div(n_rows_, kRowPanel);
  const bool keeps_panel = pool_.n_threads() >= n_panels;
  const std::uint32_t n_per_chunk =
      std::clamp(n_groups * n_panels / (pool_.n_threads() * 8), 1U, 8U);
  const std::uint32_t n_sets = ceil_div(n_groups, n_per_chunk);
  run(n_sets * n_panels, [&](std::uint32_t chunk, std::uint32_t thread) {
    const std::uint32_t set = keeps_panel ? chunk % n_sets : chunk / n_panels;
    const std::uint32_t panel = keeps_panel ? chunk / n_sets : chunk % n_panels;
    multiply_groups(slot, outs, set * n_per_chunk, std::min(n_groups, (set + 1) * n_per_chunk),
                    panel * kRowPanel, is_added, thread);
  });
}

void CpuDevice::linear(Act act, std::span<const LinearOut> outs) { run_linear(act, outs, false); }

void CpuDevice::linear_add(Act act, Weight weight, Vector bias, Rows x) {
  const LinearOut out{weight, bias, x};
  run_linear(act, {&out, 1}, true);
}

/// 32 outputs for all rows: both products, SwiGLU, and the 32 results quantised on the spot. As floats they are kept
/// only where some weight may want them so.
void CpuDevice::glu_chunk(ActSlot& in, const PackedWeight& gate, const PackedWeight& up,
                          std::uint32_t chunk, std::uint32_t thread, ActSlot& out) {
  float* gates = scratch_[thread].floats.data();
  float* ups = gates + kGluPanel * kWide;
  const std::uint32_t n_groups = ceil_div(gate.n_out, kRowGroup);
  const std::uint32_t n_here = std::min(2U, n_groups - 2 * chunk);
  for (std::uint32_t row = 0; row < n_rows_; row += kGluPanel) {
    const std::uint32_t n_rows = std::min(kGluPanel, n_rows_ - row);
    for (std::uint32_t i = 0; i < n_here; ++i) {
      multiply(in, gate, 2 * chunk + i, row, n_rows, gates + i * kRowGroup, kWide, {}, thread);
      multiply(in, up, 2 * chunk + i, row, n_rows, ups + i * kRowGroup, kWide, {}, thread);
    }
    for (std::uint32_t r = 0; r < n_rows; ++r) {
      float* result = gates + r * kWide;
      kernels_.swiglu(result, ups + r * kWide, n_here * kRowGroup, result);
      quantise(result, n_here * kRowGroup, out, row + r, chunk);
      if (has_float_weights_)
        std::copy_n(result, n_here * kRowGroup, out.f32(row + r) + chunk * kWide);
    }
  }
}

Act CpuDevice::linear_glu(Act act, Weight gate, Weight up) {
  ActSlot& in = realise(act, forms_for(gate) | forms_for(up));
  ActSlot& out = next_act(gate.n_out);
  const std::uint32_t n_chunks = ceil_div(gate.n_out, 2 * kRowGroup);
  run(n_chunks, [&](std::uint32_t chunk, std::uint32_t thread) {
    glu_chunk(in, weights_[gate.index], weights_[up.index], chunk, thread, out);
  });
  out.has_f32 = has_float_weights_;
  out.has_q8 = true;
  return name_of(out);
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

void CpuDevice::gather_rows(Rows x, Rows out) {
  if (is_abandoned_) return;
  for (std::uint32_t i = 0; i < step_.output_rows.size(); ++i) {
    std::memcpy(rows_[out.index].row(i), rows_[x.index].row(step_.output_rows[i]),
                sizeof(float) * x.width);
  }
  n_rows_ = static_cast<std::uint32_t>(step_.output_rows.size());
}

std::span<const float> CpuDevice::read_row(Rows rows, std::uint32_t r) const {
  return {rows_[rows.index].row(r), rows.width};
}

}  // namespace deepwell::engine
