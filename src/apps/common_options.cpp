// Common options: home, configuration file, network, log level.
#include "apps/common_options.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>

#include "base/concat.hpp"
#include "base/file.hpp"

extern char** environ;  // POSIX; unistd.h declares it only for GNU

namespace deepwell::apps {

namespace {

/// Variables that are no options: those read where no option table is at hand, and those of our own
/// tests, which start the program in their environment.
constexpr std::array<std::string_view, 8> kOtherVariables = {
    "lang", "force-isa", "bin", "synthetic-bin", "test-models", "url", "keyed-url", "streams"};

std::vector<NamedValue> environment() {
  std::vector<NamedValue> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::size_t equals = text.find('=');
    if (equals == std::string_view::npos) continue;
    const std::string name(text.substr(0, equals));
    variables.push_back({name, std::string(text.substr(equals + 1)), name});
  }
  return variables;
}

/// The option names of all commands: a variable or key may be meant for another one.
std::vector<std::string> names_of_all_commands() {
  std::vector<std::string> names;
  for (const CommandEntry* entry : commands()) {
    const std::unique_ptr<Command> command = entry->create();
    OptionTable table;
    command->declare(table);
    const std::vector<std::string> more = table.option_names();
    names.insert(names.end(), more.begin(), more.end());
  }
  return names;
}

Result<LogLevel> parse_log_level(std::string_view name) {
  if (name == "debug") return LogLevel::kDebug;
  if (name == "info") return LogLevel::kInfo;
  if (name == "warn") return LogLevel::kWarn;
  if (name == "error") return LogLevel::kError;
  return invalid_argument(
      concat("--log-level: '", name, "' is not one of debug, info, warn, error"));
}

}  // namespace

std::string default_home(const GetEnv& get_env, bool is_root) {
  const std::optional<std::string> data_home = get_env("XDG_DATA_HOME");
  if (data_home) return join_path(*data_home, "deepwell");
  if (is_root) return "/var/lib/deepwell";
  return join_path(get_env("HOME").value_or("."), ".local/share/deepwell");
}

void CommonOptions::declare(OptionTable& table) {
  home_ = default_home(process_env, ::geteuid() == 0);
  table.add_text("--home", &home_, "DIR", {"where models and state live", "模型与状态的目录"});
  table.add_text("--config", &config_, "FILE",
                 {"configuration file; else deepwell.toml in the home directory, if it is there",
                  "配置文件；不指定时读取上述目录中的 deepwell.toml（如果存在）"});
  table.add_flag("--offline", &is_offline_, {"never use the network", "绝不访问网络"});
  table.add_text("--log-level", &log_level_, "LEVEL",
                 {"debug, info, warn or error", "日志级别：debug、info、warn 或 error"});
}

Result<Setup> CommonOptions::finish(OptionTable& table, Language language) {
  std::vector<std::string> known = names_of_all_commands();
  std::vector<std::string> known_variables = known;
  known_variables.insert(known_variables.end(), kOtherVariables.begin(), kOtherVariables.end());
  DW_TRY(table.read_environment(environment(), known_variables));

  const std::string home = table.noted("home").value_or(home_);
  std::string config = table.noted("config").value_or("");
  const std::string usual = join_path(home, "deepwell.toml");
  if (config.empty() && is_file(usual)) config = usual;
  if (!config.empty()) {
    DW_ASSIGN(const std::vector<NamedValue> keys, read_config_file(config));
    for (const NamedValue& key : keys) {
      const bool is_too_late = key.name == "home" || key.name == "config";
      if (is_too_late) {
        return invalid_argument(
            concat(key.origin, ": the file is found by it, so it cannot stand in the file"));
      }
    }
    DW_TRY(table.read_config(keys, known));
  }
  DW_TRY(table.apply());

  DW_ASSIGN(const LogLevel level, parse_log_level(log_level_));
  Setup setup;
  setup.log = make_log(level);
  setup.context = {language, home_, is_offline_, setup.log.get()};
  return setup;
}

}  // namespace deepwell::apps
