// Functions that every template can call.
#include <algorithm>
#include <array>
#include <ctime>

#include "base/concat.hpp"
#include "service/chat/jinja/library.hpp"

namespace deepwell::service::jinja {

namespace {

Result<Value> range_function(Evaluator& evaluator, const Args& args) {
  if (!args.named.empty()) return invalid_argument("range() takes no keyword arguments");
  if (args.positional.empty() || args.positional.size() > 3)
    return invalid_argument("range expected 1 to 3 arguments");
  std::array<std::int64_t, 3> bounds = {0, 0, 1};
  for (std::size_t i = 0; i < args.positional.size(); ++i) {
    DW_ASSIGN(bounds[i], int_argument(args.positional[i], "range"));
  }
  if (args.positional.size() == 1) bounds = {0, bounds[0], 1};
  const auto [first, last, step] = bounds;
  if (step == 0) return invalid_argument("range() arg 3 must not be zero");
  const std::size_t max_items = evaluator.budget().limits().max_range;
  Sequence range;
  range.kind = SequenceKind::kRange;
  range.label = step == 1 ? concat("range(", first, ", ", last, ")")
                          : concat("range(", first, ", ", last, ", ", step, ")");
  for (std::int64_t i = first; step > 0 ? i < last : i > last;) {
    if (range.items.size() >= max_items) {
      return Error{Code::kResourceExhausted,
                   concat("range too big: more than ", max_items, " items")};
    }
    range.items.push_back(Value::integer(i));
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  DW_TRY(evaluator.budget().spend_items(range.items.size()));
  return Value::sequence(std::move(range));
}

/// The entries of dict(...) or namespace(...): a mapping or pairs, then keywords.
Result<Dict> collect_entries(Evaluator& evaluator, const Args& args, std::string_view who) {
  if (args.positional.size() > 1)
    return invalid_argument(
        concat(who, " expected at most 1 argument, got ", args.positional.size()));
  Dict dict;
  if (!args.positional.empty() && args.positional[0].is_dict()) {
    dict = args.positional[0].as_dict();
    DW_TRY(evaluator.budget().spend_items(dict.entries().size()));
  } else if (!args.positional.empty()) {
    DW_ASSIGN(const std::vector<Value> pairs, evaluator.items_of(args.positional[0]));
    for (const Value& pair : pairs) {
      DW_ASSIGN(const std::vector<Value> parts, evaluator.items_of(pair));
      if (parts.size() != 2)
        return invalid_argument(concat(who, " needs pairs of a key and a value"));
      DW_TRY(dict.set(parts[0], parts[1], evaluator.budget()));
    }
  }
  for (const auto& [name, value] : args.named) dict.set(name, value, Trust::kTemplate);
  return dict;
}

Result<Value> dict_function(Evaluator& evaluator, const Args& args) {
  DW_ASSIGN(Dict dict, collect_entries(evaluator, args, "dict"));
  return Value::dict(std::move(dict));
}

Result<Value> namespace_function(Evaluator& evaluator, const Args& args) {
  DW_ASSIGN(const Dict entries, collect_entries(evaluator, args, "namespace"));
  DW_TRY(evaluator.budget().spend_items(8 + entries.entries().size()));
  Namespace* space = evaluator.new_namespace();
  for (const auto& [key, value] : entries.entries()) {
    if (!key.is_text()) continue;
    if (value.depth() > kMaxValueDepth)
      return Error{Code::kResourceExhausted, "a value nests too deep"};
    space->attributes[std::string(key.as_text().view())] = value;
  }
  return Value::name_space(space);
}

Result<Value> raise_exception_function(Evaluator& evaluator, const Args& args) {
  DW_ASSIGN(const auto bound, bind_args(args, {"message"}, 1, "raise_exception"));
  DW_ASSIGN(const Text words, to_text(*bound[0], evaluator.budget()));
  return evaluator.refuse(std::string(words.view().substr(0, 4096)));
}

Result<Value> strftime_now_function(Evaluator& evaluator, const Args& args) {
  DW_ASSIGN(const auto bound, bind_args(args, {"format"}, 1, "strftime_now"));
  DW_ASSIGN(const Text format, text_argument(*bound[0], "strftime_now"));
  if (format.n_bytes() > 256) return invalid_argument("the date format is longer than 256 bytes");
  if (format.empty()) return Value::text(Text());
  std::array<char, 8192> buffer{};
  // The program runs in the C locale, so names of days and months are English.
  const std::size_t n = std::strftime(buffer.data(), buffer.size(),
                                      std::string(format.view()).c_str(), &evaluator.now());
  return Value::text(std::string(buffer.data(), n), Trust::kTemplate);
}

constexpr Function kFunctions[] = {
    {"range", range_function},
    {"dict", dict_function},
    {"namespace", namespace_function},
    {"raise_exception", raise_exception_function},
    {"strftime_now", strftime_now_function},
};

}  // namespace

std::span<const Function> functions() { return kFunctions; }

}  // namespace deepwell::service::jinja
