// deepwell.toml as keys and values, by toml++.
#include <toml++/toml.h>

#include <algorithm>

#include "apps/common_options.hpp"
#include "base/concat.hpp"
#include "base/file.hpp"

namespace deepwell::apps {
namespace {

/// A scalar in the spelling that a flag would have.
std::optional<std::string> text_of(const toml::node& node) {
  if (const auto text = node.as_string()) return text->get();
  if (const auto number = node.as_integer()) return concat(number->get());
  if (const auto number = node.as_floating_point()) return concat(number->get());
  if (const auto truth = node.as_boolean()) return truth->get() ? "true" : "false";
  return std::nullopt;
}

}  // namespace

Result<std::vector<NamedValue>> read_config_file(const std::string& path) {
  constexpr std::size_t kMaxBytes = 1 << 20;
  DW_ASSIGN(const std::string source, read_file(path, kMaxBytes));
  toml::table root;
  try {
    root = toml::parse(source, path);
  } catch (const toml::parse_error& failure) {
    return invalid_argument(concat(path, ", line ", failure.source().begin.line, ": ",
                                   std::string_view(failure.description())));
  }
  std::vector<NamedValue> values;
  for (const auto& [key, node] : root) {
    const std::string name(key.str());
    const std::string origin = concat(path, ": ", name);
    const toml::array* array = node.as_array();
    if (array == nullptr) {
      const std::optional<std::string> text = text_of(node);
      if (!text) {
        return invalid_argument(
            concat(origin, ": expected a string, number, true, false or a list of them"));
      }
      values.push_back({name, *text, origin});
      continue;
    }
    for (const toml::node& element : *array) {
      const std::optional<std::string> text = text_of(element);
      if (!text) return invalid_argument(concat(origin, ": a list holds only plain values"));
      values.push_back({name, *text, origin});
    }
  }
  return values;
}

}  // namespace deepwell::apps
