// Tests of the text of cursors.
#include "edge/api/http/stream_cursor.hpp"

#include <gtest/gtest.h>

namespace deepwell::edge {
namespace {

using service::ChoiceCursor;
using service::Cursor;

TEST(StreamCursor, IsReadAsItWasWritten) {
  const Cursor cursors[] = {
      {.choices = {{.n_tok = 17, .has_begun = true}}},
      {.choices = {{.n_tok = 17, .has_begun = true, .has_finished = true}}, .has_usage = true},
      {.choices = {{.n_tok = 0, .has_begun = true}, {}}},
      {.choices = {{.n_tok = 3, .has_begun = true, .has_finished = true},
                   {.n_tok = UINT32_MAX, .has_begun = true}}},
  };
  const char* const texts[] = {"17", "17!u", "0.-", "3!.4294967295"};
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(format_cursor(cursors[i]), texts[i]);
    const auto n_choices = static_cast<std::uint32_t>(cursors[i].choices.size());
    const auto parsed = parse_cursor(texts[i], n_choices);
    ASSERT_TRUE(parsed) << parsed.error().message;
    EXPECT_EQ(*parsed, cursors[i]);
  }
}

TEST(StreamCursor, OfNoTextIsTheBeginning) {
  EXPECT_EQ(*parse_cursor("", 2), (Cursor{.choices = {{}, {}}}));
}

TEST(StreamCursor, IsRefusedUnlessItFits) {
  for (const char* text : {"1", "1.2.3", ".", "1.", ".1", "1.x", "1.-2", "1.2!!", "1. 2", "+1.2",
                           "u", "1.2u", "-!.1", "1.4294967296"}) {
    const auto parsed = parse_cursor(text, 2);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code, Code::kInvalidArgument);
    EXPECT_EQ(parsed.error().field, "starting_after");
  }
}

}  // namespace
}  // namespace deepwell::edge
