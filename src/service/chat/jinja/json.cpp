// Reading goes through nlohmann's event parser, which never recurses; writing follows CPython's Lib/json/encoder.py.
#include "service/chat/jinja/json.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "service/chat/jinja/utf8.hpp"

namespace deepwell::service::jinja {

namespace {

/// Builds a Value from parse events. Returning false stops the parser.
class Builder final : public nlohmann::json::json_sax_t {
 public:
  explicit Builder(Trust trust) : trust_(trust) {}

  bool null() override { return add(Value::none()); }
  bool boolean(bool b) override { return add(Value::boolean(b)); }
  bool number_integer(number_integer_t i) override { return add(Value::integer(i)); }
  bool number_unsigned(number_unsigned_t u) override {
    const bool fits = u <= static_cast<number_unsigned_t>(std::numeric_limits<std::int64_t>::max());
    return add(fits ? Value::integer(static_cast<std::int64_t>(u))
                    : Value::real(static_cast<double>(u)));
  }
  bool number_float(number_float_t d, const string_t&) override { return add(Value::real(d)); }
  bool string(string_t& s) override { return add(Value::text(std::move(s), trust_)); }
  bool binary(binary_t&) override { return fail("binary data"); }
  bool start_object(std::size_t) override { return open(true); }
  bool start_array(std::size_t) override { return open(false); }
  bool key(string_t& k) override {
    frames_.back().key = std::move(k);
    return true;
  }
  bool end_object() override {
    Dict dict = std::move(frames_.back().dict);
    frames_.pop_back();
    return add(Value::dict(std::move(dict)));
  }
  bool end_array() override {
    std::vector<Value> items = std::move(frames_.back().items);
    frames_.pop_back();
    return add(Value::list(std::move(items)));
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    return fail(concat("not valid JSON at byte ", position));
  }

  Value root;
  std::string error;

 private:
  struct Frame {
    bool is_object = false;
    std::string key;
    Dict dict;
    std::vector<Value> items;
  };

  bool fail(std::string why) {
    error = std::move(why);
    return false;
  }
  bool open(bool is_object) {
    if (frames_.size() + 1 >= kMaxValueDepth)
      return fail(concat("JSON nested deeper than ", kMaxValueDepth, " levels"));
    frames_.push_back({});
    frames_.back().is_object = is_object;
    return true;
  }
  bool add(Value value) {
    if (frames_.empty()) {
      root = std::move(value);
    } else if (frames_.back().is_object) {
      frames_.back().dict.set(frames_.back().key, std::move(value), trust_);
    } else {
      frames_.back().items.push_back(std::move(value));
    }
    return true;
  }

  Trust trust_;
  std::vector<Frame> frames_;
};

class Writer {
 public:
  Writer(const JsonStyle& style, Budget& budget) : style_(style), budget_(budget) {}

  Status write(const Value& value, std::size_t level) {
    DW_TRY(budget_.spend(1));
    if (value.is_text()) return write_text(value.as_text());
    if (value.is_dict()) return write_dict(value.as_dict(), level);
    if (value.is_sequence()) {
      const SequenceKind kind = value.as_sequence().kind;
      if (kind == SequenceKind::kList || kind == SequenceKind::kTuple)
        return write_list(value.as_sequence(), level);
    }
    DW_ASSIGN(const std::string spelled, scalar(value));
    put(spelled);
    return {};
  }

  Text out;

 private:
  void put(std::string_view bytes) { out.append(bytes, Trust::kData); }

  static Result<std::string> scalar(const Value& value) {
    if (value.is_none()) return std::string("null");
    if (value.is_bool()) return std::string(value.as_bool() ? "true" : "false");
    if (value.is_int()) return concat(value.as_int());
    if (value.is_float()) {
      const double number = value.as_double();
      if (std::isnan(number)) return std::string("NaN");
      if (std::isinf(number)) return std::string(number < 0 ? "-Infinity" : "Infinity");
      return float_repr(number);
    }
    return invalid_argument(
        concat("Object of type ", type_name(value), " is not JSON serializable"));
  }

  static void append_unicode_escape(std::string& escaped, char32_t unit) {
    static constexpr std::string_view kDigits = "0123456789abcdef";
    escaped += "\\u";
    for (unsigned shift = 16; shift > 0; shift -= 4)
      escaped += kDigits[(unit >> (shift - 4)) & 0xFU];
  }

  bool is_plain(char32_t c) const {
    return c >= 0x20 && c != U'"' && c != U'\\' && (!style_.use_ascii || c <= 0x7E);
  }

