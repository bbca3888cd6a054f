// Parameters that the prompt of `run` can set.
#include <gtest/gtest.h>

#include "apps/repl.hpp"

namespace deepwell::apps {
namespace {

std::string failure(ChatSettings& settings, std::string_view name, std::string_view value) {
  const Status set = set_parameter(settings, name, value);
  return set ? "" : set.error().message;
}

TEST(SetParameter, WritesTheSettingOfThatName) {
  ChatSettings settings;
  EXPECT_EQ(failure(settings, "temperature", "0.25"), "");
  EXPECT_EQ(failure(settings, "top_k", "40"), "");
  EXPECT_EQ(failure(settings, "repeat_penalty", "1.5"), "");
  EXPECT_EQ(failure(settings, "seed", "42"), "");
  EXPECT_EQ(failure(settings, "num_predict", "7"), "");
  EXPECT_EQ(failure(settings, "stop", "\"END\""), "");
  EXPECT_EQ(settings.sampling.temperature, 0.25F);
  EXPECT_EQ(settings.sampling.top_k, 40);
  EXPECT_EQ(settings.sampling.repetition_penalty, 1.5F);
  EXPECT_EQ(settings.seed, 42U);
  EXPECT_EQ(settings.max_tokens, 7U);
  EXPECT_EQ(settings.stop, std::vector<std::string>{"END"});
  EXPECT_EQ(failure(settings, "stop", ""), "");
  EXPECT_TRUE(settings.stop.empty());
}

TEST(SetParameter, RefusesWhatItCannotBe) {
  ChatSettings settings;
  EXPECT_EQ(failure(settings, "temperature", "warm"), "'warm' is not a number");
  EXPECT_EQ(failure(settings, "top_k", "1.5"), "'1.5' is not a whole number");
  EXPECT_EQ(failure(settings, "top_p", "2"), "top_p must be between 0 and 1");
  EXPECT_EQ(failure(settings, "num_predict", "0"), "num_predict must be between 1 and 16777216");
  EXPECT_EQ(
      failure(settings, "temperaturr", "1"),
      "unknown parameter 'temperaturr', did you mean 'temperature'?; /show parameters lists them");
  EXPECT_EQ(settings.sampling.temperature, ChatSettings().sampling.temperature);
}

}  // namespace
}  // namespace deepwell::apps
