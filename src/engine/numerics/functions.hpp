// exp, log, sin, cos and pow of our own: the same bits on every machine, unlike a libm's.
// Only IEEE additions, multiplications, divisions, fused multiply-adds and integer operations are
// used, in the order written here; round to nearest even is assumed. Whoever writes exp_f32 with
// SIMD lanes must take the same constants and operations in the same order and is tested against
// this one.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace deepwell::engine {

// exp_f32: x = n*ln2 + r with |r| <= ln2/2; e^r by a polynomial whose first two coefficients are
// exactly 1, so that exp(0) == 1; the other five minimise the largest relative error (3e-9 before
// rounding) over |r| <= 0.3466.
inline constexpr float kExpZeroBelow = -87.0F;  // below it the result is exactly 0
inline constexpr float kExpMax = 88.0F;         // above it the result is exp_f32(88), finite
inline constexpr float kExpLog2e = 0x1.715476p+0F;
inline constexpr float kExpRoundShift =
    0x1.8p+23F;  // adding it rounds to an integer, held in the low bits
inline constexpr float kExpLn2Hi = 0x1.63p-1F;        // 9 bits: n * kExpLn2Hi is exact
inline constexpr float kExpLn2Lo = -0x1.bd0106p-13F;  // ln2 - kExpLn2Hi
inline constexpr float kExpC2 = 0x1.fffffcp-2F;
inline constexpr float kExpC3 = 0x1.555492p-3F;
inline constexpr float kExpC4 = 0x1.5558f2p-5F;
inline constexpr float kExpC5 = 0x1.1239e0p-7F;
inline constexpr float kExpC6 = 0x1.6a2436p-10F;

/// e^x within 2 ulp. exp(0) == 1 exactly; exactly 0 for x < kExpZeroBelow; NaN gives NaN. Never
/// infinite, never subnormal.
inline float exp_f32(float x) {
  // MINPS and MAXPS with the constant as first operand do exactly these selections, NaN included.
  const float upper = kExpMax < x ? kExpMax : x;
  const float clamped = kExpZeroBelow > upper ? kExpZeroBelow : upper;
  const float shifted = std::fma(clamped, kExpLog2e, kExpRoundShift);
  const float n = shifted - kExpRoundShift;
  float r = std::fma(-n, kExpLn2Hi, clamped);
  r = std::fma(-n, kExpLn2Lo, r);
  float p = std::fma(kExpC6, r, kExpC5);
  p = std::fma(p, r, kExpC4);
  p = std::fma(p, r, kExpC3);
  p = std::fma(p, r, kExpC2);
  p = std::fma(p, r, 1.0F);
  p = std::fma(p, r, 1.0F);
  // The low bits of `shifted` are n in two's complement; the left shift drops all above them.
  const std::uint32_t exponent = (std::bit_cast<std::uint32_t>(shifted) << 23) + 0x3F800000U;
  const float result = p * std::bit_cast<float>(exponent);
  return x < kExpZeroBelow ? 0.0F : result;
}

