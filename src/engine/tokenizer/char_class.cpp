// Looks a code point up in the generated runs: directly below 128, by binary search above.
#include "engine/tokenizer/char_class.hpp"

#include <algorithm>
#include <array>
#include <iterator>

#include "engine/tokenizer/char_class_table.hpp"

namespace deepwell::engine {
namespace {

constexpr char32_t kNAscii = 128;
constexpr char32_t kNCodePoints = 0x110000;

constexpr CharClasses search_runs(char32_t code_point) {
  const std::uint32_t key = static_cast<std::uint32_t>(code_point) << 8 | 0xFF;
  const auto* next = std::upper_bound(std::begin(kCharClassRuns), std::end(kCharClassRuns), key);
  return static_cast<CharClasses>(*std::prev(next) & 0xFF);
}

constexpr auto kAsciiClasses = [] {
  std::array<CharClasses, kNAscii> classes{};
  for (char32_t c = 0; c < kNAscii; ++c) classes[c] = search_runs(c);
  return classes;
}();

}  // namespace

CharClasses char_classes(char32_t code_point) noexcept {
  if (code_point < kNAscii) return kAsciiClasses[code_point];
  if (code_point >= kNCodePoints) return kOther;
  return search_runs(code_point);
}

}  // namespace deepwell::engine
