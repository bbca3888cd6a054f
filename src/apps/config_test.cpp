// deepwell.toml: what becomes keys and values, and what is refused.
#include <gtest/gtest.h>

#include <cstdlib>

#include "apps/common_options.hpp"
#include "base/concat.hpp"
#include "base/file.hpp"

namespace deepwell::apps {
namespace {

class ConfigTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "deepwell-config-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    path_ = join_path(directory_, "deepwell.toml");
  }
  void TearDown() override { EXPECT_TRUE(remove_tree(directory_)); }

  std::string failure(const std::string& toml) {
    EXPECT_TRUE(write_file_atomic(path_, toml));
    const Result<std::vector<NamedValue>> read = read_config_file(path_);
    return read ? "" : read.error().message;
  }

  std::string directory_;
  std::string path_;
};

TEST_F(ConfigTest, GivesValuesAsAFlagWouldSpellThem) {
  ASSERT_EQ(failure("model = \"m\"\nctx_size = 4096\ntemperature = 0.5\noffline = "
                    "true\nallow_origin = [\"a\", \"b\"]\n"),
            "");
  const Result<std::vector<NamedValue>> read = read_config_file(path_);
  ASSERT_TRUE(read);
  std::string all;
  for (const NamedValue& value : *read) all += concat(value.name, "=", value.value, ";");
  EXPECT_EQ(all,
            "allow_origin=a;allow_origin=b;ctx_size=4096;model=m;offline=true;temperature=0.5;");
  EXPECT_EQ(read->at(2).origin, concat(path_, ": ctx_size"));
}

TEST_F(ConfigTest, NamesTheLineOfASyntaxErrorAndRefusesTables) {
  EXPECT_NE(failure("model = \"m\"\nctx_size = = 1\n").find(", line 2: "), std::string::npos);
  EXPECT_NE(failure("[server]\nport = 1\n").find("deepwell.toml: server: expected a string"),
            std::string::npos);
  EXPECT_NE(failure("a = [[1]]\n"), "");
}

TEST_F(ConfigTest, IsReadFromTheHomeDirectoryBelowEnvironmentAndFlags) {
  ASSERT_TRUE(write_file_atomic(path_, "log_level = \"error\"\noffline = true\n"));
  ::setenv("DEEPWELL_HOME", directory_.c_str(), 1);
  ::setenv("DEEPWELL_LOG_LEVEL", "warn", 1);
  CommonOptions common;
  OptionTable table;
  common.declare(table);
  ASSERT_TRUE(table.read_arguments(std::vector<std::string>()));
  const auto setup = common.finish(table, Language::kEnglish);
  ::unsetenv("DEEPWELL_HOME");
  ::unsetenv("DEEPWELL_LOG_LEVEL");
  ASSERT_TRUE(setup) << setup.error().message;
  EXPECT_EQ(setup->context.home, directory_);
  EXPECT_TRUE(setup->context.is_offline);
  EXPECT_EQ(table.level_of("log-level"), OptionLevel::kEnvironment);
}

TEST_F(ConfigTest, RefusesAnUnknownKeyWithASuggestion) {
  ASSERT_TRUE(write_file_atomic(path_, "ofline = true\n"));
  CommonOptions common;
  OptionTable table;
  common.declare(table);
  const std::vector<std::string> arguments = {"--home", directory_};
  ASSERT_TRUE(table.read_arguments(arguments));
  const auto setup = common.finish(table, Language::kEnglish);
  ASSERT_FALSE(setup);
  EXPECT_EQ(setup.error().message,
            concat("unknown key ", path_, ": ofline, did you mean 'offline'?"));
}

}  // namespace
}  // namespace deepwell::apps