namespace detail {

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();
inline constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
inline constexpr double kRoundShift = 0x1.8p+52;  // adding it rounds |x| < 2^51 to an integer
inline constexpr double kLog2e = 0x1.71547652b82fep+0;
inline constexpr double kLn2Hi = 0x1.62e42fefa3800p-1;  // 42 bits: exact times any exponent
inline constexpr double kLn2Lo = 0x1.ef35793c76730p-45;

/// 2^n for -1022 <= n <= 1023.
inline double power_of_two(std::int64_t n) {
  return std::bit_cast<double>(static_cast<std::uint64_t>(n + 1023) << 52);
}

/// A number as an unevaluated sum, |lo| <= ulp(hi)/2.
struct DoubleDouble {
  double hi;
  double lo;
};

/// a + b exactly (Knuth's two-sum).
inline DoubleDouble two_sum(double a, double b) {
  const double sum = a + b;
  const double b_part = sum - a;
  return {sum, (a - (sum - b_part)) + (b - b_part)};
}

/// e^(x + x_lo) for a tiny x_lo.
inline double exp_sum(double x, double x_lo) {
  if (x > 709.79) {
    return kInfinity;
  }
  if (x < -745.2) {
    return 0.0;
  }
  const double n = (x * kLog2e + kRoundShift) - kRoundShift;
  double r = std::fma(-n, kLn2Hi, x);
  r = std::fma(-n, kLn2Lo, r) + x_lo;
  // Taylor: the first term left out is below 4e-18 for |r| <= ln2/2.
  double p = 1.0 / 6227020800.0;
  p = std::fma(p, r, 1.0 / 479001600.0);
  p = std::fma(p, r, 1.0 / 39916800.0);
  p = std::fma(p, r, 1.0 / 3628800.0);
  p = std::fma(p, r, 1.0 / 362880.0);
  p = std::fma(p, r, 1.0 / 40320.0);
  p = std::fma(p, r, 1.0 / 5040.0);
  p = std::fma(p, r, 1.0 / 720.0);
  p = std::fma(p, r, 1.0 / 120.0);
  p = std::fma(p, r, 1.0 / 24.0);
  p = std::fma(p, r, 1.0 / 6.0);
  p = std::fma(p, r, 0.5);
  p = std::fma(p, r, 1.0);
  p = std::fma(p, r, 1.0);
  // Two factors, so that neither leaves the range of normal numbers on the way to a huge or
  // subnormal result.
  const auto exponent = static_cast<std::int64_t>(n);
  const std::int64_t half = exponent / 2;
  return p * power_of_two(half) * power_of_two(exponent - half);
}

/// ln x with about 100 bits for finite x > 0.
inline DoubleDouble log_sum(double x) {
  std::int64_t exponent = 0;
  if (x < 0x1p-1022) {
    x *= 0x1p+54;
    exponent = -54;
  }
  // m in [1/sqrt2, sqrt2): subtracting the bits of 1/sqrt2 makes the exponent field count from
  // there.
  constexpr std::uint64_t kSqrtHalfBits = 0x3FE6A09E667F3BCDU;
  const std::uint64_t bits = std::bit_cast<std::uint64_t>(x);
  const std::int64_t steps = static_cast<std::int64_t>(bits - kSqrtHalfBits) >> 52;
  exponent += steps;
  const double m = std::bit_cast<double>(bits - (static_cast<std::uint64_t>(steps) << 52));

  // ln m = 2 atanh(s), s = (m-1)/(m+1) as a double-double; m - 1 is exact.
  const double numerator = m - 1.0;
  const DoubleDouble denominator = two_sum(m, 1.0);
  const double s = numerator / denominator.hi;
  const double s_lo =
      (std::fma(-s, denominator.hi, numerator) - s * denominator.lo) / denominator.hi;
  const double z = s * s;
  // 2/3 z + 2/5 z^2 + ...: the first term left out is below 1e-19.
  double p = 2.0 / 25.0;
  p = std::fma(p, z, 2.0 / 23.0);
  p = std::fma(p, z, 2.0 / 21.0);
  p = std::fma(p, z, 2.0 / 19.0);
  p = std::fma(p, z, 2.0 / 17.0);
  p = std::fma(p, z, 2.0 / 15.0);
  p = std::fma(p, z, 2.0 / 13.0);
  p = std::fma(p, z, 2.0 / 11.0);
  p = std::fma(p, z, 2.0 / 9.0);
  p = std::fma(p, z, 2.0 / 7.0);
  p = std::fma(p, z, 2.0 / 5.0);
  p = std::fma(p, z, 2.0 / 3.0);
  const double tail = s * (z * p) + 2.0 * s_lo;
  const auto e = static_cast<double>(exponent);
  const DoubleDouble sum = two_sum(e * kLn2Hi, 2.0 * s);
  const double low = sum.lo + (e * kLn2Lo + tail);
  return two_sum(sum.hi, low);
}

// pi/2 in four parts. The first two have 30 bits, so that x less their products with a 23-bit
// integer is exact; the last one serves the doubles that lie within 1e-18 of a multiple of pi/2.
inline constexpr double kHalfPi1 = 0x1.921fb54000000p+0;
inline constexpr double kHalfPi2 = 0x1.10b4611800000p-30;
inline constexpr double kHalfPi3 = 0x1.313198a2e0370p-61;
inline constexpr double kHalfPi4 = 0x1.cd129024e088ap-115;
inline constexpr double kTwoOverPi = 0x1.45f306dc9c883p-1;

/// x = quadrant * pi/2 + r with |r| <= pi/4 (a hair more), for |x| <= 1e7.
struct ReducedAngle {
  double r;
  std::int64_t quadrant;
};
inline ReducedAngle reduce_angle(double x) {
  const double n = (x * kTwoOverPi + kRoundShift) - kRoundShift;
  double r = std::fma(-n, kHalfPi1, x);
  r = std::fma(-n, kHalfPi2, r);
  r = std::fma(-n, kHalfPi3, r);
  r = std::fma(-n, kHalfPi4, r);
  return {r, static_cast<std::int64_t>(n)};
}

/// Taylor: the first term left out is below 1e-19 for |r| <= pi/4.
inline double sin_reduced(double r) {
  const double z = r * r;
  double p = 1.0 / 355687428096000.0;
  p = std::fma(p, z, -1.0 / 1307674368000.0);
  p = std::fma(p, z, 1.0 / 6227020800.0);
  p = std::fma(p, z, -1.0 / 39916800.0);
  p = std::fma(p, z, 1.0 / 362880.0);
  p = std::fma(p, z, -1.0 / 5040.0);
  p = std::fma(p, z, 1.0 / 120.0);
  p = std::fma(p, z, -1.0 / 6.0);
  return std::fma(r * z, p, r);
}
inline double cos_reduced(double r) {
  const double z = r * r;
  double p = -1.0 / 6402373705728000.0;
  p = std::fma(p, z, 1.0 / 20922789888000.0);
  p = std::fma(p, z, -1.0 / 87178291200.0);
  p = std::fma(p, z, 1.0 / 479001600.0);
  p = std::fma(p, z, -1.0 / 3628800.0);
  p = std::fma(p, z, 1.0 / 40320.0);
  p = std::fma(p, z, -1.0 / 720.0);
  p = std::fma(p, z, 1.0 / 24.0);
  return std::fma(z * z, p, std::fma(-0.5, z, 1.0));
}

}  // namespace detail

