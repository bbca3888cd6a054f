// Filters on sequences and mappings.
#include <algorithm>
#include <numeric>

#include "base/concat.hpp"
#include "service/chat/jinja/library.hpp"
#include "service/chat/jinja/utf8.hpp"

namespace deepwell::service::jinja {

Value iterator(std::vector<Value> items, std::string_view label) {
  Sequence sequence;
  sequence.kind = SequenceKind::kIterator;
  sequence.items = std::move(items);
  sequence.label = std::string(label);
  return Value::sequence(std::move(sequence));
}

Value ignore_case(const Value& value) {
  return value.is_text() ? Value::text(value.as_text().mapped(to_lower_ascii)) : value;
}

Result<Value> attribute_path(Evaluator& evaluator, const Value& item, const Value& path,
                             const Value& fallback) {
  const auto filled = [&](Value value) {
    return value.is_undefined() && !fallback.is_none() ? fallback : value;
  };
  if (path.is_none()) return item;
  if (!path.is_text()) {
    DW_ASSIGN(Value value, evaluator.get_item(item, path));
    return filled(std::move(value));
  }
  Value found = item;
  const std::string_view names = path.as_text().view();
  for (std::size_t begin = 0; begin <= names.size();) {
    const std::size_t end = std::min(names.find('.', begin), names.size());
    const std::string_view name = names.substr(begin, end - begin);
    const bool is_index =
        !name.empty() && name.size() < 18 && std::all_of(name.begin(), name.end(), is_digit_ascii);
    const Value key = is_index ? Value::integer(std::stoll(std::string(name)))
                               : Value::text(std::string(name), Trust::kTemplate);
    DW_ASSIGN(Value value, evaluator.get_item(found, key));
    found = filled(std::move(value));
    begin = end + 1;
  }
  return found;
}

Status stable_sort_by_keys(std::vector<Value>& items, std::vector<Value>& keys, bool use_reverse,
                           Budget& budget) {
  DW_TRY(budget.spend_items(items.size()));
  std::vector<std::size_t> order(items.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  Status failed;
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    if (!failed) return false;
    const Result<int> result =
        use_reverse ? compare(keys[b], keys[a], budget) : compare(keys[a], keys[b], budget);
    if (!result) failed = result.error();
    return result && *result < 0;
  });
  DW_TRY(failed);
  std::vector<Value> sorted_items;
  std::vector<Value> sorted_keys;
  for (const std::size_t i : order) {
    sorted_items.push_back(std::move(items[i]));
    sorted_keys.push_back(std::move(keys[i]));
  }
  items = std::move(sorted_items);
  keys = std::move(sorted_keys);
  return {};
}

