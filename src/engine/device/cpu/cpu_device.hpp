// CpuDevice: the operations of a step on this machine's processors.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "base/log.hpp"
#include "engine/device/cpu/attention_plan.hpp"
#include "engine/device/cpu/compute_pool.hpp"
#include "engine/device/cpu/cpu_memory.hpp"
#include "engine/device/cpu/kernels.hpp"
#include "engine/device/cpu/weight_stream.hpp"
#include "engine/device/cpu/weights_image.hpp"
#include "engine/device/device.hpp"

namespace deepwell::engine {

struct CpuDeviceOptions {
  Isa isa = Isa::kScalar;
  std::uint32_t n_threads = 1;
  std::uint32_t n_max_rows = 512;      // rows of a step at most
  std::uint32_t n_max_ctx_tok = 4096;  // of one sequence
  // Whether pages of an image that is being written may stay in memory.
  AfterWriting after_writing = AfterWriting::kKeep;
  Log* log = nullptr;  // for damage that is found in an image; may be null
  // Of n_threads; null: the device makes its own. Owners: the devices that use it, one after the other.
  std::shared_ptr<ComputePool> pool = nullptr;
};

class CpuDevice final : public Device {
 public:
  /// With an image the packed weights lie in it; without, in memory of this process.
  explicit CpuDevice(const CpuDeviceOptions& options, std::optional<WeightsImage> image = {});

  Result<Weight> add_weight(QuantType type, std::uint32_t n_out, std::uint32_t n_in,
                            std::span<const std::byte> data) override;
  Result<Weight> add_embedding(QuantType type, std::uint32_t n_out, std::uint32_t n_in,
                               std::span<const std::byte> data, bool is_tied) override;
  Vector add_vector(std::span<const float> values) override;
  Result<Rows> add_rows(std::uint32_t width) override;
  Status set_kv_arena(const KvShape& shape, std::span<std::byte> blocks) override;
  Status end_load() override;
  std::uint64_t weight_bytes() const override { return weight_bytes_; }
  std::uint32_t n_max_rows() const override { return options_.n_max_rows; }

  void begin_step(const Step& step) override;
  bool end_step() override;
  /// After end_load(), with an image on disk that is larger than the memory for it: reads the weights ahead of their use,
  /// again in each step. Of the options, budget_bytes, slab_bytes and log count.
  void stream_weights(WeightStreamOptions options);
  const WeightStream* stream() const { return stream_.get(); }
  void embed_rows(Weight table, Rows out) override;
  Act norm_act(Rows x, Vector gain, float eps) override;
  void linear(Act act, std::span<const LinearOut> outs) override;
  void linear_add(Act act, Weight weight, Vector bias, Rows x) override;
  Act linear_glu(Act act, Weight gate, Weight up) override;
  void rope_store(Rows q, Rows k, Rows v, const RopeParams& rope,
                  const AttentionParams& attention) override;
  Act attention(Rows q, const AttentionParams& params) override;
  void gather_rows(Rows x, Rows out) override;
  void layer_done() override;

  std::span<const float> read_row(Rows rows, std::uint32_t r) const override;
  void copy_block(std::uint32_t from, std::uint32_t to) override;
  std::uint64_t n_layers_done() const override {
    return n_layers_done_.load(std::memory_order_relaxed);
  }
  std::string_view family() const override { return "cpu"; }

  Isa isa() const { return kernels_.isa; }

 private:
  static constexpr std::uint32_t kRowChunk = 8;  // rows in a chunk of a row-wise operation
  static constexpr std::uint32_t kMaxPanelRows =
      512;                                    // that a thread multiplies by unpacked weights
  static constexpr std::uint32_t kWide = 32;  // outputs of gate and up made at once
  static constexpr std::size_t kGluFloats = std::size_t{2} * kMaxPanelRows * kWide;

  struct PackedWeight {
    QuantType type = QuantType::F32;
    std::uint32_t n_out = 0, n_in = 0;
    std::size_t group_bytes = 0;
    // [ceil(n_out/16)] row groups, in memory of its own or in the image; empty for an untied embedding
    std::span<const std::byte> packed = {};
    std::span<const std::byte> row_major = {};  // an untied embedding, in the model file
    CpuMemory memory = {};
    // In an image: parts of as many row groups as fit into 256 KiB, compared with their checksums before their first use.
    ImagePlace place = {};
    std::vector<bool> is_checked = {};       // [n_parts]; empty once all are
    std::span<const std::byte> source = {};  // in the model file: packed again if a part is damaged
    std::uint32_t n_groups() const { return (n_out + 15) / 16; }
    std::uint32_t n_per_part() const;  // row groups
    std::span<const std::byte> part(std::uint32_t p) const;
    /// The end of the first n row groups in the image.
    std::uint64_t end_of(std::uint32_t n) const { return place.begin + n * group_bytes; }
  };
  struct RowBuffer {
    std::uint32_t width = 0, stride = 0;  // stride: width rounded up to 16
    CpuMemory memory = {};                // [n_max_rows, stride] f32
    float* row(std::size_t r) { return reinterpret_cast<float*>(memory.data()) + r * stride; }
    const float* row(std::size_t r) const {
      return reinterpret_cast<const float*>(memory.data()) + r * stride;
    }
  };
  /// What an Act names. Norms are deferred: nothing is computed until a consumer says which form it needs.
  struct ActSlot {
    std::uint32_t width = 0, stride = 0, n_q8_blocks = 0;
    CpuMemory f32_memory, q8_memory, tile_memory;
    bool has_f32 = false, has_q8 = false;
    std::uint32_t norm_source = 0, norm_gain = 0;  // set while a norm is deferred
    float norm_eps = 0.0F;
    float* f32(std::size_t r) { return reinterpret_cast<float*>(f32_memory.data()) + r * stride; }
    Q8Block* q8(std::size_t r) {
      return reinterpret_cast<Q8Block*>(q8_memory.data()) + r * n_q8_blocks;
    }
    /// The 16 rows to which r belongs; kept where the kernels have matrix tiles.
    Q8Tile* tiles(std::size_t r) {
      return reinterpret_cast<Q8Tile*>(tile_memory.data()) + r / Q8Tile::kTokens * n_q8_blocks;
    }
  };
  /// In which of an act's two forms.
  struct Forms {
    bool f32 = false, q8 = false;
    Forms operator|(Forms other) const { return {f32 || other.f32, q8 || other.q8}; }
  };
  struct ThreadScratch {
    std::vector<float> floats;
    std::vector<const std::byte*> kv_blocks;
    CpuMemory panel;               // one row group unpacked
    std::vector<std::byte> group;  // of a tied embedding, when weights are streamed
  };

