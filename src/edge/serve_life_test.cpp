// Tests of the server's life over real sockets: leaving clients, failures, overload, health, drain, many at once.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "base/concat.hpp"
#include "edge/testing/served_synthetic.hpp"
#include "edge/testing/streamed.hpp"

namespace deepwell::edge::testing {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using service::testing::SyntheticOptions;

TEST(ServeLife, CancelsTheGenerationOfAClientThatLeaves) {
  SyntheticOptions synthetic;
  synthetic.pace = 2ms;
  ServeOptions options;
  options.reattach_grace = 0ms;
  ServedSynthetic server(std::move(synthetic), options);
  for (const bool is_stream : {true, false}) {
    const auto n_before = server.generator().n_cancelled();
    RawClient client(server.port());
    client.send(post_request("/v1/chat/completions",
                             chat_body(concat(R"(,"max_tokens":4000,"stream":)", is_stream))));
    ASSERT_TRUE(eventually([&] { return server.generator().status().n_running == 1; }));
    client.close(true);
    EXPECT_TRUE(eventually([&] { return server.generator().n_cancelled() == n_before + 1; }));
    EXPECT_TRUE(eventually([&] { return server.generator().status().n_running == 0; }));
  }
  EXPECT_EQ(server.chat(R"(,"max_tokens":2)").status, 200);
}

TEST(ServeLife, EndsABrokenStreamWithAnErrorEventAndNoCleanClose) {
  SyntheticOptions synthetic = saying("abcdefgh");
  synthetic.fail_at = 4;
  const ServedSynthetic server(std::move(synthetic));
  const Reply reply = server.chat(R"(,"stream":true)");
  EXPECT_EQ(reply.status, 200);
  EXPECT_FALSE(reply.is_whole);
  const Streamed streamed = read_stream(reply);
  EXPECT_EQ(streamed.content, "abcd");
  EXPECT_EQ(streamed.error_type, "server_error");
  EXPECT_FALSE(streamed.is_done);
  EXPECT_EQ(streamed.finish, "");
  EXPECT_EQ(server.chat().status, 500);  // not streamed: no half answer at all
}

TEST(ServeLife, GivesAFailureBeforeTheFirstTokenItsOwnStatus) {
  SyntheticOptions synthetic = saying("abc");
  synthetic.fail_at = 0;
  const ServedSynthetic server(std::move(synthetic));
  EXPECT_EQ(server.chat(R"(,"stream":true)").status, 500);
}

TEST(ServeLife, RefusesWithRetryAfterWhenTheQueueIsFull) {
  SyntheticOptions synthetic;
  synthetic.n_slots = 1;
  synthetic.n_queue = 1;
  synthetic.pace = 5ms;
  ServedSynthetic server(std::move(synthetic));
  RawClient first(server.port());
  RawClient second(server.port());
  first.send(post_request("/v1/chat/completions", chat_body(R"(,"max_tokens":4000)")));
  second.send(post_request("/v1/chat/completions", chat_body(R"(,"max_tokens":4000)")));
  ASSERT_TRUE(eventually([&] { return server.generator().status().n_waiting == 1; }));
  const Reply reply = server.chat();
  EXPECT_EQ(reply.status, 503);
  EXPECT_TRUE(reply.headers.contains("retry-after"));
  const json error = json::parse(reply.body)["error"];
  EXPECT_EQ(error["code"], "queue_full");
  EXPECT_EQ(error["queue_position"], 2);
  EXPECT_GE(error["retry_after_s"], 1);
}

TEST(ServeLife, EndsAnAnswerThatTakesTooLong) {
  SyntheticOptions synthetic;
  synthetic.pace = 10ms;
  ServeOptions options;
  options.request_timeout = 1s;
  ServedSynthetic server(std::move(synthetic), options);
  EXPECT_EQ(server.chat(R"(,"max_tokens":4000)").status, 504);
  const Streamed streamed = read_stream(server.chat(R"(,"max_tokens":4000,"stream":true)"));
  EXPECT_EQ(streamed.error_code, "deadline_exceeded");
  EXPECT_FALSE(streamed.is_done);
  EXPECT_TRUE(eventually([&] { return server.generator().status().n_running == 0; }));
}

TEST(ServeLife, PingsAStreamWhileNothingComes) {
  ServeOptions options;
  options.ping_interval = 20ms;
  ServedSynthetic server(saying("late"), options);
  server.generator().set_stalled(true);
  RawClient client(server.port());
  client.send(post_request("/v1/chat/completions", chat_body(R"(,"stream":true)")));
  std::string seen;
  ASSERT_TRUE(eventually([&] {
    seen += client.receive_some();
    return seen.find(": ping\n\n") != std::string::npos;
  })) << seen;
  server.generator().set_stalled(false);
  ASSERT_TRUE(eventually([&] {
    seen += client.receive_some();
    return seen.find("[DONE]") != std::string::npos;
  })) << seen;
}

TEST(ServeLife, TellsTheTruthAboutAStalledEngine) {
  ServeOptions options;
  options.stall_limit = 100ms;
  ServedSynthetic server(saying("x"), options);
  EXPECT_EQ(server.send(get_request("/readyz")).status, 200);
  server.generator().set_stalled(true);
  std::this_thread::sleep_for(200ms);
  EXPECT_EQ(server.send(get_request("/readyz")).status, 200);  // idle: nothing is owed
  RawClient client(server.port());
  client.send(post_request("/v1/chat/completions", chat_body()));
  EXPECT_TRUE(eventually([&] { return server.send(get_request("/readyz")).status == 503; }));
  EXPECT_EQ(server.send(get_request("/livez")).status, 503);
  const Reply health = server.send(get_request("/healthz"));
  EXPECT_EQ(json::parse(health.body)["status"], "stalled");
  server.generator().set_stalled(false);
  EXPECT_TRUE(eventually([&] { return server.send(get_request("/readyz")).status == 200; }));
}

TEST(ServeLife, DrainsWhatRunsAndRefusesWhatIsNew) {
  SyntheticOptions synthetic = saying(std::string(100, 'x'), 5ms);
  ServedSynthetic server(std::move(synthetic));
  RawClient running(server.port());
  running.send(post_request("/v1/chat/completions", chat_body(R"(,"stream":true)")));
  ASSERT_TRUE(eventually([&] { return server.generator().status().n_running == 1; }));
  server.stop(StopRequest::kDrain);
  EXPECT_TRUE(eventually([&] { return server.send(get_request("/readyz")).status == 503; }, 300ms));
  const Reply refused = server.chat();
  EXPECT_EQ(refused.status, 503);
  EXPECT_TRUE(refused.headers.contains("retry-after"));
  EXPECT_EQ(json::parse(refused.body)["error"]["code"], "shutting_down");
  EXPECT_EQ(server.send(get_request("/livez")).status, 200);
  const Reply whole = running.receive();
  EXPECT_TRUE(whole.is_whole);
  EXPECT_EQ(read_stream(whole).content, std::string(100, 'x'));
  EXPECT_TRUE(server.wait_until_left(5000ms));
}

TEST(ServeLife, LeavesAtOnceWhenAskedTo) {
  SyntheticOptions synthetic;
  synthetic.pace = 5ms;
  ServedSynthetic server(std::move(synthetic));
  RawClient running(server.port());
  running.send(
      post_request("/v1/chat/completions", chat_body(R"(,"stream":true,"max_tokens":4000)")));
  ASSERT_TRUE(eventually([&] { return server.generator().status().n_running == 1; }));
  server.stop(StopRequest::kNow);
  EXPECT_TRUE(server.wait_until_left(2000ms));
  EXPECT_FALSE(running.receive().is_whole);
}

TEST(ServeLife, GivesSixteenStreamsEachItsOwnWholeAnswer) {
  SyntheticOptions synthetic;
  synthetic.pace = 1ms;
  ServedSynthetic server(std::move(synthetic));
  struct Result {
    std::string content;
    double seconds = 0;
  };
  std::vector<std::future<Result>> clients;
  for (int i = 0; i < 16; ++i) {
    clients.push_back(std::async(std::launch::async, [&server, i] {
      const auto start = std::chrono::steady_clock::now();
      const Reply reply = server.chat(concat(R"(,"stream":true,"max_tokens":200,"seed":)", i));
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
      const Streamed streamed = read_stream(reply);
      EXPECT_TRUE(streamed.is_done);
      return Result{streamed.content, took.count()};
    }));
  }
  std::set<std::string> contents;
  std::vector<double> seconds;
  for (auto& client : clients) {
    const Result result = client.get();
    EXPECT_EQ(result.content.size(), 200U);
    contents.insert(result.content);
    seconds.push_back(result.seconds);
  }
  EXPECT_EQ(contents.size(), 16U);
  std::sort(seconds.begin(), seconds.end());
  RecordProperty("worst_over_median", std::to_string(seconds.back() / seconds[8]));
}

TEST(ServeLife, LetsNoSlowClientHoldUpTheOthers) {
  SyntheticOptions synthetic;
  synthetic.n_ctx_tok = 200'000;
  ServedSynthetic server(std::move(synthetic));
  RawClient slow(server.port());
  slow.send(
      post_request("/v1/chat/completions", chat_body(R"(,"stream":true,"max_tokens":150000)")));
  ASSERT_TRUE(eventually([&] { return server.generator().status().n_running == 1; }));
  EXPECT_EQ(server.chat(R"(,"max_tokens":20)").status, 200);
  // The engine runs to the end although nobody reads.
  EXPECT_TRUE(eventually([&] { return server.generator().status().n_running == 0; }, 15'000ms));
  EXPECT_EQ(read_stream(slow.receive()).content.size(), 150'000U);
}

TEST(ServeLife, SurvivesAThousandClientsThatConnectAndLeave) {
  ServeOptions options;
  options.reattach_grace = 0ms;
  ServedSynthetic server(saying("x"), options);
  for (int i = 0; i < 1000; ++i) {
    RawClient client(server.port());
    if (i % 3 == 1) client.send("POST /v1/chat/comple");
    if (i % 3 == 2)
      client.send(post_request("/v1/chat/completions", chat_body(R"(,"stream":true)")));
    client.close(i % 2 == 0);
  }
  EXPECT_EQ(server.chat().status, 200);
  EXPECT_TRUE(eventually([&] { return server.generator().status().n_running == 0; }));
}

}  // namespace
}  // namespace deepwell::edge::testing
