// partial_match: how much of a text's end may be the beginning of something that is looked for.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace deepwell::service {

/// The length of the longest end of `text` that is a beginning of `wanted`, but not all of it.
inline std::size_t partial_match(std::string_view text, std::string_view wanted) {
  if (wanted.empty()) return 0;
  for (std::size_t n = std::min(text.size(), wanted.size() - 1); n > 0; --n) {
    if (text.substr(text.size() - n) == wanted.substr(0, n)) return n;
  }
  return 0;
}

}  // namespace deepwell::service
