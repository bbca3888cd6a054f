// Comparing answers, adding results up.
#include "apps/load_check.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "apps/load_test_server.hpp"

namespace deepwell::apps {
namespace {

LoadAnswer answer_of(const std::string& content) {
  LoadAnswer answer;
  answer.choices.push_back({"thought", content, "stop"});
  answer.usage = R"({"completion_tokens":3,"prompt_tokens":5})";
  answer.n_completion_tok = 3;
  return answer;
}

TEST(LoadAnswer, DiffersInTextFinishAndUsageButNotInWhatWasCached) {
  const LoadAnswer answer = answer_of("a b c");
  EXPECT_TRUE(answer.equals(answer_of("a b c")));
  EXPECT_EQ(answer.difference(answer_of("a x c")),
            "content differs at byte 2 of 5: 'x c' instead of 'b c'");
  EXPECT_EQ(answer.difference(answer_of("a b")),
            "content differs at byte 3 of 5: its end instead of ' c'");
  LoadAnswer other = answer_of("a b c");
  other.choices[0].reasoning = "other";
  EXPECT_FALSE(answer.equals(other));
  other = answer_of("a b c");
  other.choices[0].finish_reason = "length";
  EXPECT_FALSE(answer.equals(other));
  other = answer_of("a b c");
  other.usage = R"({"completion_tokens":4,"prompt_tokens":5})";
  EXPECT_FALSE(answer.equals(other));
  other.usage =
      R"({"completion_tokens":3,"prompt_tokens":5,"prompt_tokens_details":{"cached_tokens":4}})";
  EXPECT_TRUE(answer.equals(other));
  EXPECT_FALSE(answer.equals(LoadAnswer()));
}

TEST(AnswerReader, KnowsACursorThatWentBack) {
  using Kind = AnswerReader::Kind;
  const std::string data = R"({"choices":[]})";
  const auto kind_after = [&](const char* before, const char* now) {
    AnswerReader reader;
    EXPECT_TRUE(reader.take({{}, before, data}).has_value());
    return *reader.take({{}, now, data});
  };
  EXPECT_EQ(kind_after("1", "2"), Kind::kOther);
  EXPECT_EQ(kind_after("9", "10"), Kind::kOther);
  EXPECT_EQ(kind_after("-", "0"), Kind::kOther);
  EXPECT_EQ(kind_after("9", "9!"), Kind::kOther);
  EXPECT_EQ(kind_after("9!", "9!u"), Kind::kOther);
  EXPECT_EQ(kind_after("3.4", "3.5"), Kind::kOther);
  EXPECT_EQ(kind_after("2", "2"), Kind::kDuplicate);
  EXPECT_EQ(kind_after("10", "9"), Kind::kDuplicate);
  EXPECT_EQ(kind_after("9!", "9"), Kind::kDuplicate);
  EXPECT_EQ(kind_after("3.4", "4.3"), Kind::kDuplicate);
  EXPECT_EQ(kind_after("9!u", "9!"), Kind::kDuplicate);
  EXPECT_EQ(kind_after("evt_b", "evt_a"), Kind::kOther);  // not ours: only the same one is known
  EXPECT_EQ(kind_after("evt_a", "evt_a"), Kind::kDuplicate);
}

TEST(AnswerReader, ReadsChunksOfAKnownShapeAsTheParserWould) {
  const auto chunk = [](const std::string& fields, const std::string& tail) {
    return concat(R"({"id":"c","choices":[{"index":0,"delta":{)", fields, "}", tail, "}]}");
  };
  const std::string plain = R"(,"finish_reason":null)";
  const std::vector<std::string> chunks = {
      chunk(R"("content":"a")", plain),
      chunk(R"("content":"b\n\"\u4f60\\")", plain),
      chunk(R"("content":"","reasoning_content":"r")", plain),
      chunk(R"("content":"c","role":"x")", plain),
      chunk(R"("content":"\\")", plain),
      chunk(R"("content":"d")", R"(,"finish_reason":"stop")"),
  };
  AnswerReader reader;
  for (const std::string& data : chunks) ASSERT_TRUE(reader.take({{}, {}, data}).has_value());
  EXPECT_EQ(reader.answer().choices.at(0), (LoadChoice{"r", "ab\n\"你\\c\\d", "stop"}));
}

TEST(Percentiles, AreMeasuredValues) {
  std::vector<double> values;
  for (int i = 1; i <= 200; ++i) values.push_back(201 - i);
  const Percentiles found = percentiles(values);
  EXPECT_EQ(found.p50, 100);
  EXPECT_EQ(found.p99, 198);
  EXPECT_EQ(found.max, 200);
  EXPECT_EQ(percentiles({7}).p50, 7);
  EXPECT_EQ(percentiles({}).max, 0);
}

TEST(LoadAccount, SubtractsThePaceAndTheUndisturbedFromAPause) {
  LoadAccount account(20, 5);
  LoadResult result;
  result.end = LoadEnd::kDone;
  result.n_token_events = 2;
  result.longest_gap = std::chrono::milliseconds(75);
  account.add(result, {});
  EXPECT_DOUBLE_EQ(account.pause_ms().max, 50);
  EXPECT_DOUBLE_EQ(account.excess_p99_ms(), 55);
  result.longest_gap = std::chrono::milliseconds(22);
  account.add(result, {});
  EXPECT_DOUBLE_EQ(account.pause_ms().p50, 0);
}

TEST(LoadAccount, SucceedsOnlyIfEveryAnswerCameWholeOnceAndEqual) {
  const auto outcome_of = [](LoadEnd end, int status, std::uint32_t n_duplicates,
                             const std::string& difference) {
    LoadAccount account(0, 0);
    LoadResult result;
    result.end = LoadEnd::kDone;
    account.add(result, {});
    result.end = end;
    result.status = status;
    result.n_duplicates = n_duplicates;
    account.add(result, {.difference = difference});
    const Status outcome = account.outcome();
    return outcome ? 0 : static_cast<int>(outcome.error().code);
  };
  const auto number = [](Code code) { return static_cast<int>(code); };
  EXPECT_EQ(outcome_of(LoadEnd::kDone, 200, 0, ""), 0);
  EXPECT_EQ(outcome_of(LoadEnd::kLeft, 200, 0, ""), 0);
  EXPECT_EQ(outcome_of(LoadEnd::kDone, 200, 0, "differs"), number(Code::kDataLoss));
  EXPECT_EQ(outcome_of(LoadEnd::kDone, 200, 1, ""), number(Code::kDataLoss));
  EXPECT_EQ(outcome_of(LoadEnd::kCut, 200, 0, ""), number(Code::kDataLoss));
  EXPECT_EQ(outcome_of(LoadEnd::kError, 200, 0, ""), number(Code::kUnavailable));
  EXPECT_EQ(outcome_of(LoadEnd::kRefused, 429, 0, ""), number(Code::kResourceExhausted));
  EXPECT_EQ(outcome_of(LoadEnd::kRefused, 400, 0, ""), number(Code::kUnavailable));
}

TEST(QuestionBody, IsTheSameForTheSameQuestion) {
  const LoadQuestions questions{.model = "m", .n_distinct = 4, .n_prompt_tok = 100};
  EXPECT_EQ(question_body(questions, 1), question_body(questions, 5));
  EXPECT_NE(question_body(questions, 1), question_body(questions, 2));
  const auto body = nlohmann::json::parse(question_body(questions, 1));
  EXPECT_EQ(body["model"], "m");
  EXPECT_TRUE(body["stream"].get<bool>());
  EXPECT_TRUE(body["seed"].is_number());
  EXPECT_GT(body["messages"][0]["content"].get<std::string>().size(), 300U);
}

/// Answers with the number of the request's seed, and with `after` instead once that many were asked.
class CheckedLoadOn : public ::testing::Test {
 protected:
  void SetUp() override {
    options.target.host = "127.0.0.1";
    options.target.port = server.port();
    options.target.path = "/v1";
    options.questions.n_distinct = 3;
    options.n_streams = 2;
    options.n_total = 6;
  }

