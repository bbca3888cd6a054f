// Which language the user reads.
#include "base/text.hpp"

#include <cstdlib>

namespace deepwell {

std::optional<std::string> process_env(std::string_view name) {
  const char* value = std::getenv(std::string(name).c_str());
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

Language language_of(const GetEnv& get_env) {
  for (const std::string_view name : {"DEEPWELL_LANG", "LC_ALL", "LC_MESSAGES", "LANG"}) {
    const std::optional<std::string> value = get_env(name);
    if (!value || value->empty()) continue;
    return value->starts_with("zh") || value->starts_with("ZH") ? Language::kChinese
                                                                : Language::kEnglish;
  }
  return Language::kEnglish;
}

}  // namespace deepwell
