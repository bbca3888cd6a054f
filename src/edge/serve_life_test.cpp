// Tests of the server's life over real sockets: leaving clients, failures, overload, health, drain, many at once.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "base/concat.hpp"
#include "base/ids.hpp"
#include "base/listen_socket.hpp"
#include "edge/testing/served_synthetic.hpp"
#include "edge/testing/streamed.hpp"

namespace deepwell::edge::testing {
namespace {

using namespace std::chrono_literals;
using cluster::SyntheticOptions;
using nlohmann::json;

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

TEST(ServeLife, TellsAWaitingStreamItsPlace) {
  SyntheticOptions synthetic;
  synthetic.n_slots = 1;
  synthetic.pace = 5ms;
  ServeOptions options;
  options.queue_interval = 20ms;
  ServedSynthetic server(std::move(synthetic), options);
  RawClient first(server.port());
  first.send(post_request("/v1/chat/completions", chat_body(R"(,"max_tokens":4000)")));
  ASSERT_TRUE(eventually([&] { return server.generator().status().n_running == 1; }));
  RawClient second(server.port());
  second.send(post_request("/v1/chat/completions", chat_body(R"(,"max_tokens":4000)")));
  ASSERT_TRUE(eventually([&] { return server.generator().status().n_waiting == 1; }));
  RawClient third(server.port());
  third.send(post_request("/v1/chat/completions", chat_body(R"(,"stream":true)")));
  std::string seen;
  ASSERT_TRUE(eventually([&] {
    seen += third.receive_some();
    return seen.find(": queue position=2 estimated_wait_s=1\n") != std::string::npos;
  })) << seen;
  second.close();
  ASSERT_TRUE(eventually([&] {
    seen += third.receive_some();
    return seen.find(": queue position=1 ") != std::string::npos;
  })) << seen;
}

TEST(ServeLife, PingsAStreamWhileNothingComes) {
  ServeOptions options;
  options.ping_interval = 20ms;
  SyntheticOptions synthetic = saying("late");
  synthetic.pace = 200ms;
  ServedSynthetic server(std::move(synthetic), options);
  RawClient client(server.port());
  client.send(post_request("/v1/chat/completions", chat_body(R"(,"stream":true)")));
  std::string seen;
  ASSERT_TRUE(eventually([&] {
    seen += client.receive_some();
    return seen.find(": ping\n") != std::string::npos;
  })) << seen;
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

TEST(ServeLife, TellsStreamsThatOutlastTheDrainHowToGoOn) {
  SyntheticOptions synthetic;
  synthetic.pace = 5ms;
  ServeOptions options;
  options.drain_timeout = 0s;
  std::atomic<int> n_drained = 0;
  options.on_drained = [&n_drained] { ++n_drained; };
  ServedSynthetic server(std::move(synthetic), options);
  RawClient running(server.port());
  running.send(
      post_request("/v1/chat/completions", chat_body(R"(,"stream":true,"max_tokens":4000)")));
  ASSERT_TRUE(eventually([&] { return server.generator().status().n_generated_tok > 3; }));
  server.stop(StopRequest::kDrain);
  EXPECT_TRUE(server.wait_until_left(5000ms));
  const Reply reply = running.receive();
  EXPECT_FALSE(reply.is_whole);
  const auto events = parse_events(reply.body);
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(events.back().event, "error");
  const json error = json::parse(events.back().data)["error"];
  EXPECT_EQ(error["code"], "shutting_down");
  EXPECT_EQ(error["resumable"], true);
  EXPECT_EQ(n_drained, 1);
}

// A client that keeps its connection may send its next request at any moment of the drain.
TEST(ServeLife, AnswersOnOpenConnectionsWhileItDrains) {
  SyntheticOptions synthetic = saying(std::string(100, 'x'), 5ms);
  ServedSynthetic server(std::move(synthetic));
  RawClient kept(server.port());
  kept.send(get_request("/readyz"));
  EXPECT_EQ(kept.receive().status, 200);
  RawClient running(server.port());
  running.send(post_request("/v1/chat/completions", chat_body()));
  ASSERT_TRUE(eventually([&] { return server.generator().status().n_running == 1; }));
  server.stop(StopRequest::kDrain);
  ASSERT_TRUE(eventually([&] { return server.send(get_request("/readyz")).status == 503; }));
  kept.send(post_request("/v1/chat/completions", chat_body()));
  const Reply late = kept.receive();
  EXPECT_EQ(late.status, 503);
  EXPECT_EQ(late.headers.at("connection"), "close");
  EXPECT_EQ(running.receive().status, 200);
}

TEST(ServeLife, HandsOverWithoutRefusingWhoIsConnected) {
  ServedSynthetic server(saying("abc"));
  RawClient kept(server.port());
  kept.send(get_request("/readyz"));
  EXPECT_EQ(kept.receive().status, 200);
  server.stop(StopRequest::kHandOver);
  EXPECT_TRUE(eventually([&] { return !RawClient(server.port()).is_connected(); }));
  EXPECT_FALSE(server.wait_until_left(50ms)) << "a client may be about to send";
  kept.send(post_request("/v1/chat/completions", chat_body()));
  const Reply last = kept.receive();
  EXPECT_EQ(last.status, 200);
  EXPECT_EQ(last.headers.at("connection"), "close");
  kept.close();
  EXPECT_TRUE(server.wait_until_left(5000ms));
}

TEST(ServeLife, TellsHowLoadingGoesAndServesWhenItIsDone) {
  std::atomic<bool> is_ready = false;
  ServeOptions options;
  options.readiness = [&is_ready] {
    return Readiness{
        .is_ready = is_ready.load(), .progress = 0.25, .eta = 12.3, .text = "loading x"};
  };
  auto socket = open_listen_socket("127.0.0.1", 0);
  ASSERT_TRUE(socket);
  const std::uint16_t port = socket->port;
  options.listen_fd = socket->fd.release();
  std::unique_ptr<ServedSynthetic> server;
  auto starting = std::async(std::launch::async, [&] {
    server = std::make_unique<ServedSynthetic>(saying("abc"), options);
  });
  const auto chat = [port] {
    return testing::exchange(port, post_request("/v1/chat/completions", chat_body()));
  };
  const Reply refused = chat();
  EXPECT_EQ(refused.status, 503);
  EXPECT_EQ(refused.headers.at("retry-after"), "13");
  const json error = json::parse(refused.body)["error"];
  EXPECT_EQ(error["code"], "model_loading");
  EXPECT_EQ(error["progress"], 0.25);
  EXPECT_EQ(testing::exchange(port, get_request("/v1/models")).status, 503);
  EXPECT_EQ(testing::exchange(port, get_request("/v1/streams/x")).status, 503);
  EXPECT_EQ(testing::exchange(port, get_request("/livez")).status, 200);
  EXPECT_EQ(testing::exchange(port, get_request("/metrics")).status, 200);
  const Reply readyz = testing::exchange(port, get_request("/readyz"));
  EXPECT_EQ(readyz.status, 503);
  EXPECT_EQ(json::parse(readyz.body)["status"], "loading");
  is_ready = true;
  starting.get();
  EXPECT_EQ(chat().status, 200);
  EXPECT_EQ(testing::exchange(port, get_request("/readyz")).status, 200);
}

TEST(ServeLife, EstimatesHowLongLoadingTakesFromItsProgress) {
  std::atomic<bool> is_ready = false;
  std::atomic<double> progress = 0.0;
  ServeOptions options;
  options.readiness = [&] {
    return Readiness{.is_ready = is_ready.load(), .progress = progress.load()};
  };
  auto socket = open_listen_socket("127.0.0.1", 0);
  ASSERT_TRUE(socket);
  const std::uint16_t port = socket->port;
  options.listen_fd = socket->fd.release();
  std::unique_ptr<ServedSynthetic> server;
  auto starting = std::async(std::launch::async, [&] {
    server = std::make_unique<ServedSynthetic>(saying("abc"), options);
  });
  struct Finally {  // a failed test must not wait for a server that is never ready
    ~Finally() { is_ready = true; }
    std::atomic<bool>& is_ready;
  } finally{is_ready};
  const auto readyz = [port] { return testing::exchange(port, get_request("/readyz")); };
  EXPECT_EQ(readyz().headers.at("retry-after"), "5") << "nobody knows yet";
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  progress = 0.06;  // so the rest takes at least 0.3 s / 0.06 * 0.94
  ASSERT_TRUE(eventually([&] { return !json::parse(readyz().body)["eta_s"].is_null(); }));
  const Reply late = readyz();
  EXPECT_GE(json::parse(late.body)["eta_s"].get<double>(), 4.7);
  EXPECT_GE(std::stod(late.headers.at("retry-after")),
            json::parse(late.body)["eta_s"].get<double>());
  progress = 0.999;
  EXPECT_TRUE(eventually([&] { return readyz().headers.at("retry-after") == "1"; }));
  is_ready = true;
  starting.get();
}

TEST(ServeLife, ShowsItsWorkersAndIsNotReadyWithoutOne) {
  std::atomic<bool> has_worker = true;
  ServeOptions options;
  options.workers = [&has_worker] {
    WorkerReport worker;
    worker.epoch = 3;
    worker.state = has_worker ? "busy" : "stalled";
    worker.last_token_age_ms = 7;
    return std::vector<WorkerReport>{worker};
  };
  const ServedSynthetic server(saying("abc"), options);
  EXPECT_EQ(server.send(get_request("/readyz")).status, 200);
  const json deep = json::parse(server.send(get_request("/healthz?deep=1")).body);
  EXPECT_EQ(deep["workers"][0]["state"], "busy");
  EXPECT_EQ(deep["workers"][0]["epoch"], 3);
  EXPECT_EQ(deep["workers"][0]["last_token_age_ms"], 7);
  EXPECT_EQ(deep["journal"]["degraded"], false);
  EXPECT_FALSE(json::parse(server.send(get_request("/healthz")).body).contains("workers"));
  has_worker = false;
  EXPECT_EQ(server.send(get_request("/readyz")).status, 503);
  EXPECT_EQ(server.send(get_request("/livez")).status, 200);
}

TEST(ServeLife, RefusesATenantThatHasItsShareOfTheQueue) {
  const std::string keys = concat(::testing::TempDir(), random_id("keys-"));
  std::ofstream(keys) << "alice = sk-a\nbob = sk-b\n";
  SyntheticOptions synthetic;
  synthetic.n_slots = 1;
  synthetic.n_queue = 4;
  synthetic.pace = 5ms;
  ServeOptions options;
  options.keys.key_file_path = keys;
  options.n_parallel = 1;
  options.max_waiting = 4;
  ServedSynthetic server(std::move(synthetic), options);
  const auto ask = [](std::string_view key, int n_tok) {
    return post_request("/v1/chat/completions", chat_body(concat(R"(,"max_tokens":)", n_tok)),
                        concat("X-Api-Key: ", key, "\r\n"));
  };
  std::vector<std::unique_ptr<RawClient>> clients;
  for (std::uint32_t i = 0; i < 3; ++i) {  // one runs, two wait: half of the queue
    clients.push_back(std::make_unique<RawClient>(server.port()));
    clients.back()->send(ask("sk-a", 4000));
    ASSERT_TRUE(eventually([&] {
      const auto status = server.generator().status();
      return status.n_running + status.n_waiting == i + 1 && status.n_generated_tok > 0;
    }));
  }
  const Reply refused = server.send(ask("sk-a", 1));
  EXPECT_EQ(refused.status, 429) << refused.body;
  EXPECT_EQ(json::parse(refused.body)["error"]["code"], "tenant_queue_full");
  EXPECT_EQ(json::parse(refused.body)["error"]["queue_position"], 3);
  EXPECT_TRUE(refused.headers.contains("retry-after"));
  RawClient other(server.port());
  other.send(ask("sk-b", 1));  // has its own share
  EXPECT_TRUE(eventually([&] { return server.generator().status().n_waiting == 3; }));
  std::filesystem::remove(keys);
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
