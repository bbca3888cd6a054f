// WeightsImage: packed weights in a file that outlives the process (of memory, or on disk), so that a successor need not
// pack them.
// Layout: docs/formats/weights-image.md
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "engine/device/cpu/cpu_memory.hpp"

namespace deepwell::engine {

/// By what a weight is recognised: a successor asks for the same weights in the same order.
struct WeightLabel {
  std::uint32_t type = 0;  // QuantType
  std::uint32_t n_out = 0, n_in = 0;
  std::uint32_t reserved = 0;
  std::uint64_t n_bytes = 0;     // packed
  std::uint64_t source_sum = 0;  // checksum64 of the beginning of its source
  bool operator==(const WeightLabel&) const = default;
};

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

  /// Whether it is all there: next() then gives memory that is filled, and read-only.
  bool is_complete() const { return is_complete_; }
  /// The next weight's memory, at least label.n_bytes. Errors: kDataLoss (the image has another weight
  /// here, or there is no room for it).
  Result<CpuMemory> next(const WeightLabel& label);
  /// After the weight that next() gave was filled, or before it is used: `sum` is the checksum of its bytes.
  /// Errors: kDataLoss (the bytes are not those that were packed).
  Status check(std::uint64_t sum);
  /// After the last weight was filled: what lies on disk is written there before anybody is told that it is whole.
  /// Errors: kDataLoss (the image has more weights).
  Status complete();

 private:
  WeightsImage(int fd, bool is_complete);

  int fd_ = -1;
  bool is_complete_ = false;
  std::uint64_t n_bytes_ = 0;  // so far
  std::uint64_t sum_at_ = 0;   // where the last weight's checksum lies
  std::uint64_t n_weights_ = 0;
};

}  // namespace deepwell::engine
