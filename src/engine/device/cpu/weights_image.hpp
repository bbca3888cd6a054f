// WeightsImage: packed weights in a file that outlives the process (of memory, or on disk), so that a successor need not
// pack them.
// Layout: docs/formats/weights-image.md
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/device/cpu/cpu_memory.hpp"

namespace deepwell::engine {

/// By what a weight is recognised: a successor asks for the same weights in the same order.
struct WeightLabel {
  std::uint32_t type = 0;  // QuantType
  std::uint32_t n_out = 0, n_in = 0;
  std::uint32_t n_parts = 0;     // with a checksum each
  std::uint64_t n_bytes = 0;     // packed
  std::uint64_t source_sum = 0;  // checksum64 of the beginning of its source
  bool operator==(const WeightLabel&) const = default;
};

/// Where a weight lies in the file.
struct ImagePlace {
  std::uint64_t begin = 0;          // of its bytes
  std::uint64_t sums_begin = 0;     // of its parts' checksums
  std::vector<std::uint64_t> sums;  // [n_parts] if the image was complete
};

/// Whether pages of the file may stay in memory once they are written.
enum class AfterWriting : std::uint8_t { kKeep, kDrop };

/// Whoever comes first packs, the others wait and then only map; if the packer dies, the next one packs. Between
/// processes this is settled by a lock that ends with its process; inside one process, a file serves one model.
class WeightsImage {
 public:
  /// `key` names the content: equal keys, equal bytes (at most 127 bytes count). The caller keeps `fd` open while the
  /// image lives. Waits while another process packs. None if another process uses the file for something else.
  /// Errors: kInvalidArgument and others of the system's (no such memory file).
  static Result<std::optional<WeightsImage>> open(int fd, std::string_view key);

  ~WeightsImage();
  WeightsImage(WeightsImage&& other) noexcept;
  WeightsImage& operator=(WeightsImage&& other) noexcept;

  /// Whether it is all there; else each weight that next() places is to be written.
  bool is_complete() const { return is_complete_; }
  /// The place of the next weight. Errors: kDataLoss (a complete image has another weight here).
  Result<ImagePlace> next(const WeightLabel& label);
  /// Bytes at an offset of the file, and their way to the disk begun. With kDrop it waits until they are there, and their
  /// pages are free: for a model larger than memory. Errors: kDataLoss (no room).
  Status write(std::uint64_t at, std::span<const std::byte> bytes, AfterWriting then) const;
  /// After the last weight: waits until the disk has it all, then tells that it is whole.
  /// Errors: kDataLoss (the image has more weights).
  Status complete();
  /// The whole file, read-only; once it is complete().
  const CpuMemory& bytes() const { return bytes_; }
  /// Fills `bytes` with what lies at an offset of the file, past the mapping. False on a read error.
  bool read(std::uint64_t at, std::span<std::byte> bytes) const;
  int fd() const { return fd_; }

 private:
  WeightsImage(int fd, bool is_complete);

  int fd_ = -1;
  bool is_complete_ = false;
  std::uint64_t n_bytes_ = 0;  // so far
  std::uint64_t n_weights_ = 0;
  CpuMemory bytes_;
};

}  // namespace deepwell::engine
