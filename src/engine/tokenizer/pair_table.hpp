// PairTable: a flat hash map from a pair of 32-bit numbers to one, filled once and then only read.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace deepwell::engine {

class PairTable {
 public:
  static constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

  /// Reserves room for `n_pairs`; inserting more is a programmer's bug.
  explicit PairTable(std::size_t n_pairs = 0)
      : slots_(std::bit_ceil(n_pairs + n_pairs / 3 + 1)), mask_(slots_.size() - 1) {}

  /// Adds (a, b) -> value, unless the pair is there. Returns the value that the pair has now.
  std::uint32_t insert(std::uint32_t a, std::uint32_t b, std::uint32_t value) {
    Slot& slot = slots_[position(a, b)];
    if (slot.value == kNone) slot = {a, b, value};
    return slot.value;
  }

  /// The value of (a, b), or kNone.
  std::uint32_t find(std::uint32_t a, std::uint32_t b) const {
    return slots_[position(a, b)].value;
  }

 private:
  struct Slot {
    std::uint32_t a = 0, b = 0;
    std::uint32_t value = kNone;
  };

  /// The slot that holds the pair, or the free one where it belongs. At most three quarters of the
  /// slots are taken.
  std::size_t position(std::uint32_t a, std::uint32_t b) const {
    std::uint64_t mixed = (std::uint64_t{a} << 32 | b) *
                          0x9E3779B97F4A7C15U;  // 2^64 / golden ratio (Knuth, TAOCP 3, 6.4)
    mixed ^= mixed >> 32;
    std::size_t i = mixed & mask_;
    while (slots_[i].value != kNone && (slots_[i].a != a || slots_[i].b != b)) i = (i + 1) & mask_;
    return i;
  }

  std::vector<Slot> slots_;
  std::size_t mask_;
};

}  // namespace deepwell::engine
