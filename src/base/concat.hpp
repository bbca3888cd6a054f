// concat("a ", 3, " b"): builds messages from strings and numbers with the standard library alone.
#pragma once

#include <charconv>
#include <concepts>
#include <string>
#include <string_view>

namespace deepwell {

namespace detail {

inline void append_part(std::string& out, std::string_view part) { out.append(part); }
inline void append_part(std::string& out, char part) { out.push_back(part); }
// A template, because a plain bool parameter would win over string_view for a string literal.
template <std::same_as<bool> Bool>
void append_part(std::string& out, Bool part) {
  out.append(part ? "true" : "false");
}

template <class Number>
requires(
    (std::integral<Number> ||
     std::floating_point<Number>)&&!std::same_as<Number, bool>) void append_part(std::string& out,
                                                                                 Number part) {
  char digits[64];
  const auto end = std::to_chars(digits, digits + sizeof digits, part).ptr;
  out.append(digits, end);
}

}  // namespace detail

/// Joins strings, characters, booleans and numbers (shortest round-trip form) into one string.
template <class... Parts>
std::string concat(const Parts&... parts) {
  std::string out;
  (detail::append_part(out, parts), ...);
  return out;
}

}  // namespace deepwell