  std::string escape(char32_t c) const {
    switch (c) {
      case U'"':
        return "\\\"";
      case U'\\':
        return "\\\\";
      case U'\n':
        return "\\n";
      case U'\r':
        return "\\r";
      case U'\t':
        return "\\t";
      case U'\b':
        return "\\b";
      case U'\f':
        return "\\f";
      default:
        break;
    }
    std::string escaped;
    if (c < 0x10000) {
      append_unicode_escape(escaped, c);
    } else {
      append_unicode_escape(escaped, 0xD800U + ((c - 0x10000U) >> 10U));
      append_unicode_escape(escaped, 0xDC00U + ((c - 0x10000U) & 0x3FFU));
    }
    return escaped;
  }

  Status write_text(const Text& text) {
    DW_TRY(budget_.spend_bytes(text.n_bytes()));
    put("\"");
    std::size_t plain_from = 0;
    for (std::size_t pos = 0; pos < text.n_bytes();) {
      const CodePoint c = code_point_at(text.view(), pos);
      if (is_plain(c.value)) {
        pos += c.n_bytes;
        continue;
      }
      out.append_slice(text, plain_from, pos);
      put(escape(c.value));
      pos += c.n_bytes;
      plain_from = pos;
    }
    out.append_slice(text, plain_from, text.n_bytes());
    put("\"");
    return {};
  }

  /// A new line at this level, if there is an indent.
  Status write_break(std::size_t level) {
    if (!style_.indent) return {};
    DW_TRY(budget_.spend_bytes(out.n_bytes() / 1024 + level * style_.indent->n_bytes()));
    put("\n");
    for (std::size_t i = 0; i < level; ++i) out.append(*style_.indent);
    return {};
  }

  void write_comma() { out.append(style_.item_separator); }

  Status write_list(const Sequence& sequence, std::size_t level) {
    if (sequence.items.empty()) return put("[]"), Status();
    put("[");
    bool is_first = true;
    for (const Value& item : sequence.items) {
      if (!is_first) write_comma();
      is_first = false;
      DW_TRY(write_break(level + 1));
      DW_TRY(write(item, level + 1));
    }
    DW_TRY(write_break(level));
    put("]");
    return {};
  }

  Result<std::vector<const Dict::Entry*>> ordered(const Dict& dict) {
    std::vector<const Dict::Entry*> entries;
    for (const Dict::Entry& entry : dict.entries()) entries.push_back(&entry);
    if (!style_.use_sorted_keys) return entries;
    DW_TRY(budget_.spend(entries.size() * 20));
    Status failed;
    std::stable_sort(entries.begin(), entries.end(),
                     [&](const Dict::Entry* a, const Dict::Entry* b) {
                       const Result<int> order = compare(a->first, b->first, budget_);
                       if (!order) failed = order.error();
                       return order && *order < 0;
                     });
    DW_TRY(failed);
    return entries;
  }

  Status write_key(const Value& key) {
    if (key.is_text()) return write_text(key.as_text());
    if (!key.is_number() && !key.is_none()) {
      return invalid_argument(
          concat("keys must be str, int, float, bool or None, not ", type_name(key)));
    }
    DW_ASSIGN(const std::string spelled, scalar(key));
    put(concat("\"", spelled, "\""));
    return {};
  }

  Status write_dict(const Dict& dict, std::size_t level) {
    if (dict.entries().empty()) return put("{}"), Status();
    DW_ASSIGN(const auto entries, ordered(dict));
    put("{");
    bool is_first = true;
    for (const Dict::Entry* entry : entries) {
      if (!is_first) write_comma();
      is_first = false;
      DW_TRY(write_break(level + 1));
      DW_TRY(write_key(entry->first));
      out.append(style_.key_separator);
      DW_TRY(write(entry->second, level + 1));
    }
    DW_TRY(write_break(level));
    put("}");
    return {};
  }

  const JsonStyle& style_;
  Budget& budget_;
};

}  // namespace

Result<Value> value_from_json(std::string_view json, Trust trust) {
  Builder builder(trust);
  if (!nlohmann::json::sax_parse(json.begin(), json.end(), &builder)) {
    return invalid_argument(builder.error.empty() ? "not valid JSON" : builder.error);
  }
  return std::move(builder.root);
}

Result<Text> value_to_json(const Value& value, const JsonStyle& style, Budget& budget) {
  Writer writer(style, budget);
  DW_TRY(writer.write(value, 0));
  DW_TRY(budget.spend_bytes(writer.out.n_bytes()));
  return std::move(writer.out);
}

}  // namespace deepwell::service::jinja
