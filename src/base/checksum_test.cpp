// The fast checksum finds what it promises to find.
#include "base/checksum.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

namespace deepwell {
namespace {

std::vector<std::byte> some_bytes(std::size_t n) {
  std::vector<std::byte> bytes(n);
  for (std::size_t i = 0; i < n; ++i) bytes[i] = static_cast<std::byte>(i * 167 + i / 251);
  return bytes;
}

TEST(Checksum64, ChangesWithEveryBit) {
  for (const std::size_t n : {1U, 7U, 63U, 64U, 65U, 500U}) {
    std::vector<std::byte> bytes = some_bytes(n);
    std::set<std::uint64_t> seen{checksum64(bytes)};
    for (std::size_t bit = 0; bit < 8 * n; ++bit) {
      bytes[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
      EXPECT_TRUE(seen.insert(checksum64(bytes)).second) << n << " bytes, bit " << bit;
      bytes[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    }
  }
}

TEST(Checksum64, ChangesWhenTheHighestBitsOfTwoWordsFlip) {
  std::vector<std::byte> bytes = some_bytes(512);
  const std::uint64_t whole = checksum64(bytes);
  bytes[7] ^= std::byte{0x80};
  for (std::size_t word = 1; word < 64; ++word) {
    bytes[8 * word + 7] ^= std::byte{0x80};
    EXPECT_NE(whole, checksum64(bytes)) << word;
    bytes[8 * word + 7] ^= std::byte{0x80};
  }
}

TEST(Checksum64, ChangesWithLengthOrderAndSeed) {
  const std::vector<std::byte> zeros(200);
  std::set<std::uint64_t> seen;
  for (std::size_t n = 0; n <= zeros.size(); ++n)
    EXPECT_TRUE(seen.insert(checksum64(std::span(zeros).first(n))).second) << n;
  EXPECT_NE(checksum64(zeros, 1), checksum64(zeros, 2));
  std::vector<std::byte> swapped = some_bytes(256);
  const std::uint64_t whole = checksum64(swapped);
  std::swap_ranges(swapped.begin(), swapped.begin() + 64, swapped.begin() + 64);
  EXPECT_NE(whole, checksum64(swapped));
}

}  // namespace
}  // namespace deepwell
