// The small helpers of base: suggestions, UTF-8, languages, clocks, ids.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/clock.hpp"
#include "base/ids.hpp"
#include "base/suggest.hpp"
#include "base/text.hpp"
#include "base/utf8.hpp"

namespace deepwell {
namespace {

TEST(Suggest, CountsEditsAndSwapsOfNeighbours) {
  EXPECT_EQ(edit_distance("", "abc"), 3U);
  EXPECT_EQ(edit_distance("serve", "serve"), 0U);
  EXPECT_EQ(edit_distance("sevre", "serve"), 1U);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3U);
}

TEST(Suggest, OffersOnlyWhatIsNear) {
  const std::vector<std::string> words = {"pull", "serve", "show", "doctor"};
  EXPECT_EQ(nearest("srve", words), "serve");
  EXPECT_EQ(nearest("doc", words), "doctor");
  EXPECT_EQ(nearest("elephant", words), "");
  EXPECT_EQ(did_you_mean("pul", words), ", did you mean 'pull'?");
  EXPECT_EQ(did_you_mean("xyzzy", words), "");
}

TEST(Utf8, AcceptsExactlyWhatRfc3629Allows) {
  EXPECT_TRUE(is_valid_utf8("plain, 中文, é, 😀"));
  EXPECT_TRUE(is_valid_utf8(""));
  for (const std::string_view bad : {"\x80", "\xC0\x80", "\xC3", "\xE0\x80\x80", "\xED\xA0\x80",
                                     "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xFF", "\xE4\xB8"}) {
    EXPECT_FALSE(is_valid_utf8(bad));
  }
  EXPECT_TRUE(is_valid_utf8("\xF4\x8F\xBF\xBF"));
}

TEST(Utf8, ReplacesInvalidBytesOneByOne) {
  EXPECT_EQ(sanitized_utf8("a\xFF\xE4\xB8z"), "a\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBDz");
  EXPECT_EQ(sanitized_utf8("中"), "中");
}

TEST(Utf8, MeasuresTerminalColumns) {
  EXPECT_EQ(display_width("abc"), 3U);
  EXPECT_EQ(display_width("中文，"), 6U);
  EXPECT_EQ(display_width("e\xCC\x81"), 1U);
  EXPECT_EQ(display_width("😀"), 2U);
}

TEST(Language, FollowsTheFirstVariableThatIsSet) {
  std::map<std::string, std::string, std::less<>> variables;
  const GetEnv get = [&](std::string_view name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    if (found == variables.end()) return std::nullopt;
    return found->second;
  };
  EXPECT_EQ(language_of(get), Language::kEnglish);
  variables["LANG"] = "zh_CN.UTF-8";
  EXPECT_EQ(language_of(get), Language::kChinese);
  variables["LC_ALL"] = "C.UTF-8";
  EXPECT_EQ(language_of(get), Language::kEnglish);
  variables["DEEPWELL_LANG"] = "zh";
  EXPECT_EQ(language_of(get), Language::kChinese);
}

TEST(Clock, PrintsTimesAndAmounts) {
  EXPECT_EQ(format_utc(0), "1970-01-01T00:00:00Z");
  EXPECT_EQ(format_utc(1'740'830'400), "2025-03-01T12:00:00Z");
  EXPECT_EQ(format_duration(1'500'000'000), "1.50 s");
  EXPECT_EQ(format_duration(125'000'000'000), "2 min 5 s");
  EXPECT_EQ(format_bytes(512), "512 B");
  EXPECT_EQ(format_bytes(491'400'064), "468.6 MiB");
}

TEST(Clock, MonotonicTimeNeverGoesBack) {
  const std::int64_t before = monotonic_ns();
  EXPECT_GE(monotonic_ns(), before);
}

TEST(Ids, DifferAndKeepTheirPrefix) {
  std::set<std::string> ids;
  for (int i = 0; i < 1000; ++i) ids.insert(random_id("chatcmpl-"));
  EXPECT_EQ(ids.size(), 1000U);
  EXPECT_TRUE(ids.begin()->starts_with("chatcmpl-"));
  EXPECT_EQ(ids.begin()->size(), 9U + 24U);
  EXPECT_EQ(random_hex(8).size(), 16U);
}

}  // namespace
}  // namespace deepwell
