// Eight lanes of multiply and rotate. Both are bijections, so a lane that once differs goes on differing.
#include "base/checksum.hpp"

#include <array>
#include <bit>
#include <cstring>

namespace deepwell {

namespace {

constexpr std::size_t kLanes = 8;
constexpr std::uint64_t kOdd = 0x9E3779B97F4A7C15U;  // 2^64 / golden ratio

/// The rotation brings high bits down again: products alone carry a difference upwards only, and two differences in
/// the highest bit would cancel.
constexpr std::uint64_t mix(std::uint64_t state, std::uint64_t word) {
  return std::rotl((state ^ word) * kOdd, 29);
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
  // The words mixed last have reached few bits by now; two more rounds spread them (Steele et al. 2014, MurmurHash3's
  // finaliser, in form).
  sum ^= sum >> 32;
  sum *= kOdd;
  return sum ^ (sum >> 29);
}

}  // namespace deepwell
