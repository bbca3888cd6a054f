// Operations on Text that filters and methods share; each keeps the origin of every byte.
#include <algorithm>

#include "base/concat.hpp"
#include "service/chat/jinja/library.hpp"
#include "service/chat/jinja/utf8.hpp"

namespace deepwell::service::jinja {

Result<Text> strip(const Text& text, const std::optional<Value>& characters, bool left, bool right,
                   Budget& budget) {
  DW_TRY(budget.spend_bytes(text.n_bytes()));
  if (!characters || characters->is_none()) {
    const ByteRange range = trimmed(text.view(), left, right);
    return text.slice(range.begin, range.end);
  }
  DW_ASSIGN(const Text set, text_argument(*characters, "strip"));
  DW_TRY(budget.spend_search(text.n_bytes(), 64 * set.n_bytes()));
  const auto in_set = [&](std::string_view character) {
    for (std::size_t pos = 0; pos < set.n_bytes();) {
      const std::size_t n = code_point_at(set.view(), pos).n_bytes;
      if (set.view().substr(pos, n) == character) return true;
      pos += n;
    }
    return false;
  };
  std::vector<std::size_t> starts;
  for (std::size_t pos = 0; pos < text.n_bytes(); pos += code_point_at(text.view(), pos).n_bytes)
    starts.push_back(pos);
  starts.push_back(text.n_bytes());
  const auto character = [&](std::size_t i) {
    return text.view().substr(starts[i], starts[i + 1] - starts[i]);
  };
  std::size_t first = 0;
  std::size_t last = starts.size() - 1;
  while (left && first < last && in_set(character(first))) ++first;
  while (right && last > first && in_set(character(last - 1))) --last;
  return text.slice(starts[first], starts[last]);
}

Result<Text> replace(const Text& text, const Text& old_part, const Text& new_part,
                     std::int64_t max_count, Budget& budget) {
  DW_TRY(budget.spend_search(text.n_bytes(), old_part.n_bytes()));
  Text out;
  std::size_t from = 0;
  std::int64_t n_done = 0;
  const auto put_new = [&]() -> Status {
    ++n_done;
    DW_TRY(budget.spend_bytes(new_part.n_bytes()));
    if (out.n_bytes() > budget.limits().max_output_bytes) return budget.spend_bytes(out.n_bytes());
    out.append(new_part);
    return {};
  };
  if (old_part.empty()) {  // between all characters, before the first and after the last
    for (std::size_t pos = 0; pos <= text.n_bytes() && (max_count < 0 || n_done < max_count);) {
      DW_TRY(put_new());
      from = pos;
      if (pos == text.n_bytes()) break;
      const std::size_t n = code_point_at(text.view(), pos).n_bytes;
      out.append_slice(text, pos, pos + n);
      pos += n;
      from = pos;
    }
    out.append_slice(text, from, text.n_bytes());
    return out;
  }
  while (max_count < 0 || n_done < max_count) {
    const std::size_t at = text.view().find(old_part.view(), from);
    if (at == std::string_view::npos) break;
    out.append_slice(text, from, at);
    DW_TRY(put_new());
    from = at + old_part.n_bytes();
  }
  out.append_slice(text, from, text.n_bytes());
  DW_TRY(budget.spend_bytes(out.n_bytes()));
  return out;
}

Result<std::vector<Value>> split_characters(const Text& text, Budget& budget) {
  DW_TRY(budget.spend_items(text.n_bytes()));
  std::vector<Value> characters;
  for (std::size_t pos = 0; pos < text.n_bytes();) {
    const std::size_t n = code_point_at(text.view(), pos).n_bytes;
    characters.push_back(Value::text(text.slice(pos, pos + n)));
    pos += n;
  }
  return characters;
}

Text capitalize(const Text& text) {
  bool is_first = true;
  return text.mapped([&](char c) {
    return std::exchange(is_first, false) ? to_upper_ascii(c) : to_lower_ascii(c);
  });
}

std::vector<Text> split_lines(const Text& text, bool keep_ends) {
  std::vector<Text> lines;
  std::size_t begin = 0;
  const std::string_view view = text.view();
  for (std::size_t pos = 0; pos < view.size();) {
    const CodePoint c = code_point_at(view, pos);
    std::size_t end = pos + c.n_bytes;
    if (is_line_end(c.value)) {
      if (c.value == '\r' && end < view.size() && view[end] == '\n') ++end;
      lines.push_back(text.slice(begin, keep_ends ? end : pos));
      begin = end;
    }
    pos = end;
  }
  if (begin < view.size()) lines.push_back(text.slice(begin, view.size()));
  return lines;
}

}  // namespace deepwell::service::jinja
