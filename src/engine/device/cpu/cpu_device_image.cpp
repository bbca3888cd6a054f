// Weights in an image: compared with their checksums before their first use, and read ahead if they do not fit memory.
#include <sys/mman.h>

#include <algorithm>

#include "base/check.hpp"
#include "base/checksum.hpp"
#include "engine/device/cpu/cpu_device.hpp"
#include "engine/device/cpu/packed.hpp"
#include "engine/device/cpu/rounding.hpp"

namespace deepwell::engine {

namespace {

constexpr std::size_t kPartBytes = std::size_t{256} << 10;

/// Brings the pages there and maps them by one call instead of a fault for each few. Advice: they come by faults too.
void populate(std::span<const std::byte> bytes) {
#ifdef MADV_POPULATE_READ
  constexpr std::uintptr_t kPage = 4096;
  const auto begin = reinterpret_cast<std::uintptr_t>(bytes.data()) / kPage * kPage;
  const auto end = reinterpret_cast<std::uintptr_t>(bytes.data() + bytes.size());
  ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_POPULATE_READ);
#else
  static_cast<void>(bytes);
#endif
}

}  // namespace

std::uint32_t CpuDevice::PackedWeight::n_per_part() const {
  return static_cast<std::uint32_t>(std::max<std::size_t>(1, kPartBytes / group_bytes));
}

std::span<const std::byte> CpuDevice::PackedWeight::part(std::uint32_t p) const {
  const std::uint32_t begin = p * n_per_part();
  const std::uint32_t end = std::min(n_groups(), begin + n_per_part());
  return packed.subspan(begin * group_bytes, (end - begin) * group_bytes);
}

/// After the image is whole.
void CpuDevice::read_image() {
  for (PackedWeight& weight : weights_) {
    if (weight.place.begin == 0) continue;
    weight.packed = {image_->bytes().data() + weight.place.begin,
                     weight.group_bytes * weight.n_groups()};
  }
}

void CpuDevice::stream_weights(WeightStreamOptions options) {
  DW_CHECK(image_.has_value(), "weights are streamed out of an image");
  options.fd = image_->fd();
  options.bytes = &image_->bytes();
  bool is_first = true;
  for (PackedWeight& weight : weights_) {
    if (weight.place.begin == 0) continue;
    if (is_first) {  // the output projection; as a tied embedding it is read by rows too
      for (ThreadScratch& scratch : scratch_) scratch.group.resize(weight.group_bytes);
    } else {
      if (options.first_used == 0) options.first_used = weight.place.begin;
      // gate and up
      options.n_together_bytes = std::max(options.n_together_bytes, 2 * weight.packed.size());
    }
    is_first = false;
  }
  stream_ = std::make_unique<WeightStream>(options);
}

/// The end of the row groups from `begin` on, at least n_least if the weight has so many, that are in memory and whole.
std::uint32_t CpuDevice::await_groups(PackedWeight& w, std::uint32_t begin, std::uint32_t n_least) {
  std::uint32_t end = w.n_groups();
  if (is_abandoned_) return end;
  if (stream_ && w.memory.data() == nullptr) {
    const std::uint32_t n_per_part = w.n_per_part();
    std::uint32_t wanted = std::min(end, begin + n_least);
    if (!w.is_checked.empty()) wanted = std::min(end, round_up(wanted, n_per_part));
    await_disk(w.end_of(wanted));
    // What came along is used too, but for parts of which a piece is not there yet.
    auto n_there = static_cast<std::uint32_t>(std::min<std::uint64_t>(
        end, (stream_->slab_end(w.end_of(wanted)) - w.place.begin) / w.group_bytes));
    if (!w.is_checked.empty() && n_there < end) n_there = n_there / n_per_part * n_per_part;
    end = std::max(wanted, n_there);
  }
  check_groups(w, begin, end);
  return end;
}

/// Counted over all outs; within one of them.
std::uint32_t CpuDevice::await_groups(std::span<const LinearOut> outs, std::uint32_t begin) {
  std::uint32_t first = 0;
  for (const LinearOut& out : outs) {
    PackedWeight& w = weights_[out.weight.index];
    if (begin < first + w.n_groups()) return first + await_groups(w, begin - first, 1);
    first += w.n_groups();
  }
  return first;
}

