// Methods of strings, dicts and lists: the part of Python's that does not change the object.
#include <algorithm>
#include <array>

#include "base/concat.hpp"
#include "service/chat/jinja/library.hpp"
#include "service/chat/jinja/utf8.hpp"

namespace deepwell::service::jinja {

namespace {

Value text_value(Text text) { return Value::text(std::move(text)); }

template <bool kLeft, bool kRight>
Result<Value> strip_method(Evaluator& evaluator, const Value& self, const Args& args) {
  DW_ASSIGN(const auto bound, bind_args(args, {"chars"}, 0, "strip"));
  DW_ASSIGN(Text text, strip(self.as_text(), bound[0], kLeft, kRight, evaluator.budget()));
  return text_value(std::move(text));
}

/// Words between white space, as split() without a separator.
std::vector<Value> split_words(const Text& text, std::int64_t max_splits) {
  std::vector<Value> words;
  const std::string_view view = text.view();
  std::size_t pos = trimmed(view, true, false).begin;
  while (pos < view.size()) {
    if (max_splits >= 0 && static_cast<std::int64_t>(words.size()) >= max_splits) {
      words.push_back(text_value(text.slice(pos, view.size())));
      break;
    }
    std::size_t end = pos;
    while (end < view.size() && !is_space(code_point_at(view, end).value))
      end += code_point_at(view, end).n_bytes;
    words.push_back(text_value(text.slice(pos, end)));
    pos = end + trimmed(view.substr(end), true, false).begin;
  }
  return words;
}

std::vector<Value> split_words_from_right(const Text& text, std::int64_t max_splits) {
  std::vector<Value> words;
  const std::string_view view = text.view();
  std::size_t end = trimmed(view, false, true).end;
  while (end > 0) {
    if (max_splits >= 0 && static_cast<std::int64_t>(words.size()) >= max_splits) {
      words.push_back(text_value(text.slice(0, end)));
      break;
    }
    // The word's start: the last position after which no white space follows before `end`.
    std::size_t begin = 0;
    for (std::size_t pos = 0; pos < end;) {
      const CodePoint c = code_point_at(view, pos);
      pos += c.n_bytes;
      if (is_space(c.value)) begin = pos;
    }
    words.push_back(text_value(text.slice(begin, end)));
    end = trimmed(view.substr(0, begin), false, true).end;
  }
  std::reverse(words.begin(), words.end());
  return words;
}

std::vector<Value> split_by(const Text& text, std::string_view separator, std::int64_t max_splits) {
  std::vector<Value> parts;
  std::size_t from = 0;
  while (max_splits < 0 || static_cast<std::int64_t>(parts.size()) < max_splits) {
    const std::size_t at = text.view().find(separator, from);
    if (at == std::string_view::npos) break;
    parts.push_back(text_value(text.slice(from, at)));
    from = at + separator.size();
  }
  parts.push_back(text_value(text.slice(from, text.n_bytes())));
  return parts;
}

std::vector<Value> split_by_from_right(const Text& text, std::string_view separator,
                                       std::int64_t max_splits) {
  std::vector<Value> parts;
  std::size_t to = text.n_bytes();
  while (max_splits < 0 || static_cast<std::int64_t>(parts.size()) < max_splits) {
    if (to < separator.size()) break;
    const std::size_t at = text.view().substr(0, to).rfind(separator);
    if (at == std::string_view::npos) break;
    parts.push_back(text_value(text.slice(at + separator.size(), to)));
    to = at;
  }
  parts.push_back(text_value(text.slice(0, to)));
  std::reverse(parts.begin(), parts.end());
  return parts;
}

template <bool kFromRight>
Result<Value> split_method(Evaluator& evaluator, const Value& self, const Args& args) {
  DW_ASSIGN(const auto bound, bind_args(args, {"sep", "maxsplit"}, 0, "split"));
  std::int64_t max_splits = -1;
  if (bound[1]) {
    DW_ASSIGN(max_splits, int_argument(*bound[1], "split"));
  }
  const Text& text = self.as_text();
  if (!bound[0] || bound[0]->is_none()) {
    DW_TRY(evaluator.budget().spend_items(text.n_bytes()));
    if constexpr (kFromRight) {
      if (max_splits >= 0) {  // each word from the right walks the text once
        DW_TRY(
            evaluator.budget().spend(static_cast<std::uint64_t>(std::min<std::int64_t>(
                                         max_splits, static_cast<std::int64_t>(text.n_bytes()))) *
                                     text.n_bytes()));
        return Value::list(split_words_from_right(text, max_splits));
      }
    }
    return Value::list(split_words(text, max_splits));
  }
  DW_ASSIGN(const Text separator, text_argument(*bound[0], "split"));
  if (separator.empty()) return invalid_argument("empty separator");
  DW_TRY(evaluator.budget().spend_search(text.n_bytes(), separator.n_bytes()));
  auto parts = kFromRight ? split_by_from_right(text, separator.view(), max_splits)
                          : split_by(text, separator.view(), max_splits);
  DW_TRY(evaluator.budget().spend_items(parts.size()));
  return Value::list(std::move(parts));
}

template <bool kAtEnd>
Result<Value> affix_method(Evaluator& evaluator, const Value& self, const Args& args) {
  DW_ASSIGN(const auto bound,
            bind_args(args, {kAtEnd ? "suffix" : "prefix"}, 1, kAtEnd ? "endswith" : "startswith"));
  const std::string_view text = self.as_text().view();
  std::vector<Value> affixes = {*bound[0]};
  if (bound[0]->is_sequence() && bound[0]->as_sequence().kind == SequenceKind::kTuple)
    affixes = bound[0]->as_sequence().items;
  for (const Value& value : affixes) {
    DW_ASSIGN(const Text affix, text_argument(value, kAtEnd ? "endswith" : "startswith"));
    DW_TRY(evaluator.budget().spend_bytes(affix.n_bytes()));
    if (kAtEnd ? text.ends_with(affix.view()) : text.starts_with(affix.view()))
      return Value::boolean(true);
  }
  return Value::boolean(false);
}

Result<Value> replace_method(Evaluator& evaluator, const Value& self, const Args& args) {
  DW_ASSIGN(const auto bound, bind_args(args, {"old", "new", "count"}, 2, "replace"));
  DW_ASSIGN(const Text old_part, text_argument(*bound[0], "replace"));
  DW_ASSIGN(const Text new_part, text_argument(*bound[1], "replace"));
  std::int64_t max_count = -1;
  if (bound[2]) {
    DW_ASSIGN(max_count, int_argument(*bound[2], "replace"));
  }
  DW_ASSIGN(Text text, replace(self.as_text(), old_part, new_part, max_count, evaluator.budget()));
  return text_value(std::move(text));
}

template <class Map>
Result<Value> mapped(Evaluator& evaluator, const Value& self, const Args& args, Map map) {
  DW_ASSIGN(const auto bound, bind_args(args, {}, 0, "the method"));
  DW_TRY(evaluator.budget().spend_bytes(self.as_text().n_bytes()));
  return text_value(map(self.as_text()));
}

Result<Value> upper_method(Evaluator& evaluator, const Value& self, const Args& args) {
  return mapped(evaluator, self, args,
                [](const Text& text) { return text.mapped(to_upper_ascii); });
}

Result<Value> lower_method(Evaluator& evaluator, const Value& self, const Args& args) {
  return mapped(evaluator, self, args,
                [](const Text& text) { return text.mapped(to_lower_ascii); });
}

Result<Value> capitalize_method(Evaluator& evaluator, const Value& self, const Args& args) {
  return mapped(evaluator, self, args, capitalize);
}

/// str.title(): a letter after no letter is upper case.
Result<Value> title_method(Evaluator& evaluator, const Value& self, const Args& args) {
  return mapped(evaluator, self, args, [](const Text& text) {
    bool is_inside_word = false;
    return text.mapped([&](char c) {
      const bool is_letter = static_cast<unsigned char>(c) >= 0x80 ||
                             is_lower_ascii(static_cast<unsigned char>(to_lower_ascii(c)));
      return std::exchange(is_inside_word, is_letter) ? to_lower_ascii(c) : to_upper_ascii(c);
    });
  });
}

Result<Value> join_method(Evaluator& evaluator, const Value& self, const Args& args) {
  DW_ASSIGN(const auto bound, bind_args(args, {"iterable"}, 1, "join"));
  DW_ASSIGN(const std::vector<Value> items, evaluator.items_of(*bound[0]));
  Text out;
  for (std::size_t i = 0; i < items.size(); ++i) {
    DW_ASSIGN(const Text item, text_argument(items[i], "join"));
    DW_TRY(evaluator.budget().spend_bytes(item.n_bytes() + self.as_text().n_bytes()));
    if (i > 0) out.append(self.as_text());
    out.append(item);
  }
  DW_TRY(evaluator.budget().spend_bytes(out.n_bytes()));
  return text_value(std::move(out));
}

/// The character index of the first (or last) occurrence, or -1.
template <bool kLast>
Result<Value> find_method(Evaluator& evaluator, const Value& self, const Args& args) {
  DW_ASSIGN(const auto bound, bind_args(args, {"sub"}, 1, "find"));
  DW_ASSIGN(const Text part, text_argument(*bound[0], "find"));
  const std::string_view text = self.as_text().view();
  DW_TRY(evaluator.budget().spend_search(text.size(), part.n_bytes()));
  const std::size_t at = kLast ? text.rfind(part.view()) : text.find(part.view());
  if (at == std::string_view::npos) return Value::integer(-1);
  return Value::integer(static_cast<std::int64_t>(n_code_points(text.substr(0, at))));
}

Result<Value> index_method(Evaluator& evaluator, const Value& self, const Args& args) {
  DW_ASSIGN(const Value at, find_method<false>(evaluator, self, args));
  if (at.as_int() < 0) return invalid_argument("substring not found");
  return at;
}

Result<Value> count_method(Evaluator& evaluator, const Value& self, const Args& args) {
  DW_ASSIGN(const auto bound, bind_args(args, {"sub"}, 1, "count"));
  DW_ASSIGN(const Text part, text_argument(*bound[0], "count"));
  const std::string_view text = self.as_text().view();
  DW_TRY(evaluator.budget().spend_search(text.size(), part.n_bytes()));
  if (part.empty()) return Value::integer(static_cast<std::int64_t>(n_code_points(text)) + 1);
  std::int64_t n = 0;
  for (std::size_t at = text.find(part.view()); at != std::string_view::npos;
       at = text.find(part.view(), at + part.n_bytes()))
    ++n;
  return Value::integer(n);
}

Result<Value> splitlines_method(Evaluator& evaluator, const Value& self, const Args& args) {
  DW_ASSIGN(const auto bound, bind_args(args, {"keepends"}, 0, "splitlines"));
  DW_TRY(evaluator.budget().spend_items(self.as_text().n_bytes()));
  std::vector<Value> lines;
  for (Text& line : split_lines(self.as_text(), bound[0] && is_true(*bound[0])))
    lines.push_back(text_value(std::move(line)));
  return Value::list(std::move(lines));
}

Result<Value> format_method(Evaluator& evaluator, const Value& self, const Args& args) {
  DW_ASSIGN(Text text, brace_format(self.as_text(), args, evaluator));
  return text_value(std::move(text));
}

template <bool (*kAccepts)(char32_t)>
Result<Value> all_characters(Evaluator& evaluator, const Value& self, const Args&) {
  const std::string_view text = self.as_text().view();
  DW_TRY(evaluator.budget().spend_bytes(text.size()));
  for (std::size_t pos = 0; pos < text.size();) {
    const CodePoint c = code_point_at(text, pos);
    if (!kAccepts(c.value)) return Value::boolean(false);
    pos += c.n_bytes;
  }
  return Value::boolean(!text.empty());
}

bool is_digit(char32_t c) { return c >= U'0' && c <= U'9'; }
// Letters outside ASCII count as letters; no template asks more of them.
bool is_alpha(char32_t c) {
  return is_upper_ascii(c) || is_lower_ascii(c) || (c >= 0xAA && !is_space(c));
}
bool is_alnum(char32_t c) { return is_alpha(c) || is_digit(c); }

template <bool kUpper>
Result<Value> is_case_method(Evaluator& evaluator, const Value& self, const Args&) {
  const std::string_view text = self.as_text().view();
  DW_TRY(evaluator.budget().spend_bytes(text.size()));
  bool has_letter = false;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (kUpper ? is_lower_ascii(byte) : is_upper_ascii(byte)) return Value::boolean(false);
    has_letter = has_letter || (kUpper ? is_upper_ascii(byte) : is_lower_ascii(byte));
  }
  return Value::boolean(has_letter);
}

template <bool kPrefix>
Result<Value> remove_affix_method(Evaluator& evaluator, const Value& self, const Args& args) {
  DW_ASSIGN(const auto bound, bind_args(args, {"affix"}, 1, "removeprefix"));
  DW_ASSIGN(const Text affix, text_argument(*bound[0], "removeprefix"));
  const Text& text = self.as_text();
  DW_TRY(evaluator.budget().spend_bytes(text.n_bytes()));
  if (kPrefix ? !text.view().starts_with(affix.view()) : !text.view().ends_with(affix.view()))
    return self;
  return text_value(kPrefix ? text.slice(affix.n_bytes(), text.n_bytes())
                            : text.slice(0, text.n_bytes() - affix.n_bytes()));
}

template <bool kFromRight>
Result<Value> partition_method(Evaluator& evaluator, const Value& self, const Args& args) {
  DW_ASSIGN(const auto bound, bind_args(args, {"sep"}, 1, "partition"));
  DW_ASSIGN(const Text separator, text_argument(*bound[0], "partition"));
  if (separator.empty()) return invalid_argument("empty separator");
  const Text& text = self.as_text();
  DW_TRY(evaluator.budget().spend_search(text.n_bytes(), separator.n_bytes()));
  const std::size_t at =
      kFromRight ? text.view().rfind(separator.view()) : text.view().find(separator.view());
  const Value empty = text_value(Text());
  if (at == std::string_view::npos)
    return kFromRight ? Value::tuple({empty, empty, self}) : Value::tuple({self, empty, empty});
  const std::size_t after = at + separator.n_bytes();
  return Value::tuple({text_value(text.slice(0, at)), text_value(text.slice(at, after)),
                       text_value(text.slice(after, text.n_bytes()))});
}

enum class Part { kKeys, kValues, kItems };

template <Part kPart>
Result<Value> view_method(Evaluator& evaluator, const Value& self, const Args& args) {
  DW_ASSIGN(const auto bound, bind_args(args, {}, 0, "a dict's view"));
  DW_TRY(evaluator.budget().spend_items(self.as_dict().entries().size()));
  Sequence view;
  view.kind = SequenceKind::kView;
  view.label =
      kPart == Part::kKeys ? "dict_keys" : (kPart == Part::kValues ? "dict_values" : "dict_items");
  for (const auto& [key, value] : self.as_dict().entries()) {
    view.items.push_back(
        kPart == Part::kKeys ? key : (kPart == Part::kValues ? value : Value::tuple({key, value})));
  }
  return Value::sequence(std::move(view));
}

Result<Value> get_method(Evaluator& evaluator, const Value& self, const Args& args) {
  if (!args.named.empty()) return invalid_argument("dict.get() takes no keyword arguments");
  DW_ASSIGN(const auto bound, bind_args(args, {"key", "default"}, 1, "get"));
  DW_ASSIGN(const Value* found, self.as_dict().find(*bound[0], evaluator.budget()));
  if (found != nullptr) return *found;
  return bound[1].value_or(Value::none());
}

Result<Value> copy_method(Evaluator&, const Value& self, const Args&) { return self; }

Result<Value> list_index_method(Evaluator& evaluator, const Value& self, const Args& args) {
  DW_ASSIGN(const auto bound, bind_args(args, {"value"}, 1, "index"));
  const auto& items = self.as_sequence().items;
  for (std::size_t i = 0; i < items.size(); ++i) {
    DW_ASSIGN(const bool is_equal, equals(items[i], *bound[0], evaluator.budget()));
    if (is_equal) return Value::integer(static_cast<std::int64_t>(i));
  }
  return invalid_argument("the value is not in the list");
}

Result<Value> list_count_method(Evaluator& evaluator, const Value& self, const Args& args) {
  DW_ASSIGN(const auto bound, bind_args(args, {"value"}, 1, "count"));
  std::int64_t n = 0;
  for (const Value& item : self.as_sequence().items) {
    DW_ASSIGN(const bool is_equal, equals(item, *bound[0], evaluator.budget()));
    n += is_equal ? 1 : 0;
  }
  return Value::integer(n);
}

constexpr Method kTextMethods[] = {
    {"strip", strip_method<true, true>},
    {"lstrip", strip_method<true, false>},
    {"rstrip", strip_method<false, true>},
    {"split", split_method<false>},
    {"rsplit", split_method<true>},
    {"splitlines", splitlines_method},
    {"partition", partition_method<false>},
    {"rpartition", partition_method<true>},
    {"startswith", affix_method<false>},
    {"endswith", affix_method<true>},
    {"removeprefix", remove_affix_method<true>},
    {"removesuffix", remove_affix_method<false>},
    {"replace", replace_method},
    {"upper", upper_method},
    {"lower", lower_method},
    {"title", title_method},
    {"capitalize", capitalize_method},
    {"join", join_method},
    {"find", find_method<false>},
    {"rfind", find_method<true>},
    {"index", index_method},
    {"count", count_method},
    {"format", format_method},
    {"isdigit", all_characters<is_digit>},
    {"isalpha", all_characters<is_alpha>},
    {"isalnum", all_characters<is_alnum>},
    {"isspace", all_characters<is_space>},
    {"isupper", is_case_method<true>},
    {"islower", is_case_method<false>},
};

constexpr Method kDictMethods[] = {
    {"get", get_method},
    {"items", view_method<Part::kItems>},
    {"keys", view_method<Part::kKeys>},
    {"values", view_method<Part::kValues>},
    {"copy", copy_method},
};

constexpr Method kListMethods[] = {
    {"index", list_index_method},
    {"count", list_count_method},
    {"copy", copy_method},
};

}  // namespace

std::span<const Method> text_methods() { return kTextMethods; }
std::span<const Method> dict_methods() { return kDictMethods; }
std::span<const Method> list_methods() { return kListMethods; }

bool is_unsafe_method(const Value& object, std::string_view name) {
  static constexpr std::array<std::string_view, 5> kOfDict = {"clear", "pop", "popitem",
                                                              "setdefault", "update"};
  static constexpr std::array<std::string_view, 8> kOfList = {
      "append", "clear", "pop", "reverse", "insert", "sort", "extend", "remove"};
  if (object.is_dict()) return std::find(kOfDict.begin(), kOfDict.end(), name) != kOfDict.end();
  const bool is_list = object.is_sequence() && object.as_sequence().kind == SequenceKind::kList;
  return is_list && std::find(kOfList.begin(), kOfList.end(), name) != kOfList.end();
}

}  // namespace deepwell::service::jinja
