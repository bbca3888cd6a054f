// Before the first step: packing weights, and memory to work in.
#include <algorithm>
#include <vector>

#include "base/check.hpp"
#include "base/checksum.hpp"
#include "base/concat.hpp"
#include "engine/device/cpu/cpu_device.hpp"
#include "engine/device/cpu/packed.hpp"
#include "engine/device/cpu/rounding.hpp"

namespace deepwell::engine {

namespace {

constexpr std::size_t kProbeBytes = 4096;  // of a source weight, by which an image knows it

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

}  // namespace deepwell::engine
