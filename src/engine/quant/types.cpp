// Numbers, names and block sizes of the tensor element types, in one table.
#include "engine/quant/types.hpp"

#include <iterator>

#include "base/check.hpp"
#include "engine/quant/blocks.hpp"

namespace deepwell::engine {
namespace {

struct TypeRow {
  QuantType type;
  std::string_view name;
  BlockShape shape;
};

template <class Block>
constexpr BlockShape shape_of(std::uint32_t n_elements) {
  return {n_elements, static_cast<std::uint32_t>(sizeof(Block))};
}

constexpr TypeRow kTypes[] = {
    {QuantType::F32, "F32", {1, 4}},
    {QuantType::F16, "F16", {1, 2}},
    {QuantType::BF16, "BF16", {1, 2}},
    {QuantType::Q4_0, "Q4_0", shape_of<BlockQ4_0>(kSmallBlock)},
    {QuantType::Q4_1, "Q4_1", shape_of<BlockQ4_1>(kSmallBlock)},
    {QuantType::Q5_0, "Q5_0", shape_of<BlockQ5_0>(kSmallBlock)},
    {QuantType::Q5_1, "Q5_1", shape_of<BlockQ5_1>(kSmallBlock)},
    {QuantType::Q8_0, "Q8_0", shape_of<BlockQ8_0>(kSmallBlock)},
    {QuantType::Q2_K, "Q2_K", shape_of<BlockQ2K>(kSuperBlock)},
    {QuantType::Q3_K, "Q3_K", shape_of<BlockQ3K>(kSuperBlock)},
    {QuantType::Q4_K, "Q4_K", shape_of<BlockQ4K>(kSuperBlock)},
    {QuantType::Q5_K, "Q5_K", shape_of<BlockQ5K>(kSuperBlock)},
    {QuantType::Q6_K, "Q6_K", shape_of<BlockQ6K>(kSuperBlock)},
    {QuantType::IQ4_NL, "IQ4_NL", shape_of<BlockIQ4NL>(kSmallBlock)},
    {QuantType::IQ4_XS, "IQ4_XS", shape_of<BlockIQ4XS>(kSuperBlock)},
};

static_assert(std::size(kTypes) == std::size(kQuantTypes));

const TypeRow& row_of(QuantType type) {
  for (const TypeRow& row : kTypes) {
    if (row.type == type) {
      return row;
    }
  }
  check_failed(__FILE__, __LINE__, "known type", "a QuantType that is not in the table");
}

}  // namespace

std::optional<QuantType> quant_type(std::uint32_t gguf_number) {
  for (const TypeRow& row : kTypes) {
    if (static_cast<std::uint32_t>(row.type) == gguf_number) {
      return row.type;
    }
  }
  return std::nullopt;
}

std::string_view quant_type_name(QuantType type) { return row_of(type).name; }

std::string quant_type_names() {
  std::string names;
  for (const QuantType type : kQuantTypes) {
    if (!names.empty()) names += ' ';
    names += quant_type_name(type);
  }
  return names;
}

BlockShape block_shape(QuantType type) { return row_of(type).shape; }

}  // namespace deepwell::engine
