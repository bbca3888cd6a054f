// Limits and bad input: sizes, slow clients, clients that do not read, too many clients, malformed requests.
#include <gtest/gtest.h>

#include "net/server.hpp"
#include "net/test_support.hpp"

namespace deepwell::net {
namespace {

using namespace std::string_literals;

Router echo_router() {
  Router router;
  router.add("POST", "/echo", echo);
  router.add("GET", "/echo", echo);
  Route small;
  small.method = "POST";
  small.pattern = "/small";
  small.handler = echo;
  small.max_body_bytes = 10;
  router.add(std::move(small));
  return router;
}

/// The answer to `bytes`, after which the server must have closed.
std::string ask_and_expect_close(const TestServer& test, std::string_view bytes) {
  RawClient client = test.connect();
  client.send(bytes);
  EXPECT_EQ(client.read_to_end(), RawClient::End::kFin) << bytes.substr(0, 100);
  return client.input();
}

TEST(ServerLimits, RefusesLongHeadersTargetsAndTooManyFields) {
  TestServer test(echo_router());
  const std::string long_value(40'000, 'v');
  EXPECT_EQ(status_of(ask_and_expect_close(
                test, get_request("/echo", concat("X: ", long_value, "\r\n")))),
            431);
  std::string fields;
  for (int i = 0; i < 200; ++i) fields.append(concat("X-", i, ": v\r\n"));
  EXPECT_EQ(status_of(ask_and_expect_close(test, get_request("/echo", fields))), 431);
  EXPECT_EQ(
      status_of(ask_and_expect_close(test, get_request(concat("/", std::string(9'000, 'a'))))),
      414);
  EXPECT_EQ(status_of(ask_and_expect_close(test, concat("GET /", std::string(20'000, 'a')))), 414);
  EXPECT_EQ(
      status_of(ask_and_expect_close(test, get_request(concat("/", std::string(100'000, 'a'))))),
      414);
  EXPECT_EQ(test.server->stats().n_bad_requests, 5U);
}

TEST(ServerLimits, CountsAHeaderThatComesInPieces) {
  TestServer test(echo_router());
  // A little over the limit, while each piece and what is left after the first are below it.
  std::string fields;
  for (int i = 0; i < 36; ++i) fields.append(concat("X-", i, ": ", std::string(1000, 'v'), "\r\n"));
  RawClient client = test.connect();
  const std::string bytes = get_request("/echo", fields);
  client.send(std::string_view(bytes).substr(0, 8'000));
  std::this_thread::sleep_for(milliseconds(20));
  client.send(std::string_view(bytes).substr(8'000));
  EXPECT_EQ(client.read_to_end(), RawClient::End::kFin);
  EXPECT_EQ(status_of(client.input()), 431);
}

TEST(ServerLimits, RefusesALargeBodyBeforeItIsSent) {
  TestServer test(echo_router());
  EXPECT_EQ(
      status_of(ask_and_expect_close(
          test,
          "POST /small HTTP/1.1\r\nHost: t\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n")),
      413);
  EXPECT_EQ(status_of(ask_and_expect_close(
                test, "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 999999999999\r\n\r\n")),
            413);
  EXPECT_EQ(status_of(test.ask(post_request("/small", "1234567890"))), 200);
}

TEST(ServerLimits, RefusesALargeChunkedBodyWhileReading) {
  TestServer test(echo_router());
  RawClient client = test.connect();
  client.send(
      "POST /small HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n12345678\r\n");
  std::this_thread::sleep_for(milliseconds(20));
  client.send("8\r\n12345678\r\n");
  EXPECT_EQ(status_of(client.read_answer()), 413);
}

TEST(ServerLimits, LetsTheAnswerToAHugeUploadReachAClientThatStillSends) {
  TestServer test(echo_router());
  RawClient client = test.connect();
  client.send(concat("POST /small HTTP/1.1\r\nHost: t\r\nContent-Length: 500000\r\n\r\n",
                     std::string(500'000, 'x')));
  EXPECT_EQ(status_of(client.read_answer()), 413);
}

TEST(ServerLimits, EndsASlowHeader) {
  TestServer test(echo_router(), quick_options());
  RawClient client = test.connect();
  client.send("GET /echo HTTP/1.1\r\n");
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 100 && client.send("X: 1\r\n"); ++i) {
    if (client.read_until([](const std::string& input) { return !input.empty(); },
                          milliseconds(30)) != RawClient::End::kOpen)
      break;
    if (!client.input().empty()) break;
  }
  client.read_to_end();
  EXPECT_EQ(status_of(client.input()), 408);
  EXPECT_LT(std::chrono::steady_clock::now() - start, milliseconds(2500));
}

TEST(ServerLimits, EndsASlowBody) {
  TestServer test(echo_router(), quick_options());
  RawClient client = test.connect();
  client.send("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\n");
  for (int i = 0; i < 100 && client.input().empty(); ++i) {
    client.send("x");
    client.read_until([](const std::string& input) { return !input.empty(); }, milliseconds(30));
  }
  EXPECT_EQ(status_of(client.read_answer()), 408);
}

TEST(ServerLimits, ClosesIdleConnectionsSilently) {
  TestServer test(echo_router(), quick_options());
  RawClient fresh = test.connect();
  RawClient used = test.connect();
  used.send(get_request("/echo"));
  used.read_answer();
  EXPECT_EQ(fresh.read_to_end(milliseconds(3000)), RawClient::End::kFin);
  EXPECT_EQ(used.read_to_end(milliseconds(3000)), RawClient::End::kFin);
  EXPECT_EQ(fresh.input(), "");
  EXPECT_EQ(used.input(), "");
}

TEST(ServerLimits, DropsAClientThatNeverReads) {
  std::atomic<int> code{0};
  std::atomic<std::uint64_t> n_sent{0};
  Router router;
  router.add("GET", "/flood", [&](Request& request, ResponseWriter& writer) -> Task<void> {
    co_await writer.start(200, Headers());
    const std::string chunk(64 * 1024, 'x');
    for (int i = 0; i < 10'000; ++i) {
      const auto sent = co_await writer.write(chunk);
      if (!sent) {
        code = static_cast<int>(sent.error().code);
        break;
      }
      n_sent += chunk.size();
    }
    EXPECT_TRUE(request.cancel_token().stop_requested());
  });
  TestServer test(std::move(router), quick_options());
  RawClient client = test.connect(4096);
  client.send(get_request("/flood"));
  EXPECT_TRUE(eventually([&] { return code != 0; }));
  EXPECT_EQ(code, static_cast<int>(Code::kDeadlineExceeded));
  EXPECT_LT(n_sent, 1024U * 1024);  // back-pressure: max_unsent_bytes, not the 640 MB
  EXPECT_TRUE(eventually([&] { return test.server->stats().n_connections == 0; }));
}

TEST(ServerLimits, WaitsForAClientThatReadsSlowly) {
  const std::string content(3'000'000, 'x');
  Router router;
  router.add("GET", "/large", [&](Request&, ResponseWriter& writer) -> Task<void> {
    auto response = make_response(200, kTextPlain, content);
    co_await writer.send(std::move(response));
  });
  TestServer test(std::move(router), quick_options());
  RawClient client = test.connect(16 * 1024);
  client.send(get_request("/large", "Connection: close\r\n"));
  for (std::size_t i = 1; i <= 10; ++i) {  // 1 s in all, more than the write timeout
    client.read_until([i](const std::string& input) { return input.size() >= i * 100'000; });
    std::this_thread::sleep_for(milliseconds(100));
  }
  EXPECT_EQ(client.read_to_end(), RawClient::End::kFin);
  EXPECT_TRUE(client.input().ends_with("xx"));
  EXPECT_GT(client.input().size(), content.size());
}

TEST(ServerLimits, TellsClientsBeyondTheLimitToComeBack) {
  ServerOptions options;
  options.max_connections = 4;
  TestServer test(echo_router(), options);
  std::vector<RawClient> inside;
  for (int i = 0; i < 4; ++i) {
    inside.push_back(test.connect());
    inside.back().send(get_request("/echo"));
    EXPECT_EQ(status_of(inside.back().read_answer()), 200);
  }
  std::vector<RawClient> storm;
  for (int i = 0; i < 100; ++i) {
    storm.push_back(test.connect());
    storm.back().send(get_request("/echo"));
  }
  for (RawClient& client : storm) {
    EXPECT_EQ(client.read_to_end(), RawClient::End::kFin);
    EXPECT_EQ(status_of(client.input()), 503);
    EXPECT_NE(client.input().find("Retry-After: "), std::string::npos);
  }
  inside[0].send(get_request("/echo"));
  EXPECT_EQ(status_of(inside[0].read_answer()), 200);
  inside.pop_back();
  EXPECT_TRUE(eventually([&] { return status_of(test.ask(get_request("/echo"))) == 200; }));
  EXPECT_GE(test.server->stats().n_refused, 100U);
}

TEST(ServerLimits, RefusesMalformedAndAmbiguousRequests) {
  TestServer test(echo_router());
  const std::vector<std::pair<int, std::string>> corpus = {
      {400, "\x16\x03\x01\x02\x01\x01"s + std::string(50, '\0')},  // a TLS hello
      {400, "GET\r\n\r\n"},
      {400, "GET  /echo HTTP/1.1\r\nHost: t\r\n\r\n"},
      {400, "GET /echo\r\n\r\n"},
      {400, "GET /echo HTTP/1.1\nHost: t\n\n"},
      {400, "GET /echo HTTP/1.1\r\n\r\n"},
      {400, "GET /echo HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"},
      {400, "GET /echo HTTP/1.1\r\nHost : t\r\n\r\n"},
      {400, "GET /echo HTTP/1.1\r\nHost: t\r\nno colon\r\n\r\n"},
      {400, "GET /echo HTTP/1.1\r\nHost: t\r\nX: a\0b\r\n\r\n"s},
      {400, "G@T /echo HTTP/1.1\r\nHost: t\r\n\r\n"},
      {400, "GET /\x01 HTTP/1.1\r\nHost: t\r\n\r\n"},
      {505, "GET /echo HTTP/2.0\r\nHost: t\r\n\r\n"},
      {505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
      {400,
       "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nTransfer-Encoding: "
       "chunked\r\n\r\n0\r\n\r\n"},
      {400,
       "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nContent-Length: "
       "5\r\n\r\n0\r\n\r\n"},
      {400,
       "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"},
      {400,
       "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello"},
      {400, "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 5, 5\r\n\r\nhello"},
      {400, "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: -5\r\n\r\nhello"},
      {400, "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: +5\r\n\r\nhello"},
      {400, "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 0x5\r\n\r\nhello"},
      {400, "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 99999999999999999999999\r\n\r\n"},
      {400, "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: \r\n\r\n"},
      {501, "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"},
      {501,
       "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: identity\r\n\r\nGET /x "
       "HTTP/1.1\r\n\r\n"},
      {501, "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"},
      {400,
       "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: "
       "chunked\r\n\r\n0\r\n\r\n"},
      {400, "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
      {400,
       "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: "
       "chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n"},
      {400,
       "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n"},
      {400,
       "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: "
       "chunked\r\n\r\nffffffffffffffffff\r\n"},
      {417,
       "POST /echo HTTP/1.1\r\nHost: t\r\nExpect: the unexpected\r\nContent-Length: 1\r\n\r\nx"},
  };
  for (const auto& [status, bytes] : corpus) {
    EXPECT_EQ(status_of(ask_and_expect_close(test, bytes)), status) << bytes;
  }
  EXPECT_EQ(status_of(test.ask(get_request("/echo"))), 200);
}

TEST(ServerLimits, EndsAChunkHeaderWithoutEnd) {
  TestServer test(echo_router());
  RawClient client = test.connect();
  client.send("POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5;");
  client.send(std::string(200'000, 'e'));
  EXPECT_EQ(status_of(client.read_answer()), 400);
}

TEST(ServerLimits, IgnoresEmptyLinesBeforeARequest) {
  TestServer test(echo_router());
  EXPECT_EQ(status_of(test.ask(concat("\r\n\r\n", get_request("/echo")))), 200);
}

}  // namespace
}  // namespace deepwell::net
