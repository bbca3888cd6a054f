// Parsing with limits, and the messages for fields that are not what they should be.
#include "edge/api/http/json_reader.hpp"

#include <cmath>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/concat.hpp"
#include "edge/api/http/errors.hpp"

namespace deepwell::edge {

namespace {

using nlohmann::json;

Error bad_json(std::string message) {
  return {.code = Code::kInvalidArgument,
          .message = std::move(message),
          .reason = std::string(kReasonInvalidJson)};
}

// "[json.exception.parse_error.101] parse error at line 1, column 2: ..." without its bracket.
std::string parser_message(std::string_view what) {
  constexpr std::size_t kMaxLength = 200;
  if (const auto bracket = what.find("] "); bracket != std::string_view::npos) {
    what.remove_prefix(bracket + 2);
  }
  return concat("the body is not valid JSON: ", what.substr(0, kMaxLength));
}

// Builds the tree and stops at the first thing that a request body may not hold. Depth is checked
// before anything deep exists: a tree's destructor and dump recurse.
class StrictBuilder final : public nlohmann::json_sax<json> {
 public:
  bool null() override { return put(nullptr) != nullptr; }
  bool boolean(bool value) override { return put(value) != nullptr; }
  bool number_integer(std::int64_t value) override { return put(value) != nullptr; }
  bool number_unsigned(std::uint64_t value) override { return put(value) != nullptr; }
  bool number_float(double value, const std::string&) override { return put(value) != nullptr; }
  bool string(std::string& value) override { return put(std::move(value)) != nullptr; }
  bool binary(json::binary_t&) override { return false; }  // JSON text has none
  bool start_object(std::size_t) override { return open(json::object()); }
  bool start_array(std::size_t) override { return open(json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(std::string& name) override {
    if (open_.back()->contains(name)) {
      error_ = bad_json(concat("the key '", name, "' occurs twice in one object"));
      return false;
    }
    key_ = std::move(name);
    return true;
  }

  bool parse_error(std::size_t, const std::string&, const json::exception& failure) override {
    error_ = bad_json(parser_message(failure.what()));
    return false;
  }

  Result<json> take() {
    if (error_) return std::move(*error_);
    return std::move(root_);
  }

 private:
  json* put(json value) {
    if (open_.empty()) return &(root_ = std::move(value));
    json& parent = *open_.back();
    if (!parent.is_array()) return &(parent[key_] = std::move(value));
    parent.push_back(std::move(value));
    return &parent.back();
  }

  bool open(json container) {
    if (open_.size() >= kMaxJsonDepth) {
      error_ = bad_json(concat("the body is nested deeper than ", kMaxJsonDepth, " levels"));
      return false;
    }
    open_.push_back(put(std::move(container)));
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  json root_;
  std::vector<json*> open_;  // from the root down; a parent does not grow while its child is open
  std::string key_;
  std::optional<Error> error_;
};

std::string with_path(const std::string& path, std::string_view what) {
  return path.empty() ? std::string(what) : concat(path, ": ", what);
}

}  // namespace

Result<json> parse_json(std::string_view text) {
  // The parser would take a NUL byte for the end and ignore what follows.
  if (text.find('\0') != std::string_view::npos) {
    return bad_json("the body is not valid JSON: it holds a NUL byte");
  }
  StrictBuilder builder;
  json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

std::string_view json_kind(const json& value) {
  switch (value.type()) {
    case json::value_t::null:
      return "null";
    case json::value_t::object:
      return "an object";
    case json::value_t::array:
      return "a list";
    case json::value_t::string:
      return "a string";
    case json::value_t::boolean:
      return "a boolean";
    case json::value_t::number_integer:
    case json::value_t::number_unsigned:
    case json::value_t::number_float:
      return "a number";
    case json::value_t::binary:
    case json::value_t::discarded:
      break;
  }
  return "nothing";
}

Error field_error(std::string path, std::string_view what) {
  std::string message = with_path(path, what);
  return {.code = Code::kInvalidArgument, .message = std::move(message), .field = std::move(path)};
}

Error unsupported(std::string path, std::string_view what) {
  std::string message = with_path(path, what);
  return {.code = Code::kUnimplemented,
          .message = std::move(message),
          .reason = std::string(kReasonUnsupportedParameter),
          .field = std::move(path)};
}

Result<ObjectReader> ObjectReader::open(const json& value, std::string path) {
  if (!value.is_object()) {
    return field_error(std::move(path), concat("expected an object, got ", json_kind(value)));
  }
  return ObjectReader(value, std::move(path));
}

const json* ObjectReader::find(std::string_view key) const {
  const auto found = object_->find(key);
  return found == object_->end() || found->is_null() ? nullptr : &*found;
}

std::string ObjectReader::path_of(std::string_view key) const {
  return path_.empty() ? std::string(key) : concat(path_, ".", key);
}

Result<std::optional<std::string>> ObjectReader::text(std::string_view key) const {
  const json* value = find(key);
  if (value == nullptr) return std::optional<std::string>();
  if (!value->is_string()) {
    return field_error(path_of(key), concat("expected a string, got ", json_kind(*value)));
  }
  return std::optional(value->get<std::string>());
}

Result<std::optional<bool>> ObjectReader::boolean(std::string_view key) const {
  const json* value = find(key);
  if (value == nullptr) return std::optional<bool>();
  if (!value->is_boolean()) {
    return field_error(path_of(key), concat("expected true or false, got ", json_kind(*value)));
  }
  return std::optional(value->get<bool>());
}

Result<std::optional<std::int64_t>> ObjectReader::integer(std::string_view key, std::int64_t min,
                                                          std::int64_t max) const {
  const json* value = find(key);
  if (value == nullptr) return std::optional<std::int64_t>();
  const auto out_of_range = [&] {
    return field_error(path_of(key), concat("expected an integer from ", min, " to ", max, ", got ",
                                            value->dump()));
  };
  if (value->is_number_unsigned()) {
    const auto number = value->get<std::uint64_t>();
    if (!std::in_range<std::int64_t>(number)) return out_of_range();
  } else if (!value->is_number_integer()) {
    const bool is_number = value->is_number();
    return field_error(path_of(key), concat("expected an integer, got ",
                                            is_number ? value->dump() : json_kind(*value)));
  }
  const auto number = value->get<std::int64_t>();
  if (number < min || number > max) return out_of_range();
  return std::optional(number);
}

Result<std::optional<double>> ObjectReader::number(std::string_view key, double min,
                                                   double max) const {
  const json* value = find(key);
  if (value == nullptr) return std::optional<double>();
  if (!value->is_number()) {
    return field_error(path_of(key), concat("expected a number, got ", json_kind(*value)));
  }
  const auto number = value->get<double>();
  if (!(number >= min && number <= max)) {
    return field_error(
        path_of(key), concat("expected a number from ", min, " to ", max, ", got ", value->dump()));
  }
  return std::optional(number);
}

}  // namespace deepwell::edge
