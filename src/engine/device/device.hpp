// Device: memory and the list of operations that every architecture is written in.
//
// An architecture's forward pass is a sequence of these calls over the rows of one step (a ragged batch: several
// sequences, each with one or more consecutive tokens). What an Act holds is the device's own business: a CPU
// defers normalising and quantising into the consumer, another device may pick another type.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "engine/quant/types.hpp"

namespace deepwell::engine {

/// A matrix on the device, [n_out, n_in]. Index 0 means "none".
struct Weight {
  std::uint32_t index = 0;
  std::uint32_t n_out = 0;
  std::uint32_t n_in = 0;
  explicit operator bool() const { return index != 0; }
};

/// A vector on the device, [n] f32 (a bias, a norm's gain). Index 0 means "none".
struct Vector {
  std::uint32_t index = 0;
  std::uint32_t n = 0;
  explicit operator bool() const { return index != 0; }
};

/// A buffer on the device with one row per token of the step, [n_rows, width] f32.
struct Rows {
  std::uint32_t index = 0;
  std::uint32_t width = 0;
};

/// An operand of a linear operation. Opaque; valid until the next operation that returns an Act.
struct Act {
  std::uint32_t index = 0;
};

/// out = W · act + bias, for each entry.
struct LinearOut {
  Weight weight;
  Vector bias;
  Rows out;
};

enum class RopeKind : std::uint8_t {
  kInterleaved,  // rotates pairs (2i, 2i+1): GGUF's llama family
  kHalves,       // rotates pairs (i, i + d_rope/2): qwen and most others
};

inline constexpr std::uint32_t kKvBlockTok = 16;  // tokens in a block of keys and values

/// Blocks that hold so many tokens.
constexpr std::uint32_t n_kv_blocks_for(std::uint32_t n_tok) {
  return (n_tok + kKvBlockTok - 1) / kKvBlockTok;
}

/// The element type in which keys and values are kept (and read: attention sees them as stored).
enum class KvType : std::uint8_t {
  kF16,
  kF32,
  kQ8,  // int8; f32 scales for each 32 dimensions of a token's key, and for its value, in each head
};
inline constexpr std::uint32_t kKeyScaleDims = 32;
inline constexpr std::size_t kNumKvTypes = 3;

/// How a model keeps keys and values, per layer and token.
struct KvShape {
  std::uint32_t n_layers = 0;
  std::uint32_t n_kv_heads = 0;
  std::uint32_t d_head = 0;  // a multiple of 16
  KvType type = KvType::kF16;
};

/// Bytes of 16 tokens' keys and values in one head of one layer.
constexpr std::uint64_t kv_head_bytes(KvType type, std::uint32_t d_head) {
  const std::uint64_t n_element_bytes = type == KvType::kQ8 ? 1 : type == KvType::kF16 ? 2 : 4;
  const std::uint64_t n_scales =
      type == KvType::kQ8 ? (d_head + kKeyScaleDims - 1) / kKeyScaleDims + 1 : 0;
  return kKvBlockTok * (2 * n_element_bytes * d_head + sizeof(float) * n_scales);
}

/// Bytes of one block of 16 tokens, all layers and heads, keys and values.
constexpr std::uint64_t kv_block_bytes(const KvShape& shape) {
  return kv_head_bytes(shape.type, shape.d_head) * shape.n_kv_heads * shape.n_layers;
}

/// What attention needs to know besides the rows.
struct AttentionParams {
  std::uint32_t layer = 0;
  std::uint32_t n_heads = 0;
  std::uint32_t n_kv_heads = 0;
  std::uint32_t d_head = 0;
  float scale = 0.0F;  // multiplies q·k, usually 1/sqrt(d_head)
  // [n_kv_heads * d_head] keys are kept divided by it, and queries multiplied instead; none: as they are
  Vector key_scale = {};
};

/// Rotation applied to queries and keys. The table is made on the host, once (see model/rope.hpp).
struct RopeParams {
  RopeKind kind = RopeKind::kHalves;
  std::uint32_t d_rope = 0;        // rotated dimensions of a head; the rest pass through
  const float* cos_sin = nullptr;  // [n_positions, d_rope/2, 2] f32, owned by the model
};

/// One sequence's part of a step: `n_rows` consecutive rows at consecutive positions.
struct StepSequence {
  std::uint32_t row_begin = 0;
  std::uint32_t n_rows = 0;
  std::uint32_t pos_begin = 0;  // position of the first row's token in its sequence
  std::span<const std::uint32_t>
      kv_blocks;  // [ceil((pos_begin + n_rows) / 16)] block numbers in the arena
};

/// A ragged batch. Spans must stay valid until end_step().
struct Step {
  std::span<const std::int32_t> tokens;        // [n_rows] token ids
  std::span<const StepSequence> sequences;     // in row order, covering every row once
  std::span<const std::uint32_t> output_rows;  // ascending: the rows whose logits are wanted
  // Set by any thread when nobody wants the step any more; may be null. Looked at between layers.
  const std::atomic<bool>* is_unwanted = nullptr;
};

/// Memory and operations. One thread drives a device. Operations cannot fail: shapes are proven when a model is
/// bound, buffers are made beforehand, and a non-finite value travels to the logits, where the sampler refuses it.
class Device {
 public:
  virtual ~Device() = default;

