// The operations of a step as chunks for the compute pool; products are most of them.
#include "engine/device/cpu/cpu_device.hpp"

#include <algorithm>
#include <cstring>

#include "base/check.hpp"
#include "engine/device/cpu/float_environment.hpp"
#include "engine/device/cpu/packed.hpp"
#include "engine/device/cpu/rounding.hpp"
#include "engine/quant/codec.hpp"

namespace deepwell::engine {

namespace {

constexpr std::size_t kPanelBytes = std::size_t{1} << 20;  // about half of a core's L2 cache

}  // namespace

void CpuDevice::begin_step(const Step& step) {
  check_float_environment();
  step_ = step;
  is_abandoned_ = false;
  n_rows_ = static_cast<std::uint32_t>(step.tokens.size());
  DW_CHECK(n_rows_ <= options_.n_max_rows, "a step holds at most n_max_rows rows");
  attention_plan_.tasks.clear();
  last_act_ = 0;  // each step uses each slot for the same, so a narrow one's memory stays untouched
  for (std::uint32_t s = 0; s < step.sequences.size(); ++s) {
    const StepSequence& sequence = step.sequences[s];
    for (std::uint32_t r = 0; r < sequence.n_rows; ++r) row_sequence_[sequence.row_begin + r] = s;
  }
  if (stream_) stream_->begin_step(!step.output_rows.empty());
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
  PackedWeight& weight = weights_[table.index];
  RowBuffer& rows = rows_[out.index];
  if (!is_settled()) check_embedding(weight);
  run(ceil_div(n_rows_, kRowChunk), [&](std::uint32_t chunk, std::uint32_t thread) {
    for (std::uint32_t r = chunk * kRowChunk; r < std::min(n_rows_, (chunk + 1) * kRowChunk); ++r) {
      const auto token = static_cast<std::uint32_t>(step_.tokens[r]);
      if (weight.row_major.empty()) {
        unpack_row(weight.type, embedding_group(weight, token / kRowGroup, thread), weight.n_in,
                   token % kRowGroup, rows.row(r));
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

/// Rows of a panel: as many as stay in cache while weights pass by, for each panel unpacks them again; in even shares.
std::uint32_t CpuDevice::n_panel_rows(const ActSlot& act, std::uint32_t n_min_panels) const {
  const std::size_t n_fitting = kPanelBytes / (act.n_q8_blocks * sizeof(Q8Block));
  const std::uint32_t n_most =
      std::clamp(static_cast<std::uint32_t>(n_fitting), Q8Tile::kTokens, kMaxPanelRows);
  const std::uint32_t n_panels = std::max(ceil_div(n_rows_, n_most), n_min_panels);
  return round_up(ceil_div(n_rows_, n_panels), Q8Tile::kTokens);
}

/// Row groups [begin, end), counted over all outs, times n_rows rows.
void CpuDevice::multiply_groups(ActSlot& act, std::span<const LinearOut> outs, std::uint32_t begin,
                                std::uint32_t end, std::uint32_t row, std::uint32_t n_rows,
                                bool is_added, std::uint32_t thread) {
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
  if (n_rows_ == 0) return;  // a step that wants no logits
  Forms needed;
  std::uint32_t n_groups = 0;
  for (const LinearOut& out : outs) {
    needed = needed | forms_for(out.weight);
    n_groups += ceil_div(out.weight.n_out, kRowGroup);
  }
  ActSlot& slot = realise(act, needed);
  // A chunk is some row groups times one panel of rows. Many threads keep to a panel, which then stays in their cache;
  // few keep to their weights, which then pass by once.
  constexpr std::uint32_t kThreadsPerPanel = 4;
  const std::uint32_t n_per_panel =
      n_panel_rows(slot, std::min(pool_.n_threads() / kThreadsPerPanel, ceil_div(n_rows_, 128)));
  const std::uint32_t n_panels = ceil_div(n_rows_, n_per_panel);
  const bool keeps_panel = pool_.n_threads() >= n_panels;
  for (std::uint32_t begin = 0, end = 0; begin < n_groups; begin = end) {
    end = is_settled() ? n_groups : await_groups(outs, begin);
    const std::uint32_t n_here = end - begin;
    const std::uint32_t n_per_chunk =
        std::clamp(n_here * n_panels / (pool_.n_threads() * 8), 1U, 8U);
    const std::uint32_t n_sets = ceil_div(n_here, n_per_chunk);
    run(n_sets * n_panels, [&](std::uint32_t chunk, std::uint32_t thread) {
      const std::uint32_t set = keeps_panel ? chunk % n_sets : chunk / n_panels;
      const std::uint32_t panel = keeps_panel ? chunk / n_sets : chunk % n_panels;
      const std::uint32_t first = begin + set * n_per_chunk;
      multiply_groups(slot, outs, first, std::min(end, first + n_per_chunk), panel * n_per_panel,
                      std::min(n_per_panel, n_rows_ - panel * n_per_panel), is_added, thread);
    });
    if (stream_) release_groups(outs, end);
  }
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
  float* ups = gates + kMaxPanelRows * kWide;
  const std::uint32_t n_groups = ceil_div(gate.n_out, kRowGroup);
  const std::uint32_t n_here = std::min(2U, n_groups - 2 * chunk);
  const std::uint32_t n_per_panel = n_panel_rows(in, 1);
  for (std::uint32_t row = 0; row < n_rows_; row += n_per_panel) {
    const std::uint32_t n_rows = std::min(n_per_panel, n_rows_ - row);
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
  PackedWeight& gates = weights_[gate.index];
  PackedWeight& ups = weights_[up.index];
  for (std::uint32_t begin = 0, end = 0; begin < n_chunks; begin = end) {
    end = n_chunks;
    if (!is_settled()) {
      const std::uint32_t n_ready =
          std::min(await_groups(gates, 2 * begin, 2), await_groups(ups, 2 * begin, 2));
      if (n_ready < ups.n_groups()) end = n_ready / 2;
    }
    run(end - begin, [&](std::uint32_t chunk, std::uint32_t thread) {
      glu_chunk(in, gates, ups, begin + chunk, thread, out);
    });
  }
  if (stream_) stream_->release(ups.end_of(ups.n_groups()));
  out.has_f32 = has_float_weights_;
  out.has_q8 = true;
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
