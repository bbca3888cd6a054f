// Reading a GGUF file's metadata values as the types that the engine wants, and printing them.
#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "base/concat.hpp"
#include "engine/gguf/cursor.hpp"
#include "engine/gguf/gguf.hpp"
#include "engine/gguf/printable.hpp"

namespace deepwell::engine {
namespace {

using gguf::ValueType;

bool is_integer(ValueType type) {
  switch (type) {
    case ValueType::kUint8:
    case ValueType::kInt8:
    case ValueType::kUint16:
    case ValueType::kInt16:
    case ValueType::kUint32:
    case ValueType::kInt32:
    case ValueType::kUint64:
    case ValueType::kInt64:
      return true;
    default:
      return false;
  }
}

bool is_float(ValueType type) { return type == ValueType::kFloat32 || type == ValueType::kFloat64; }

template <class T>
T load(std::span<const std::byte> bytes, std::uint64_t i) {
  T value;
  std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof value);
  return value;
}

/// An integer of any of the file's types: sign and magnitude cover all of them.
struct Integer {
  bool is_negative;
  std::uint64_t bits;  // two's complement
};

template <class T>
Integer widen(T value) {
  return {value < 0, static_cast<std::uint64_t>(static_cast<std::int64_t>(value))};
}

Integer integer_at(ValueType type, std::span<const std::byte> bytes, std::uint64_t i) {
  switch (type) {
    case ValueType::kUint8:
      return {false, load<std::uint8_t>(bytes, i)};
    case ValueType::kInt8:
      return widen(load<std::int8_t>(bytes, i));
    case ValueType::kUint16:
      return {false, load<std::uint16_t>(bytes, i)};
    case ValueType::kInt16:
      return widen(load<std::int16_t>(bytes, i));
    case ValueType::kUint32:
      return {false, load<std::uint32_t>(bytes, i)};
    case ValueType::kInt32:
      return widen(load<std::int32_t>(bytes, i));
    case ValueType::kInt64:
      return widen(load<std::int64_t>(bytes, i));
    default:
      return {false, load<std::uint64_t>(bytes, i)};
  }
}

double float_at(ValueType type, std::span<const std::byte> bytes, std::uint64_t i) {
  return type == ValueType::kFloat32 ? static_cast<double>(load<float>(bytes, i))
                                     : load<double>(bytes, i);
}

std::optional<std::int64_t> as_signed(Integer value) {
  if (!value.is_negative &&
      value.bits > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    return std::nullopt;
  }
  return static_cast<std::int64_t>(value.bits);
}

std::string text_of(Integer value) {
  return value.is_negative ? concat(static_cast<std::int64_t>(value.bits)) : concat(value.bits);
}

Error does_not_fit(std::string_view key, Integer value, std::string_view wanted) {
  return invalid_argument(concat("key '", gguf::printable(key), "' is ", text_of(value),
                                 ", which does not fit ", wanted));
}

Error wrong_type(std::string_view key, ValueType type, bool is_array, std::string_view wanted) {
  return invalid_argument(concat("key '", gguf::printable(key), "' is ",
                                 is_array ? "an array of " : "of type ",
                                 gguf::value_type_name(type), " where ", wanted, " is wanted"));
}

}  // namespace

std::vector<std::string> GgufFile::keys() const {
  std::vector<std::string> all;
  all.reserve(values_.size());
  for (const Value& value : values_) {
    all.emplace_back(value.key);
  }
  return all;
}

Result<const GgufFile::Value*> GgufFile::require(std::string_view key, bool is_array,
                                                 std::string_view wanted) const {
  const Value* value = find_value(key);
  if (value == nullptr) {
    return not_found(concat("the model file has no key '", gguf::printable(key), "'"));
  }
  if (value->is_array != is_array) {
    return wrong_type(key, value->type, value->is_array, wanted);
  }
  return value;
}

Result<std::uint64_t> GgufFile::get_uint(std::string_view key) const {
  DW_ASSIGN(const Value* value, require(key, false, "an integer"));
  if (!is_integer(value->type)) {
    return wrong_type(key, value->type, false, "an integer");
  }
  const Integer integer = integer_at(value->type, value->bytes, 0);
  if (integer.is_negative) {
    return does_not_fit(key, integer, "an unsigned number");
  }
  return integer.bits;
}

