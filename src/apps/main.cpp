// `deepwell`: finds the subcommand, reads its options, runs it, and turns its error into an exit
// code.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "apps/command.hpp"
#include "apps/common_options.hpp"
#include "apps/exit_code.hpp"
#include "base/concat.hpp"
#include "base/memory.hpp"
#include "base/suggest.hpp"

namespace deepwell::apps {
namespace {

int fail(const Error& error, std::string_view hint = {}) {
  const std::string line = concat("deepwell: ", error.message, "\n", hint);
  std::fputs(line.c_str(), stderr);
  return exit_code(error.code);
}

Error unknown_command(std::string_view name) {
  if (name.starts_with('-')) {
    return invalid_argument(
        concat("options come after the command: deepwell COMMAND ", name, " ..."));
  }
  std::vector<std::string> names;
  for (const CommandEntry* entry : commands()) {
    names.emplace_back(entry->name);
    if (!entry->alias.empty()) names.emplace_back(entry->alias);
  }
  return invalid_argument(concat("unknown command '", name, "'", did_you_mean(name, names)));
}

std::string command_help(const CommandEntry& entry, const OptionTable& table, Language language) {
  const bool is_chinese = language == Language::kChinese;
  return concat(is_chinese ? "用法：deepwell " : "Usage: deepwell ", entry.name,
                table.usage_arguments(), is_chinese ? " [选项]\n\n" : " [OPTIONS]\n\n",
                entry.summary.in(language), "\n\n", table.help(language));
}

int run_command(const CommandEntry& entry, const std::vector<std::string>& arguments,
                Language language) {
  const std::unique_ptr<Command> command = entry.create();
  CommonOptions common;
  OptionTable table;
  command->declare(table);
  common.declare(table);

  const std::string hint = concat("try: deepwell ", entry.name, " --help\n");
  const Status read = table.read_arguments(arguments);
  if (table.wants_help()) {
    const Status printed = print_text(command_help(entry, table, language));
    return printed ? 0 : fail(printed.error());
  }
  if (!read) return fail(read.error(), hint);
  Result<Setup> setup = common.finish(table, language);
  if (!setup) return fail(setup.error(), setup.error().code == Code::kInvalidArgument ? hint : "");

  setup->context.arguments = arguments;
  const Status done = command->run(setup->context);
  return done ? 0 : fail(done.error());
}

int run_program(const std::vector<std::string>& arguments) {
  const Language language = language_of(process_env);
  const std::string first = arguments.empty() ? "help" : arguments.front();
  if (first == "--help" || first == "-h") return run_program({"help"});
  if (first == "--version" || first == "-v" || first == "-V") return run_program({"version"});
  const CommandEntry* entry = find_command(first);
  if (entry == nullptr) return fail(unknown_command(first), "try: deepwell help\n");
  const auto rest = arguments.empty() ? arguments.begin() : arguments.begin() + 1;
  return run_command(*entry, std::vector<std::string>(rest, arguments.end()), language);
}

}  // namespace
}  // namespace deepwell::apps

int main(int n_arguments, char** arguments) {
  // A limit on file sizes is an error like a full disk, not a reason to die.
  std::signal(SIGXFSZ, SIG_IGN);
  deepwell::return_large_memory();
  // The last barrier for exceptions of libraries; our own code returns errors.
  try {
    return deepwell::apps::run_program({arguments + (n_arguments > 0), arguments + n_arguments});
  } catch (const std::exception& exception) {
    std::fprintf(stderr, "deepwell: internal error: %s\n", exception.what());
  } catch (...) {
    std::fputs("deepwell: internal error\n", stderr);
  }
  return 70;
}
