// JSON text to values and back: the shapes that a template sees, the spelling that json.dumps gives.
#pragma once

#include <optional>
#include <string_view>

#include "base/result.hpp"
#include "service/chat/jinja/value.hpp"

namespace deepwell::service::jinja {

/// Objects keep their order; whole numbers that fit become ints, all others floats. Every text in it has the given
/// trust. Errors: kInvalidArgument (not JSON, nested deeper than kMaxValueDepth).
Result<Value> value_from_json(std::string_view json, Trust trust = Trust::kData);

/// The keyword arguments of the `tojson` that transformers gives to chat templates.
struct JsonStyle {
  std::optional<Text> indent;  // per level; without it all is on one line
  Text item_separator{", ", Trust::kData};
  Text key_separator{": ", Trust::kData};
  bool use_sorted_keys = false;
  bool use_ascii = false;
};

/// What Python's json.dumps prints. Texts keep their origin; punctuation and numbers count as data.
/// Errors: a value that JSON does not know.
Result<Text> value_to_json(const Value& value, const JsonStyle& style, Budget& budget);

}  // namespace deepwell::service::jinja
