// Text: a sentence for the user in English and Chinese, and which of the two the user reads.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace deepwell {

enum class Language : std::uint8_t { kEnglish, kChinese };

/// Both views point at string literals.
struct Text {
  std::string_view en;
  std::string_view zh;

  std::string_view in(Language language) const { return language == Language::kChinese ? zh : en; }
};

/// Reads a variable of the environment; empty and unset are the same to us. A parameter, so that
/// tests need no setenv.
using GetEnv = std::function<std::optional<std::string>(std::string_view name)>;

/// The process's own environment.
std::optional<std::string> process_env(std::string_view name);

/// DEEPWELL_LANG, else what POSIX looks at for messages: LC_ALL, LC_MESSAGES, LANG. Chinese if it
/// starts with "zh".
Language language_of(const GetEnv& get_env);

}  // namespace deepwell
