// StringList: what goes in comes out.
#include "engine/tokenizer/string_list.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace deepwell::engine {
namespace {

TEST(StringList, KeepsStringsApart) {
  StringList list;
  EXPECT_TRUE(list.empty());
  list.reserve(4, 10);
  for (const char* string : {"", "ab", "", "cde"}) list.push_back(string);
  ASSERT_EQ(list.size(), 4U);
  EXPECT_EQ(list.n_bytes(), 5U);
  EXPECT_EQ(list[0], "");
  EXPECT_EQ(list[1], "ab");
  EXPECT_EQ(list[2], "");
  EXPECT_EQ(list[3], "cde");
  EXPECT_EQ(std::ranges::count(list, std::string_view("")), 2);
}

TEST(StringList, TellsAnotherBorderApart) {
  StringList a, b;
  for (const char* string : {"ab", "c"}) a.push_back(string);
  for (const char* string : {"a", "bc"}) b.push_back(string);
  EXPECT_NE(a, b);
  a.pop_back();
  b.pop_back();
  b.pop_back();
  b.push_back("ab");
  EXPECT_EQ(a, b);
}

}  // namespace
}  // namespace deepwell::engine
