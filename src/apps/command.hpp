// Command: what a subcommand of `deepwell` is. One file and one line in commands.cpp make a new
// one.
//
//   struct Hello final : Command {
//     std::string name = "world";
//     void declare(OptionTable& table) override {
//       table.add_text("--name", &name, "NAME", {"whom to greet", "向谁问好"});
//     }
//     Status run(const Context&) override { return print_line(concat("hello ", name)); }
//   };
//   const CommandEntry kCommand_hello = make_command<Hello>("hello", {"greet someone", "问好"});
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.hpp"
#include "base/options.hpp"
#include "base/result.hpp"
#include "base/text.hpp"

namespace deepwell::apps {

/// What every command gets; lives as long as the command runs.
struct Context {
  Language language = Language::kEnglish;
  std::string home;                         // where models and state live: DEEPWELL_HOME
  bool is_offline = false;                  // nothing may use the network
  Log* log = nullptr;                       // never null when a command runs
  std::vector<std::string> arguments = {};  // behind the command's name, as they were given
};

/// Made once per run of the program: declare(), then run().
class Command {
 public:
  virtual ~Command() = default;
  /// Binds the command's options to its members. What they hold at that moment are the defaults.
  virtual void declare(OptionTable& table) = 0;
  /// Does the work. An error is printed and becomes the exit code (exit_code.hpp).
  virtual Status run(const Context& context) = 0;
};

struct CommandEntry {
  std::string_view name;
  Text summary;
  std::unique_ptr<Command> (*create)();
  std::string_view alias = {};  // a second name, for example "list" of "ls"
};

template <class T>
constexpr CommandEntry make_command(std::string_view name, Text summary,
                                    std::string_view alias = {}) {
  return {name, summary, [] { return std::unique_ptr<Command>(std::make_unique<T>()); }, alias};
}

/// Every command of this build, in the order of the help.
std::span<const CommandEntry* const> commands();

/// The command of that name or alias; null if there is none.
const CommandEntry* find_command(std::string_view name);

/// The whole program's help (without a command), or a command's.
std::string program_help(Language language);

/// Writes a line to stdout. Error: what the system said, for example when the disk behind a
/// redirection is full.
Status print_line(std::string_view line);
/// Writes text as it is to stdout and flushes it.
Status print_text(std::string_view text);

}  // namespace deepwell::apps
