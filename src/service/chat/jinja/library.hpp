// The tables of what a template can use: filters, tests, methods, functions. One entry each, looked up by name.
#pragma once

#include <initializer_list>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "service/chat/jinja/evaluator.hpp"
#include "service/chat/jinja/value.hpp"

namespace deepwell::service::jinja {

struct Filter {
  std::string_view name;
  Result<Value> (*apply)(Evaluator& evaluator, const Value& input, const Args& args);
};

struct Test {
  std::string_view name;
  Result<bool> (*apply)(Evaluator& evaluator, const Value& input, const Args& args);
};

struct Method {
  std::string_view name;
  Result<Value> (*call)(Evaluator& evaluator, const Value& self, const Args& args);
};

struct Function {
  std::string_view name;
  Result<Value> (*call)(Evaluator& evaluator, const Args& args);
};

std::span<const Filter> text_filters();
std::span<const Filter> number_filters();
std::span<const Filter> list_filters();
std::span<const Filter> select_filters();
std::span<const Test> tests();
std::span<const Method> text_methods();
std::span<const Method> dict_methods();
std::span<const Method> list_methods();
std::span<const Function> functions();

/// Methods that Python has but a sandboxed template must not call, since they change their object.
bool is_unsafe_method(const Value& object, std::string_view name);

// Reading arguments. `who` names the callee in messages.

/// Values by parameter, in the order of `names`; absent ones are empty. Errors: too many arguments, an unknown name,
/// one given twice, one of the first `n_required` missing.
Result<std::vector<std::optional<Value>>> bind_args(const Args& args,
                                                    std::initializer_list<std::string_view> names,
                                                    std::size_t n_required, std::string_view who);
/// The value as an int (a bool counts). Error: another type.
Result<std::int64_t> int_argument(const Value& value, std::string_view who);
Result<Text> text_argument(const Value& value, std::string_view who);

// Shared pieces.

Result<Value> arithmetic(Op op, const Value& a, const Value& b, Budget& budget);
Result<bool> contains(const Value& container, const Value& item, Evaluator& evaluator);
/// a[first:last:step]; bounds may be none. Not sliceable gives Undefined.
Result<Value> slice(const Value& object, const Value& first, const Value& last, const Value& step,
                    Budget& budget);
/// Python's `format % arguments`.
Result<Text> percent_format(const Text& format, const Value& arguments, Budget& budget);
/// Python's format.format(...), without format specifications.
Result<Text> brace_format(const Text& format, const Args& args, Evaluator& evaluator);
Result<Text> strip(const Text& text, const std::optional<Value>& characters, bool left, bool right,
                   Budget& budget);
Result<Text> replace(const Text& text, const Text& old_part, const Text& new_part,
                     std::int64_t max_count, Budget& budget);
/// One Text a character, as Python iterates over a string.
Result<std::vector<Value>> split_characters(const Text& text, Budget& budget);
Text capitalize(const Text& text);
std::vector<Text> split_lines(const Text& text, bool keep_ends);
/// The value that `path` ("a.b.0") of an item names; `fallback`, unless none, stands in for each missing step.
Result<Value> attribute_path(Evaluator& evaluator, const Value& item, const Value& path,
                             const Value& fallback = Value::none());
/// As jinja2 sorts: texts without regard to case unless asked.
Value ignore_case(const Value& value);
Status stable_sort_by_keys(std::vector<Value>& items, std::vector<Value>& keys, bool use_reverse,
                           Budget& budget);
Value iterator(std::vector<Value> items, std::string_view label);

}  // namespace deepwell::service::jinja
