// Thought and content come apart the same way however the text is cut.
#include "service/chat/reasoning.hpp"

#include <gtest/gtest.h>

namespace deepwell::service {
namespace {

struct Split {
  std::string reasoning;
  std::string content;
  bool operator==(const Split&) const = default;
};

void PrintTo(const Split& split, std::ostream* out) {
  *out << "{" << split.reasoning << "|" << split.content << "}";
}

Split split_in_pieces(std::string_view text, bool is_thought_open, std::size_t len_piece) {
  ReasoningSplitter splitter(is_thought_open);
  Split split;
  const auto take = [&](const ReasoningSplitter::Delta& delta) {
    split.reasoning += delta.reasoning;
    split.content += delta.content;
  };
  for (std::size_t pos = 0; pos < text.size(); pos += len_piece)
    take(splitter.push(text.substr(pos, len_piece)));
  take(splitter.finish());
  return split;
}

TEST(ReasoningSplitter, SplitsTheSameWhereverTheTextIsCut) {
  struct Case {
    std::string_view text;
    bool is_thought_open;
    Split wanted;
  };
  const Case cases[] = {
      {"<think>\nhm, 想想\n</think>\n\n42", false, {"hm, 想想", "42"}},
      {"hm\n\nmore\n</think>\n\n42\n", true, {"hm\n\nmore", "42\n"}},
      {"<think>\nhm</think>42", true, {"hm", "42"}},
      {"\n\n<think>a</think>b", false, {"a", "b"}},
      {"plain <think>x</think>", false, {"", "plain <think>x</think>"}},
      {"  plain\n", false, {"", "  plain\n"}},
      {"<think>a</think> use <think>b</think>", false, {"a", "use <think>b</think>"}},
      {"a <think> b</think>c", true, {"a <think> b", "c"}},
      {"never closed \n", true, {"never closed", ""}},
      {"<think>never closed", false, {"never closed", ""}},
      {"<think>cut off</thi", false, {"cut off</thi", ""}},
      {"<think>", false, {"", ""}},
      {"<thin", false, {"", "<thin"}},
      {"<thinking>x", false, {"", "<thinking>x"}},
      {"a < b </ c </think > d </think>e", true, {"a < b </ c </think > d", "e"}},
      {"</think>\n\nanswer", true, {"", "answer"}},
      {"<think>\n\n</think>\n\nanswer", false, {"", "answer"}},
      {"a</think></think>b", true, {"a", "</think>b"}},
      {"a</thi</think>b", true, {"a</thi", "b"}},
      {"", true, {"", ""}},
      {" \n ", true, {"", ""}},
      {" \n ", false, {"", " \n "}},
      {"a</think> \n ", true, {"a", ""}},
  };
  for (const Case& c : cases) {
    for (const std::size_t len_piece : {1U, 2U, 3U, 5U, 7U, 1000U}) {
      EXPECT_EQ(split_in_pieces(c.text, c.is_thought_open, len_piece), c.wanted)
          << c.text << " in pieces of " << len_piece;
    }
  }
}

TEST(ReasoningSplitter, HoldsBackNothingButPossibleTagsAndTrailingSpace) {
  ReasoningSplitter splitter(true);
  EXPECT_EQ(splitter.push("one").reasoning, "one");
  EXPECT_EQ(splitter.push(" two\n").reasoning, " two");
  EXPECT_EQ(splitter.push("three <").reasoning, "\nthree");
  EXPECT_EQ(splitter.push("b").reasoning, " <b");
  EXPECT_EQ(splitter.push("</thin").reasoning, "");
  EXPECT_TRUE(splitter.is_thinking());
  EXPECT_EQ(splitter.push("k>").reasoning, "");
  EXPECT_FALSE(splitter.is_thinking());
  EXPECT_EQ(splitter.push("\n").content, "");
  EXPECT_EQ(splitter.push("\nx ").content, "x ");
  EXPECT_EQ(splitter.push("<think>").content, "<think>");
}

TEST(ReasoningSplitter, PassesAPlainAnswerAtOnce) {
  ReasoningSplitter splitter(false);
  EXPECT_EQ(splitter.push(" ").content, "");
  EXPECT_EQ(splitter.push("H").content, " H");
  EXPECT_EQ(splitter.push("<thi").content, "<thi");
  EXPECT_FALSE(splitter.is_thinking());
}

TEST(ReasoningFormat, IsDetectedFromTheTemplate) {
  EXPECT_TRUE(detect_reasoning_format("{{ '<think>\\n' }}").has_value());
  EXPECT_TRUE(detect_reasoning_format("content.split('</think>')").has_value());
  EXPECT_FALSE(detect_reasoning_format("{{ message.content }}").has_value());
}

}  // namespace
}  // namespace deepwell::service
