// The list of commands: what holds for every entry, and the one table of exit codes.
#include <gtest/gtest.h>

#include <set>

#include "apps/command.hpp"
#include "apps/common_options.hpp"
#include "apps/exit_code.hpp"
#include "base/utf8.hpp"

namespace deepwell::apps {
namespace {

TEST(CommandsContract, EveryCommandHasItsOwnNameAndBothLanguages) {
  std::set<std::string> names;
  for (const CommandEntry* entry : commands()) {
    EXPECT_TRUE(names.emplace(entry->name).second) << entry->name;
    EXPECT_TRUE(entry->alias.empty() || names.emplace(entry->alias).second) << entry->alias;
    EXPECT_FALSE(entry->summary.en.empty()) << entry->name;
    EXPECT_NE(entry->summary.en, entry->summary.zh) << entry->name;
    EXPECT_EQ(find_command(entry->name), entry);
  }
  for (const char* name :
       {"run", "serve", "pull", "ls", "list", "show", "rm", "bench", "doctor", "version"}) {
    EXPECT_NE(find_command(name), nullptr) << name;
  }
  EXPECT_EQ(find_command("fly"), nullptr);
}

TEST(CommandsContract, EveryCommandDeclaresOptionsThatDoNotClashWithTheCommonOnes) {
  for (const CommandEntry* entry : commands()) {
    const std::unique_ptr<Command> command = entry->create();
    OptionTable table;
    command->declare(table);
    CommonOptions common;
    common.declare(table);  // a clash is a DW_CHECK: the test would abort
    for (const Language language : {Language::kEnglish, Language::kChinese}) {
      const std::string help = table.help(language);
      EXPECT_TRUE(is_valid_utf8(help)) << entry->name;
      EXPECT_NE(help.find("--offline"), std::string::npos) << entry->name;
    }
  }
}

TEST(CommandsContract, ProgramHelpNamesEveryCommand) {
  const std::string help = program_help(Language::kChinese);
  for (const CommandEntry* entry : commands()) {
    EXPECT_NE(help.find(entry->name), std::string::npos) << entry->name;
    EXPECT_NE(help.find(entry->summary.zh), std::string::npos) << entry->name;
  }
}

TEST(ExitCode, IsNeverSuccessForAnError) {
  for (int code = 1; code <= 16; ++code) {
    EXPECT_GT(exit_code(static_cast<Code>(code)), 0) << code;
    EXPECT_LT(exit_code(static_cast<Code>(code)), 256) << code;
  }
  EXPECT_EQ(exit_code(Code::kInvalidArgument), 2);
  EXPECT_EQ(exit_code(Code::kCancelled), 130);
}

TEST(DefaultHome, FollowsXdgThenTheUser) {
  const GetEnv none = [](std::string_view) { return std::optional<std::string>(); };
  const GetEnv user = [](std::string_view name) {
    return name == "HOME" ? std::optional<std::string>("/users/u") : std::nullopt;
  };
  const GetEnv xdg = [](std::string_view name) {
    return name == "XDG_DATA_HOME" ? std::optional<std::string>("/data") : std::nullopt;
  };
  EXPECT_EQ(default_home(none, true), "/var/lib/deepwell");
  EXPECT_EQ(default_home(user, false), "/users/u/.local/share/deepwell");
  EXPECT_EQ(default_home(xdg, false), "/data/deepwell");
}

}  // namespace
}  // namespace deepwell::apps
