// f16 and bf16 conversion: against numpy's goldens, and against the definition over all 65,536
// halves.
#include "engine/quant/half.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <vector>

namespace deepwell::engine {
namespace {

TEST(Half, DecodesEveryValueByTheDefinition) {
  for (std::uint32_t half = 0; half < 0x10000; ++half) {
    const int exponent = static_cast<int>((half >> 10) & 31U);
    const double mantissa = half & 0x3FFU;
    const double sign = (half & 0x8000U) != 0 ? -1 : 1;
    const float got = f16_to_f32(static_cast<std::uint16_t>(half));
    ASSERT_EQ(std::signbit(got), sign < 0) << half;
    if (exponent == 31) {
      ASSERT_TRUE(mantissa == 0 ? std::isinf(got) : std::isnan(got)) << half;
    } else {
      const double want =
          exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
      ASSERT_EQ(got, sign * want) << half;
    }
  }
}

TEST(Half, RoundTripsEveryValueAndRoundsEveryMidpointToEven) {
  for (std::uint32_t half = 0; half < 0x10000; ++half) {
    const auto bits = static_cast<std::uint16_t>(half);
    const float value = f16_to_f32(bits);
    const bool is_nan = std::isnan(value);
    ASSERT_EQ(f32_to_f16(value), is_nan ? (bits | 0x200U) : bits) << half;
    if ((half & 0x7FFFU) >= 0x7BFFU) {
      continue;  // no finite neighbour above
    }
    const float middle = (value + f16_to_f32(static_cast<std::uint16_t>(half + 1))) / 2;
    ASSERT_EQ(f32_to_f16(middle), (half & 1U) == 0 ? half : half + 1) << half;
    const float outward = std::copysign(std::numeric_limits<float>::infinity(), value);
    ASSERT_EQ(f32_to_f16(std::nextafter(middle, outward)), half + 1) << half;
    ASSERT_EQ(f32_to_f16(std::nextafter(middle, value)), half) << half;
  }
}

TEST(Half, MatchesTheGoldens) {
  std::ifstream file(DEEPWELL_SOURCE_DIR "/tests/golden/quant/halves.bin", std::ios::binary);
  const std::vector<char> bytes((std::istreambuf_iterator<char>(file)), {});
  ASSERT_GT(bytes.size(), 10000U);
  bool is_brain = false;
  int n_checked = 0;
  for (std::size_t at = 0; at + 6 <= bytes.size(); at += 6) {
    std::uint32_t bits;
    std::uint16_t want;
    std::memcpy(&bits, &bytes[at], 4);
    std::memcpy(&want, &bytes[at + 4], 2);
    if (bits == 0xFFFFFFFFU && want == 0xFFFFU) {
      is_brain = true;
      continue;
    }
    const float value = std::bit_cast<float>(bits);
    ASSERT_EQ(is_brain ? f32_to_bf16(value) : f32_to_f16(value), want)
        << std::hex << bits << is_brain;
    ++n_checked;
  }
  EXPECT_TRUE(is_brain);
  EXPECT_GT(n_checked, 2000);
}

TEST(Brain, KeepsNaNsQuietAndRoundsToEven) {
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x7F800001U)), 0x7FC0U);
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3F808000U)), 0x3F80U);  // midpoint, even below
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x3F818000U)), 0x3F82U);  // midpoint, even above
  EXPECT_EQ(f32_to_bf16(std::bit_cast<float>(0x7F7FFFFFU)), 0x7F80U);
  EXPECT_EQ(bf16_to_f32(0xC0A0U), -5.0F);
}

}  // namespace
}  // namespace deepwell::engine