  static void answer(const testing::TestConnection& connection, const std::string& text) {
    connection.send(testing::kStreamHead);
    connection.send_chunk(testing::token_event("1", text));
    connection.send_chunk(testing::last_events("1"));
  }

  std::function<void(int n, const testing::TestConnection&, const std::string& text)> deed;
  std::atomic<int> n_asked{0};
  CheckedLoadOptions options;
  testing::LoadTestServer server{
      [this](const testing::TestRequest& request, const testing::TestConnection& connection) {
        const auto body = nlohmann::json::parse(request.body, nullptr, false);
        deed(++n_asked, connection, body.is_object() ? body["seed"].dump() : "");
      }};
};

TEST_F(CheckedLoadOn, AnEvenServerFindsEveryAnswerEqual) {
  deed = [](int, const auto& connection, const std::string& text) { answer(connection, text); };
  CheckedLoad load(options);
  const Status asked = load.ask_undisturbed();
  ASSERT_TRUE(asked.has_value()) << asked.error().message;
  EXPECT_EQ(n_asked, 3);
  const auto account = load.run({});
  ASSERT_TRUE(account.has_value());
  EXPECT_EQ(account->n(), 6U);
  EXPECT_TRUE(account->outcome().has_value());
}

TEST_F(CheckedLoadOn, AnAnswerThatChangesIsListedAsDifferent) {
  deed = [](int n, const auto& connection, const std::string& text) {
    answer(connection, n == 7 ? "x" + text : text);
  };
  CheckedLoad load(options);
  ASSERT_TRUE(load.ask_undisturbed().has_value());
  const auto account = load.run({});
  ASSERT_TRUE(account.has_value());
  EXPECT_EQ(account->n_different(), 1U);
  EXPECT_EQ(account->n_failed(), 0U);
  ASSERT_EQ(account->problems().size(), 1U);
  EXPECT_NE(account->problems()[0].find("content differs at byte 0"), std::string::npos);
  EXPECT_FALSE(account->outcome().has_value());
}

TEST_F(CheckedLoadOn, AServerThatCutsStreamsFails) {
  deed = [](int n, const auto& connection, const std::string& text) {
    if (n != 5) return answer(connection, text);
    connection.send(testing::kStreamHead);
    connection.send_chunk(testing::token_event("1", text.substr(0, 1)));
  };
  CheckedLoad load(options);
  ASSERT_TRUE(load.ask_undisturbed().has_value());
  const auto account = load.run({});
  ASSERT_TRUE(account.has_value());
  EXPECT_EQ(account->n_ended_as(LoadEnd::kCut), 1U);
  EXPECT_GE(account->n_lost_tok(), 1U);
  EXPECT_EQ(account->outcome().error().code, Code::kDataLoss);
}

TEST_F(CheckedLoadOn, AServerThatIsNotReproducibleIsRefusedAsAReference) {
  options.n_streams = 6;  // so that each question is asked twice undisturbed
  deed = [](int n, const auto& connection, const std::string& text) {
    answer(connection, text + std::to_string(n));
  };
  CheckedLoad load(options);
  const Status asked = load.ask_undisturbed();
  ASSERT_FALSE(asked.has_value());
  EXPECT_EQ(asked.error().code, Code::kFailedPrecondition);
}

}  // namespace
}  // namespace deepwell::apps