Result<std::int64_t> GgufFile::get_int(std::string_view key) const {
  DW_ASSIGN(const Value* value, require(key, false, "an integer"));
  if (!is_integer(value->type)) {
    return wrong_type(key, value->type, false, "an integer");
  }
  const Integer integer = integer_at(value->type, value->bytes, 0);
  const auto fitted = as_signed(integer);
  if (!fitted) {
    return does_not_fit(key, integer, "a signed 64-bit number");
  }
  return *fitted;
}

Result<double> GgufFile::get_float(std::string_view key) const {
  DW_ASSIGN(const Value* value, require(key, false, "a float"));
  if (!is_float(value->type)) {
    return wrong_type(key, value->type, false, "a float");
  }
  return float_at(value->type, value->bytes, 0);
}

Result<bool> GgufFile::get_bool(std::string_view key) const {
  DW_ASSIGN(const Value* value, require(key, false, "a bool"));
  if (value->type != ValueType::kBool) {
    return wrong_type(key, value->type, false, "a bool");
  }
  return value->bytes[0] != std::byte{0};
}

Result<std::string_view> GgufFile::get_string(std::string_view key) const {
  DW_ASSIGN(const Value* value, require(key, false, "a string"));
  if (value->type != ValueType::kString) {
    return wrong_type(key, value->type, false, "a string");
  }
  return gguf::Cursor(value->bytes).read_string(key);
}

Result<std::vector<std::string_view>> GgufFile::get_strings(std::string_view key) const {
  DW_ASSIGN(const Value* value, require(key, true, "an array of strings"));
  if (value->type != ValueType::kString) {
    return wrong_type(key, value->type, true, "an array of strings");
  }
  std::vector<std::string_view> all;
  all.reserve(static_cast<std::size_t>(value->n_elements));
  gguf::Cursor cursor(value->bytes);
  for (std::uint64_t i = 0; i < value->n_elements; ++i) {
    DW_ASSIGN(const std::string_view text, cursor.read_string(key));
    all.push_back(text);
  }
  return all;
}

Result<std::vector<std::int64_t>> GgufFile::get_ints(std::string_view key) const {
  DW_ASSIGN(const Value* value, require(key, true, "an array of integers"));
  if (!is_integer(value->type)) {
    return wrong_type(key, value->type, true, "an array of integers");
  }
  std::vector<std::int64_t> all;
  all.reserve(static_cast<std::size_t>(value->n_elements));
  for (std::uint64_t i = 0; i < value->n_elements; ++i) {
    const Integer integer = integer_at(value->type, value->bytes, i);
    const auto fitted = as_signed(integer);
    if (!fitted) {
      return does_not_fit(key, integer, "a signed 64-bit number");
    }
    all.push_back(*fitted);
  }
  return all;
}

Result<std::vector<double>> GgufFile::get_floats(std::string_view key) const {
  DW_ASSIGN(const Value* value, require(key, true, "an array of floats"));
  if (!is_float(value->type)) {
    return wrong_type(key, value->type, true, "an array of floats");
  }
  std::vector<double> all;
  all.reserve(static_cast<std::size_t>(value->n_elements));
  for (std::uint64_t i = 0; i < value->n_elements; ++i) {
    all.push_back(float_at(value->type, value->bytes, i));
  }
  return all;
}

std::string GgufFile::describe(std::string_view key) const {
  constexpr std::uint64_t kMaxShown = 6;
  const Value* value = find_value(key);
  if (value == nullptr) {
    return {};
  }
  gguf::Cursor cursor(value->bytes);
  const auto element_text = [&](std::uint64_t i) -> std::string {
    if (is_integer(value->type)) {
      return text_of(integer_at(value->type, value->bytes, i));
    }
    if (value->type == ValueType::kFloat32) {  // shortest form of the float, not of its double
      return concat(load<float>(value->bytes, i));
    }
    if (value->type == ValueType::kFloat64) {
      return concat(load<double>(value->bytes, i));
    }
    if (value->type == ValueType::kBool) {
      return concat(value->bytes[static_cast<std::size_t>(i)] != std::byte{0});
    }
    if (value->type == ValueType::kString) {
      const auto text = cursor.read_string(key);
      return concat(
          '"', gguf::printable(text ? *text : std::string_view{}, value->is_array ? 20 : 200), '"');
    }
    return "[...]";
  };
  if (!value->is_array) {
    return element_text(0);
  }
  std::string out = "[";
  for (std::uint64_t i = 0; i < std::min(value->n_elements, kMaxShown); ++i) {
    out += concat(i == 0 ? "" : ", ", element_text(i));
  }
  out += value->n_elements > kMaxShown ? concat(", ... ", value->n_elements, " in all]")
                                       : std::string("]");
  return out;
}

}  // namespace deepwell::engine
