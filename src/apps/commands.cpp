// The list of subcommands.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>

#include "apps/command.hpp"
#include "base/concat.hpp"
#include "base/file.hpp"

namespace deepwell::apps {

#ifndef DEEPWELL_ENGINE_ONLY
extern const CommandEntry kCommand_drill;
extern const CommandEntry kCommand_front;
extern const CommandEntry kCommand_kv_disk;
extern const CommandEntry kCommand_load;
extern const CommandEntry kCommand_ls;
extern const CommandEntry kCommand_ps;
extern const CommandEntry kCommand_pull;
extern const CommandEntry kCommand_reload;
extern const CommandEntry kCommand_rm;
extern const CommandEntry kCommand_run;
extern const CommandEntry kCommand_serve;
extern const CommandEntry kCommand_show;
extern const CommandEntry kCommand_worker;
#endif
extern const CommandEntry kCommand_bench;
extern const CommandEntry kCommand_doctor;
extern const CommandEntry kCommand_generate;
extern const CommandEntry kCommand_help;
extern const CommandEntry kCommand_perplexity;
extern const CommandEntry kCommand_tokenize;
extern const CommandEntry kCommand_version;

std::span<const CommandEntry* const> commands() {
  // clang-format off
  static constexpr std::array kCommands = {
#ifndef DEEPWELL_ENGINE_ONLY
      &kCommand_run,
      &kCommand_serve,
      &kCommand_ps,
      &kCommand_reload,
      &kCommand_load,
      &kCommand_drill,
      &kCommand_pull,
      &kCommand_ls,
      &kCommand_show,
      &kCommand_rm,
      &kCommand_kv_disk,
      &kCommand_front,
      &kCommand_worker,
#endif
      &kCommand_generate,
      &kCommand_tokenize,
      &kCommand_bench,
      &kCommand_perplexity,
      &kCommand_doctor,
      &kCommand_version,
      &kCommand_help,
  };
  // clang-format on
  return kCommands;
}

const CommandEntry* find_command(std::string_view name) {
  for (const CommandEntry* entry : commands()) {
    if (entry->name == name || (!entry->alias.empty() && entry->alias == name)) return entry;
  }
  return nullptr;
}

std::string program_help(Language language) {
  const bool is_chinese = language == Language::kChinese;
  std::string out = is_chinese ? "用法：deepwell 命令 [选项]\n\n命令：\n"
                               : "Usage: deepwell COMMAND [OPTIONS]\n\nCommands:\n";
  for (const CommandEntry* entry : commands()) {
    std::string names(entry->name);
    if (!entry->alias.empty()) names += concat(", ", entry->alias);
    names.resize(std::max<std::size_t>(names.size(), 12), ' ');
    out += concat("  ", names, "  ", entry->summary.in(language), "\n");
  }
  out += is_chinese ? "\n查看某个命令的选项：deepwell 命令 --help\n"
                    : "\nOptions of a command: deepwell COMMAND --help\n";
  return out;
}

Status print_text(std::string_view text) {
  const bool is_written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (!is_written || std::fflush(stdout) != 0) return errno_error(errno, "write to", "stdout");
  return {};
}

Status print_line(std::string_view line) { return print_text(concat(line, "\n")); }

}  // namespace deepwell::apps
