// Comparing answers, adding results up.
#include "apps/load_check.hpp"

#include <gtest/gtest.h>

#include <algorithm>
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

TEST(LogHistogram, KnowsPercentilesToOnePercent) {
  LogHistogram gaps;
  for (int i = 1; i <= 1000; ++i) gaps.add(i * 1000.0);
  EXPECT_NEAR(gaps.percentile_us(0.50), 500'000, 5'000);
  EXPECT_NEAR(gaps.percentile_us(0.99), 990'000, 9'900);
  EXPECT_EQ(gaps.max_us(), 1'000'000);
  EXPECT_EQ(LogHistogram().percentile_us(0.5), 0);
  LogHistogram extremes;
  extremes.add(0);
  extremes.add(1e12);
  EXPECT_EQ(extremes.n(), 2U);
}

LoadResult result_of(std::uint32_t client, int began_ms, int ttft_ms, std::vector<int> gaps_ms) {
  LoadResult result;
  result.end = LoadEnd::kDone;
  result.client = client;
  result.due = SteadyTime(std::chrono::milliseconds(began_ms));
  result.time_to_first_token = std::chrono::milliseconds(ttft_ms);
  result.ended = result.due + result.time_to_first_token;
  for (const int gap_ms : gaps_ms) {
    result.gaps_us.push_back(static_cast<std::uint32_t>(gap_ms) * 1000);
    result.ended += std::chrono::milliseconds(gap_ms);
  }
  result.n_token_events = static_cast<std::uint32_t>(gaps_ms.size()) + 1;
  return result;
}

TEST(LoadAccount, ComparesTheWorstClientWithTheMedianOne) {
  LoadAccount account(0, 0);
  account.add(result_of(0, 0, 10, {10, 10}), {});
  account.add(result_of(1, 0, 10, {20, 20}), {});
  account.add(result_of(2, 0, 10, {10, 10}), {});
  account.add(result_of(2, 30, 500, {10, 10}), {});  // once well, once badly
  EXPECT_NEAR(account.client_times().median_ms, 50, 1e-6);
  EXPECT_NEAR(account.client_times().worst_ms, 275, 1e-6);
}

TEST(LoadAccount, KeepsTheFirstTokensOfLongPromptsApart) {
  LoadAccount account(0, 0);
  account.add(result_of(0, 0, 10, {}), {});
  account.add(result_of(0, 0, 900, {}), {.is_long = true});
  EXPECT_EQ(account.time_to_first_token_ms().max, 10);
  EXPECT_EQ(account.long_ttft_ms().p50, 900);
}

TEST(LoadAccount, SaysHowOneRequestAndThoseThatRanBoreEachOther) {
  LoadAccount account(0, 0, true);
  EXPECT_FALSE(account.amid_times().has_value());
  // The first stream begins its answer at 10 ms, the second at 100 ms; the one amid waits from 200 to 300 ms.
  account.add(result_of(0, 0, 10, {70, 70, 20, 20, 60, 40, 5}), {});
  account.add(result_of(1, 0, 100, {20, 30, 80, 90}), {});
  LoadResult amid = result_of(2, 200, 100, {1});
  amid.number = LoadPlan::kAmid;
  account.add(amid, {});
  const auto times = account.amid_times();
  ASSERT_TRUE(times.has_value());
  EXPECT_NEAR(times->ttft_ms, 100, 1e-6);
  EXPECT_NEAR(times->before_ms.max, 30, 0.5);  // not the 70 of the time when the second one began
  EXPECT_NEAR(times->during_ms.max, 90, 0.5);
  EXPECT_NEAR(times->during_ms.p50, 60, 1);  // 20, 60, 40 and 80, 90; the 5 came later
}

TEST(QuestionBody, HasAboutSoManyWordsAndNeverTheSameBeginning) {
  const LoadQuestions questions{.n_distinct = 0, .n_prompt_tok = 400};
  const auto content_of = [&](std::uint64_t number) {
    return nlohmann::json::parse(question_body(questions, number))["messages"][0]["content"]
        .get<std::string>();
  };
  const std::string text = content_of(0);
  const auto n_words = std::count(text.begin(), text.end(), ' ');
  const auto n_stops = std::count(text.begin(), text.end(), '.');
  EXPECT_NEAR(static_cast<double>(n_words + n_stops), 400, 24);
  for (std::uint64_t number = 1; number < 200; ++number) {
    const std::string other = content_of(number);
    const auto same = std::mismatch(text.begin(), text.end(), other.begin(), other.end());
    EXPECT_LT(same.first - text.begin(), 16);
  }
}

TEST(QuestionBody, SharesTheSystemMessageWithinOneRunOnly) {
  LoadQuestions questions{.n_distinct = 0, .n_shared_tok = 200};
  const auto messages_of = [&](std::uint64_t number) {
    return nlohmann::json::parse(question_body(questions, number))["messages"];
  };
  ASSERT_EQ(messages_of(0).size(), 2U);
  EXPECT_EQ(messages_of(0)[0], messages_of(1)[0]);
  EXPECT_NE(messages_of(0)[1], messages_of(1)[1]);
  const auto before = messages_of(0)[0];
  questions.first = 1000;
  EXPECT_NE(messages_of(0)[0], before);
}

TEST(QuestionBody, SpreadsLongPromptsEvenly) {
  const LoadQuestions questions{.n_prompt_tok = 32, .long_share = 0.25, .n_long_tok = 1000};
  std::vector<std::uint64_t> long_ones;
  for (std::uint64_t number = 0; number < 12; ++number) {
    const bool is_long = question_body(questions, number).size() > 2000;
    EXPECT_EQ(is_long, questions.is_long(number));
    if (is_long) long_ones.push_back(number);
  }
  EXPECT_EQ(long_ones, (std::vector<std::uint64_t>{3, 7, 11}));
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

TEST_F(CheckedLoadOn, OneRequestMoreComesAmidTheOthers) {
  deed = [](int, const auto& connection, const std::string& text) {
    connection.send(testing::kStreamHead);
    connection.send_chunk(testing::token_event("1", text));
    connection.wait(30);
    connection.send_chunk(testing::token_event("2", text));
    connection.send_chunk(testing::last_events("2"));
  };
  options.questions.n_distinct = 0;
  options.n_amid_tok = 500;
  options.amid_after = std::chrono::milliseconds(40);
  CheckedLoad load(options);
  const auto account = load.run({});
  ASSERT_TRUE(account.has_value());
  EXPECT_EQ(account->n(), 7U);
  EXPECT_EQ(account->n_failed(), 0U);
  EXPECT_TRUE(account->amid_times().has_value());
  EXPECT_GE(account->inter_token_ms().p50, 25);
}

TEST_F(CheckedLoadOn, AnswersToQuestionsThatNeverComeTwiceCannotBeCompared) {
  options.questions.n_distinct = 0;
  const Status asked = CheckedLoad(options).ask_undisturbed();
  ASSERT_FALSE(asked.has_value());
  EXPECT_EQ(asked.error().code, Code::kInvalidArgument);
  EXPECT_EQ(n_asked, 0);
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
