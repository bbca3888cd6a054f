// The options that every command has, and how they become a command's Context.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "apps/command.hpp"

namespace deepwell::apps {

/// The context and what it points at.
struct Setup {
  std::unique_ptr<Log> log;
  Context context;
};

class CommonOptions {
 public:
  void declare(OptionTable& table);

  /// Reads the environment and the configuration file into `table`, which has read its arguments,
  /// and applies it. The file is the one named by --config, else deepwell.toml in the home
  /// directory if it is there.
  Result<Setup> finish(OptionTable& table, Language language);

 private:
  std::string home_;
  std::string config_;
  std::string log_level_ = "info";
  bool is_offline_ = false;
};

/// DEEPWELL_HOME's default: /var/lib/deepwell for root, else $XDG_DATA_HOME/deepwell or
/// ~/.local/share/deepwell.
std::string default_home(const GetEnv& get_env, bool is_root);

/// Lines to stderr, over spdlog, or plain where only the standard library is at hand. Thread-safe.
std::unique_ptr<Log> make_log(LogLevel level);

/// deepwell.toml as keys and values. Engine-only builds have no TOML reader and refuse
/// (kUnimplemented).
Result<std::vector<NamedValue>> read_config_file(const std::string& path);

}  // namespace deepwell::apps
