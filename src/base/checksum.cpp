// Eight lanes, each a chain of bijections: a lane that once differs goes on differing.
#include "base/checksum.hpp"

#include <array>
#include <bit>
#include <cstring>

namespace deepwell {

namespace {

constexpr std::size_t kLanes = 8;
// Odd, with bits set at random: fractions of the golden ratio and of the square root of two.
constexpr std::uint64_t kA = 0x9E3779B97F4A7C15U;
constexpr std::uint64_t kB = 0x6A09E667F3BCC909U;

/// The form of xxHash64's round (https://github.com/Cyan4973/xxHash). With one product less, a flip of a word's highest
/// bit would be one known bit of the state, which a flip of that bit in the next word undoes.
constexpr std::uint64_t mix(std::uint64_t state, std::uint64_t word) {
  return std::rotl(state + word * kA, 31) * kB;
}

void mix_stripe(std::array<std::uint64_t, kLanes>& lanes, const std::byte* bytes) {
  std::array<std::uint64_t, kLanes> words;
  std::memcpy(words.data(), bytes, sizeof words);
  for (std::size_t i = 0; i < kLanes; ++i) lanes[i] = mix(lanes[i], words[i]);
}

}  // namespace

std::uint64_t checksum64(std::span<const std::byte> bytes, std::uint64_t seed) {
  constexpr std::size_t kStripe = kLanes * sizeof(std::uint64_t);
  std::array<std::uint64_t, kLanes> lanes;
  for (std::size_t i = 0; i < kLanes; ++i) lanes[i] = mix(seed, i + 1);
  std::size_t at = 0;
  for (; at + kStripe <= bytes.size(); at += kStripe) mix_stripe(lanes, bytes.data() + at);
  if (at < bytes.size()) {
    std::array<std::byte, kStripe> last{};
    std::memcpy(last.data(), bytes.data() + at, bytes.size() - at);
    mix_stripe(lanes, last.data());
  }
  std::uint64_t sum = mix(seed, bytes.size());
  for (const std::uint64_t lane : lanes) sum = mix(sum, lane);
  // The words mixed last have reached few bits by now: spread them.
  sum = (sum ^ (sum >> 32)) * kA;
  return sum ^ (sum >> 29);
}

}  // namespace deepwell
