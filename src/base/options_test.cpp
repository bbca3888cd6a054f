// OptionTable: precedence, aliases, types, refusals with suggestions, help in both languages.
#include "base/options.hpp"

#include <gtest/gtest.h>

namespace deepwell {
namespace {

/// A table with one option of each kind, and where its values go.
struct Sample {
  std::string model = "default";
  std::uint32_t n_ctx_tok = 4096;
  double ratio = 0.5;
  bool is_offline = false;
  bool use_cache = true;
  std::vector<std::string> origins;
  std::string target;
  std::vector<std::string> words;
  OptionTable table;

  Sample() {
    table.add_text("-m,--model", &model, "NAME", {"the model", "模型"});
    table.add_integer("-c,--ctx-size,--max-model-len", &n_ctx_tok, 16, 1 << 20, "N",
                      {"context", "上下文长度"});
    table.add_real("--ratio", &ratio, 0, 1, "X", {"a ratio", "比例"});
    table.add_flag("--offline", &is_offline, {"no network", "不联网"});
    table.add_flag("--cache", &use_cache, {"cache", "缓存"});
    table.add_list("--allow-origin", &origins, "ORIGIN", {"origins", "来源"});
    table.add_positional("TARGET", &target, false, {"a target", "目标"});
    table.add_rest("WORDS", &words, {"words", "词"});
    table.add_foreign_variable("OTHER_CONTEXT", "ctx-size");
  }
  Status read(std::vector<std::string> arguments) {
    DW_TRY(table.read_arguments(arguments));
    return table.apply();
  }
};

NamedValue variable(std::string name, std::string value) { return {name, std::move(value), name}; }
NamedValue key(std::string name, std::string value) {
  return {name, std::move(value), "deepwell.toml: " + name};
}

std::string message_of(const Status& status) { return status ? "" : status.error().message; }

TEST(OptionTable, ReadsEverySpellingOfAFlag) {
  const std::vector<std::vector<std::string>> spellings = {
      {"-c", "100"}, {"--ctx-size", "100"},      {"--ctx-size=100"},
      {"-c=100"},    {"--max-model-len", "100"}, {"-c", "50", "-c", "100"}};
  for (const std::vector<std::string>& arguments : spellings) {
    Sample sample;
    EXPECT_EQ(message_of(sample.read(arguments)), "");
    EXPECT_EQ(sample.n_ctx_tok, 100U);
  }
}

TEST(OptionTable, TakesFlagOverEnvironmentOverFileOverForeignOverDefault) {
  for (int level = 0; level <= 4; ++level) {
    Sample sample;
    const std::vector<NamedValue> foreign = {variable("OTHER_CONTEXT", "1000")};
    const std::vector<NamedValue> file = {key("ctx_size", "2000")};
    const std::vector<NamedValue> environment = {variable("DEEPWELL_CTX_SIZE", "3000")};
    const std::vector<std::string> flags = {"-c", "5000"};
    if (level >= 1) {
      EXPECT_TRUE(sample.table.read_environment(foreign));
    }
    if (level >= 2) {
      EXPECT_TRUE(sample.table.read_config(file));
    }
    if (level >= 3) {
      EXPECT_TRUE(sample.table.read_environment(environment));
    }
    if (level >= 4) {
      EXPECT_TRUE(sample.table.read_arguments(flags));
    }
    EXPECT_EQ(message_of(sample.table.apply()), "");
    const std::uint32_t expected[] = {4096, 1000, 2000, 3000, 5000};
    EXPECT_EQ(sample.n_ctx_tok, expected[level]);
    EXPECT_EQ(static_cast<int>(sample.table.level_of("ctx-size")), level);
  }
}

TEST(OptionTable, SwitchesFlagsOnAndOff) {
  Sample sample;
  ASSERT_EQ(message_of(sample.read({"--offline", "--no-cache"})), "");
  EXPECT_TRUE(sample.is_offline);
  EXPECT_FALSE(sample.use_cache);
  Sample by_value;
  ASSERT_EQ(message_of(by_value.read({"--offline=yes", "--cache=off"})), "");
  EXPECT_TRUE(by_value.is_offline);
  EXPECT_FALSE(by_value.use_cache);
  Sample bad;
  EXPECT_EQ(message_of(bad.read({"--offline=maybe"})), "--offline: 'maybe' is not true or false");
}

TEST(OptionTable, ReplacesAListWholeByTheStrongerLevel) {
  Sample sample;
  const std::vector<NamedValue> environment = {variable("DEEPWELL_ALLOW_ORIGIN", "a,b")};
  ASSERT_TRUE(sample.table.read_environment(environment));
  ASSERT_TRUE(sample.table.apply());
  EXPECT_EQ(sample.origins, (std::vector<std::string>{"a", "b"}));
  ASSERT_EQ(message_of(sample.read({"--allow-origin", "c", "--allow-origin=d"})), "");
  EXPECT_EQ(sample.origins, (std::vector<std::string>{"c", "d"}));
}

TEST(OptionTable, RefusesWhatItDoesNotKnowWithASuggestion) {
  Sample sample;
  EXPECT_EQ(message_of(sample.read({"--ctx-sise", "9"})),
            "unknown option '--ctx-sise', did you mean '--ctx-size'?");
  const std::vector<NamedValue> environment = {variable("DEEPWELL_CTX_SISE", "9")};
  EXPECT_EQ(message_of(sample.table.read_environment(environment)),
            "unknown environment variable DEEPWELL_CTX_SISE, did you mean 'DEEPWELL_CTX_SIZE'?");
  const std::vector<NamedValue> file = {key("ctx-size", "9")};
  EXPECT_EQ(message_of(sample.table.read_config(file)),
            "unknown key deepwell.toml: ctx-size, did you mean 'ctx_size'?");
  EXPECT_NE(message_of(sample.read({"--no-model"})), "");
}

TEST(OptionTable, AcceptsNamesOfOtherCommandsInEnvironmentAndFile) {
  Sample sample;
  const std::vector<std::string> also = {"port", "home"};
  const std::vector<NamedValue> environment = {variable("DEEPWELL_PORT", "1"),
                                               variable("PATH", "x")};
  EXPECT_EQ(message_of(sample.table.read_environment(environment, also)), "");
  const std::vector<NamedValue> file = {key("port", "1")};
  EXPECT_EQ(message_of(sample.table.read_config(file, also)), "");
}

TEST(OptionTable, ChecksTypesAndRanges) {
  const auto failure = [](std::vector<std::string> arguments) {
    Sample sample;
    return message_of(sample.read(std::move(arguments)));
  };
  EXPECT_EQ(failure({"-c", "many"}), "-c: 'many' is not a whole number");
  EXPECT_EQ(failure({"-c", "12x"}), "-c: '12x' is not a whole number");
  EXPECT_EQ(failure({"-c", ""}), "-c: '' is not a whole number");
  EXPECT_EQ(failure({"-c", "15"}), "-c: 15 is not between 16 and 1048576");
  EXPECT_EQ(failure({"-c", "99999999999999999999"}),
            "-c: 99999999999999999999 is not between 16 and 1048576");
  EXPECT_EQ(failure({"--ratio", "1.5"}), "--ratio: 1.5 is not between 0 and 1");
  EXPECT_EQ(failure({"--ratio", "nan"}), "--ratio: 'nan' is not a number");
  EXPECT_EQ(failure({"--ctx-size"}), "option --ctx-size needs a value: --ctx-size N");
  EXPECT_EQ(failure({"--ctx-size", "--offline"}), "option --ctx-size needs a value: --ctx-size N");
}

TEST(OptionTable, TakesPositionalsAndEverythingAfterTwoDashes) {
  Sample sample;
  ASSERT_EQ(message_of(sample.read({"one", "--offline", "two", "--", "--three", "-"})), "");
  EXPECT_EQ(sample.target, "one");
  EXPECT_EQ(sample.words, (std::vector<std::string>{"two", "--three", "-"}));

  OptionTable table;
  std::string name;
  table.add_positional("NAME", &name, true, {"a name", "名称"});
  EXPECT_EQ(message_of(table.apply()), "missing argument NAME");
  const std::vector<std::string> two = {"a", "b"};
  EXPECT_EQ(message_of(table.read_arguments(two)), "unexpected argument 'b'");
}

TEST(OptionTable, NotesAValueBeforeApplying) {
  Sample sample;
  EXPECT_FALSE(sample.table.noted("model"));
  const std::vector<std::string> arguments = {"-m", "x", "-h"};
  ASSERT_TRUE(sample.table.read_arguments(arguments));
  EXPECT_EQ(sample.table.noted("model"), "x");
  EXPECT_EQ(sample.model, "default");
  EXPECT_TRUE(sample.table.wants_help());
}

TEST(OptionTable, ShowsEveryOptionInBothLanguages) {
  const Sample sample;
  const std::string english = sample.table.help(Language::kEnglish);
  EXPECT_NE(english.find("-c, --ctx-size, --max-model-len N  context (default 4096)\n"),
            std::string::npos)
      << english;
  const std::string chinese = sample.table.help(Language::kChinese);
  EXPECT_NE(chinese.find("上下文长度（默认 4096）"), std::string::npos) << chinese;
  for (const std::string& name : sample.table.option_names()) {
    EXPECT_NE(english.find("--" + name), std::string::npos);
    EXPECT_NE(chinese.find("--" + name), std::string::npos);
  }
  EXPECT_EQ(sample.table.usage_arguments(), " [TARGET] [WORDS...]");
}

}  // namespace
}  // namespace deepwell
