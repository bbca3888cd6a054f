// Tensor element types, with the numbers and names that GGUF gives them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace deepwell::engine {

/// GGUF's ggml_type numbers (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).
enum class QuantType : std::uint32_t {
  F32 = 0,
  F16 = 1,
  Q4_0 = 2,
  Q4_1 = 3,
  Q5_0 = 6,
  Q5_1 = 7,
  Q8_0 = 8,
  Q2_K = 10,
  Q3_K = 11,
  Q4_K = 12,
  Q5_K = 13,
  Q6_K = 14,
  IQ4_NL = 20,
  IQ4_XS = 23,
  BF16 = 30,
};

/// All of them, in the order in which messages list them.
inline constexpr QuantType kQuantTypes[] = {
    QuantType::F32,  QuantType::F16,  QuantType::BF16, QuantType::Q4_0,   QuantType::Q4_1,
    QuantType::Q5_0, QuantType::Q5_1, QuantType::Q8_0, QuantType::Q2_K,   QuantType::Q3_K,
    QuantType::Q4_K, QuantType::Q5_K, QuantType::Q6_K, QuantType::IQ4_NL, QuantType::IQ4_XS,
};

/// How a type stores a row: `n_elements` values in `n_bytes`.
struct BlockShape {
  std::uint32_t n_elements;
  std::uint32_t n_bytes;
};

/// The type of that GGUF number, or nothing if it is none of these.
std::optional<QuantType> quant_type(std::uint32_t gguf_number);
std::string_view quant_type_name(QuantType type);
/// "F32 F16 ...": all of them, for messages.
std::string quant_type_names();
BlockShape block_shape(QuantType type);

}  // namespace deepwell::engine
