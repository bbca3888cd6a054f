// Reading flags, variables and keys into the table's options.
#include "base/options.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/concat.hpp"
#include "base/suggest.hpp"

namespace deepwell {

namespace {

constexpr std::string_view kEnvPrefix = "DEEPWELL_";

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(separator), text.size());
    if (end > 0) parts.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

std::string with_underscores(std::string name) {
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

std::string variable_of(std::string_view option_name) {
  std::string name = with_underscores(std::string(option_name));
  for (char& c : name) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return concat(kEnvPrefix, name);
}

Result<bool> parse_bool(std::string_view value) {
  for (const std::string_view yes : {"true", "1", "yes", "on"}) {
    if (value == yes) return true;
  }
  for (const std::string_view no : {"false", "0", "no", "off"}) {
    if (value == no) return false;
  }
  return invalid_argument(concat("'", value, "' is not true or false"));
}

Result<std::int64_t> parse_integer(std::string_view value, std::int64_t min, std::int64_t max) {
  std::int64_t number = 0;
  const char* end = value.data() + value.size();
  const auto parsed = std::from_chars(value.data(), end, number);
  const bool is_number =
      parsed.ptr == end && !value.empty() && parsed.ec != std::errc::invalid_argument;
  if (!is_number) return invalid_argument(concat("'", value, "' is not a whole number"));
  if (parsed.ec == std::errc::result_out_of_range || number < min || number > max) {
    return invalid_argument(concat(value, " is not between ", min, " and ", max));
  }
  return number;
}

Result<double> parse_real(std::string_view value, double min, double max) {
  double number = 0;
  const char* end = value.data() + value.size();
  const auto parsed = std::from_chars(value.data(), end, number);
  if (parsed.ec != std::errc() || parsed.ptr != end || !std::isfinite(number)) {
    return invalid_argument(concat("'", value, "' is not a number"));
  }
  if (number < min || number > max) {
    return invalid_argument(concat(value, " is not between ", min, " and ", max));
  }
  return number;
}

}  // namespace

OptionLevel OptionTable::Option::strongest() const {
  for (std::size_t level = values.size(); level-- > 1;) {
    if (!values[level].empty()) return static_cast<OptionLevel>(level);
  }
  return OptionLevel::kDefault;
}

OptionTable::Option& OptionTable::add(std::string_view names, Kind kind,
                                      std::string_view placeholder, Text help,
                                      std::string default_text, Assign assign) {
  Option option;
  option.names = split(names, ',');
  for (const std::string& spelling : option.names) {
    DW_CHECK(spelling.starts_with('-'), "an option's names start with a dash");
    DW_CHECK(find_flag(spelling) == nullptr, "two options share a name");
    if (option.name.empty() && spelling.starts_with("--")) option.name = spelling.substr(2);
  }
  DW_CHECK(!option.name.empty(), "an option needs a long name");
  option.kind = kind;
  option.placeholder = placeholder;
  option.help = help;
  option.default_text = std::move(default_text);
  option.assign = std::move(assign);
  options_.push_back(std::move(option));
  return options_.back();
}

void OptionTable::add_text(std::string_view names, std::string* target,
                           std::string_view placeholder, Text help) {
  add(names, Kind::kScalar, placeholder, help, *target,
      [target](std::span<const std::string> values) -> Status {
        *target = values.back();
        return {};
      });
}

void OptionTable::add_integer_option(std::string_view names, std::int64_t min, std::int64_t max,
                                     std::string_view placeholder, Text help,
                                     std::int64_t default_value,
                                     std::function<void(std::int64_t)> set) {
  add(names, Kind::kScalar, placeholder, help, concat(default_value),
      [min, max, set = std::move(set)](std::span<const std::string> values) -> Status {
        DW_ASSIGN(const std::int64_t number, parse_integer(values.back(), min, max));
        set(number);
        return {};
      });
}

void OptionTable::add_real(std::string_view names, double* target, double min, double max,
                           std::string_view placeholder, Text help) {
  add(names, Kind::kScalar, placeholder, help, concat(*target),
      [min, max, target](std::span<const std::string> values) -> Status {
        DW_ASSIGN(*target, parse_real(values.back(), min, max));
        return {};
      });
}

void OptionTable::add_flag(std::string_view names, bool* target, Text help) {
  add(names, Kind::kFlag, "", help, *target ? "true" : "",
      [target](std::span<const std::string> values) -> Status {
        DW_ASSIGN(*target, parse_bool(values.back()));
        return {};
      });
}

void OptionTable::add_list(std::string_view names, std::vector<std::string>* target,
                           std::string_view placeholder, Text help) {
  add(names, Kind::kList, placeholder, help, "",
      [target](std::span<const std::string> values) -> Status {
        target->assign(values.begin(), values.end());
        return {};
      });
}

void OptionTable::add_positional(std::string_view placeholder, std::string* target,
                                 bool is_required, Text help) {
  positionals_.push_back({std::string(placeholder), help, target, nullptr, is_required});
}

void OptionTable::add_rest(std::string_view placeholder, std::vector<std::string>* target,
                           Text help) {
  positionals_.push_back({std::string(placeholder), help, nullptr, target, false});
}

void OptionTable::add_foreign_variable(std::string_view variable, std::string_view option_name) {
  foreign_.push_back({std::string(variable), std::string(option_name)});
}

OptionTable::Option* OptionTable::find_flag(std::string_view spelling) {
  for (Option& option : options_) {
    for (const std::string& name : option.names) {
      if (name == spelling) return &option;
    }
  }
  return nullptr;
}

const OptionTable::Option* OptionTable::find_name(std::string_view name) const {
  for (const Option& option : options_) {
    if (option.name == name) return &option;
  }
  return nullptr;
}

OptionTable::Option* OptionTable::find_name(std::string_view name) {
  return const_cast<Option*>(std::as_const(*this).find_name(name));
}

void OptionTable::note(Option& option, OptionLevel level, std::string value, std::string origin) {
  const auto index = static_cast<std::size_t>(level);
  option.values[index].push_back(std::move(value));
  option.origins[index] = std::move(origin);
}

Error OptionTable::unknown_flag(std::string_view spelling) const {
  std::vector<std::string> candidates{"--help"};
  for (const Option& option : options_) {
    candidates.insert(candidates.end(), option.names.begin(), option.names.end());
  }
  return invalid_argument(
      concat("unknown option '", spelling, "'", did_you_mean(spelling, candidates)));
}

Result<std::size_t> OptionTable::read_flag(std::span<const std::string> arguments,
                                           std::size_t index) {
  const std::string_view argument = arguments[index];
  const std::size_t equals = argument.find('=');
  const std::string spelling(argument.substr(0, equals));
  const bool has_value = equals != std::string_view::npos;

  Option* option = find_flag(spelling);
  if (option == nullptr && spelling.starts_with("--no-")) {
    option = find_flag(concat("--", spelling.substr(5)));
    if (option != nullptr && option->kind == Kind::kFlag && !has_value) {
      note(*option, OptionLevel::kFlag, "false", spelling);
      return index + 1;
    }
    option = nullptr;
  }
  if (option == nullptr) return unknown_flag(spelling);
  if (has_value) {
    note(*option, OptionLevel::kFlag, std::string(argument.substr(equals + 1)), spelling);
    return index + 1;
  }
  if (option->kind == Kind::kFlag) {
    note(*option, OptionLevel::kFlag, "true", spelling);
    return index + 1;
  }
  const bool is_value_missing =
      index + 1 >= arguments.size() || find_flag(arguments[index + 1]) != nullptr;
  if (is_value_missing) {
    return invalid_argument(
        concat("option ", spelling, " needs a value: ", spelling, " ", option->placeholder));
  }
  note(*option, OptionLevel::kFlag, arguments[index + 1], spelling);
  return index + 2;
}

Status OptionTable::read_positional(const std::string& value) {
  if (n_positionals_read_ >= positionals_.size()) {
    return invalid_argument(concat("unexpected argument '", value, "'"));
  }
  Positional& positional = positionals_[n_positionals_read_];
  if (positional.rest != nullptr) {
    positional.rest->push_back(value);
    return {};
  }
  *positional.target = value;
  ++n_positionals_read_;
  return {};
}

Status OptionTable::read_arguments(std::span<const std::string> arguments) {
  bool is_after_dashes = false;
  std::size_t index = 0;
  while (index < arguments.size()) {
    const std::string& argument = arguments[index];
    const bool is_flag = !is_after_dashes && argument.size() > 1 && argument[0] == '-';
    if (!is_flag) {
      DW_TRY(read_positional(argument));
      ++index;
    } else if (argument == "--") {
      is_after_dashes = true;
      ++index;
    } else if (argument == "-h" || argument == "--help") {
      wants_help_ = true;
      ++index;
    } else {
      DW_ASSIGN(index, read_flag(arguments, index));
    }
  }
  return {};
}

Status OptionTable::read_environment(std::span<const NamedValue> variables,
                                     std::span<const std::string> also_known) {
  std::vector<std::string> known;
  for (const Option& option : options_) known.push_back(variable_of(option.name));
  for (const std::string& name : also_known) known.push_back(variable_of(name));

  for (const NamedValue& variable : variables) {
    for (const Foreign& foreign : foreign_) {
      Option* option = variable.name == foreign.variable ? find_name(foreign.option_name) : nullptr;
      const bool is_set = option != nullptr && !variable.value.empty();
      if (is_set) note(*option, OptionLevel::kForeign, variable.value, variable.name);
    }
    if (!variable.name.starts_with(kEnvPrefix)) continue;
    if (std::find(known.begin(), known.end(), variable.name) == known.end()) {
      return invalid_argument(concat("unknown environment variable ", variable.name,
                                     did_you_mean(variable.name, known)));
    }
    if (variable.value.empty()) continue;
    for (Option& option : options_) {
      if (variable_of(option.name) != variable.name) continue;
      const bool is_list = option.kind == Kind::kList;
      const std::vector<std::string> parts =
          is_list ? split(variable.value, ',') : std::vector<std::string>{variable.value};
      for (const std::string& part : parts) {
        note(option, OptionLevel::kEnvironment, part, variable.name);
      }
    }
  }
  return {};
}

Status OptionTable::read_config(std::span<const NamedValue> keys,
                                std::span<const std::string> also_known) {
  std::vector<std::string> known;
  for (const Option& option : options_) known.push_back(with_underscores(option.name));
  for (const std::string& name : also_known) known.push_back(with_underscores(name));
  for (const NamedValue& key : keys) {
    if (std::find(known.begin(), known.end(), key.name) == known.end()) {
      return invalid_argument(concat("unknown key ", key.origin, did_you_mean(key.name, known)));
    }
    for (Option& option : options_) {
      if (with_underscores(option.name) != key.name) continue;
      note(option, OptionLevel::kFile, key.value, key.origin);
    }
  }
  return {};
}

Status OptionTable::apply() {
  for (const Option& option : options_) {
    const auto level = static_cast<std::size_t>(option.strongest());
    if (level == 0) continue;
    Status assigned = option.assign(option.values[level]);
    if (!assigned) {
      return invalid_argument(concat(option.origins[level], ": ", assigned.error().message));
    }
  }
  for (std::size_t i = n_positionals_read_; i < positionals_.size(); ++i) {
    if (positionals_[i].is_required) {
      return invalid_argument(concat("missing argument ", positionals_[i].placeholder));
    }
  }
  return {};
}

std::optional<std::string> OptionTable::noted(std::string_view option_name) const {
  const Option* option = find_name(option_name);
  if (option == nullptr || option->strongest() == OptionLevel::kDefault) return std::nullopt;
  return option->values[static_cast<std::size_t>(option->strongest())].back();
}

OptionLevel OptionTable::level_of(std::string_view option_name) const {
  const Option* option = find_name(option_name);
  return option == nullptr ? OptionLevel::kDefault : option->strongest();
}

std::vector<std::string> OptionTable::option_names() const {
  std::vector<std::string> names;
  for (const Option& option : options_) names.push_back(option.name);
  return names;
}

}  // namespace deepwell
