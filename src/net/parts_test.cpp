// Headers, URLs, targets, routes, proxies and event streams: the parts that need no socket.
#include <gtest/gtest.h>

#include <map>

#include "base/task.hpp"
#include "base/thread_pool.hpp"
#include "net/headers.hpp"
#include "net/message_parser.hpp"
#include "net/proxy.hpp"
#include "net/response.hpp"
#include "net/router.hpp"
#include "net/url.hpp"

namespace deepwell::net {
namespace {

TEST(Headers, ComparesNamesWithoutCaseAndKeepsOrder) {
  Headers headers{{"Accept", "a"}, {"X-A", "1"}, {"ACCEPT", "b"}};
  EXPECT_EQ(headers.get("accept"), "a");
  EXPECT_EQ(headers.get_all("Accept").size(), 2U);
  EXPECT_FALSE(headers.get("X-B"));
  headers.set("accept", "c");
  EXPECT_EQ(headers.get_all("Accept").size(), 1U);
  headers.remove("x-a");
  EXPECT_EQ(headers.size(), 1U);
}

TEST(Headers, FindsTokensInLists) {
  const Headers headers{{"Connection", "keep-alive, Upgrade"}, {"Connection", " x "}};
  EXPECT_TRUE(headers.has_token("connection", "upgrade"));
  EXPECT_TRUE(headers.has_token("connection", "X"));
  EXPECT_FALSE(headers.has_token("connection", "close"));
  EXPECT_FALSE(headers.has_token("connection", "keep"));
}

TEST(SseEvent, GivesEachLineOfDataItsField) {
  EXPECT_EQ(sse_event("one"), "data: one\n\n");
  EXPECT_EQ(sse_event("a\nb\r\nc\rd"), "data: a\ndata: b\ndata: c\ndata: d\n\n");
  EXPECT_EQ(sse_event(""), "data: \n\n");
  EXPECT_EQ(sse_event("x\n"), "data: x\ndata: \n\n");
  EXPECT_EQ(sse_event("x", "error", "7"), "event: error\nid: 7\ndata: x\n\n");
}

TEST(SseEvent, LetsNothingForgeAField) {
  EXPECT_EQ(sse_event("x\n\nevent: forged", "a\nb", "1\r\n2"),
            "event: ab\nid: 12\ndata: x\ndata: \ndata: event: forged\n\n");
  EXPECT_EQ(sse_comment("a\nb"), ": ab\n");
}

TEST(Url, TakesApartWhatItIsGiven) {
  const Url url = parse_url("HTTPS://user:p%40ss@Example.org:8443/a/b?c=d#e").value();
  EXPECT_EQ(url.scheme, "https");
  EXPECT_EQ(url.host, "Example.org");
  EXPECT_EQ(url.port, 8443);
  EXPECT_EQ(url.target, "/a/b?c=d");
  EXPECT_EQ(url.userinfo, "user:p@ss");
  EXPECT_EQ(url.text(), "https://Example.org:8443/a/b?c=d");
  EXPECT_EQ(parse_url("http://h").value().text(), "http://h/");
  EXPECT_EQ(parse_url("http://h?q").value().target, "/?q");
  EXPECT_EQ(parse_url("http://[::1]:80/").value().host, "::1");
  EXPECT_EQ(parse_url("http://[::1]:81/").value().authority(), "[::1]:81");
}

TEST(Url, RefusesWhatCannotBeFetchedWithoutRepeatingPasswords) {
  for (const char* text : {"", "h", "/path", "ftp://h/", "http:///x", "http://h:99999/",
                           "http://h:0/", "http://a b/"}) {
    EXPECT_FALSE(parse_url(text)) << text;
  }
  const auto bad = parse_url("http://user:secret@ho st/");
  ASSERT_FALSE(bad);
  EXPECT_EQ(bad.error().message.find("secret"), std::string::npos) << bad.error().message;
}

TEST(Url, ResolvesRedirects) {
  const Url base = parse_url("https://h/a/b?x").value();
  EXPECT_EQ(resolve_url(base, "/c").value().text(), "https://h/c");
  EXPECT_EQ(resolve_url(base, "c?y").value().text(), "https://h/a/c?y");
  EXPECT_EQ(resolve_url(base, "//other/z").value().text(), "https://other/z");
  EXPECT_EQ(resolve_url(base, "http://o:1/").value().text(), "http://o:1/");
  EXPECT_FALSE(resolve_url(base, "ftp://x/"));
  EXPECT_FALSE(resolve_url(base, "http://a b/"));
}

TEST(Target, DecodesSegmentsAndQuery) {
  const Target target = parse_target("/v1/a%2Fb/%E4%BD%A0?x=1%262&y=a+b&z").value();
  EXPECT_EQ(target.segments, (std::vector<std::string>{"v1", "a/b", "你"}));
  ASSERT_EQ(target.query.size(), 3U);
  EXPECT_EQ(target.query[0].second, "1&2");
  EXPECT_EQ(target.query[1].second, "a b");
  EXPECT_EQ(parse_target("/").value().segments.size(), 0U);
  EXPECT_EQ(parse_target("/a/").value().segments, (std::vector<std::string>{"a", ""}));
  EXPECT_EQ(parse_target("http://h/a?b=c").value().path, "/a");
  for (const char* text : {"", "a", "/a b", "/%", "/%0", "/%zz", "/\x80", "/%00"})
    EXPECT_FALSE(parse_target(text)) << text;
}

/// Writes down the answer.
class NoteWriter final : public ResponseWriter {
 public:
  Task<Status> send(Response response) override {
    status_ = response.status;
    is_finished_ = true;
    answer = std::move(response);
    co_return Status();
  }
  Task<Status> start(int, Headers) override { co_return Status(); }
  Task<Status> write(std::string_view) override { co_return Status(); }
  Task<Status> finish() override { co_return Status(); }
  void abort() override {}
  Response answer;
};

class RouterTest : public testing::Test {
 protected:
  void serve(const std::string& method, const std::string& pattern) {
    router.add(method, pattern, [pattern](Request& request, ResponseWriter& writer) -> Task<void> {
      std::string text = pattern;
      for (const auto& [name, value] : request.params) text.append(" " + name + "=" + value);
      auto response = make_response(200, kTextPlain, std::move(text));
      co_await writer.send(std::move(response));
    });
  }
  std::string ask(const std::string& method, const std::string& target) {
    Request request(pool, nullptr);
    request.method = method;
    request.target = target;
    NoteWriter writer;
    sync_wait(router.dispatch(request, writer));
    allow = std::string(writer.answer.headers.get("Allow").value_or(""));
    return writer.answer.status == 200 ? writer.answer.body : std::to_string(writer.answer.status);
  }
  ThreadPool pool{1};
  Router router;
  std::string allow;
};

TEST_F(RouterTest, PrefersLiteralsToParametersToRests) {
  serve("GET", "/m/{rest...}");
  serve("GET", "/m/{id}");
  serve("GET", "/m/special");
  serve("GET", "/{any}/special/x");
  serve("DELETE", "/m/{id}");
  EXPECT_EQ(ask("GET", "/m/special"), "/m/special");
  EXPECT_EQ(ask("GET", "/m/other"), "/m/{id} id=other");
  EXPECT_EQ(ask("GET", "/m/a/b%2Fc/"), "/m/{rest...} rest=a/b/c/");
  EXPECT_EQ(ask("GET", "/n/special/x"), "/{any}/special/x any=n");
  EXPECT_EQ(ask("DELETE", "/m/special"), "/m/{id} id=special");
  EXPECT_EQ(ask("GET", "/m"), "404");
  EXPECT_EQ(ask("GET", "/M/special"), "404");
  EXPECT_EQ(ask("PUT", "/m/x"), "405");
  EXPECT_EQ(allow, "DELETE, GET, HEAD, OPTIONS");
  EXPECT_EQ(ask("OPTIONS", "/m/x"), "204");
  EXPECT_EQ(ask("OPTIONS", "/none"), "404");
  EXPECT_EQ(ask("HEAD", "/m/special"), "/m/special");
}

TEST_F(RouterTest, GivesHeadItsOwnRouteFirst) {
  serve("GET", "/a");
  serve("HEAD", "/{x}");
  EXPECT_EQ(ask("HEAD", "/a"), "/{x} x=a");
}

TEST_F(RouterTest, TellsARootFromItsChildren) {
  serve("GET", "/");
  serve("GET", "/a/");
  EXPECT_EQ(ask("GET", "/"), "/");
  EXPECT_EQ(ask("GET", "/a/"), "/a/");
  EXPECT_EQ(ask("GET", "/a"), "404");
  EXPECT_EQ(ask("GET", "//"), "404");
}

TEST(Router, RefusesARouteThatIsTakenOrMalformed) {
  const auto nothing = [](Request&, ResponseWriter&) -> Task<void> { co_return; };
  Router router;
  router.add("GET", "/a/{x}", nothing);
  EXPECT_DEATH(router.add("GET", "/a/{y}", nothing), "same method and pattern");
  EXPECT_DEATH(router.add("GET", "no/slash", nothing), "must begin with");
  EXPECT_DEATH(router.add("GET", "/a/{rest...}/b", nothing), "last segment");
}

TEST_F(RouterTest, MakesErrorsAsItIsTold) {
  router.on_error([](int status, std::string_view message) {
    return make_response(status, kJson, "{\"error\":\"" + std::string(message) + "\"}");
  });
  Request request(pool, nullptr);
  request.method = "GET";
  request.target = "/none";
  NoteWriter writer;
  sync_wait(router.dispatch(request, writer));
  EXPECT_EQ(writer.answer.body, "{\"error\":\"nothing is served at /none\"}");
}

std::string proxy_of(const char* url, const std::map<std::string, std::string>& environment) {
  const auto read = [&](const char* name) {
    const auto found = environment.find(name);
    return found == environment.end() ? std::string() : found->second;
  };
  const auto proxy = proxy_for(parse_url(url).value(), read);
  if (!proxy) return std::string(code_name(proxy.error().code));
  return *proxy ? (*proxy)->authority() : "direct";
}

TEST(Proxy, ReadsTheUsualVariables) {
  EXPECT_EQ(proxy_of("http://h/", {}), "direct");
  EXPECT_EQ(proxy_of("http://h/", {{"http_proxy", "http://p:3128"}}), "p:3128");
  EXPECT_EQ(proxy_of("http://h/", {{"HTTP_PROXY", "p:3128"}}), "p:3128");
  EXPECT_EQ(proxy_of("https://h/", {{"http_proxy", "p:3128"}}), "direct");
  EXPECT_EQ(proxy_of("https://h/", {{"all_proxy", "p:1"}, {"https_proxy", "q:2"}}), "q:2");
  EXPECT_EQ(proxy_of("https://h/", {{"all_proxy", "p:1"}}), "p:1");
  EXPECT_EQ(proxy_of("https://h/", {{"https_proxy", "https://p:1"}}), "unimplemented");
  EXPECT_EQ(proxy_of("https://h/", {{"https_proxy", "http://u:secret@a b"}}), "invalid_argument");
}

TEST(Proxy, LeavesOutWhatNoProxyNames) {
  const auto with = [](const char* url, const char* no_proxy) {
    return proxy_of(url, {{"all_proxy", "p:1"}, {"no_proxy", no_proxy}});
  };
  EXPECT_EQ(with("http://a.corp/", "x,.corp"), "direct");
  EXPECT_EQ(with("http://a.corp/", "corp"), "direct");
  EXPECT_EQ(with("http://a.corp/", "*.corp"), "direct");
  EXPECT_EQ(with("http://A.CORP/", "a.corp"), "direct");
  EXPECT_EQ(with("http://acorp/", "corp"), "p:1");
  EXPECT_EQ(with("http://h:8080/", "h:8080"), "direct");
  EXPECT_EQ(with("http://h/", "h:8080"), "p:1");
  EXPECT_EQ(with("http://[::1]/", "localhost, ::1"), "direct");
  EXPECT_EQ(with("http://h/", "*"), "direct");
  EXPECT_EQ(with("http://h/", " , "), "p:1");
}

/// Parses an answer cut into pieces; "status body" or the error's code.
std::string parse_answer(std::string_view bytes, std::size_t len_piece, bool has_no_body = false) {
  std::string body, input;
  ResponseParser parser(
      [&](std::string_view chunk) {
        body.append(chunk);
        return Status();
      },
      has_no_body);
  for (std::size_t at = 0; at < bytes.size() && !parser.is_done(); at += len_piece) {
    input.append(bytes.substr(at, len_piece));
    const auto n = parser.parse(input);
    if (!n) return std::string(code_name(n.error().code));
    input.erase(0, *n);
  }
  const Status end = parser.finish_at_eof();
  if (!end) return std::string(code_name(end.error().code));
  return std::to_string(parser.status) + " " + body;
}

TEST(ResponseParser, ReadsAnswersCutAnywhere) {
  for (const std::size_t n : {std::size_t{1}, std::size_t{7}, std::size_t{1000}}) {
    EXPECT_EQ(parse_answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", n), "200 hello");
    EXPECT_EQ(
        parse_answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
                     n),
        "200 hello");
    EXPECT_EQ(parse_answer("HTTP/1.1 200 OK\r\n\r\nuntil the end", n), "200 until the end");
    EXPECT_EQ(parse_answer("HTTP/1.1 204 No Content\r\n\r\n", n), "204 ");
    EXPECT_EQ(parse_answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", n, true), "200 ");
    EXPECT_EQ(parse_answer("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", n), "data_loss");
    EXPECT_EQ(
        parse_answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", n),
        "data_loss");
    EXPECT_EQ(parse_answer("HTTP/1.1 200 OK\r\nContent-Le", n), "data_loss");
    EXPECT_EQ(parse_answer("SSH-2.0-OpenSSH\r\n", n), "data_loss");
  }
  EXPECT_EQ(parse_answer("", 1), "unavailable");
}

}  // namespace
}  // namespace deepwell::net