/// The largest |x| that sin_f64 and cos_f64 reduce correctly.
inline constexpr double kMaxAngle = 1e7;

/// e^x, relative error below 1e-15 (subnormal results: half a step). Overflow gives infinity, NaN
/// gives NaN.
inline double exp_f64(double x) { return x != x ? x : detail::exp_sum(x, 0.0); }

/// ln x, relative error below 1e-15. log(0) = -infinity; negative numbers and NaN give NaN.
inline double log_f64(double x) {
  if (!(x > 0.0)) {
    return x == 0.0 ? -detail::kInfinity : detail::kNan;
  }
  return x == detail::kInfinity ? x : detail::log_sum(x).hi;
}

/// sin x for |x| <= kMaxAngle, relative error below 1e-15; NaN beyond, rather than a wrong number.
inline double sin_f64(double x) {
  if (!(x >= -kMaxAngle && x <= kMaxAngle)) {
    return detail::kNan;
  }
  const auto [r, quadrant] = detail::reduce_angle(x);
  const double magnitude = (quadrant & 1) != 0 ? detail::cos_reduced(r) : detail::sin_reduced(r);
  return (quadrant & 2) != 0 ? -magnitude : magnitude;
}

/// cos x for |x| <= kMaxAngle, relative error below 1e-15; NaN beyond, rather than a wrong number.
inline double cos_f64(double x) {
  if (!(x >= -kMaxAngle && x <= kMaxAngle)) {
    return detail::kNan;
  }
  const auto [r, quadrant] = detail::reduce_angle(x);
  const double magnitude = (quadrant & 1) != 0 ? detail::sin_reduced(r) : detail::cos_reduced(r);
  return ((quadrant + 1) & 2) != 0 ? -magnitude : magnitude;
}

/// x^y for finite x >= 0 and finite y, relative error below 1e-15. x^0 = 1; a negative or
/// non-finite argument gives NaN.
inline double pow_f64(double x, double y) {
  if (!(x >= 0.0 && x < detail::kInfinity && y - y == 0.0)) {
    return detail::kNan;
  }
  if (y == 0.0) {
    return 1.0;
  }
  if (x == 0.0) {
    return y > 0.0 ? 0.0 : detail::kInfinity;
  }
  const detail::DoubleDouble log_x = detail::log_sum(x);
  const double product = y * log_x.hi;
  if (product > 1000.0 || product < -1000.0) {
    return product > 0.0 ? detail::kInfinity : 0.0;
  }
  return detail::exp_sum(product, std::fma(y, log_x.hi, -product) + y * log_x.lo);
}

}  // namespace deepwell::engine
