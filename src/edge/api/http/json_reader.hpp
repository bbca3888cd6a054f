// Strict reading of request bodies: JSON that is well-formed, flat enough and unambiguous, then
// typed fields by path.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.hpp"

namespace deepwell::edge {

inline constexpr int kMaxJsonDepth = 64;

/// Parses a body. Errors, all kInvalidArgument with reason invalid_json: not JSON (RFC 8259; with
/// line and column), not UTF-8, nested deeper than kMaxJsonDepth, a number that no double holds,
/// the same key twice in one object.
Result<nlohmann::json> parse_json(std::string_view text);

/// "a string", "a number", ...: what a value is, in the words of an error message.
std::string_view json_kind(const nlohmann::json& value);

/// kInvalidArgument about one field: "messages[2].content: " + what.
Error field_error(std::string path, std::string_view what);
/// kUnimplemented with reason unsupported_parameter.
Error unsupported(std::string path, std::string_view what);

/// Typed access to one object's fields. A field that is absent or null gives an empty optional; a
/// wrong type or a value out of range gives an error that names the field's path. Views the object:
/// it must outlive the reader.
class ObjectReader {
 public:
  /// `path` is empty for the body itself. Error if `value` is not an object.
  static Result<ObjectReader> open(const nlohmann::json& value, std::string path);

  Result<std::optional<std::string>> text(std::string_view key) const;
  Result<std::optional<bool>> boolean(std::string_view key) const;
  Result<std::optional<std::int64_t>> integer(std::string_view key, std::int64_t min,
                                              std::int64_t max) const;
  Result<std::optional<double>> number(std::string_view key, double min, double max) const;

  /// The field itself, or null if it is absent or null.
  const nlohmann::json* find(std::string_view key) const;
  /// "stream_options.include_usage"
  std::string path_of(std::string_view key) const;

 private:
  ObjectReader(const nlohmann::json& object, std::string path)
      : object_(&object), path_(std::move(path)) {}

  const nlohmann::json* object_;
  std::string path_;
};

}  // namespace deepwell::edge
