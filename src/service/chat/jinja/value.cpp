// Construction and reading of values; dicts and their keys.
#include "service/chat/jinja/value.hpp"

#include <cmath>

namespace deepwell::service::jinja {

namespace {

constexpr std::string_view kTextTag = "s";

/// A string that is equal for keys that Python holds equal (1, 1.0 and True are one key).
Status append_hash_key(std::string& out, const Value& key, Budget& budget) {
  if (key.is_text()) {
    DW_TRY(budget.spend_bytes(key.as_text().n_bytes()));
    out.append(kTextTag);
    if (!out.empty() && out.size() > kTextTag.size())
      out.append(concat(key.as_text().n_bytes(), ":"));
    out.append(key.as_text().view());
  } else if (key.is_none()) {
    out.append("n;");
  } else if (key.is_integral()) {
    out.append(concat("i", key.as_int(), ";"));
  } else if (key.is_float()) {
    const double number = key.as_double();
    const bool is_whole = std::floor(number) == number && std::abs(number) < 9e18;
    out.append(is_whole ? concat("i", static_cast<std::int64_t>(number), ";")
                        : concat("f", number, ";"));
  } else if (key.is_sequence() && key.as_sequence().kind == SequenceKind::kTuple) {
    out.append("(");
    for (const Value& item : key.as_sequence().items) {
      DW_TRY(budget.spend(1));
      DW_TRY(append_hash_key(out, item, budget));
    }
    out.append(")");
  } else {
    return invalid_argument(concat("unhashable type: '", type_name(key), "'"));
  }
  return {};
}

}  // namespace

Value Value::undefined(std::string what) {
  return Value(Data(Undefined{std::make_shared<const std::string>(std::move(what))}));
}

Value Value::text(Text text) { return Value(Data(std::make_shared<const Text>(std::move(text)))); }

Value Value::sequence(Sequence sequence) {
  for (const Value& item : sequence.items)
    sequence.depth = std::max(sequence.depth, item.depth() + 1);
  return Value(Data(std::make_shared<const Sequence>(std::move(sequence))));
}

Value Value::list(std::vector<Value> items) {
  Sequence sequence;
  sequence.items = std::move(items);
  return Value::sequence(std::move(sequence));
}

Value Value::tuple(std::vector<Value> items) {
  Sequence sequence;
  sequence.kind = SequenceKind::kTuple;
  sequence.items = std::move(items);
  return Value::sequence(std::move(sequence));
}

Value Value::dict(Dict dict) { return Value(Data(std::make_shared<const Dict>(std::move(dict)))); }

Value Value::callable(Callable callable) {
  return Value(Data(std::make_shared<const Callable>(std::move(callable))));
}

std::int64_t Value::as_int() const {
  return is_bool() ? (as_bool() ? 1 : 0) : std::get<std::int64_t>(data_);
}

double Value::as_double() const {
  return is_float() ? std::get<double>(data_) : static_cast<double>(as_int());
}

std::string_view Value::undefined_what() const {
  const auto& what = std::get<Undefined>(data_).what;
  return what ? std::string_view(*what) : std::string_view("a value is undefined");
}

bool Value::is_same(const Value& other) const {
  if (data_.index() != other.data_.index()) return false;
  if (is_undefined()) return true;
  if (is_none()) return true;
  if (is_bool()) return as_bool() == other.as_bool();
  if (is_int()) return as_int() == other.as_int();
  if (is_float()) return as_double() == other.as_double();
  if (is_text())
    return &as_text() == &other.as_text() || as_text().view() == other.as_text().view();
  if (is_sequence()) return &as_sequence() == &other.as_sequence();
  if (is_dict()) return &as_dict() == &other.as_dict();
  if (is_namespace()) return &as_namespace() == &other.as_namespace();
  if (is_loop()) return as_loop() == other.as_loop();
  return &as_callable() == &other.as_callable();
}

std::size_t Value::depth() const {
  if (is_sequence()) return as_sequence().depth;
  if (is_dict()) return as_dict().depth();
  if (is_callable()) return as_callable().depth;
  return 0;
}

Result<const Value*> Dict::find(const Value& key, Budget& budget) const {
  std::string hash_key;
  DW_TRY(append_hash_key(hash_key, key, budget));
  const auto it = index_.find(hash_key);
  return it == index_.end() ? nullptr : &entries_[it->second].second;
}

const Value* Dict::find(std::string_view key) const {
  const auto it = index_.find(std::string(kTextTag).append(key));
  return it == index_.end() ? nullptr : &entries_[it->second].second;
}

Status Dict::set(const Value& key, Value value, Budget& budget) {
  std::string hash_key;
  DW_TRY(append_hash_key(hash_key, key, budget));
  put(std::move(hash_key), key, std::move(value));
  return {};
}

void Dict::set(std::string_view key, Value value, Trust key_trust) {
  put(std::string(kTextTag).append(key), Value::text(std::string(key), key_trust),
      std::move(value));
}

void Dict::put(std::string hash_key, const Value& key, Value value) {
  depth_ = std::max({depth_, value.depth() + 1, key.depth() + 1});
  const auto [it, is_new] = index_.emplace(std::move(hash_key), entries_.size());
  if (is_new) {
    entries_.emplace_back(key, std::move(value));
  } else {
    entries_[it->second].second = std::move(value);
  }
}

std::string_view type_name(const Value& value) {
  if (value.is_undefined()) return "Undefined";
  if (value.is_none()) return "NoneType";
  if (value.is_bool()) return "bool";
  if (value.is_int()) return "int";
  if (value.is_float()) return "float";
  if (value.is_text()) return "str";
  if (value.is_dict()) return "dict";
  if (value.is_namespace()) return "Namespace";
  if (value.is_loop()) return "LoopContext";
  if (value.is_callable()) return "function";
  switch (value.as_sequence().kind) {
    case SequenceKind::kList:
      return "list";
    case SequenceKind::kTuple:
      return "tuple";
    case SequenceKind::kRange:
      return "range";
    case SequenceKind::kView:
      return "dict_view";
    case SequenceKind::kIterator:
      return "generator";
  }
  return "object";
}

bool is_true(const Value& value) {
  if (value.is_undefined() || value.is_none()) return false;
  if (value.is_bool()) return value.as_bool();
  if (value.is_int()) return value.as_int() != 0;
  if (value.is_float()) return value.as_double() != 0.0;
  if (value.is_text()) return !value.as_text().empty();
  if (value.is_dict()) return !value.as_dict().entries().empty();
  if (value.is_sequence()) {
    const Sequence& sequence = value.as_sequence();
    return sequence.kind == SequenceKind::kIterator || !sequence.items.empty();
  }
  return true;
}

}  // namespace deepwell::service::jinja
