// Philox4x32-10 against the known answers of its authors, and what random_bits() makes of it.
#include "engine/sampling/philox.hpp"

#include <gtest/gtest.h>

#include <set>

namespace deepwell::engine {
namespace {

// From kat_vectors of the Random123 library (https://github.com/DEShawResearch/random123).
TEST(Philox, GivesItsAuthorsKnownAnswers) {
  constexpr std::uint32_t kOnes = 0xFFFFFFFFU;
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}),
            (PhiloxCounter{0x6627E8D5U, 0xE169C58DU, 0xBC57AC4CU, 0x9B00DBD8U}));
  EXPECT_EQ(philox4x32({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (PhiloxCounter{0x408F276DU, 0x41C83B0EU, 0xA20BC7C6U, 0x6D5451FDU}));
  // Digits of pi.
  EXPECT_EQ(
      philox4x32({0x243F6A88U, 0x85A308D3U, 0x13198A2EU, 0x03707344U}, {0xA4093822U, 0x299F31D0U}),
      (PhiloxCounter{0xD16CFE09U, 0x94FDCCEBU, 0x5001E420U, 0x24126EA1U}));
}

TEST(RandomBits, DependOnEveryPartOfThePlace) {
  std::set<std::uint64_t> seen;
  std::size_t n = 0;
  for (const std::uint64_t seed : {0ULL, 1ULL, 1ULL << 32, 1ULL << 63}) {
    for (const std::uint32_t choice : {0U, 1U, 0xFFFFFFFFU}) {
      for (const std::uint64_t position : {0ULL, 1ULL, 1ULL << 32}) {
        seen.insert(random_bits(seed, choice, position, RandomPurpose::kDraw));
        seen.insert(random_bits(seed, choice, position, static_cast<RandomPurpose>(1)));
        n += 2;
      }
    }
  }
  EXPECT_EQ(seen.size(), n);
  static_assert(random_bits(0, 0, 0, RandomPurpose::kDraw) == 0xE169C58D6627E8D5U);
}

}  // namespace
}  // namespace deepwell::engine
