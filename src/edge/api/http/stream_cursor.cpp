// Reading and writing cursors.
#include "edge/api/http/stream_cursor.hpp"

#include <charconv>

#include "base/concat.hpp"

namespace deepwell::edge {

namespace {

Error malformed(std::string_view text, std::string_view why) {
  constexpr std::size_t kMaxShown = 64;
  return {.code = Code::kInvalidArgument,
          .message = concat("'", text.substr(0, kMaxShown), "' is not a cursor of this stream: ",
                            why, "; send the id of the last event that you have, or none"),
          .field = "starting_after"};
}

Result<service::ChoiceCursor> parse_part(std::string_view part, std::string_view whole) {
  service::ChoiceCursor cursor;
  if (part == "-") return cursor;
  cursor.has_begun = true;
  if (part.ends_with('!')) {
    cursor.has_finished = true;
    part.remove_suffix(1);
  }
  const char* end = part.data() + part.size();
  const auto parsed = std::from_chars(part.data(), end, cursor.n_tok);
  if (part.empty() || parsed.ec != std::errc() || parsed.ptr != end) {
    return malformed(whole, "expected '-' or a count of tokens for each choice");
  }
  return cursor;
}

}  // namespace

std::string format_cursor(const service::Cursor& cursor) {
  std::string text;
  for (const service::ChoiceCursor& choice : cursor.choices) {
    if (!text.empty()) text += '.';
    if (!choice.has_begun) {
      text += '-';
      continue;
    }
    text += std::to_string(choice.n_tok);
    if (choice.has_finished) text += '!';
  }
  if (cursor.has_usage) text += 'u';
  return text;
}

Result<service::Cursor> parse_cursor(std::string_view text, std::uint32_t n_choices) {
  service::Cursor cursor;
  cursor.choices.resize(n_choices);
  if (text.empty()) return cursor;
  std::string_view rest = text;
  if (rest.ends_with('u')) {
    cursor.has_usage = true;
    rest.remove_suffix(1);
  }
  for (std::uint32_t i = 0; i < n_choices; ++i) {
    const auto dot = rest.find('.');
    if ((dot == std::string_view::npos) != (i + 1 == n_choices)) {
      return malformed(text, concat("the answer has ", n_choices, " choices"));
    }
    DW_ASSIGN(cursor.choices[i], parse_part(rest.substr(0, dot), text));
    if (cursor.has_usage && !cursor.choices[i].has_finished) {
      return malformed(text, "usage comes after the end of every choice");
    }
    rest.remove_prefix(dot == std::string_view::npos ? rest.size() : dot + 1);
  }
  return cursor;
}

}  // namespace deepwell::edge
