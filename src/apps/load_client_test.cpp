// The load client against a server whose every byte is known.
#include "apps/load_client.hpp"

#include <gtest/gtest.h>

#include "apps/load_test_server.hpp"

namespace deepwell::apps {
namespace {

using std::chrono::milliseconds;
using testing::kStreamHead;
using testing::last_events;
using testing::LoadTestServer;
using testing::TestConnection;
using testing::TestRequest;
using testing::token_event;

LoadPlan plan_for(std::uint16_t port) {
  LoadPlan plan;
  plan.target.host = "127.0.0.1";
  plan.target.port = port;
  plan.target.path = "/v1";
  plan.n_total = 1;
  plan.retry_interval = milliseconds(10);
  plan.retry_limit = milliseconds(2000);
  plan.body = [](std::uint64_t) { return std::string("{}"); };
  return plan;
}

std::vector<LoadResult> results_of(LoadPlan plan) {
  std::vector<LoadResult> results;
  plan.on_result = [&results](LoadResult&& result) { results.push_back(std::move(result)); };
  const Status done = run_load(plan);
  EXPECT_TRUE(done.has_value()) << done.error().message;
  return results;
}

LoadResult result_of(LoadPlan plan) {
  std::vector<LoadResult> results = results_of(std::move(plan));
  EXPECT_EQ(results.size(), 1U);
  return results.empty() ? LoadResult() : std::move(results.front());
}

void send_whole_answer(const TestConnection& connection) {
  connection.send(kStreamHead);
  connection.send_chunk(token_event("1", "a"));
  connection.send_chunk(token_event("2", "\\u00e9") + token_event("3", "\\\"c"));
  connection.send_chunk(last_events("3"));
  connection.send("0\r\n\r\n");
}

TEST(LoadClient, PutsAnAnswerTogether) {
  LoadTestServer server(
      [](const TestRequest&, const TestConnection& connection) { send_whole_answer(connection); });
  const LoadResult result = result_of(plan_for(server.port()));
  EXPECT_EQ(result.end, LoadEnd::kDone) << result.message;
  EXPECT_EQ(result.status, 200);
  EXPECT_EQ(result.answer.id, "chatcmpl-1");
  ASSERT_EQ(result.answer.choices.size(), 1U);
  EXPECT_EQ(result.answer.choices[0].content, "aé\"c");
  EXPECT_EQ(result.answer.choices[0].finish_reason, "stop");
  EXPECT_EQ(result.answer.n_completion_tok, 3U);
  EXPECT_EQ(result.n_token_events, 3U);
  EXPECT_EQ(result.n_events, 6U);
  EXPECT_EQ(result.n_duplicates + result.n_breaks, 0U);
  EXPECT_GE(result.time_to_first_token.count(), 0);
}

TEST(LoadClient, ReadsTheSameWhateverTheBordersOfPacketsAndChunks) {
  LoadTestServer server([](const TestRequest&, const TestConnection& connection) {
    const std::string body = token_event("1", "a") + ": ping\n\n" + token_event("2", "\\u00e9") +
                             token_event("3", "\\\"c") + last_events("3");
    connection.send_byte_by_byte(kStreamHead);
    for (std::size_t at = 0; at < body.size(); at += 7) {
      const std::string part = body.substr(at, 7);
      connection.send_byte_by_byte(concat("0", part.size(), ";x=y\r\n", part, "\r\n"));
    }
    connection.send_byte_by_byte("0\r\nTrailer: t\r\n\r\n");
  });
  const LoadResult result = result_of(plan_for(server.port()));
  EXPECT_EQ(result.end, LoadEnd::kDone) << result.message;
  ASSERT_EQ(result.answer.choices.size(), 1U);
  EXPECT_EQ(result.answer.choices[0].content, "aé\"c");
  EXPECT_EQ(result.n_events, 6U);
}

TEST(LoadClient, MeasuresTheSlowStartAndTheLongestGap) {
  LoadTestServer server([](const TestRequest&, const TestConnection& connection) {
    connection.wait(120);
    connection.send(kStreamHead);
    connection.send_chunk(token_event("1", "a"));
    connection.wait(20);
    connection.send_chunk(token_event("2", "b"));
    connection.wait(90);
    connection.send_chunk(": ping\n\n" + token_event("3", "c"));
    connection.send_chunk(last_events("3"));
  });
  const LoadResult result = result_of(plan_for(server.port()));
  EXPECT_EQ(result.end, LoadEnd::kDone) << result.message;
  EXPECT_GE(result.time_to_first_token, milliseconds(120));
  EXPECT_LT(result.time_to_first_token, milliseconds(1000));
  EXPECT_GE(result.longest_gap, milliseconds(85));
  EXPECT_LT(result.longest_gap, milliseconds(1000));
}

TEST(LoadClient, CallsABrokenStreamCut) {
  LoadTestServer server([](const TestRequest&, const TestConnection& connection) {
    connection.send(kStreamHead);
    connection.send_chunk(token_event("1", "a"));
  });
  const LoadResult result = result_of(plan_for(server.port()));
  EXPECT_EQ(result.end, LoadEnd::kCut);
  EXPECT_EQ(result.n_breaks, 1U);
  EXPECT_EQ(server.n_connections(), 1);
}

TEST(LoadClient, CallsAStreamThatEndsCleanlyWithoutDoneCut) {
  LoadTestServer server([](const TestRequest&, const TestConnection& connection) {
    connection.send(kStreamHead);
    connection.send_chunk(token_event("1", "a"));
    connection.send("0\r\n\r\n");
  });
  EXPECT_EQ(result_of(plan_for(server.port())).end, LoadEnd::kCut);
}

TEST(LoadClient, GoesOnBehindTheLastEventThatItHas) {
  LoadTestServer server([](const TestRequest& request, const TestConnection& connection) {
    if (request.is_post()) {
      connection.send(kStreamHead);
      connection.send_chunk(token_event("1", "a"));
      connection.send_chunk(token_event("2", "b").substr(0, 30));  // breaks inside an event
      return;
    }
    EXPECT_EQ(request.line, "GET /v1/streams/chatcmpl-1 HTTP/1.1");
    EXPECT_EQ(request.header("Last-Event-ID"), "1");
    EXPECT_EQ(request.header("Authorization"), "Bearer secret");
    connection.send(kStreamHead);
    connection.send_chunk(token_event("2", "b") + token_event("3", "c") + last_events("3"));
  });
  LoadPlan plan = plan_for(server.port());
  plan.use_reattach = true;
  plan.target.api_key = "secret";
  const LoadResult result = result_of(std::move(plan));
  EXPECT_EQ(result.end, LoadEnd::kDone) << result.message;
  EXPECT_EQ(result.answer.choices.at(0).content, "abc");
  EXPECT_EQ(result.n_breaks, 1U);
  EXPECT_EQ(result.n_reattached, 1U);
  EXPECT_EQ(result.n_duplicates, 0U);
}

TEST(LoadClient, CountsEventsThatComeTwiceAndReadsThemOnce) {
  LoadTestServer server([](const TestRequest& request, const TestConnection& connection) {
    connection.send(kStreamHead);
    connection.send_chunk(token_event("1", "a") + token_event("2", "b"));
    if (request.is_post()) return;
    connection.send_chunk(token_event("3", "c") + last_events("3"));
  });
  LoadPlan plan = plan_for(server.port());
  plan.use_reattach = true;
  const LoadResult result = result_of(std::move(plan));
  EXPECT_EQ(result.end, LoadEnd::kDone) << result.message;
  EXPECT_EQ(result.answer.choices.at(0).content, "abc");
  EXPECT_EQ(result.n_duplicates, 2U);
}

TEST(LoadClient, SendsARequestWhoseAnswerHadNotBegunAgainUnderTheSameKey) {
  std::mutex mutex;
  std::vector<std::string> keys;
  LoadTestServer server([&](const TestRequest& request, const TestConnection& connection) {
    std::size_t n = 0;
    {
      const std::lock_guard lock(mutex);
      keys.push_back(request.header("Idempotency-Key"));
      n = keys.size();
    }
    EXPECT_TRUE(request.is_post());
    if (n == 1) return;  // breaks before a byte
    if (n == 2) {
      connection.send("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
      return;
    }
    send_whole_answer(connection);
  });
  LoadPlan plan = plan_for(server.port());
  plan.use_reattach = true;
  const LoadResult result = result_of(std::move(plan));
  EXPECT_EQ(result.end, LoadEnd::kDone) << result.message;
  EXPECT_EQ(result.n_resent, 2U);
  ASSERT_EQ(keys.size(), 3U);
  EXPECT_FALSE(keys[0].empty());
  EXPECT_EQ(keys[0], keys[1]);
  EXPECT_EQ(keys[0], keys[2]);
}

TEST(LoadClient, GivesUpAfterTheLimitOfRetries) {
  LoadTestServer server([](const TestRequest& request, const TestConnection& connection) {
    if (!request.is_post()) return;
    connection.send(kStreamHead);
    connection.send_chunk(token_event("1", "a"));
  });
  LoadPlan plan = plan_for(server.port());
  plan.use_reattach = true;
  plan.retry_limit = milliseconds(100);
  const LoadResult result = result_of(std::move(plan));
  EXPECT_EQ(result.end, LoadEnd::kCut);
  EXPECT_GT(server.n_connections(), 2);
}

TEST(LoadClient, TellsALostStreamFromARefusedRequest) {
  LoadTestServer server([](const TestRequest& request, const TestConnection& connection) {
    if (request.is_post()) {
      connection.send(kStreamHead);
      connection.send_chunk(token_event("1", "a"));
      return;
    }
    connection.send(
        "HTTP/1.1 404 Not Found\r\nContent-Length: 31\r\n\r\n"
        R"({"error":{"message":"unknown"}})");
  });
  LoadPlan plan = plan_for(server.port());
  plan.use_reattach = true;
  const LoadResult lost = result_of(std::move(plan));
  EXPECT_EQ(lost.end, LoadEnd::kCut);
  EXPECT_EQ(lost.message, "404: unknown");

  LoadTestServer busy([](const TestRequest&, const TestConnection& connection) {
    connection.send("HTTP/1.1 429 Busy\r\n\r\n{\"error\":{\"message\":\"too many\"}}");
  });
  const LoadResult refused = result_of(plan_for(busy.port()));
  EXPECT_EQ(refused.end, LoadEnd::kRefused);
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(refused.message, "429: too many");
}

TEST(LoadClient, ReportsRefusedConnections) {
  std::uint16_t port = 0;
  {
    const auto socket = open_listen_socket("127.0.0.1", 0);
    ASSERT_TRUE(socket.has_value());
    port = socket->port;
  }
  const LoadResult result = result_of(plan_for(port));
  EXPECT_EQ(result.end, LoadEnd::kCut);
  EXPECT_EQ(result.status, 0);
  EXPECT_NE(result.message.find("cannot connect to 127.0.0.1"), std::string::npos)
      << result.message;
}

TEST(LoadClient, EndsAtAnErrorEventUnlessTheRestCanBeHadElsewhere) {
  const auto error_event = [](const char* resumable) {
    return concat(
        "event: error\ndata: {\"error\":{\"type\":\"server_error\",\"code\":\"c\","
        "\"message\":\"m\"",
        resumable, "}}\n\n");
  };
  for (const bool is_resumable : {false, true}) {
    LoadTestServer server([&](const TestRequest& request, const TestConnection& connection) {
      connection.send(kStreamHead);
      if (request.is_post()) {
        connection.send_chunk(token_event("1", "a"));
        connection.send_chunk(error_event(is_resumable ? ",\"resumable\":true" : ""));
      } else {
        connection.send_chunk(token_event("2", "b") + last_events("2"));
      }
    });
    LoadPlan plan = plan_for(server.port());
    plan.use_reattach = true;
    const LoadResult result = result_of(std::move(plan));
    EXPECT_EQ(result.end, is_resumable ? LoadEnd::kDone : LoadEnd::kError) << result.message;
    if (!is_resumable) {
      EXPECT_EQ(result.message, "server_error c: m");
    }
  }
}

TEST(LoadClient, NamesWhatIsNotTheProtocol) {
  const std::vector<std::string> broken = {
      "SSH-2.0-x\r\n",
      "HTTP/1.1 2x0 OK\r\n",
      kStreamHead + "zz\r\n",
      kStreamHead + "2\r\nabX\r\n",
      kStreamHead + "c\r\ndata: nope\n\n\r\n",
  };
  for (const std::string& bytes : broken) {
    LoadTestServer server([&bytes](const TestRequest&, const TestConnection& connection) {
      connection.send(bytes);
      connection.wait(20);
    });
    const LoadResult result = result_of(plan_for(server.port()));
    EXPECT_EQ(result.end, LoadEnd::kMalformed) << bytes;
    EXPECT_FALSE(result.message.empty());
  }
}

TEST(LoadClient, GivesUpAnAnswerThatTakesTooLong) {
  LoadTestServer server([](const TestRequest&, const TestConnection& connection) {
    connection.send(kStreamHead);
    connection.send_chunk(token_event("1", "a"));
    connection.wait(300);
  });
  LoadPlan plan = plan_for(server.port());
  plan.answer_limit = milliseconds(60);
  EXPECT_EQ(result_of(std::move(plan)).end, LoadEnd::kTimedOut);
}

TEST(LoadClient, LeavesOrReadsSlowlyWhereThePlanSaysSo) {
  std::atomic<bool> has_left{false};
  LoadTestServer server([&](const TestRequest& request, const TestConnection& connection) {
    connection.send(kStreamHead);
    if (request.body == "slow") {
      connection.send_chunk(token_event("1", "a") + token_event("2", "b") + last_events("2"));
      connection.wait(400);
      return;
    }
    connection.send_chunk(token_event("1", "a") + token_event("2", "b"));
    for (int i = 0; i < 200 && !has_left; ++i) {
      connection.wait(5);
      if (!connection.send("3\r\n: \n\r\n")) has_left = true;
    }
  });
  LoadPlan plan = plan_for(server.port());
  plan.n_total = 2;
  plan.n_streams = 2;
  plan.body = [](std::uint64_t n) { return std::string(n == 0 ? "slow" : "leaves"); };
  plan.reader = [](std::uint64_t n) {
    return n == 0 ? LoadReader{.max_bytes_per_s = 2500} : LoadReader{.leave_after_events = 2};
  };
  std::map<std::uint64_t, LoadResult> results;
  for (LoadResult& result : results_of(std::move(plan))) {
    const std::uint64_t number = result.number;
    results[number] = std::move(result);
  }
  EXPECT_EQ(results[1].end, LoadEnd::kLeft);
  EXPECT_TRUE(has_left);
  EXPECT_EQ(results[0].end, LoadEnd::kDone) << results[0].message;
  EXPECT_GE(results[0].ended - results[0].due, milliseconds(100));
}

TEST(LoadClient, HoldsManyStreamsAtOnce) {
  constexpr std::uint32_t kStreams = 200;
  std::atomic<int> n_open{0};
  LoadTestServer server([&](const TestRequest&, const TestConnection& connection) {
    ++n_open;
    for (int i = 0; i < 2000 && n_open < static_cast<int>(kStreams); ++i) connection.wait(1);
    send_whole_answer(connection);
  });
  LoadPlan plan = plan_for(server.port());
  plan.n_streams = kStreams;
  plan.n_total = kStreams;
  std::uint32_t n_most = 0;
  plan.on_change = [&n_most](std::uint32_t, std::uint32_t n) { n_most = std::max(n_most, n); };
  const std::vector<LoadResult> results = results_of(std::move(plan));
  EXPECT_EQ(results.size(), kStreams);
  EXPECT_EQ(n_most, kStreams);
  for (const LoadResult& result : results) EXPECT_EQ(result.end, LoadEnd::kDone) << result.message;
}

TEST(LoadClient, OpenLoopStartsRequestsAtTheirTimeWhateverTheServerDoes) {
  LoadTestServer server([](const TestRequest&, const TestConnection& connection) {
    connection.wait(150);
    send_whole_answer(connection);
  });
  LoadPlan plan = plan_for(server.port());
  plan.n_streams = 50;
  plan.n_total = 20;
  plan.rate_per_s = 100;
  const std::vector<LoadResult> results = results_of(std::move(plan));
  ASSERT_EQ(results.size(), 20U);
  SteadyTime first = results[0].due;
  SteadyTime last = results[0].due;
  for (const LoadResult& result : results) {
    first = std::min(first, result.due);
    last = std::max(last, result.due);
  }
  EXPECT_NEAR(std::chrono::duration<double>(last - first).count(), 0.19, 0.001);
  EXPECT_LT(results.back().ended - first, milliseconds(1500));  // one by one: 3 s
}

TEST(LoadClient, StopsWhenItIsCancelled) {
  LoadTestServer server([](const TestRequest&, const TestConnection& connection) {
    connection.wait(200);
    send_whole_answer(connection);
  });
  LoadPlan plan = plan_for(server.port());
  plan.is_cancelled = [] { return true; };
  plan.on_result = [](LoadResult&&) { ADD_FAILURE(); };
  const Status done = run_load(plan);
  ASSERT_FALSE(done.has_value());
  EXPECT_EQ(done.error().code, Code::kCancelled);
}

TEST(LoadTarget, IsReadFromAnUrl) {
  const auto target = parse_load_url("http://localhost:8080");
  ASSERT_TRUE(target.has_value());
  EXPECT_EQ(target->host, "localhost");
  EXPECT_EQ(target->port, 8080);
  EXPECT_EQ(target->path, "/v1");
  EXPECT_EQ(parse_load_url("http://h/v1/")->path, "/v1");
  EXPECT_EQ(parse_load_url("http://h/proxy")->path, "/proxy/v1");
  EXPECT_EQ(parse_load_url("http://[::1]:9/x/v2")->host, "::1");
  EXPECT_EQ(parse_load_url("http://[::1]:9/x/v2")->path, "/x/v2");
  for (const char* wrong : {"https://h", "h:80", "http://", "http://h:0", "http://h:99999"}) {
    EXPECT_FALSE(parse_load_url(wrong).has_value()) << wrong;
  }
}

}  // namespace
}  // namespace deepwell::apps
