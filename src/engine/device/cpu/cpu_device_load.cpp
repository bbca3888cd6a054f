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
      shared_pool_(options.pool != nullptr ? options.pool
                                           : std::make_shared<ComputePool>(options.n_threads)),
      pool_(*shared_pool_) {
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
  PackedWeight weight{.type = type,
                      .n_out = n_out,
                      .n_in = n_in,
                      .group_bytes = packed_group_bytes(type, n_in),
                      .source = data};
  const std::size_t n_bytes = weight.group_bytes * weight.n_groups();
  weight_bytes_ += n_bytes;
  if (image_) return pack_into_image(std::move(weight));
  DW_ASSIGN(weight.memory, CpuMemory::allocate(n_bytes));
  weight.packed = {weight.memory.data(), n_bytes};
  pool_.begin_step();
  pack_groups(weight, 0, weight.n_groups(), weight.memory.data());
  pool_.end_step();
  return weight;
}

/// Row groups [begin, end) of its source.
void CpuDevice::pack_groups(const PackedWeight& weight, std::uint32_t begin, std::uint32_t end,
                            std::byte* out) {
  const std::size_t row_bytes = weight.source.size() / weight.n_out;
  pool_.run(end - begin, [&](std::uint32_t i, std::uint32_t) {
    pack_row_group(weight.type, weight.source.data(), row_bytes, weight.n_out, weight.n_in,
                   (begin + i) * kRowGroup, out + i * weight.group_bytes);
  });
}

/// Its place in the image, and its bytes there if nobody has written them yet: some MiB at a time, for the model may be
/// larger than memory.
Result<CpuDevice::PackedWeight> CpuDevice::pack_into_image(PackedWeight weight) {
  constexpr std::uint32_t kPartsAtOnce = 64;
  const std::uint32_t n_per_part = weight.n_per_part();
  const std::uint32_t n_parts = ceil_div(weight.n_groups(), n_per_part);
  const WeightLabel label{
      .type = static_cast<std::uint32_t>(weight.type),
      .n_out = weight.n_out,
      .n_in = weight.n_in,
      .n_parts = n_parts,
      .n_bytes = weight.group_bytes * weight.n_groups(),
      .source_sum = checksum64(weight.source.first(std::min(weight.source.size(), kProbeBytes)))};
  DW_ASSIGN(weight.place, image_->next(label));
  weight.is_checked.assign(n_parts, false);
  ++n_unchecked_;
  if (image_->is_complete()) return weight;

  const std::uint32_t n_at_once = std::min(n_per_part * kPartsAtOnce, weight.n_groups());
  DW_ASSIGN(CpuMemory packed, CpuMemory::allocate(n_at_once * weight.group_bytes));
  weight.place.sums.resize(n_parts);
  for (std::uint32_t begin = 0; begin < weight.n_groups(); begin += n_at_once) {
    const std::uint32_t n_here = std::min(n_at_once, weight.n_groups() - begin);
    const std::span<const std::byte> bytes(packed.data(), n_here * weight.group_bytes);
    const std::size_t part_bytes = n_per_part * weight.group_bytes;
    pool_.begin_step();
    pack_groups(weight, begin, begin + n_here, packed.data());
    pool_.run(ceil_div(n_here, n_per_part), [&](std::uint32_t part, std::uint32_t) {
      const std::size_t at = part * part_bytes;
      weight.place.sums[begin / n_per_part + part] =
          checksum64(bytes.subspan(at, std::min(part_bytes, bytes.size() - at)));
    });
    pool_.end_step();
    DW_TRY(image_->write(weight.end_of(begin), bytes, options_.after_writing));
  }
  DW_TRY(image_->write(weight.place.sums_begin,
                       std::as_bytes(std::span<const std::uint64_t>(weight.place.sums)),
                       AfterWriting::kKeep));
  return weight;
}

Weight CpuDevice::keep(PackedWeight weight) {
  const Weight name{static_cast<std::uint32_t>(weights_.size()), weight.n_out, weight.n_in};
  max_act_width_ = std::max(max_act_width_, weight.n_in);
  if (weight.row_major.empty() && kernels_.gemm_q8(weight.type) == nullptr)
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
  if (image_) {
    DW_TRY(image_->complete());
    read_image();
  }
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
