// Ordinary service: answers, streams, keep-alive, pipelining, bodies, HEAD and OPTIONS, middleware, descriptors.
#include "net/server.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>

#include "base/async_queue.hpp"
#include "base/thread_pool.hpp"
#include "net/test_support.hpp"

namespace deepwell::net {
namespace {

Router echo_router() {
  Router router;
  router.add("POST", "/echo", echo);
  router.add("GET", "/echo", echo);
  return router;
}

Task<void> stream_three(Request&, ResponseWriter& writer) {
  if (!co_await writer.start(200, sse_headers())) co_return;
  for (int i = 0; i < 3; ++i) {
    const std::string event = sse_event(concat("part ", i));
    if (!co_await writer.write(event)) co_return;
  }
  co_await writer.finish();
}

TEST(Server, AnswersWithLengthDateAndKeepsTheConnection) {
  TestServer test(echo_router());
  RawClient client = test.connect();
  for (int i = 0; i < 3; ++i) {
    client.send(get_request("/echo?x=1"));
    const std::string answer = client.read_answer();
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\n")) << answer;
    EXPECT_NE(answer.find("\r\nDate: "), std::string::npos);
    EXPECT_NE(answer.find(" GMT\r\n"), std::string::npos);
    EXPECT_EQ(answer.find("Connection: close"), std::string::npos);
    EXPECT_TRUE(answer.ends_with("\r\n\r\nGET /echo\n")) << answer;
  }
  EXPECT_EQ(test.server->stats().n_accepted, 1U);
  EXPECT_EQ(test.server->stats().n_requests, 3U);
}

TEST(Server, ReportsThePortThatTheKernelChose) {
  TestServer test(echo_router());
  EXPECT_NE(test.server->port(), 0);
  EXPECT_EQ(test.server->url(), concat("http://127.0.0.1:", test.server->port()));
}

TEST(Server, SaysWhatToDoWhenTheAddressIsInUse) {
  TestServer first(echo_router());
  ServerOptions options;
  options.port = first.server->port();
  const auto second = Server::start(options, echo_router(), first.log);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, Code::kAlreadyExists);
  EXPECT_NE(second.error().message.find("choose another port"), std::string::npos)
      << second.error().message;
}

TEST(Server, RefusesAHostThatIsNoAddressOfThisMachine) {
  TestLog log;
  ServerOptions options;
  options.host = "not an address";
  EXPECT_EQ(Server::start(options, echo_router(), log).error().code, Code::kInvalidArgument);
  options.host = "203.0.113.7";  // TEST-NET-3
  EXPECT_EQ(Server::start(options, echo_router(), log).error().code, Code::kInvalidArgument);
}

TEST(Server, AdoptsAnOpenListeningSocket) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ServerOptions options;
  options.listen_fd = ::dup(fd);
  TestLog log;
  EXPECT_EQ(Server::start(options, echo_router(), log).error().code,
            Code::kInvalidArgument);  // does not listen
  ASSERT_EQ(::listen(fd, 8), 0);
  options.listen_fd = fd;
  TestServer test(echo_router(), options);
  EXPECT_EQ(status_of(test.ask(get_request("/echo"))), 200);
  EXPECT_NE(::fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
}

TEST(Server, LetsNoChildInheritASocket) {
  TestServer test(echo_router());
  RawClient client = test.connect();
  client.send(get_request("/echo"));
  client.read_answer();
  int n_sockets = 0;
  for (int fd = 3; fd < 256; ++fd) {
    int type = 0;
    socklen_t len = sizeof type;
    if (::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) != 0) continue;
    ++n_sockets;
    EXPECT_NE(::fcntl(fd, F_GETFD) & FD_CLOEXEC, 0) << "descriptor " << fd;
  }
  EXPECT_GE(n_sockets, 3);  // listening, accepted, the client's
}

