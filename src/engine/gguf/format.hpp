// The numbers of the GGUF format that reader and writer share.
// Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3,
// little-endian)
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace deepwell::engine::gguf {

static_assert(std::endian::native == std::endian::little,
              "fields are read as they lie in the file");

inline constexpr std::string_view kMagic = "GGUF";
inline constexpr std::uint32_t kOldestVersion = 2;
inline constexpr std::uint32_t kVersion = 3;
inline constexpr std::string_view kAlignmentKey = "general.alignment";
inline constexpr std::uint32_t kDefaultAlignment = 32;
inline constexpr std::uint32_t kMaxDims = 4;

enum class ValueType : std::uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};
inline constexpr std::uint32_t kLastValueType = 12;

std::string_view value_type_name(ValueType type);

/// Bytes of a value of fixed size; 0 for strings and arrays.
std::size_t value_bytes(ValueType type);

}  // namespace deepwell::engine::gguf
