// Our elementary functions against libm in the next wider type, over wide ranges.
#include "engine/numerics/functions.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>

namespace deepwell::engine {
namespace {

/// |got - want| in units of the last place that want has as a T.
double ulps(float got, double want) {
  const float near = static_cast<float>(want);
  const double step = static_cast<double>(std::nextafter(std::fabs(near), 1e38F)) - std::fabs(near);
  return std::fabs(static_cast<double>(got) - want) / step;
}

long double relative_error(double got, long double want) {
  return std::fabs((static_cast<long double>(got) - want) / want);
}

TEST(ExpF32, StaysWithinTwoUlpOverItsWholeRange) {
  double worst = 0;
  for (float x = -87.0F; x <= 88.0F; x += 0x1p-13F) {
    worst = std::max(worst, ulps(exp_f32(x), std::exp(static_cast<double>(x))));
  }
  for (float x = 1e-30F; x < 1; x *= 1.001F) {
    worst = std::max(worst, ulps(exp_f32(x), std::exp(static_cast<double>(x))));
    worst = std::max(worst, ulps(exp_f32(-x), std::exp(-static_cast<double>(x))));
  }
  RecordProperty("worst_ulp", std::to_string(worst));
  EXPECT_LE(worst, 2.0);
  EXPECT_GT(worst, 0.4);  // the comparison measures something
}

TEST(ExpF32, IsExactAtItsCorners) {
  EXPECT_EQ(exp_f32(0.0F), 1.0F);
  EXPECT_EQ(exp_f32(-0.0F), 1.0F);
  EXPECT_EQ(exp_f32(std::nextafter(kExpZeroBelow, -100.0F)), 0.0F);
  EXPECT_GT(exp_f32(kExpZeroBelow), std::numeric_limits<float>::min());
  EXPECT_EQ(exp_f32(-std::numeric_limits<float>::infinity()), 0.0F);
  EXPECT_EQ(exp_f32(-std::numeric_limits<float>::max()), 0.0F);
  EXPECT_EQ(exp_f32(std::numeric_limits<float>::infinity()), exp_f32(kExpMax));
  EXPECT_TRUE(std::isfinite(exp_f32(std::numeric_limits<float>::max())));
  EXPECT_TRUE(std::isnan(exp_f32(std::numeric_limits<float>::quiet_NaN())));
}

TEST(ExpF32, NeverFallsWhereItsArgumentGrows) {
  float before = 0;
  for (float x = -88.0F; x <= 89.0F; x += 0x1p-12F) {
    const float now = exp_f32(x);
    ASSERT_GE(now, before) << x;
    before = now;
  }
}

TEST(ExpF64, MatchesLongDoubleLibm) {
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> wide(-708, 709);
  std::uniform_real_distribution<double> narrow(-1, 1);
  for (int i = 0; i < 200000; ++i) {
    const double x = i % 2 == 0 ? wide(random) : narrow(random);
    ASSERT_LE(relative_error(exp_f64(x), std::exp(static_cast<long double>(x))), 1e-15L) << x;
  }
  EXPECT_EQ(exp_f64(0), 1);
  EXPECT_EQ(exp_f64(-800), 0);
  EXPECT_EQ(exp_f64(800), std::numeric_limits<double>::infinity());
  EXPECT_NEAR(exp_f64(-744) / std::exp(-744.0), 1, 0.5);  // subnormal
  EXPECT_TRUE(std::isnan(exp_f64(std::numeric_limits<double>::quiet_NaN())));
}

TEST(LogF64, MatchesLongDoubleLibm) {
  std::mt19937_64 random(2);
  std::uniform_real_distribution<double> exponent(-1074, 1023.9);
  std::uniform_real_distribution<double> near_one(0.5, 2);
  for (int i = 0; i < 200000; ++i) {
    const double x = i % 2 == 0 ? std::exp2(exponent(random)) : near_one(random);
    ASSERT_LE(relative_error(log_f64(x), std::log(static_cast<long double>(x))), 1e-15L) << x;
  }
  EXPECT_EQ(log_f64(1), 0);
  EXPECT_EQ(log_f64(0), -std::numeric_limits<double>::infinity());
  EXPECT_EQ(log_f64(std::numeric_limits<double>::infinity()),
            std::numeric_limits<double>::infinity());
  EXPECT_TRUE(std::isnan(log_f64(-1)));
  EXPECT_LE(relative_error(log_f64(std::nextafter(1.0, 2.0)), 0x1p-52L), 1e-15L);
}

TEST(SinCosF64, MatchLongDoubleLibmUpToTheLargestAngle) {
  std::mt19937_64 random(3);
  std::uniform_real_distribution<double> wide(-kMaxAngle, kMaxAngle);
  std::uniform_real_distribution<double> narrow(-10, 10);
  for (int i = 0; i < 200000; ++i) {
    const double x = i % 2 == 0 ? wide(random) : narrow(random);
    ASSERT_LE(relative_error(sin_f64(x), std::sin(static_cast<long double>(x))), 1e-15L) << x;
    ASSERT_LE(relative_error(cos_f64(x), std::cos(static_cast<long double>(x))), 1e-15L) << x;
  }
  // Whole numbers (RoPE's fastest angle) and the doubles next to multiples of pi/2, where reduction
  // is hardest.
  for (int n = 1; n < 200000; ++n) {
    for (const double x : {static_cast<double>(n) * 50, n * 1.5707963267948966}) {
      ASSERT_LE(relative_error(sin_f64(x), std::sin(static_cast<long double>(x))), 1e-15L) << x;
      ASSERT_LE(relative_error(cos_f64(x), std::cos(static_cast<long double>(x))), 1e-15L) << x;
    }
  }
  EXPECT_EQ(sin_f64(0), 0);
  EXPECT_EQ(cos_f64(0), 1);
  EXPECT_TRUE(std::isnan(sin_f64(2 * kMaxAngle)));
  EXPECT_TRUE(std::isnan(cos_f64(std::numeric_limits<double>::infinity())));
}

TEST(PowF64, MatchesLongDoubleLibm) {
  std::mt19937_64 random(4);
  std::uniform_real_distribution<double> base_exponent(-30, 30);
  std::uniform_real_distribution<double> power(-20, 20);
  for (int i = 0; i < 200000; ++i) {
    const double x = std::exp2(base_exponent(random));
    const double y = power(random);
    ASSERT_LE(relative_error(pow_f64(x, y),
                             std::pow(static_cast<long double>(x), static_cast<long double>(y))),
              1e-15L)
        << x << " " << y;
  }
  EXPECT_EQ(pow_f64(10000, 0), 1);
  EXPECT_EQ(pow_f64(1, 5), 1);
  EXPECT_EQ(pow_f64(0, 2), 0);
  EXPECT_EQ(pow_f64(1e300, 2), std::numeric_limits<double>::infinity());
  EXPECT_EQ(pow_f64(1e300, -2), 0);
  EXPECT_TRUE(std::isnan(pow_f64(-1, 2)));
}

/// The bits themselves are the contract: a hash over many results, the same for every compiler and
/// machine.
TEST(Numerics, GiveTheSameBitsEverywhere) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  const auto mix = [&hash](std::uint64_t bits) { hash = (hash ^ bits) * 0x100000001b3U; };
  for (int i = 0; i < 100000; ++i) {
    const double x = (i - 50000) * 0x1.3p-10;
    mix(std::bit_cast<std::uint32_t>(exp_f32(static_cast<float>(x))));
    mix(std::bit_cast<std::uint64_t>(exp_f64(x)));
    mix(std::bit_cast<std::uint64_t>(sin_f64(x * 1000)));
    mix(std::bit_cast<std::uint64_t>(cos_f64(x * 1000)));
    mix(std::bit_cast<std::uint64_t>(log_f64(1e-3 * (i + 1))));
    mix(std::bit_cast<std::uint64_t>(pow_f64(10000.0, x * 0.1)));
  }
  EXPECT_EQ(hash, 9805123266710469579U);
}

}  // namespace
}  // namespace deepwell::engine
