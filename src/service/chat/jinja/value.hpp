// Value: what a template computes with. Python's types as jinja2 sees them, immutable and cheap to copy.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.hpp"
#include "service/chat/jinja/budget.hpp"
#include "service/chat/jinja/text.hpp"

namespace deepwell::service::jinja {

class Dict;
class Evaluator;
class Value;
struct Args;
struct Callable;
struct Loop;
struct Namespace;
struct Sequence;

/// A missing variable or key. Prints as nothing; using it further is an error that names `what`.
struct Undefined {
  std::shared_ptr<const std::string> what;  // a whole sentence, for example "'x' is undefined"
};

/// Holds one of Python's types. Containers cannot change once made (transformers renders in a sandbox that forbids
/// it), so no value contains itself. A value that mentions a Namespace is valid only while its render runs.
class Value {
 public:
  Value() : data_(Undefined{}) {}
  static Value undefined(std::string what);
  static Value none() { return Value(Data(std::monostate{})); }
  static Value boolean(bool b) { return Value(Data(b)); }
  static Value integer(std::int64_t i) { return Value(Data(i)); }
  static Value real(double d) { return Value(Data(d)); }
  static Value text(Text text);
  static Value text(std::string bytes, Trust trust) {
    return Value::text(Text(std::move(bytes), trust));
  }
  static Value list(std::vector<Value> items);
  static Value tuple(std::vector<Value> items);
  static Value sequence(Sequence sequence);
  static Value dict(Dict dict);
  static Value callable(Callable callable);
  static Value name_space(Namespace* space) { return Value(Data(space)); }
  static Value loop(std::shared_ptr<Loop> loop) { return Value(Data(std::move(loop))); }

  bool is_undefined() const { return holds<Undefined>(); }
  bool is_none() const { return holds<std::monostate>(); }
  bool is_bool() const { return holds<bool>(); }
  bool is_int() const {
    return holds<std::int64_t>();
  }  // a bool is not counted here, unlike in Python
  bool is_float() const { return holds<double>(); }
  bool is_number() const { return is_bool() || is_int() || is_float(); }
  bool is_integral() const { return is_bool() || is_int(); }
  bool is_text() const { return holds<TextPtr>(); }
  bool is_sequence() const { return holds<SequencePtr>(); }
  bool is_dict() const { return holds<DictPtr>(); }
  bool is_namespace() const { return holds<Namespace*>(); }
  bool is_loop() const { return holds<LoopPtr>(); }
  bool is_callable() const { return holds<CallablePtr>(); }

  // Reading another type than the one held is a bug.
  bool as_bool() const { return std::get<bool>(data_); }
  std::int64_t as_int() const;  // of a bool or an int
  double as_double() const;     // of any number
  const Text& as_text() const { return *std::get<TextPtr>(data_); }
  const Sequence& as_sequence() const { return *std::get<SequencePtr>(data_); }
  const Dict& as_dict() const { return *std::get<DictPtr>(data_); }
  Namespace& as_namespace() const { return *std::get<Namespace*>(data_); }
  const std::shared_ptr<Loop>& as_loop() const { return std::get<LoopPtr>(data_); }
  const Callable& as_callable() const { return *std::get<CallablePtr>(data_); }
  std::string_view undefined_what() const;

  /// Whether both are the very same object, or equal scalars of one type: Python's `is`.
  bool is_same(const Value& other) const;
  /// 0 for scalars, 1 + the deepest item for containers and for methods bound to them.
  std::size_t depth() const;

 private:
  using TextPtr = std::shared_ptr<const Text>;
  using SequencePtr = std::shared_ptr<const Sequence>;
  using DictPtr = std::shared_ptr<const Dict>;
  using LoopPtr = std::shared_ptr<Loop>;
  using CallablePtr = std::shared_ptr<const Callable>;
  using Data = std::variant<Undefined, std::monostate, bool, std::int64_t, double, TextPtr,
                            SequencePtr, DictPtr, Namespace*, LoopPtr, CallablePtr>;

  explicit Value(Data data) : data_(std::move(data)) {}
  template <class T>
  bool holds() const {
    return std::holds_alternative<T>(data_);
  }

  Data data_;
};

enum class SequenceKind : std::uint8_t {
  kList,
  kTuple,
  kRange,
  kView,      // of a dict's keys, values or items
  kIterator,  // what map, select, items, ... give: can be walked once
};

struct Sequence {
  SequenceKind kind = SequenceKind::kList;
  std::vector<Value> items;
  std::string label;  // how a range, a view or an iterator prints
  std::size_t depth = 1;
  mutable std::size_t n_taken = 0;  // items that a walk of an iterator has used up

  bool can_index() const {
    return kind == SequenceKind::kList || kind == SequenceKind::kTuple ||
           kind == SequenceKind::kRange;
  }
};

/// Ordered as Python's: by first insertion. Keys are texts, numbers, none or tuples of those.
class Dict {
 public:
  using Entry = std::pair<Value, Value>;

  const std::vector<Entry>& entries() const { return entries_; }
  std::size_t depth() const { return depth_; }
  /// Null if absent. Error: the key cannot be hashed.
  Result<const Value*> find(const Value& key, Budget& budget) const;
  const Value* find(std::string_view key) const;
  Status set(const Value& key, Value value, Budget& budget);
  void set(std::string_view key, Value value, Trust key_trust = Trust::kData);

 private:
  void put(std::string hash_key, const Value& key, Value value);

  std::vector<Entry> entries_;
  std::unordered_map<std::string, std::size_t> index_;  // hash_key -> place in entries_
  std::size_t depth_ = 1;
};

/// What namespace() gives: the one thing that a template can change.
struct Namespace {
  std::unordered_map<std::string, Value> attributes;
};

struct Args {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

struct Callable {
  std::string name;
  std::function<Result<Value>(Evaluator&, const Args&)> call;
  std::unordered_map<std::string, Value> attributes;  // a macro's name
  std::size_t depth = 0;  // of the object that a method is bound to, and one more
};

/// Python's name of the value's type, for messages.
std::string_view type_name(const Value& value);
bool is_true(const Value& value);

// Each walks whole values, so each asks the budget as it goes.
Result<bool> equals(const Value& a, const Value& b, Budget& budget);
/// Negative, zero, positive. Error for types that Python refuses to order.
Result<int> compare(const Value& a, const Value& b, Budget& budget);
/// What {{ value }} prints: Python's str(). Scalars that are no text count as written by the template.
Result<Text> to_text(const Value& value, Budget& budget);
/// Python's repr(), appended.
Status append_repr(Text& out, const Value& value, Budget& budget);
/// A number in Python's spelling: 1e+16, 0.1, inf.
std::string float_repr(double number);

}  // namespace deepwell::service::jinja
