// f16 and bf16 to and from f32 in plain integer arithmetic: the same bits on every machine.
#pragma once

#include <bit>
#include <cstdint>

namespace deepwell::engine {

/// IEEE binary16 to binary32, exact. NaNs become quiet and keep sign and payload, as VCVTPH2PS
/// does.
constexpr float f16_to_f32(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000U) << 16;
  const std::uint32_t exponent = (half >> 10) & 0x1FU;
  const std::uint32_t mantissa = half & 0x3FFU;
  if (exponent == 0x1F) {
    const std::uint32_t quiet = mantissa != 0 ? 0x00400000U : 0U;
    return std::bit_cast<float>(sign | 0x7F800000U | quiet | (mantissa << 13));
  }
  if (exponent != 0) {
    return std::bit_cast<float>(sign | ((exponent + 112U) << 23) | (mantissa << 13));
  }
  // Zero or subnormal: mantissa * 2^-24 is exact in f32.
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
}

/// binary32 to IEEE binary16, round to nearest even, with subnormals; too large becomes infinity.
/// NaNs become quiet and keep sign and upper payload, as VCVTPS2PH does.
constexpr std::uint16_t f32_to_f16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000U;
  const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  if (magnitude > 0x7F800000U) {
    return static_cast<std::uint16_t>(sign | 0x7E00U | ((magnitude >> 13) & 0x3FFU));
  }
  if (magnitude >= 0x477FF000U) {  // 65520, halfway between the largest half and 2^16
    return static_cast<std::uint16_t>(sign | 0x7C00U);
  }
  std::uint32_t kept = 0;          // the result's bits before rounding
  std::uint32_t dropped = 0;       // the bits below them
  std::uint32_t halfway = 0;       // what `dropped` is compared with
  if (magnitude >= 0x38800000U) {  // 2^-14, the smallest normal half
    kept = (magnitude - 0x38000000U) >> 13;
    dropped = magnitude & 0x1FFFU;
    halfway = 0x1000U;
  } else {
    const std::uint32_t exponent = magnitude >> 23;
    if (exponent < 102) {  // below 2^-25: less than half of the smallest subnormal
      return static_cast<std::uint16_t>(sign);
    }
    const std::uint32_t mantissa = (magnitude & 0x7FFFFFU) | 0x800000U;
    const std::uint32_t shift = 126U - exponent;  // 14 .. 24
    kept = mantissa >> shift;
    dropped = mantissa & ((1U << shift) - 1U);
    halfway = 1U << (shift - 1U);
  }
  // Rounding up may carry into the exponent, which is the right result.
  const bool is_up = dropped > halfway || (dropped == halfway && (kept & 1U) != 0);
  return static_cast<std::uint16_t>(sign | (kept + (is_up ? 1U : 0U)));
}

/// bfloat16 to binary32: the upper half of the bits, exact.
constexpr float bf16_to_f32(std::uint16_t brain) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(brain) << 16);
}

/// binary32 to bfloat16, round to nearest even, subnormals kept; NaNs become quiet.
constexpr std::uint16_t f32_to_bf16(float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  if ((bits & 0x7FFFFFFFU) > 0x7F800000U) {
    return static_cast<std::uint16_t>((bits >> 16) | 0x40U);
  }
  return static_cast<std::uint16_t>((bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16);
}

}  // namespace deepwell::engine