namespace {

Result<Value> length_filter(Evaluator& evaluator, const Value& input, const Args&) {
  DW_ASSIGN(const std::size_t length, evaluator.length_of(input));
  return Value::integer(static_cast<std::int64_t>(length));
}

Result<Value> join_filter(Evaluator& evaluator, const Value& input, const Args& args) {
  DW_ASSIGN(const auto bound, bind_args(args, {"d", "attribute"}, 0, "join"));
  DW_ASSIGN(const Text separator,
            to_text(bound[0].value_or(Value::text(Text())), evaluator.budget()));
  DW_ASSIGN(const std::vector<Value> items, evaluator.items_of(input));
  Text out;
  for (std::size_t i = 0; i < items.size(); ++i) {
    DW_ASSIGN(const Value item,
              attribute_path(evaluator, items[i], bound[1].value_or(Value::none())));
    DW_ASSIGN(const Text text, to_text(item, evaluator.budget()));
    DW_TRY(evaluator.budget().spend_bytes(text.n_bytes() + separator.n_bytes()));
    if (i > 0) out.append(separator);
    out.append(text);
  }
  DW_TRY(evaluator.budget().spend_bytes(out.n_bytes()));
  return Value::text(std::move(out));
}

Result<Value> first_filter(Evaluator& evaluator, const Value& input, const Args&) {
  if (input.is_sequence() && input.as_sequence().kind == SequenceKind::kIterator) {
    const Sequence& sequence = input.as_sequence();
    if (sequence.n_taken < sequence.items.size()) return sequence.items[sequence.n_taken++];
    return Value::undefined("no first item, sequence was empty");
  }
  DW_ASSIGN(const std::vector<Value> items, evaluator.items_of(input));
  return items.empty() ? Value::undefined("no first item, sequence was empty") : items.front();
}

Result<Value> last_filter(Evaluator& evaluator, const Value& input, const Args&) {
  if (input.is_sequence() && input.as_sequence().kind == SequenceKind::kIterator) {
    return invalid_argument("'generator' object is not reversible");
  }
  DW_ASSIGN(const std::vector<Value> items, evaluator.items_of(input));
  return items.empty() ? Value::undefined("no last item, sequence was empty") : items.back();
}

Result<Value> list_filter(Evaluator& evaluator, const Value& input, const Args&) {
  DW_ASSIGN(std::vector<Value> items, evaluator.items_of(input));
  return Value::list(std::move(items));
}

Result<Value> default_filter(Evaluator&, const Value& input, const Args& args) {
  DW_ASSIGN(const auto bound, bind_args(args, {"default_value", "boolean"}, 0, "default"));
  const bool is_missing =
      input.is_undefined() || (bound[1] && is_true(*bound[1]) && !is_true(input));
  if (!is_missing) return input;
  return bound[0].value_or(Value::text(Text()));
}

Result<Value> reverse_filter(Evaluator& evaluator, const Value& input, const Args&) {
  if (input.is_text())
    return slice(input, Value::none(), Value::none(), Value::integer(-1), evaluator.budget());
  DW_ASSIGN(std::vector<Value> items, evaluator.items_of(input));
  std::reverse(items.begin(), items.end());
  return iterator(std::move(items), "list_reverseiterator");
}

/// One sort key an item: the attribute, or a list of them for "a,b".
Result<std::vector<Value>> sort_keys(Evaluator& evaluator, const std::vector<Value>& items,
                                     const Value& attribute, bool is_case_sensitive) {
  std::vector<Value> paths = {attribute};
  if (attribute.is_text()) {
    paths.clear();
    const std::string_view names = attribute.as_text().view();
    for (std::size_t begin = 0; begin <= names.size();) {
      const std::size_t end = std::min(names.find(',', begin), names.size());
      paths.push_back(Value::text(std::string(names.substr(begin, end - begin)), Trust::kTemplate));
      begin = end + 1;
    }
  }
  DW_TRY(evaluator.budget().spend_items(paths.size()));
  std::vector<Value> keys;
  for (const Value& item : items) {
    DW_TRY(evaluator.budget().spend_items(paths.size()));
    std::vector<Value> parts;
    for (const Value& path : paths) {
      DW_ASSIGN(const Value part, attribute_path(evaluator, item, path));
      if (part.is_text()) DW_TRY(evaluator.budget().spend_bytes(part.as_text().n_bytes()));
      parts.push_back(is_case_sensitive ? part : ignore_case(part));
    }
    keys.push_back(Value::list(std::move(parts)));
  }
  return keys;
}

Result<Value> sort_filter(Evaluator& evaluator, const Value& input, const Args& args) {
  DW_ASSIGN(const auto bound,
            bind_args(args, {"reverse", "case_sensitive", "attribute"}, 0, "sort"));
  DW_ASSIGN(std::vector<Value> items, evaluator.items_of(input));
  DW_ASSIGN(auto keys, sort_keys(evaluator, items, bound[2].value_or(Value::none()),
                                 bound[1] && is_true(*bound[1])));
  DW_TRY(stable_sort_by_keys(items, keys, bound[0] && is_true(*bound[0]), evaluator.budget()));
  return Value::list(std::move(items));
}

Result<Value> dictsort_filter(Evaluator& evaluator, const Value& input, const Args& args) {
  DW_ASSIGN(const auto bound, bind_args(args, {"case_sensitive", "by", "reverse"}, 0, "dictsort"));
  if (input.is_undefined()) return invalid_argument(std::string(input.undefined_what()));
  if (!input.is_dict())
    return invalid_argument(concat("'", type_name(input), "' object has no attribute 'items'"));
  std::size_t position = 0;
  if (bound[1]) {
    DW_ASSIGN(const Text by, text_argument(*bound[1], "dictsort"));
    if (by.view() != "key" && by.view() != "value")
      return invalid_argument("you can only sort by either \"key\" or \"value\"");
    position = by.view() == "value" ? 1 : 0;
  }
  const bool is_case_sensitive = bound[0] && is_true(*bound[0]);
  std::vector<Value> items;
  std::vector<Value> keys;
  for (const auto& [key, value] : input.as_dict().entries()) {
    DW_TRY(evaluator.budget().spend(4));
    items.push_back(Value::tuple({key, value}));
    const Value& sorted_by = position == 0 ? key : value;
    if (sorted_by.is_text()) DW_TRY(evaluator.budget().spend_bytes(sorted_by.as_text().n_bytes()));
    keys.push_back(is_case_sensitive ? sorted_by : ignore_case(sorted_by));
  }
  DW_TRY(stable_sort_by_keys(items, keys, bound[2] && is_true(*bound[2]), evaluator.budget()));
  return Value::list(std::move(items));
}

Result<Value> unique_filter(Evaluator& evaluator, const Value& input, const Args& args) {
  DW_ASSIGN(const auto bound, bind_args(args, {"case_sensitive", "attribute"}, 0, "unique"));
  DW_ASSIGN(const std::vector<Value> items, evaluator.items_of(input));
  Dict seen;
  std::vector<Value> kept;
  for (const Value& item : items) {
    DW_ASSIGN(Value key, attribute_path(evaluator, item, bound[1].value_or(Value::none())));
    if (!bound[0] || !is_true(*bound[0])) key = ignore_case(key);
    if (key.is_undefined()) key = Value::tuple({});  // all missing attributes are one value
    DW_ASSIGN(const Value* known, seen.find(key, evaluator.budget()));
    if (known != nullptr) continue;
    DW_TRY(seen.set(key, Value::none(), evaluator.budget()));
    kept.push_back(item);
  }
  return iterator(std::move(kept), "generator");
}

Result<Value> extreme(Evaluator& evaluator, const Value& input, const Args& args, bool is_max) {
  DW_ASSIGN(const auto bound,
            bind_args(args, {"case_sensitive", "attribute"}, 0, is_max ? "max" : "min"));
  DW_ASSIGN(const std::vector<Value> items, evaluator.items_of(input));
  if (items.empty()) return Value::undefined("no aggregated item, sequence was empty");
  std::size_t best = 0;
  std::vector<Value> keys;
  for (const Value& item : items) {
    DW_ASSIGN(const Value key, attribute_path(evaluator, item, bound[1].value_or(Value::none())));
    keys.push_back(bound[0] && is_true(*bound[0]) ? key : ignore_case(key));
    if (keys.size() == 1) continue;
    DW_ASSIGN(const int order, compare(keys.back(), keys[best], evaluator.budget()));
    if (is_max ? order > 0 : order < 0) best = keys.size() - 1;
  }
  return items[best];
}

Result<Value> min_filter(Evaluator& evaluator, const Value& input, const Args& args) {
  return extreme(evaluator, input, args, false);
}
Result<Value> max_filter(Evaluator& evaluator, const Value& input, const Args& args) {
  return extreme(evaluator, input, args, true);
}

Result<Value> sum_filter(Evaluator& evaluator, const Value& input, const Args& args) {
  DW_ASSIGN(const auto bound, bind_args(args, {"attribute", "start"}, 0, "sum"));
  DW_ASSIGN(const std::vector<Value> items, evaluator.items_of(input));
  Value sum = bound[1].value_or(Value::integer(0));
  if (sum.is_text()) return invalid_argument("sum() can't sum strings");
  for (const Value& item : items) {
    DW_ASSIGN(const Value part, attribute_path(evaluator, item, bound[0].value_or(Value::none())));
    DW_ASSIGN(sum, arithmetic(Op::kAdd, sum, part, evaluator.budget()));
  }
  return sum;
}

Result<Value> items_filter(Evaluator& evaluator, const Value& input, const Args&) {
  std::vector<Value> pairs;
  if (input.is_undefined()) return iterator(std::move(pairs), "generator");
  if (!input.is_dict()) return invalid_argument("can only get item pairs from a mapping");
  DW_TRY(evaluator.budget().spend_items(2 * input.as_dict().entries().size()));
  for (const auto& [key, value] : input.as_dict().entries())
    pairs.push_back(Value::tuple({key, value}));
  return iterator(std::move(pairs), "generator");
}

Result<Value> batch_filter(Evaluator& evaluator, const Value& input, const Args& args) {
  DW_ASSIGN(const auto bound, bind_args(args, {"linecount", "fill_with"}, 1, "batch"));
  DW_ASSIGN(const std::int64_t width, int_argument(*bound[0], "batch"));
  DW_ASSIGN(const std::vector<Value> items, evaluator.items_of(input));
  const auto n_columns =
      width < 1 ? std::numeric_limits<std::size_t>::max() : static_cast<std::size_t>(width);
  std::vector<Value> rows;
  std::vector<Value> row;
  for (const Value& item : items) {
    if (row.size() == n_columns) rows.push_back(Value::list(std::exchange(row, {})));
    row.push_back(item);
  }
  if (!row.empty()) {
    const bool use_fill = bound[1] && !bound[1]->is_none() && width > 0;
    if (use_fill) {
      DW_TRY(evaluator.budget().spend_items(n_columns - row.size()));
      row.resize(n_columns, *bound[1]);
    }
    rows.push_back(Value::list(std::move(row)));
  }
  return iterator(std::move(rows), "generator");
}

Result<Value> groupby_filter(Evaluator& evaluator, const Value& input, const Args& args) {
  DW_ASSIGN(const auto bound,
            bind_args(args, {"attribute", "default", "case_sensitive"}, 1, "groupby"));
  const bool is_case_sensitive = bound[2] && is_true(*bound[2]);
  DW_ASSIGN(std::vector<Value> items, evaluator.items_of(input));
  const auto attribute_of = [&](const Value& item) -> Result<Value> {
    return attribute_path(evaluator, item, *bound[0], bound[1].value_or(Value::none()));
  };
  std::vector<Value> keys;
  for (const Value& item : items) {
    DW_ASSIGN(const Value key, attribute_of(item));
    keys.push_back(is_case_sensitive ? key : ignore_case(key));
  }
  DW_TRY(stable_sort_by_keys(items, keys, false, evaluator.budget()));
  std::vector<Value> groups;
  for (std::size_t begin = 0; begin < items.size();) {
    std::size_t end = begin + 1;
    for (; end < items.size(); ++end) {
      DW_ASSIGN(const bool is_equal, equals(keys[begin], keys[end], evaluator.budget()));
      if (!is_equal) break;
    }
    DW_ASSIGN(const Value grouper, attribute_of(items[begin]));
    Sequence group;
    group.kind = SequenceKind::kTuple;
    group.label = "group";
    const auto at = [&](std::size_t i) { return items.begin() + static_cast<std::ptrdiff_t>(i); };
    group.items = {grouper, Value::list(std::vector<Value>(at(begin), at(end)))};
    groups.push_back(Value::sequence(std::move(group)));
    begin = end;
  }
  return Value::list(std::move(groups));
}

constexpr Filter kListFilters[] = {
    {"length", length_filter},   {"count", length_filter},      {"join", join_filter},
    {"first", first_filter},     {"last", last_filter},         {"list", list_filter},
    {"default", default_filter}, {"d", default_filter},         {"reverse", reverse_filter},
    {"sort", sort_filter},       {"dictsort", dictsort_filter}, {"unique", unique_filter},
    {"min", min_filter},         {"max", max_filter},           {"sum", sum_filter},
    {"items", items_filter},     {"batch", batch_filter},       {"groupby", groupby_filter},
};

}  // namespace

std::span<const Filter> list_filters() { return kListFilters; }

}  // namespace deepwell::service::jinja