  // --- memory, before the first step ---------------------------------------------------------------------------
  /// Packs a row-major GGUF matrix [n_out, n_in] into the device's layout.
  /// Errors: kUnimplemented (type without kernels), kInvalidArgument (rows that do not fill the type's blocks).
  virtual Result<Weight> add_weight(QuantType type, std::uint32_t n_out, std::uint32_t n_in,
                                    std::span<const std::byte> data) = 0;
  /// A matrix whose single rows embed_rows() reads; linear() can use it too if `is_tied`. An untied one is read where
  /// it lies: `data` must outlive the device.
  virtual Result<Weight> add_embedding(QuantType type, std::uint32_t n_out, std::uint32_t n_in,
                                       std::span<const std::byte> data, bool is_tied) = 0;
  virtual Vector add_vector(std::span<const float> values) = 0;
  /// A row buffer for up to the step's maximum of rows.
  /// Errors: kResourceExhausted.
  virtual Result<Rows> add_rows(std::uint32_t width) = 0;
  /// The arena of keys and values: zeroed host memory of whole blocks (16 tokens, all layers) that outlives the device.
  /// Errors: kUnimplemented (shape).
  virtual Status set_kv_arena(const KvShape& shape, std::span<std::byte> blocks) = 0;
  /// After the last of the above, before the first step: makes the memory that steps work in.
  /// Errors: kResourceExhausted; kDataLoss (a shared image of the weights that does not fit).
  virtual Status end_load() = 0;
  virtual std::uint64_t weight_bytes()
      const = 0;  // packed, as read by one decode step of one sequence
  virtual std::uint32_t n_max_rows() const = 0;

  // --- the operations of a step --------------------------------------------------------------------------------
  virtual void begin_step(const Step& step) = 0;
  /// False if the step was abandoned: it has no results, and what it stored in the arena is not whole.
  virtual bool end_step() = 0;

  virtual void embed_rows(Weight table, Rows out) = 0;
  /// RMS norm (Zhang & Sennrich 2019) of each row times `gain`.
  virtual Act norm_act(Rows x, Vector gain, float eps) = 0;
  virtual void linear(Act act, std::span<const LinearOut> outs) = 0;
  /// x += W · act + bias
  virtual void linear_add(Act act, Weight weight, Vector bias, Rows x) = 0;
  /// silu(gate · act) * (up · act)  (SwiGLU, Shazeer 2020)
  virtual Act linear_glu(Act act, Weight gate, Weight up) = 0;
  /// Rotates q and k by their positions and stores k and v in the arena's blocks of this step's sequences.
  virtual void rope_store(Rows q, Rows k, Rows v, const RopeParams& rope,
                          const AttentionParams& attention) = 0;
  /// Causal grouped-query attention of q over what the arena holds of each row's sequence.
  virtual Act attention(Rows q, const AttentionParams& params) = 0;
  /// Moves the step's output rows to the front of `out`; later operations of the step work on those rows only.
  virtual void gather_rows(Rows x, Rows out) = 0;
  /// Marks progress inside a step; n_layers_done() grows. If the step is unwanted by now, it is abandoned: its other
  /// operations do nothing.
  virtual void layer_done() = 0;

  // --- results -------------------------------------------------------------------------------------------------
  /// Row r of a buffer on the host, [width] f32. Valid until the buffer is written again.
  virtual std::span<const float> read_row(Rows rows, std::uint32_t r) const = 0;

  /// Copies whole blocks inside the arena (copy-on-write).
  virtual void copy_block(std::uint32_t from, std::uint32_t to) = 0;

  /// Progress since start, readable from any thread: how health tells a slow step from a stalled one.
  virtual std::uint64_t n_layers_done() const = 0;

  /// For logs and the fingerprint: "cpu".
  virtual std::string_view family() const = 0;
};

}  // namespace deepwell::engine