  Result<PackedWeight> pack(QuantType type, std::uint32_t n_out, std::uint32_t n_in,
                            std::span<const std::byte> data);
  Result<PackedWeight> pack_into_image(PackedWeight weight);
  void pack_groups(const PackedWeight& weight, std::uint32_t begin, std::uint32_t end,
                   std::byte* out);
  Weight keep(PackedWeight weight);
  void read_image();
  bool is_settled() const { return n_unchecked_ == 0 && !stream_; }
  std::uint32_t await_groups(PackedWeight& w, std::uint32_t begin, std::uint32_t n_least);
  std::uint32_t await_groups(std::span<const LinearOut> outs, std::uint32_t begin);
  void await_disk(std::uint64_t end);
  void release_groups(std::span<const LinearOut> outs, std::uint32_t end);
  void check_groups(PackedWeight& w, std::uint32_t begin, std::uint32_t end);
  void check_embedding(PackedWeight& w);
  bool repair(PackedWeight& w, std::uint32_t p);
  void move_to_memory(PackedWeight& w);
  const std::byte* embedding_group(const PackedWeight& w, std::uint32_t group,
                                   std::uint32_t thread);
  ActSlot& next_act(std::uint32_t width);
  Act name_of(const ActSlot& slot) const;
  ActSlot& realise(Act act, Forms needed);
  Forms forms_for(Weight w) const;
  bool uses_tiles() const { return kernels_.has_tiles && n_rows_ >= Q8Tile::kTokens; }
  void quantise(const float* values, std::uint32_t n, ActSlot& slot, std::uint32_t row,
                std::uint32_t first_block);
  void multiply(ActSlot& act, const PackedWeight& w, std::uint32_t group, std::uint32_t row,
                std::uint32_t n_rows, float* out, std::size_t out_stride, const Epilogue& epilogue,
                std::uint32_t thread);
  void multiply_groups(ActSlot& act, std::span<const LinearOut> outs, std::uint32_t begin,
                       std::uint32_t end, std::uint32_t row, std::uint32_t n_rows, bool is_added,
                       std::uint32_t thread);
  std::uint32_t n_panel_rows(const ActSlot& act, std::uint32_t n_min_panels) const;
  void run_linear(Act act, std::span<const LinearOut> outs, bool is_added);
  void glu_chunk(ActSlot& in, const PackedWeight& gate, const PackedWeight& up, std::uint32_t chunk,
                 std::uint32_t thread, ActSlot& out);
  void attend(const AttentionChunk& chunk, std::uint32_t kv_head, Rows q,
              const AttentionParams& params, std::uint32_t thread, ActSlot& out);
  std::byte* kv_block(std::uint32_t block, std::uint32_t layer, std::uint32_t kv_head);
  const float* vector_data(Vector v) const { return v ? vectors_[v.index].data() : nullptr; }

  CpuDeviceOptions options_;
  std::optional<WeightsImage> image_;  // outlives the weights' mappings
  const KernelTable& kernels_;
  std::shared_ptr<ComputePool> shared_pool_;
  ComputePool& pool_;                        // the same
  std::vector<PackedWeight> weights_;        // [0] is "none"
  std::vector<std::vector<float>> vectors_;  // [0] is "none"; padded to 16
  std::vector<RowBuffer> rows_;              // [0] is "none"
  std::array<ActSlot, 2> acts_;              // an operation may read one while it writes the other
  std::uint32_t last_act_ = 0;
  std::uint32_t max_act_width_ = 0;
  bool has_float_weights_ = false;  // among those that are multiplied
  std::uint64_t weight_bytes_ = 0;
  std::uint32_t n_unchecked_ = 0;         // weights with parts that were not compared yet
  std::unique_ptr<WeightStream> stream_;  // if weights are read in each step; after the image

  KvShape kv_shape_;
  std::span<std::byte> kv_arena_;  // [n_blocks][n_layers][n_kv_heads] heads

  /// An operation's chunks on the pool, unless the step was abandoned.
  template <class Fn>
  void run(std::uint32_t n_chunks, Fn&& fn) {
    if (!is_abandoned_) pool_.run(n_chunks, std::forward<Fn>(fn));
  }

  std::size_t n_attention_part_floats() const;

  Step step_;
  bool is_abandoned_ = false;
  std::uint32_t n_rows_ = 0;
  std::vector<std::uint32_t> row_sequence_;  // [n_rows]
  std::vector<ThreadScratch> scratch_;       // [n_threads]
  AttentionPlan attention_plan_;             // of this step; without tasks before its first use
  CpuMemory attention_parts_;                // what threads find that share a task
  std::unique_ptr<std::atomic<std::uint32_t>[]> attention_parts_left_;  // of a shared task and head
  std::atomic<std::uint64_t> n_layers_done_{0};
};

}  // namespace deepwell::engine
