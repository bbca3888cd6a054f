// Answers end before the first stop string, wherever the text is cut.
#include "service/chat/stop_matcher.hpp"

#include <gtest/gtest.h>

namespace deepwell::service {
namespace {

struct Outcome {
  std::string text;
  std::string matched;
  bool operator==(const Outcome&) const = default;
};

void PrintTo(const Outcome& outcome, std::ostream* out) {
  *out << "{" << outcome.text << "|" << outcome.matched << "}";
}

Outcome run(std::string_view text, const std::vector<std::string>& stops, std::size_t len_piece) {
  StopMatcher matcher(stops);
  Outcome outcome;
  for (std::size_t pos = 0; pos < text.size(); pos += len_piece)
    outcome.text += matcher.push(text.substr(pos, len_piece));
  outcome.text += matcher.finish();
  outcome.matched = matcher.matched();
  return outcome;
}

TEST(StopMatcher, EndsTheSameWhereverTheTextIsCut) {
  struct Case {
    std::string_view text;
    std::vector<std::string> stops;
    Outcome wanted;
  };
  const Case cases[] = {
      {"one STOP two", {"STOP"}, {"one ", "STOP"}},
      {"one STO", {"STOP"}, {"one STO", ""}},
      {"STOP", {"STOP"}, {"", "STOP"}},
      {"SSTOP", {"STOP"}, {"S", "STOP"}},
      {"aaab", {"aab"}, {"a", "aab"}},
      {"ababac", {"abac"}, {"ab", "abac"}},
      {"abcd", {"bcd", "c"}, {"ab", "c"}},   // "c" is complete first
      {"abcd", {"bc", "abc"}, {"", "abc"}},  // complete with the same byte: the longest
      {"x\n\ny", {"\n\n", "\n\n\n"}, {"x", "\n\n"}},
      {"中文字", {"字"}, {"中文", "字"}},
      {"è", {"é"}, {"è", ""}},
      {"plain", {}, {"plain", ""}},
      {"plain", {""}, {"plain", ""}},
      {"STOPSTOP", {"STOP"}, {"", "STOP"}},
      {"", {"x"}, {"", ""}},
  };
  for (const Case& c : cases) {
    for (const std::size_t len_piece : {1U, 2U, 3U, 4U, 100U}) {
      EXPECT_EQ(run(c.text, c.stops, len_piece), c.wanted)
          << c.text << " in pieces of " << len_piece;
    }
  }
}

TEST(StopMatcher, HoldsBackOnlyAPossibleBeginning) {
  StopMatcher matcher({"STOP", "\n\n"});
  EXPECT_EQ(matcher.push("one S"), "one ");
  EXPECT_EQ(matcher.push("T"), "");
  EXPECT_EQ(matcher.push("x\n"), "STx");
  EXPECT_EQ(matcher.push("y"), "\ny");
  EXPECT_FALSE(matcher.is_matched());
  EXPECT_EQ(matcher.push("zSTOPmore"), "z");
  EXPECT_TRUE(matcher.is_matched());
  EXPECT_EQ(matcher.push("more"), "");
  EXPECT_EQ(matcher.finish(), "");
}

TEST(StopMatcher, NeverSplitsACharacter) {
  StopMatcher matcher({"é!"});
  EXPECT_EQ(matcher.push("aé"), "a");  // may be the beginning of "é!"
  EXPECT_EQ(matcher.push("è"), "éè");  // shares é's first byte, yet is whole
}

}  // namespace
}  // namespace deepwell::service
