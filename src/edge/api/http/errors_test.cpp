// Tests of the error table and the envelope.
#include "edge/api/http/errors.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "service/dialogue/turn.hpp"

namespace deepwell::edge {
namespace {

using nlohmann::json;

int status_of(Code code, std::string_view reason = {}) {
  return http_error_row({.code = code, .message = "", .reason = std::string(reason)}).status;
}

TEST(HttpErrorTable, HasARowForEveryCode) {
  for (int number = 1; number <= 16; ++number) {
    const Error error{.code = static_cast<Code>(number), .message = "m"};
    EXPECT_EQ(http_error_row(error).code, error.code) << code_name(error.code);
    EXPECT_GE(http_error_row(error).status, 400);
  }
}

TEST(HttpErrorTable, GivesTheStatusThatClientsActOn) {
  EXPECT_EQ(status_of(Code::kInvalidArgument), 400);
  EXPECT_EQ(status_of(Code::kOutOfRange, service::kReasonContextLength), 400);
  EXPECT_EQ(status_of(Code::kUnimplemented), 400);
  EXPECT_EQ(status_of(Code::kUnauthenticated), 401);
  EXPECT_EQ(status_of(Code::kPermissionDenied), 403);
  EXPECT_EQ(status_of(Code::kNotFound), 404);
  EXPECT_EQ(status_of(Code::kInvalidArgument, kReasonMethodNotAllowed), 405);
  EXPECT_EQ(status_of(Code::kOutOfRange, kReasonBodyTooLarge), 413);
  EXPECT_EQ(status_of(Code::kInvalidArgument, kReasonUnsupportedMediaType), 415);
  EXPECT_EQ(status_of(Code::kResourceExhausted), 429);
  EXPECT_EQ(status_of(Code::kInternal), 500);
  EXPECT_EQ(status_of(Code::kUnavailable), 503);
  EXPECT_EQ(status_of(Code::kDeadlineExceeded), 504);
}

TEST(ErrorBody, IsTheEnvelopeOfOpenAi) {
  const Error error{.code = Code::kInvalidArgument, .message = "top_p: too big", .field = "top_p"};
  const json body = json::parse(error_body(error, Language::kEnglish));
  EXPECT_EQ(body,
            json::parse(R"({"error":{"message":"top_p: too big","type":"invalid_request_error",
                                  "param":"top_p","code":"invalid_argument"}})"));
  const json other = json::parse(error_body(internal_error("x"), Language::kEnglish));
  EXPECT_TRUE(other["error"]["param"].is_null());
  EXPECT_EQ(other["error"]["type"], "server_error");
}

TEST(ErrorBody, StartsInChineseAndKeepsTheDetail) {
  const Error error{.code = Code::kOutOfRange,
                    .message = "the prompt has 5000 tokens, the context holds 4096",
                    .reason = std::string(service::kReasonContextLength)};
  const std::string message =
      json::parse(error_body(error, Language::kChinese))["error"]["message"];
  EXPECT_NE(message.find("上下文"), std::string::npos);
  EXPECT_NE(message.find("5000"), std::string::npos);
  EXPECT_NE(message.find("4096"), std::string::npos);
}

TEST(ErrorBody, SurvivesBytesThatAreNotUtf8) {
  const json body = json::parse(error_body(invalid_argument("got '\xff\xfe'"), Language::kEnglish));
  EXPECT_NE(body["error"]["message"].get<std::string>().find("\xef\xbf\xbd"), std::string::npos);
}

TEST(PreferredLanguage, FollowsTheWeights) {
  EXPECT_EQ(preferred_language("zh-CN,zh;q=0.9,en;q=0.8"), Language::kChinese);
  EXPECT_EQ(preferred_language("en-US,en;q=0.9,zh;q=0.8"), Language::kEnglish);
  EXPECT_EQ(preferred_language("en;q=0.5, zh-TW;q=0.7"), Language::kChinese);
  EXPECT_EQ(preferred_language("zh;q=0"), Language::kEnglish);
  for (const char* odd : {"", "*", ",,,", "q=", ";q=x", "en;q=9999999999999999999"}) {
    EXPECT_EQ(preferred_language(odd), Language::kEnglish) << odd;
  }
}

}  // namespace
}  // namespace deepwell::edge
