// Clients that leave, half-close or crowd in; draining and stopping.
#include <gtest/gtest.h>

#include <atomic>

#include "base/async_queue.hpp"
#include "base/thread_pool.hpp"
#include "net/server.hpp"
#include "net/test_support.hpp"

namespace deepwell::net {
namespace {

/// Waits for its cancel token, up to ten seconds.
struct Patient {
  std::atomic<int> n_started{0};
  std::atomic<int> n_cancelled{0};
  std::atomic<int> last_code{0};

  Handler handler() {
    return [this](Request& request, ResponseWriter& writer) -> Task<void> {
      ++n_started;
      const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
      co_await sleep_until(request.executor(), deadline, request.cancel_token());
      if (request.cancel_token().stop_requested()) {
        ++n_cancelled;
        last_code = static_cast<int>(request.cancel_reason().code);
      }
      auto response = make_response(200, kTextPlain, "late");
      co_await writer.send(std::move(response));
    };
  }
};

/// Streams until it is cancelled or cannot write.
Handler endless(std::atomic<int>& n_running) {
  return [&n_running](Request& request, ResponseWriter& writer) -> Task<void> {
    ++n_running;
    co_await writer.start(200, sse_headers());
    while (!request.cancel_token().stop_requested()) {
      const std::string event = sse_event("tick");
      if (!co_await writer.write(event)) break;
      const auto next = std::chrono::steady_clock::now() + milliseconds(2);
      co_await sleep_until(request.executor(), next, request.cancel_token());
    }
    --n_running;
  };
}

Router patient_router(Patient& patient) {
  Router router;
  router.add("GET", "/wait", patient.handler());
  router.add("POST", "/wait", patient.handler());
  router.add("GET", "/echo", echo);
  return router;
}

TEST(ServerLeaving, TellsTheHandlerAtOnceWhenTheClientCloses) {
  Patient patient;
  TestServer test(patient_router(patient));
  RawClient client = test.connect();
  client.send(get_request("/wait"));
  ASSERT_TRUE(eventually([&] { return patient.n_started == 1; }));
  const auto left_at = std::chrono::steady_clock::now();
  client.close();
  ASSERT_TRUE(eventually([&] { return patient.n_cancelled == 1; }));
  EXPECT_LT(std::chrono::steady_clock::now() - left_at, milliseconds(500));
  EXPECT_EQ(patient.last_code, static_cast<int>(Code::kCancelled));
  EXPECT_TRUE(eventually([&] { return test.server->stats().n_connections == 0; }));
  EXPECT_EQ(test.server->stats().n_clients_left, 1U);
}

TEST(ServerLeaving, TellsTheHandlerAtOnceWhenTheClientResets) {
  Patient patient;
  TestServer test(patient_router(patient));
  RawClient client = test.connect();
  client.send(get_request("/wait"));
  ASSERT_TRUE(eventually([&] { return patient.n_started == 1; }));
  client.reset();
  EXPECT_TRUE(eventually([&] { return patient.n_cancelled == 1; }));
}

TEST(ServerLeaving, TellsTheHandlerAlsoAfterAPipelinedRequest) {
  Patient patient;
  TestServer test(patient_router(patient));
  RawClient client = test.connect();
  client.send(get_request("/wait"));
  ASSERT_TRUE(eventually([&] { return patient.n_started == 1; }));
  client.send(get_request("/echo"));
  std::this_thread::sleep_for(milliseconds(20));
  client.close();
  EXPECT_TRUE(eventually([&] { return patient.n_cancelled == 1; }));
}

TEST(ServerLeaving, TellsAComputationOnAPool) {
  ThreadPool pool(1);
  std::atomic<bool> has_started{false};
  std::atomic<bool> has_stopped{false};
  Router router;
  router.add("GET", "/compute", [&](Request& request, ResponseWriter&) -> Task<void> {
    auto compute = [&, token = request.cancel_token()] {
      has_started = true;
      while (!token.stop_requested()) std::this_thread::sleep_for(milliseconds(1));
      has_stopped = true;
    };
    co_await offload(pool, request.executor(), std::move(compute));
  });
  TestServer test(std::move(router));
  RawClient client = test.connect();
  client.send(get_request("/compute"));
  ASSERT_TRUE(eventually([&] { return has_started.load(); }));
  client.close();
  EXPECT_TRUE(eventually([&] { return has_stopped.load(); }));
  test.server.reset();  // before the pool
}

TEST(ServerLeaving, TellsAHandlerThatHasNotReadTheBody) {
  Patient patient;
  TestServer test(patient_router(patient));
  RawClient client = test.connect();
  client.send("POST /wait HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\nbeginning");
  ASSERT_TRUE(eventually([&] { return patient.n_started == 1; }));
  client.close();
  EXPECT_TRUE(eventually([&] { return patient.n_cancelled == 1; }));
}

// As most clients send it: the body comes a moment after the header.
TEST(ServerLeaving, TellsAHandlerThatHasReadABodyWhichCameLater) {
  std::atomic<bool> has_read{false};
  std::atomic<bool> was_cancelled{false};
  Router router;
  router.add("POST", "/read", [&](Request& request, ResponseWriter&) -> Task<void> {
    has_read = (co_await request.read_body()).has_value();
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    co_await sleep_until(request.executor(), deadline, request.cancel_token());
    was_cancelled = request.cancel_token().stop_requested();
  });
  TestServer test(std::move(router));
  RawClient client = test.connect();
  client.send("POST /read HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\n");
  std::this_thread::sleep_for(milliseconds(50));
  client.send("whole");
  ASSERT_TRUE(eventually([&] { return has_read.load(); }));
  client.close();
  EXPECT_TRUE(eventually([&] { return was_cancelled.load(); }));
}

// RFC 9112 section 9.6 lets a client half-close. As with nginx and Go, EOF cancels the handler; what it still writes is
// sent, so that a quick answer reaches such a client.
TEST(ServerLeaving, CancelsForAHalfClosedClientButStillAnswersIt) {
  Patient patient;
  TestServer test(patient_router(patient));
  RawClient slow = test.connect();
  slow.send(get_request("/wait"));
  ASSERT_TRUE(eventually([&] { return patient.n_started == 1; }));
  slow.shutdown_write();
  EXPECT_EQ(slow.read_to_end(), RawClient::End::kFin);
  EXPECT_TRUE(slow.input().ends_with("late"));
  EXPECT_EQ(patient.n_cancelled, 1);

  RawClient quick = test.connect();
  quick.send(get_request("/echo"));
  quick.shutdown_write();
  EXPECT_EQ(quick.read_to_end(), RawClient::End::kFin);
  EXPECT_TRUE(quick.input().ends_with("GET /echo\n")) << quick.input();
}

TEST(ServerLeaving, LeavesWorkAfterTheAnswerAlone) {
  std::atomic<int> n_whole{0};
  std::atomic<int> n_cancelled{0};
  Router router;
  router.add("GET", "/then-work", [&](Request& request, ResponseWriter& writer) -> Task<void> {
    auto response = make_response(200, kTextPlain, "whole");
    co_await writer.send(std::move(response));
    const auto when = std::chrono::steady_clock::now() + milliseconds(60);
    co_await sleep_until(request.executor(), when, request.cancel_token());
    ++(request.cancel_token().stop_requested() ? n_cancelled : n_whole);
  });
  TestServer test(std::move(router));
  EXPECT_EQ(status_of(test.ask(get_request("/then-work"))), 200);  // and leaves
  EXPECT_TRUE(eventually([&] { return n_whole == 1; }));
  EXPECT_EQ(n_cancelled, 0);
  EXPECT_EQ(test.server->stats().n_clients_left, 0U);
}

TEST(ServerLeaving, ClosesHalfClosedConnectionsWithoutARequest) {
  Patient patient;
  TestServer test(patient_router(patient));
  for (const char* bytes : {"", "GET /ec"}) {
    RawClient client = test.connect();
    client.send(bytes);
    client.shutdown_write();
    EXPECT_EQ(client.read_to_end(), RawClient::End::kFin);
    EXPECT_EQ(client.input(), "");
  }
}

TEST(ServerLeaving, SurvivesAThousandClientsThatConnectAndLeave) {
  std::atomic<int> n_running{0};
  Patient patient;
  Router router = patient_router(patient);
  router.add("GET", "/endless", endless(n_running));
  TestServer test(std::move(router));
  for (int i = 0; i < 1000; ++i) {
    RawClient client = test.connect();
    ASSERT_TRUE(client.is_connected());
    switch (i % 6) {
      case 0:
        break;
      case 1:
        client.send("GET /wait HT");
        break;
      case 2:
        client.send(get_request("/wait"));
        break;
      case 3:
        client.send(get_request("/endless"));
        break;
      case 4:
        client.send(concat(get_request("/echo"), get_request("/wait")));
        break;
      default:
        client.send("POST /wait HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\nx");
        break;
    }
    if (i % 2 == 0) {
      client.reset();
    } else {
      client.close();
    }
  }
  EXPECT_TRUE(eventually([&] { return test.server->stats().n_connections == 0; }));
  EXPECT_EQ(test.server->stats().n_active_requests, 0U);
  EXPECT_EQ(n_running, 0);
  EXPECT_EQ(patient.n_started, patient.n_cancelled);
  EXPECT_EQ(status_of(test.ask(get_request("/echo"))), 200);
}

TEST(ServerLeaving, StopsAStreamWhoseClientLeft) {
  std::atomic<int> n_running{0};
  Router router;
  router.add("GET", "/endless", endless(n_running));
  TestServer test(std::move(router));
  std::vector<RawClient> clients;
  for (int i = 0; i < 16; ++i) {
    clients.push_back(test.connect());
    clients.back().send(get_request("/endless"));
  }
  for (RawClient& client : clients) EXPECT_TRUE(client.expect("data: tick"));
  EXPECT_EQ(n_running, 16);
  clients.clear();
  EXPECT_TRUE(eventually([&] { return n_running == 0; }));
}

TEST(ServerLeaving, DrainsRunningRequestsAndRefusesNewOnes) {
  std::atomic<bool> may_answer{false};
  std::atomic<bool> is_running{false};
  Router router;
  router.add("GET", "/echo", echo);
  router.add("GET", "/slow", [&](Request& request, ResponseWriter& writer) -> Task<void> {
    is_running = true;
    while (!may_answer && !request.cancel_token().stop_requested()) {
      const auto next = std::chrono::steady_clock::now() + milliseconds(5);
      co_await sleep_until(request.executor(), next, request.cancel_token());
    }
    auto response = make_response(200, kTextPlain, "whole answer");
    co_await writer.send(std::move(response));
  });
  TestServer test(std::move(router));
  RawClient idle = test.connect();
  idle.send(get_request("/echo"));
  idle.read_answer();
  RawClient busy = test.connect();
  busy.send(get_request("/slow"));
  ASSERT_TRUE(eventually([&] { return is_running.load(); }));

  EXPECT_FALSE(test.server->drain(milliseconds(50)));
  EXPECT_EQ(idle.read_to_end(), RawClient::End::kFin);
  EXPECT_FALSE(test.connect().is_connected());
  may_answer = true;
  EXPECT_TRUE(test.server->drain(milliseconds(5000)));
  EXPECT_EQ(busy.read_to_end(), RawClient::End::kFin);
  EXPECT_NE(busy.input().find("Connection: close\r\n"), std::string::npos);
  EXPECT_TRUE(busy.input().ends_with("whole answer"));
}

TEST(ServerLeaving, StopsNowByCancellingWhatRuns) {
  Patient patient;
  TestServer test(patient_router(patient));
  RawClient client = test.connect();
  client.send(get_request("/wait"));
  ASSERT_TRUE(eventually([&] { return patient.n_started == 1; }));
  test.server->stop_now();
  EXPECT_TRUE(eventually([&] { return patient.n_cancelled == 1; }));
  EXPECT_EQ(patient.last_code, static_cast<int>(Code::kUnavailable));
  EXPECT_NE(client.read_to_end(), RawClient::End::kOpen);
  test.server.reset();
}

TEST(ServerLeaving, CanBeDestroyedUnderLoad) {
  std::atomic<int> n_running{0};
  for (int round = 0; round < 5; ++round) {
    Router router;
    router.add("GET", "/endless", endless(n_running));
    TestServer test(std::move(router));
    std::vector<RawClient> clients;
    for (int i = 0; i < 20; ++i) {
      clients.push_back(test.connect());
      clients.back().send(get_request("/endless"));
    }
    clients.front().expect("data: tick");
    test.server.reset();
    EXPECT_EQ(n_running, 0);
  }
}

TEST(ServerLeaving, LetsMiddlewareEndARequestAtADeadline) {
  Patient patient;
  Router router = patient_router(patient);
  router.use([](Request& request, ResponseWriter& writer, const Handler& next) -> Task<void> {
    auto expire = [&request] { request.cancel(Error{Code::kDeadlineExceeded, "too late"}); };
    const auto when = std::chrono::steady_clock::now() + milliseconds(30);
    const TimerId timer = request.executor().post_at(when, std::move(expire));
    co_await next(request, writer);
    co_await resume_on(request.executor());
    request.executor().cancel_timer(timer);
  });
  TestServer test(std::move(router));
  EXPECT_EQ(status_of(test.ask(get_request("/wait"))), 200);
  EXPECT_EQ(patient.last_code, static_cast<int>(Code::kDeadlineExceeded));
}

}  // namespace
}  // namespace deepwell::net
