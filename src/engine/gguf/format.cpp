// Names and sizes of the value types, in one table.
#include "engine/gguf/format.hpp"

namespace deepwell::engine::gguf {
namespace {

struct TypeRow {
  std::string_view name;
  std::size_t n_bytes;  // 0: no fixed size
};

// Indexed by the type's number.
constexpr TypeRow kTypes[kLastValueType + 1] = {
    {"uint8", 1},  {"int8", 1},    {"uint16", 2},  {"int16", 2},  {"uint32", 4},
    {"int32", 4},  {"float32", 4}, {"bool", 1},    {"string", 0}, {"array", 0},
    {"uint64", 8}, {"int64", 8},   {"float64", 8},
};

}  // namespace

std::string_view value_type_name(ValueType type) {
  return kTypes[static_cast<std::uint32_t>(type)].name;
}

std::size_t value_bytes(ValueType type) { return kTypes[static_cast<std::uint32_t>(type)].n_bytes; }

}  // namespace deepwell::engine::gguf
