// Filters that apply another filter or a test to each item, and `attr`.
#include "base/concat.hpp"
#include "service/chat/jinja/library.hpp"

namespace deepwell::service::jinja {

namespace {

Args without_first(const Args& args, std::size_t n) {
  Args rest = args;
  rest.positional.erase(rest.positional.begin(),
                        rest.positional.begin() + static_cast<std::ptrdiff_t>(n));
  return rest;
}

Result<Value> map_filter(Evaluator& evaluator, const Value& input, const Args& args) {
  std::vector<Value> mapped;
  if (!args.positional.empty()) {
    DW_ASSIGN(const Text name, text_argument(args.positional[0], "map"));
    DW_TRY(evaluator.budget().spend_items(args.positional.size()));
    const Args rest = without_first(args, 1);
    DW_ASSIGN(const std::vector<Value> items, evaluator.items_of(input));
    for (const Value& item : items) {
      DW_ASSIGN(Value value, evaluator.apply_filter(name.view(), item, rest));
      mapped.push_back(std::move(value));
    }
    return iterator(std::move(mapped), "generator");
  }
  DW_ASSIGN(const auto bound, bind_args(args, {"attribute", "default"}, 0, "map"));
  if (!bound[0]) return invalid_argument("map requires a filter argument");
  DW_ASSIGN(const std::vector<Value> items, evaluator.items_of(input));
  for (const Value& item : items) {
    DW_ASSIGN(Value value,
              attribute_path(evaluator, item, *bound[0], bound[1].value_or(Value::none())));
    mapped.push_back(std::move(value));
  }
  return iterator(std::move(mapped), "generator");
}

/// select, reject (kByAttribute false) and selectattr, rejectattr.
template <bool kWanted, bool kByAttribute>
Result<Value> select_filter(Evaluator& evaluator, const Value& input, const Args& args) {
  std::vector<Value> kept;
  constexpr std::size_t kTestAt = kByAttribute ? 1 : 0;
  if (!is_true(input)) return iterator(std::move(kept), "generator");
  if (args.positional.size() < kTestAt)
    return invalid_argument("missing parameter for attribute name");
  const bool has_test = args.positional.size() > kTestAt;
  Text name;
  Args rest;
  if (has_test) {
    DW_ASSIGN(name, text_argument(args.positional[kTestAt], "select"));
    rest = without_first(args, kTestAt + 1);
  }
  DW_ASSIGN(const std::vector<Value> items, evaluator.items_of(input));
  for (const Value& item : items) {
    Value tested = item;
    if constexpr (kByAttribute) {
      DW_ASSIGN(tested, attribute_path(evaluator, item, args.positional[0]));
    }
    bool verdict = is_true(tested);
    if (has_test) {
      DW_ASSIGN(verdict, evaluator.apply_test(name.view(), tested, rest));
    }
    if (verdict == kWanted) kept.push_back(item);
  }
  return iterator(std::move(kept), "generator");
}

Result<Value> attr_filter(Evaluator& evaluator, const Value& input, const Args& args) {
  DW_ASSIGN(const auto bound, bind_args(args, {"name"}, 1, "attr"));
  DW_ASSIGN(const Text name, text_argument(*bound[0], "attr"));
  if (input.is_dict() && input.as_dict().find(name.view()) != nullptr) {
    // Python's getattr does not see keys.
    return Value::undefined(concat("'dict object' has no attribute '", name.view(), "'"));
  }
  return evaluator.get_attribute(input, name.view());
}

constexpr Filter kSelectFilters[] = {
    {"map", map_filter},
    {"select", select_filter<true, false>},
    {"reject", select_filter<false, false>},
    {"selectattr", select_filter<true, true>},
    {"rejectattr", select_filter<false, true>},
    {"attr", attr_filter},
};

}  // namespace

std::span<const Filter> select_filters() { return kSelectFilters; }

}  // namespace deepwell::service::jinja
