// Philox4x32-10: random numbers as a function of a key and a counter, so that no generator has a state.
// Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
#pragma once

#include <array>
#include <cstdint>

namespace deepwell::engine {

using PhiloxCounter = std::array<std::uint32_t, 4>;
using PhiloxKey = std::array<std::uint32_t, 2>;

/// Ten rounds over the counter: 128 random bits.
constexpr PhiloxCounter philox4x32(PhiloxCounter c, PhiloxKey key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = std::uint64_t{0xD2511F53U} * c[0];
    const std::uint64_t product1 = std::uint64_t{0xCD9E8D57U} * c[2];
    c = {static_cast<std::uint32_t>(product1 >> 32) ^ c[1] ^ key[0],
         static_cast<std::uint32_t>(product1),
         static_cast<std::uint32_t>(product0 >> 32) ^ c[3] ^ key[1],
         static_cast<std::uint32_t>(product0)};
    key[0] += 0x9E3779B9U;  // golden ratio
    key[1] += 0xBB67AE85U;  // sqrt(3) - 1
  }
  return c;
}

/// What a random number is for: two uses at the same position must not share one.
enum class RandomPurpose : std::uint32_t { kDraw = 0 };

/// The 64 random bits of a place in a generation: `seed` is the request's, `choice` numbers its answers (n > 1),
/// `position` is absolute (prompt tokens count).
constexpr std::uint64_t random_bits(std::uint64_t seed, std::uint32_t choice,
                                    std::uint64_t position, RandomPurpose purpose) {
  const PhiloxCounter counter = {static_cast<std::uint32_t>(position),
                                 static_cast<std::uint32_t>(position >> 32), choice,
                                 static_cast<std::uint32_t>(purpose)};
  const PhiloxKey key = {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)};
  const PhiloxCounter bits = philox4x32(counter, key);
  return bits[0] | (std::uint64_t{bits[1]} << 32);
}

}  // namespace deepwell::engine