TEST(Server, ReadsBodiesByLengthAndByChunks) {
  TestServer test(echo_router());
  const std::string large(300'000, 'x');
  EXPECT_TRUE(test.ask(post_request("/echo", large)).ends_with(large));
  RawClient client = test.connect();
  client.send(
      "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5;name=value\r\nhel");
  std::this_thread::sleep_for(milliseconds(20));
  client.send("lo\r\n6\r\n world\r\n0\r\nTrailer: dropped\r\n\r\n");
  EXPECT_TRUE(client.read_answer().ends_with("POST /echo\nhello world"));
  client.send(get_request("/echo"));  // the connection is still in step
  EXPECT_EQ(status_of(client.read_answer()), 200);
}

TEST(Server, ServesPipelinedRequestsInOrder) {
  TestServer test(echo_router());
  RawClient client = test.connect();
  std::string bytes;
  for (int i = 0; i < 50; ++i) bytes.append(post_request("/echo", concat("number ", i)));
  client.send(bytes);
  for (int i = 0; i < 50; ++i) {
    EXPECT_TRUE(client.read_answer().ends_with(concat("\nnumber ", i))) << i;
  }
}

TEST(Server, KeepsWhatComesWhileAStreamRuns) {
  std::atomic<bool> may_end = false;
  Router router = echo_router();
  router.add("GET", "/held", [&may_end](Request& request, ResponseWriter& writer) -> Task<void> {
    if (!co_await writer.start(200, sse_headers())) co_return;
    while (!may_end) {
      const SteadyTime then = std::chrono::steady_clock::now() + milliseconds(2);
      co_await sleep_until(request.executor(), then, request.cancel_token());
    }
    const auto finished = co_await writer.finish();
    static_cast<void>(finished);
  });
  TestServer test(std::move(router));
  RawClient client = test.connect();
  client.send(get_request("/held"));
  ASSERT_TRUE(client.expect("\r\n\r\n"));
  client.input().clear();
  // More than a read holds that only watches for the client's leaving.
  const std::string large(3000, 'x');
  client.send(concat(post_request("/echo", "small"), post_request("/echo", large)));
  std::this_thread::sleep_for(milliseconds(50));
  may_end = true;
  ASSERT_TRUE(client.expect("0\r\n\r\n"));
  client.input().erase(0, 5);
  EXPECT_TRUE(client.read_answer().ends_with("\nsmall"));
  EXPECT_TRUE(client.read_answer().ends_with(large));
}

TEST(Server, ReadsRequestsThatArriveByteByByte) {
  TestServer test(echo_router());
  RawClient client = test.connect();
  for (const char c : post_request("/echo", "slow but sure")) {
    client.send(std::string_view(&c, 1));
    std::this_thread::yield();
  }
  EXPECT_TRUE(client.read_answer().ends_with("slow but sure"));
}

TEST(Server, SendsContinueOnlyWhenTheBodyIsWanted) {
  Router router = echo_router();
  router.add("POST", "/never", [](Request&, ResponseWriter& writer) -> Task<void> {
    auto response = make_response(401, kTextPlain, "no");
    co_await writer.send(std::move(response));
  });
  TestServer test(std::move(router));
  RawClient client = test.connect();
  client.send(
      "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
  ASSERT_TRUE(client.expect("HTTP/1.1 100 Continue\r\n\r\n"));
  client.input().clear();
  client.send("body");
  EXPECT_TRUE(client.read_answer().ends_with("\nbody"));

  client.send(
      "POST /never HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
  const std::string answer = client.read_answer();
  EXPECT_EQ(status_of(answer), 401);
  EXPECT_NE(answer.find("Connection: close"),
            std::string::npos);  // whether a body follows cannot be known
  EXPECT_EQ(client.read_to_end(), RawClient::End::kFin);
}

TEST(Server, KeepsTheConnectionWhenAnUnreadBodyIsAlreadyHere) {
  Router router = echo_router();
  router.add("POST", "/ignore", [](Request&, ResponseWriter& writer) -> Task<void> {
    auto response = make_response(401, kTextPlain, "no");
    co_await writer.send(std::move(response));
  });
  TestServer test(std::move(router));
  RawClient client = test.connect();
  client.send(post_request("/ignore", "GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n"));
  EXPECT_EQ(status_of(client.read_answer()), 401);
  client.send(get_request("/echo"));
  EXPECT_TRUE(client.read_answer().ends_with("GET /echo\n"));
}

TEST(Server, AnswersHeadWithTheHeadersOfGet) {
  TestServer test(echo_router());
  RawClient client = test.connect();
  client.send("HEAD /echo HTTP/1.1\r\nHost: t\r\n\r\n");
  ASSERT_TRUE(client.expect("\r\n\r\n"));
  EXPECT_NE(client.input().find("Content-Length: 11\r\n"), std::string::npos) << client.input();
  EXPECT_TRUE(client.input().ends_with("\r\n\r\n"));
  client.input().clear();
  client.send(get_request("/echo"));
  EXPECT_EQ(status_of(client.read_answer()), 200);
}

TEST(Server, AnswersUnknownPathsMethodsAndOptions) {
  TestServer test(echo_router());
  EXPECT_EQ(status_of(test.ask(get_request("/nowhere"))), 404);
  EXPECT_EQ(status_of(test.ask(get_request("/Echo"))), 404);
  EXPECT_EQ(status_of(test.ask(get_request("/echo/"))), 404);
  const std::string refused = test.ask("DELETE /echo HTTP/1.1\r\nHost: t\r\n\r\n");
  EXPECT_EQ(status_of(refused), 405);
  EXPECT_NE(refused.find("Allow: GET, HEAD, OPTIONS, POST\r\n"), std::string::npos) << refused;
  const std::string options = test.ask("OPTIONS /echo HTTP/1.1\r\nHost: t\r\n\r\n");
  EXPECT_EQ(status_of(options), 204);
  EXPECT_NE(options.find("Allow: "), std::string::npos);
  EXPECT_EQ(options.find("Content-Length"), std::string::npos);
  EXPECT_EQ(status_of(test.ask("OPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n")), 204);
  EXPECT_EQ(status_of(test.ask(get_request("/%zz"))), 400);
}

TEST(Server, StreamsInChunksAndKeepsTheConnection) {
  Router router;
  router.add("GET", "/stream", stream_three);
  TestServer test(std::move(router));
  RawClient client = test.connect();
  for (int i = 0; i < 2; ++i) {
    client.send(get_request("/stream"));
    ASSERT_TRUE(client.expect("\r\n0\r\n\r\n"));
    EXPECT_NE(client.input().find("Transfer-Encoding: chunked\r\n"), std::string::npos);
    EXPECT_NE(client.input().find("Content-Type: text/event-stream\r\n"), std::string::npos);
    EXPECT_NE(client.input().find("e\r\ndata: part 0\n\n\r\n"), std::string::npos)
        << client.input();
    EXPECT_NE(client.input().find("data: part 2\n\n"), std::string::npos);
    client.input().clear();
  }
}

TEST(Server, StreamsToHttp10UntilTheConnectionEnds) {
  Router router;
  router.add("GET", "/stream", stream_three);
  TestServer test(std::move(router));
  RawClient client = test.connect();
  client.send("GET /stream HTTP/1.0\r\n\r\n");
  EXPECT_EQ(client.read_to_end(), RawClient::End::kFin);
  EXPECT_EQ(client.input().find("chunked"), std::string::npos);
  EXPECT_TRUE(client.input().ends_with("\r\n\r\ndata: part 0\n\ndata: part 1\n\ndata: part 2\n\n"))
      << client.input();
}

TEST(Server, HonoursConnectionCloseAndHttp10KeepAlive) {
  TestServer test(echo_router());
  RawClient client = test.connect();
  client.send(get_request("/echo", "Connection: close\r\n"));
  EXPECT_EQ(client.read_to_end(), RawClient::End::kFin);
  EXPECT_NE(client.input().find("Connection: close\r\n"), std::string::npos);
  RawClient old = test.connect();
  old.send("GET /echo HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  EXPECT_NE(old.read_answer().find("Connection: keep-alive\r\n"), std::string::npos);
  old.send("GET /echo HTTP/1.0\r\n\r\n");
  EXPECT_EQ(status_of(old.read_answer()), 200);
  EXPECT_EQ(old.read_to_end(), RawClient::End::kFin);
}

TEST(Server, BreaksOffAStreamThatWasNotFinished) {
  Router router;
  router.add("GET", "/throws", [](Request&, ResponseWriter& writer) -> Task<void> {
    co_await writer.start(200, Headers());
    co_await writer.write("half of it");
    throw std::runtime_error("the second half is lost");
  });
  TestServer test(std::move(router));
  RawClient client = test.connect();
  client.send(get_request("/throws"));
  EXPECT_EQ(client.read_to_end(), RawClient::End::kFin);
  EXPECT_NE(client.input().find("half of it"), std::string::npos);
  EXPECT_EQ(client.input().find("0\r\n\r\n"), std::string::npos);
  EXPECT_NE(test.log.text().find("the second half is lost"), std::string::npos);
  RawClient old = test.connect();
  old.send("GET /throws HTTP/1.0\r\n\r\n");
  EXPECT_EQ(old.read_to_end(),
            RawClient::End::kReset);  // only RST tells HTTP/1.0 that something is missing
}

TEST(Server, TurnsAnExceptionOrSilenceInto500WithoutTellingSecrets) {
  Router router;
  router.add("GET", "/throws", [](Request&, ResponseWriter&) -> Task<void> {
    throw std::runtime_error("password=secret");
    co_return;
  });
  router.add("GET", "/silent", [](Request&, ResponseWriter&) -> Task<void> { co_return; });
  TestServer test(std::move(router));
  const std::string answer = test.ask(get_request("/throws"));
  EXPECT_EQ(status_of(answer), 500);
  EXPECT_EQ(answer.find("secret"), std::string::npos);
  EXPECT_EQ(status_of(test.ask(get_request("/silent"))), 500);
}

TEST(Server, RefusesASecondAnswer) {
  std::atomic<int> n_refused{0};
  Router router;
  router.add("GET", "/twice", [&](Request&, ResponseWriter& writer) -> Task<void> {
    auto first = make_response(200, kTextPlain, "first");
    co_await writer.send(std::move(first));
    auto second = make_response(200, kTextPlain, "second");
    const auto sent = co_await writer.send(std::move(second));
    const auto written = co_await writer.write("third");
    n_refused = (sent ? 0 : 1) + (written ? 0 : 1);
  });
  TestServer test(std::move(router));
  RawClient client = test.connect();
  client.send(get_request("/twice", "Connection: close\r\n"));
  client.read_to_end();
  EXPECT_TRUE(client.input().ends_with("first"));
  EXPECT_EQ(n_refused, 2);
}

TEST(Server, LetsNoHeaderValueBreakItsLine) {
  Router router;
  router.add("GET", "/", [](Request&, ResponseWriter& writer) -> Task<void> {
    Response response;
    response.headers.add("X-Name", "a\r\nSet-Cookie: forged=1");
    co_await writer.send(std::move(response));
  });
  TestServer test(std::move(router));
  const std::string answer = test.ask(get_request("/"));
  EXPECT_EQ(answer.find("\r\nSet-Cookie"), std::string::npos) << answer;
}

TEST(Server, WrapsEveryAnswerInMiddlewareInOrder) {
  Router router = echo_router();
  for (const char* name : {"outer", "inner"}) {
    router.use([name](Request& request, ResponseWriter& writer, const Handler& next) -> Task<void> {
      writer.extra_headers.add("X-Order", name);
      request.attach(std::string(name));
      co_await next(request, writer);
    });
  }
  router.use([](Request& request, ResponseWriter& writer, const Handler& next) -> Task<void> {
    writer.extra_headers.add("X-Matched",
                             request.route == nullptr ? "none" : request.route->pattern);
    writer.extra_headers.add("X-Attached", *request.find<std::string>());
    co_await next(request, writer);
  });
  TestServer test(std::move(router));
  const std::string answer = test.ask(get_request("/echo"));
  EXPECT_NE(
      answer.find("X-Order: outer\r\nX-Order: inner\r\nX-Matched: /echo\r\nX-Attached: inner\r\n"),
      std::string::npos)
      << answer;
  EXPECT_NE(test.ask(get_request("/none")).find("X-Matched: none"), std::string::npos);
}

TEST(Server, LetsMiddlewareBeAPlainFunctionThatAnswersOrThrows) {
  Router router = echo_router();
  std::atomic<int> n_caught = 0;
  router.use(
      [&n_caught](Request& request, ResponseWriter& writer, const Handler& next) -> Task<void> {
        bool has_thrown = false;
        try {
          co_await next(request, writer);
        } catch (const std::runtime_error&) {
          has_thrown = true;
        }
        if (!has_thrown) co_return;
        ++n_caught;
        auto response = make_response(500, kTextPlain, "caught");
        co_await writer.send(std::move(response));
      });
  router.use([](Request& request, ResponseWriter& writer, const Handler& next) {
    if (request.query_value("throw")) throw std::runtime_error("no coroutine threw this");
    if (request.query_value("answer")) return echo(request, writer);
    return next(request, writer);
  });
  TestServer test(std::move(router));
  EXPECT_TRUE(test.ask(get_request("/echo?throw=1")).ends_with("caught"));
  EXPECT_EQ(n_caught, 1);
  EXPECT_NE(test.ask(get_request("/none?answer=1")).find("200 OK"), std::string::npos);
  EXPECT_NE(test.ask(get_request("/none")).find("404"), std::string::npos);
}

TEST(Server, ForgetsWhatAHandlerNeedsNoMore) {
  Router router;
  std::atomic<bool> is_gone = false;
  router.add("POST", "/echo/{name}", [&](Request& request, ResponseWriter& writer) -> Task<void> {
    const auto body = co_await request.read_body();
    request.forget_input();
    is_gone = request.headers.size() == 0 && request.target.empty() && request.query.empty() &&
              request.params.empty();
    const auto more = co_await request.read_body();
    auto response = make_response(200, kTextPlain, concat(*body, "|", *more, "|", request.path));
    co_await writer.send(std::move(response));
  });
  TestServer test(std::move(router));
  RawClient client = test.connect();
  for (int i = 0; i < 2; ++i) {  // and the connection goes on
    client.send(post_request("/echo/x?q=1", "body"));
    EXPECT_TRUE(client.read_answer().ends_with("body||/echo/x"));
    EXPECT_TRUE(is_gone);
  }
}

TEST(Server, ContinuesOnItsLoopAfterAHandlerUsedAPool) {
  ThreadPool pool(2);
  std::atomic<bool> is_home{false};
  Router router;
  router.add("GET", "/pool", [&](Request& request, ResponseWriter& writer) -> Task<void> {
    co_await resume_on(pool);
    auto response = make_response(200, kTextPlain, pool.is_current() ? "on the pool" : "elsewhere");
    co_await writer.send(std::move(response));
    is_home = request.executor().is_current();
  });
  TestServer test(std::move(router));
  EXPECT_TRUE(test.ask(get_request("/pool")).ends_with("on the pool"));
  EXPECT_TRUE(eventually([&] { return is_home.load(); }));
  test.server.reset();  // before the pool
}

TEST(Server, StreamsEventsThatAnotherThreadPushes) {
  Router router;
  std::vector<std::thread> engines;
  std::mutex mutex;
  router.add("GET", "/events", [&](Request& request, ResponseWriter& writer) -> Task<void> {
    const auto queue = std::make_shared<AsyncQueue<int>>(request.executor());
    {
      const std::lock_guard lock(mutex);
      engines.emplace_back([queue] {
        for (int i = 0; i < 200; ++i) queue->push(i);
        queue->close();
      });
    }
    co_await writer.start(200, sse_headers());
    for (;;) {
      const auto item = co_await queue->pop(request.cancel_token());
      if (!item) break;
      const std::string event = sse_event(concat(*item));
      co_await writer.write(event);
    }
    co_await writer.finish();
  });
  TestServer test(std::move(router));
  std::vector<RawClient> clients;
  for (int i = 0; i < 16; ++i) {
    clients.push_back(test.connect());
    clients.back().send(get_request("/events"));
  }
  for (RawClient& client : clients) {
    ASSERT_TRUE(client.expect("\r\n0\r\n\r\n"));
    EXPECT_NE(client.input().find("data: 199\n\n"), std::string::npos);
  }
  for (std::thread& engine : engines) engine.join();
}

}  // namespace
}  // namespace deepwell::net
