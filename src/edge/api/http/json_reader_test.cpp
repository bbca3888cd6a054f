// Tests of strict JSON parsing and of messages about fields.
#include "edge/api/http/json_reader.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "edge/api/http/errors.hpp"

namespace deepwell::edge {
namespace {

TEST(ParseJson, GivesTheSameTreeAsTheParserItself) {
  const std::string text =
      R"({"a":[1,-2,2.5e3,true,null,"x\u00e9\n"],"b":{"c":[[],{}]},"":18446744073709551615})";
  const auto parsed = parse_json(text);
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ(*parsed, nlohmann::json::parse(text));
}

TEST(ParseJson, RefusesWhatIsNotStrictJson) {
  using namespace std::string_literals;
  for (const std::string& text :
       {""s, "{"s, "{}x"s, "[1,]"s, "nul"s, "'a'"s, "{\"a\":\"\xff\"}"s, "1e999"s, "\"\\ud800\""s,
        "{\"a\" 1}"s, "{}\0"s, "{\"a\":1}\0{}"s, "\"\n\""s, "01"s, "NaN"s, "// no\n1"s}) {
    const auto parsed = parse_json(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code, Code::kInvalidArgument);
    EXPECT_EQ(parsed.error().reason, kReasonInvalidJson);
  }
}

TEST(ParseJson, RefusesAKeyGivenTwice) {
  const auto parsed = parse_json(R"({"a":1,"b":{"c":1,"c":2}})");
  ASSERT_FALSE(parsed);
  EXPECT_NE(parsed.error().message.find("'c' occurs twice"), std::string::npos);
  EXPECT_TRUE(parse_json(R"([{"c":1},{"c":2}])"));
}

TEST(ParseJson, RefusesDeepNestingWhateverItsSize) {
  const auto nested = [](std::size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  EXPECT_TRUE(parse_json(nested(kMaxJsonDepth)));
  const auto deep = parse_json(nested(kMaxJsonDepth + 1));
  ASSERT_FALSE(deep);
  EXPECT_NE(deep.error().message.find("deeper than 64"), std::string::npos);
  EXPECT_FALSE(parse_json(std::string(1'000'000, '[')));
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  EXPECT_FALSE(parse_json(objects));
}

TEST(ObjectReader, NamesThePathOfAWrongField) {
  const auto value =
      nlohmann::json::parse(R"({"t":1,"n":"x","i":2.5,"b":0,"big":1e30,"null":null})");
  const auto reader = ObjectReader::open(value, "outer[1]");
  ASSERT_TRUE(reader);
  EXPECT_EQ(reader->text("t").error().field, "outer[1].t");
  EXPECT_EQ(reader->text("t").error().message, "outer[1].t: expected a string, got a number");
  EXPECT_EQ(reader->number("n", 0, 1).error().message,
            "outer[1].n: expected a number, got a string");
  EXPECT_EQ(reader->integer("i", 0, 9).error().message, "outer[1].i: expected an integer, got 2.5");
  EXPECT_EQ(reader->boolean("b").error().message,
            "outer[1].b: expected true or false, got a number");
  EXPECT_FALSE(reader->integer("big", 0, 9));
  EXPECT_FALSE(*reader->text("null"));
  EXPECT_FALSE(*reader->text("absent"));
}

TEST(ObjectReader, ChecksRanges) {
  const auto value = nlohmann::json::parse(R"({"i":10,"u":18446744073709551615,"f":2.5})");
  const auto reader = ObjectReader::open(value, "");
  ASSERT_TRUE(reader);
  EXPECT_EQ(**reader->integer("i", 0, 10), 10);
  EXPECT_EQ(reader->integer("i", 0, 9).error().message,
            "i: expected an integer from 0 to 9, got 10");
  EXPECT_FALSE(reader->integer("u", 0, INT64_MAX));
  EXPECT_EQ(**reader->number("f", 0, 2.5), 2.5);
  EXPECT_EQ(reader->number("f", 0, 2).error().message, "f: expected a number from 0 to 2, got 2.5");
}

}  // namespace
}  // namespace deepwell::edge
