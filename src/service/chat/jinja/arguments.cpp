// Binding of call arguments to parameter names, and their conversions.
#include <algorithm>

#include "base/concat.hpp"
#include "service/chat/jinja/library.hpp"

namespace deepwell::service::jinja {

Result<std::vector<std::optional<Value>>> bind_args(const Args& args,
                                                    std::initializer_list<std::string_view> names,
                                                    std::size_t n_required, std::string_view who) {
  if (args.positional.size() > names.size()) {
    return invalid_argument(concat(who, " takes at most ", names.size(), " argument(s), ",
                                   args.positional.size(), " given"));
  }
  std::vector<std::optional<Value>> bound(args.positional.begin(), args.positional.end());
  bound.resize(names.size());
  for (const auto& [name, value] : args.named) {
    const auto it = std::find(names.begin(), names.end(), name);
    if (it == names.end()) return invalid_argument(concat(who, " has no argument '", name, "'"));
    auto& place = bound[static_cast<std::size_t>(it - names.begin())];
    if (place) return invalid_argument(concat(who, " got two values for '", name, "'"));
    place = value;
  }
  for (std::size_t i = 0; i < n_required; ++i) {
    if (!bound[i])
      return invalid_argument(concat(who, " needs the argument '", *(names.begin() + i), "'"));
  }
  return bound;
}

Result<std::int64_t> int_argument(const Value& value, std::string_view who) {
  if (value.is_undefined()) return invalid_argument(std::string(value.undefined_what()));
  if (value.is_integral()) return value.as_int();
  return invalid_argument(concat(who, " needs an integer, not '", type_name(value), "'"));
}

Result<Text> text_argument(const Value& value, std::string_view who) {
  if (value.is_undefined()) return invalid_argument(std::string(value.undefined_what()));
  if (value.is_text()) return value.as_text();
  return invalid_argument(concat(who, " needs a string, not '", type_name(value), "'"));
}

}  // namespace deepwell::service::jinja
