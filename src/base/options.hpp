// OptionTable: one table of options from which flags, DEEPWELL_* variables, deepwell.toml keys and
// the help are read.
//
//   std::int64_t n_ctx_tok = 4096;
//   OptionTable table;
//   table.add_integer("-c,--ctx-size", &n_ctx_tok, 16, 1 << 24, "N", {"context", "上下文"});
//   DW_TRY(table.read_arguments(arguments));    // --ctx-size 8192, --ctx-size=8192, -c 8192
//   DW_TRY(table.read_environment(variables));  // DEEPWELL_CTX_SIZE=8192
//   DW_TRY(table.read_config(keys));            // ctx_size = 8192
//   DW_TRY(table.apply());  // flag > environment > file > other products' variables > default
//
// Why it is not CLI11: docs/adr/0001-own-option-table.md.
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "base/text.hpp"

namespace deepwell {

/// A key or variable with its value; `origin` is how a message names it ("DEEPWELL_PORT",
/// "deepwell.toml: port"). A list in a file is several entries of the same name.
struct NamedValue {
  std::string name;
  std::string value;
  std::string origin;
};

/// Where a value came from, weakest first.
enum class OptionLevel : std::uint8_t { kDefault, kForeign, kFile, kEnvironment, kFlag };

/// Options point at the caller's variables, which must outlive the table; what they hold when they
/// are added is the default that the help shows. Not thread-safe.
class OptionTable {
 public:
  // `names`: comma-separated, "-c,--ctx-size,--max-model-len"; the first long one is the option's
  // name, from which DEEPWELL_CTX_SIZE and ctx_size follow. Wrong or repeated names are a
  // programmer's bug (DW_CHECK).
  void add_text(std::string_view names, std::string* target, std::string_view placeholder,
                Text help);
  template <std::integral T>
  requires(!std::same_as<T, bool>) void add_integer(std::string_view names, T* target,
                                                    std::int64_t min, std::int64_t max,
                                                    std::string_view placeholder, Text help);
  void add_real(std::string_view names, double* target, double min, double max,
                std::string_view placeholder, Text help);
  /// `--name`, `--no-name`, `--name=true|false|1|0|yes|no|on|off`.
  void add_flag(std::string_view names, bool* target, Text help);
  /// May be given several times as a flag, as an array in the file, comma-separated in the
  /// environment. The strongest level replaces the list of the weaker ones whole.
  void add_list(std::string_view names, std::vector<std::string>* target,
                std::string_view placeholder, Text help);

  /// Arguments without a dash, in the order they are added.
  void add_positional(std::string_view placeholder, std::string* target, bool is_required,
                      Text help);
  /// Every further argument without a dash.
  void add_rest(std::string_view placeholder, std::vector<std::string>* target, Text help);

  /// Reads another product's variable as this option when nothing of ours sets it
  /// (OptionLevel::kForeign).
  void add_foreign_variable(std::string_view variable, std::string_view option_name);

  /// Notes the flags. `-h`/`--help` only sets wants_help(). Errors: kInvalidArgument for an unknown
  /// flag, a missing value, too many arguments. A repeated scalar flag: the last one counts.
  Status read_arguments(std::span<const std::string> arguments);

  /// Notes DEEPWELL_* variables and the foreign ones; ignores all others. `also_known` are option
  /// names that other commands understand and variables that are no options ("home"); an unknown
  /// DEEPWELL_ variable is refused.
  Status read_environment(std::span<const NamedValue> variables,
                          std::span<const std::string> also_known = {});

  /// Notes keys of the configuration file, spelled with underscores. Unknown keys are refused.
  Status read_config(std::span<const NamedValue> keys,
                     std::span<const std::string> also_known = {});

  /// Writes every option's strongest value to its target. Errors: kInvalidArgument (names the
  /// origin, the value and what is allowed; the value of a secret is not shown), a missing required
  /// argument.
  Status apply();

  bool wants_help() const { return wants_help_; }
  /// The strongest raw value noted so far; for options that decide where the next level is read
  /// from.
  std::optional<std::string> noted(std::string_view option_name) const;
  OptionLevel level_of(std::string_view option_name) const;
  /// The option names ("ctx-size"), in order.
  std::vector<std::string> option_names() const;

  /// The options and arguments as text, one a line, with defaults; columns aligned for Chinese too.
  std::string help(Language language) const;
  /// The arguments for a usage line: " MODEL [PROMPT...]".
  std::string usage_arguments() const;

 private:
  enum class Kind : std::uint8_t { kScalar, kFlag, kList };
  using Assign = std::function<Status(std::span<const std::string> values)>;
  struct Option {
    std::vector<std::string> names;  // with dashes
    std::string name;                // "ctx-size"
    Kind kind = Kind::kScalar;
    std::string placeholder;
    Text help;
    std::string default_text;
    Assign assign;
    std::array<std::vector<std::string>, 5> values;  // by OptionLevel
    std::array<std::string, 5> origins;

    OptionLevel strongest() const;
  };
  struct Positional {
    std::string placeholder;
    Text help;
    std::string* target = nullptr;
    std::vector<std::string>* rest = nullptr;  // exactly one of target and rest is set
    bool is_required = false;
  };
  struct Foreign {
    std::string variable;
    std::string option_name;
  };

  Option& add(std::string_view names, Kind kind, std::string_view placeholder, Text help,
              std::string default_text, Assign assign);
  void add_integer_option(std::string_view names, std::int64_t min, std::int64_t max,
                          std::string_view placeholder, Text help, std::int64_t default_value,
                          std::function<void(std::int64_t)> set);
  Option* find_flag(std::string_view spelling);
  Option* find_name(std::string_view name);
  const Option* find_name(std::string_view name) const;
  Result<std::size_t> read_flag(std::span<const std::string> arguments, std::size_t index);
  Status read_positional(const std::string& value);
  Error unknown_flag(std::string_view spelling) const;
  static void note(Option& option, OptionLevel level, std::string value, std::string origin);

  std::vector<Option> options_;
  std::vector<Positional> positionals_;
  std::vector<Foreign> foreign_;
  std::size_t n_positionals_read_ = 0;
  bool wants_help_ = false;
};

template <std::integral T>
requires(!std::same_as<T, bool>) void OptionTable::add_integer(std::string_view names, T* target,
                                                               std::int64_t min, std::int64_t max,
                                                               std::string_view placeholder,
                                                               Text help) {
  DW_CHECK(std::in_range<T>(min) && std::in_range<T>(max), "an option's range exceeds its type");
  add_integer_option(names, min, max, placeholder, help, static_cast<std::int64_t>(*target),
                     [target](std::int64_t value) { *target = static_cast<T>(value); });
}

}  // namespace deepwell
