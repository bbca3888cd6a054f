// Damaged files: thousands of seeded mutations of valid ones are refused or readable, never a
// crash.
#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "engine/gguf/gguf.hpp"
#include "engine/gguf/walk.hpp"

namespace deepwell::engine {
namespace {

using Bytes = std::vector<std::byte>;

Bytes read_golden(const std::string& name) {
  std::ifstream file(DEEPWELL_SOURCE_DIR "/tests/golden/gguf/" + name, std::ios::binary);
  const std::vector<char> content((std::istreambuf_iterator<char>(file)), {});
  const auto* first = reinterpret_cast<const std::byte*>(content.data());
  return {first, first + content.size()};
}

/// Damages files the way disks, networks and attackers do.
class Mutator {
 public:
  explicit Mutator(std::uint32_t seed) : random_(seed) {}

  Bytes mutate(Bytes bytes, const Bytes& other) {
    switch (below(6)) {
      case 0:
        flip_bits(bytes);
        break;
      case 1:
        bytes.resize(below(bytes.size()));
        break;
      case 2:
        overwrite_length(bytes);
        break;
      case 3:
        splice(bytes, other);
        break;
      case 4:
        erase(bytes);
        break;
      default:
        flip_bits(bytes);
        overwrite_length(bytes);
        break;
    }
    bytes.shrink_to_fit();  // so that AddressSanitizer sees a read past the end
    return bytes;
  }

 private:
  std::size_t below(std::size_t n) { return n == 0 ? 0 : random_() % n; }

  void flip_bits(Bytes& bytes) {
    for (std::size_t i = 0; i < 1 + below(8); ++i) {
      bytes[below(bytes.size())] ^= std::byte(1U << below(8));
    }
  }

  /// An extreme number over some 8 bytes. Half of them early, where counts and lengths are.
  void overwrite_length(Bytes& bytes) {
    const std::uint64_t extremes[] = {
        0,          1,          0x7F,       0xFFFFFFFF,        1ULL << 31,
        1ULL << 32, 1ULL << 61, 1ULL << 63, ~std::uint64_t{0}, bytes.size(),
        random_()};
    const std::uint64_t value = extremes[below(std::size(extremes))];
    const std::size_t span =
        below(2) == 0 ? std::min<std::size_t>(bytes.size(), 256) : bytes.size();
    std::memcpy(&bytes[below(span - 8)], &value, below(2) == 0 ? 4 : 8);
  }

  void splice(Bytes& bytes, const Bytes& other) {
    const std::size_t from = below(other.size());
    const std::size_t n = 1 + below(std::min<std::size_t>(other.size() - from, 200));
    const auto at = bytes.begin() + static_cast<std::ptrdiff_t>(below(bytes.size()));
    bytes.insert(at, other.begin() + static_cast<std::ptrdiff_t>(from),
                 other.begin() + static_cast<std::ptrdiff_t>(from + n));
  }

  void erase(Bytes& bytes) {
    const std::size_t from = below(bytes.size());
    const std::size_t n = below(std::min<std::size_t>(bytes.size() - from, 64));
    bytes.erase(bytes.begin() + static_cast<std::ptrdiff_t>(from),
                bytes.begin() + static_cast<std::ptrdiff_t>(from + n));
  }

  std::mt19937_64 random_;
};

TEST(GgufFile, SurvivesThousandsOfMutations) {
  const Bytes seeds[] = {read_golden("all_types.gguf"), read_golden("like_smollm2.gguf")};
  ASSERT_GT(seeds[0].size(), 1000U);
  ASSERT_GT(seeds[1].size(), 1000U);
  int n_refused = 0;
  int n_read = 0;
  std::uint64_t sum = 0;
  for (std::uint32_t seed = 0; seed < 2000; ++seed) {
    const Bytes mutated = Mutator(seed).mutate(seeds[seed % 2], seeds[(seed + 1) % 2]);
    const auto parsed = GgufFile::parse(mutated);
    if (parsed) {
      ++n_read;
      sum += gguf::walk(**parsed);
    } else {
      ++n_refused;
      EXPECT_FALSE(parsed.error().message.empty());
    }
  }
  // Flipped bits in tensor data cannot be noticed; damaged lengths must be.
  EXPECT_GT(n_refused, 1000);
  EXPECT_GT(n_read, 200);
  EXPECT_GT(sum, 0U);
}

TEST(GgufFile, RefusesEveryTruncation) {
  const Bytes whole = read_golden("like_smollm2.gguf");
  const auto parsed = GgufFile::parse(whole);
  ASSERT_TRUE(parsed) << parsed.error().message;
  const GgufTensor& last = (*parsed)->tensors().back();
  const auto n_needed =
      static_cast<std::size_t>(last.data.data() + last.data.size() - whole.data());
  for (std::size_t n = 0; n < n_needed; n += n < 4000 ? 1 : 37) {
    const Bytes part(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n));
    ASSERT_FALSE(GgufFile::parse(part)) << n;
  }
}

}  // namespace
}  // namespace deepwell::engine