/// The other threads sleep meanwhile.
void CpuDevice::await_disk(std::uint64_t end) {
  if (stream_->has_read(end)) return;
  pool_.end_step();
  stream_->await(end);
  pool_.begin_step();
}

void CpuDevice::release_groups(std::span<const LinearOut> outs, std::uint32_t end) {
  std::uint32_t first = 0;
  for (const LinearOut& out : outs) {
    const PackedWeight& w = weights_[out.weight.index];
    if (end <= first + w.n_groups()) return stream_->release(w.end_of(end - first));
    first += w.n_groups();
  }
}

/// Parts of row groups [begin, end) that were not looked at yet, by all threads. Damaged ones are packed again.
void CpuDevice::check_groups(PackedWeight& w, std::uint32_t begin, std::uint32_t end) {
  if (w.is_checked.empty()) return;
  std::vector<std::uint32_t> parts;
  for (std::uint32_t p = begin / w.n_per_part(); p < ceil_div(end, w.n_per_part()); ++p) {
    if (!w.is_checked[p]) parts.push_back(p);
  }
  std::vector<std::uint8_t> is_whole(parts.size());
  pool_.run(static_cast<std::uint32_t>(parts.size()), [&](std::uint32_t i, std::uint32_t) {
    populate(w.part(parts[i]));
    is_whole[i] = checksum64(w.part(parts[i])) == w.place.sums[parts[i]] ? 1 : 0;
  });
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (is_whole[i] == 0 && !repair(w, parts[i])) move_to_memory(w);
    if (w.is_checked.empty()) return;
    w.is_checked[parts[i]] = true;
  }
  if (std::find(w.is_checked.begin(), w.is_checked.end(), false) != w.is_checked.end()) return;
  w.is_checked = {};
  --n_unchecked_;
}

/// Of a tied embedding, the parts with this step's tokens.
void CpuDevice::check_embedding(PackedWeight& w) {
  for (std::size_t r = 0; r < n_rows_ && !w.is_checked.empty(); ++r) {
    const auto group = static_cast<std::uint32_t>(step_.tokens[r]) / kRowGroup;
    check_groups(w, group, group + 1);
  }
}

/// Writes a part as it was packed, and its checksum; who else reads it sees right bytes or finds the damage too. False if
/// the file does not take it.
bool CpuDevice::repair(PackedWeight& w, std::uint32_t p) {
  const std::uint32_t begin = p * w.n_per_part();
  std::vector<std::byte> bytes(w.part(p).size());
  pack_groups(w, begin, begin + static_cast<std::uint32_t>(bytes.size() / w.group_bytes),
              bytes.data());
  const std::uint64_t sum = checksum64(bytes);
  if (options_.log != nullptr) {
    options_.log->warn("the weights image is damaged at offset ", w.end_of(begin), " (",
                       bytes.size(), " bytes); they are packed again, before they are used");
  }
  w.place.sums[p] = sum;
  const std::uint64_t sum_at = w.place.sums_begin + p * sizeof sum;
  return image_->write(w.end_of(begin), bytes, AfterWriting::kKeep) &&
         image_->write(sum_at, std::as_bytes(std::span(&sum, 1)), AfterWriting::kKeep) &&
         checksum64(w.part(p)) == sum;
}

/// Packs the weight into memory of this process: the image cannot be trusted with it.
void CpuDevice::move_to_memory(PackedWeight& w) {
  auto memory = CpuMemory::allocate(w.packed.size());
  DW_CHECK(memory, "there is address space for one weight more");
  w.memory = std::move(*memory);
  pack_groups(w, 0, w.n_groups(), w.memory.data());
  w.packed = {w.memory.data(), w.packed.size()};
  w.is_checked = {};
  --n_unchecked_;
  if (options_.log != nullptr)
    options_.log->warn("the weights image cannot be repaired; a weight of ", w.packed.size() >> 20,
                       " MiB takes memory of this process");
}

/// Single groups here and there are read past the mapping, where a fault would read megabytes around each.
const std::byte* CpuDevice::embedding_group(const PackedWeight& w, std::uint32_t group,
                                            std::uint32_t thread) {
  const std::byte* const mapped = w.packed.data() + group * w.group_bytes;
  if (!stream_ || w.memory.data() != nullptr) return mapped;
  std::vector<std::byte>& copy = scratch_[thread].group;
  return image_->read(w.end_of(group), copy) ? copy.data() : mapped;
}

}  // namespace deepwell::engine
