// The HTTP client against our own server, against scripted servers that break rules, through a proxy and over TLS.
#include "net/client.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>

#include "base/async_queue.hpp"
#include "net/listener.hpp"
#include "net/test_support.hpp"

namespace deepwell::net {
namespace {

ClientOptions direct() {
  ClientOptions options;
  options.use_proxy_environment = false;
  options.connect_timeout = milliseconds(3000);
  options.read_timeout = milliseconds(3000);
  return options;
}

/// Accepts connections one by one and answers each with the next script line, then closes; the last one repeats.
class ScriptedServer {
 public:
  explicit ScriptedServer(std::vector<std::string> answers, bool closes = true)
      : answers_(std::move(answers)),
        closes_(closes),
        fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address);
    ::listen(fd_, 8);
    socklen_t len = sizeof address;
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &len);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { run(); });
  }
  ~ScriptedServer() {
    ::shutdown(fd_, SHUT_RDWR);
    thread_.join();
    ::close(fd_);
  }
  std::string url(std::string_view path = "/") const {
    return concat("http://127.0.0.1:", port_, path);
  }
  std::uint16_t port() const { return port_; }
  std::string seen() const {
    const std::lock_guard lock(mutex_);
    return seen_;
  }

 private:
  void run() {
    for (std::size_t i = 0;; ++i) {
      const int client = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
      if (client < 0) return;
      char space[8192];
      const auto n = ::recv(client, space, sizeof space, 0);
      {
        const std::lock_guard lock(mutex_);
        if (n > 0) seen_.append(space, static_cast<std::size_t>(n));
      }
      const std::string& answer = answers_[std::min(i, answers_.size() - 1)];
      (void)!::send(client, answer.data(), answer.size(), MSG_NOSIGNAL);
      if (closes_) {
        ::close(client);
      } else {
        while (::recv(client, space, sizeof space, 0) > 0) {
        }
        ::close(client);
      }
    }
  }

  std::vector<std::string> answers_;
  bool closes_;
  int fd_;
  std::uint16_t port_ = 0;
  mutable std::mutex mutex_;
  std::string seen_;
  std::thread thread_;
};

Router file_router() {
  Router router;
  router.add("GET", "/file", [](Request& request, ResponseWriter& writer) -> Task<void> {
    std::string content(100'000, 'f');
    Response response = make_response(200, "application/octet-stream", content);
    if (request.headers.get("Range") == "bytes=99990-") {
      response = make_response(206, "application/octet-stream", content.substr(99'990));
      response.headers.add("Content-Range", "bytes 99990-99999/100000");
    }
    co_await writer.send(std::move(response));
  });
  router.add("GET", "/chunks", [](Request&, ResponseWriter& writer) -> Task<void> {
    co_await writer.start(200, Headers());
    const std::string chunk(10'000, 'c');
    for (int i = 0; i < 10; ++i) co_await writer.write(chunk);
    co_await writer.finish();
  });
  router.add("GET", "/broken", [](Request&, ResponseWriter& writer) -> Task<void> {
    co_await writer.start(200, Headers());
    co_await writer.write("half");
    writer.abort();
  });
  router.add("GET", "/slow", [](Request& request, ResponseWriter& writer) -> Task<void> {
    const auto when = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    co_await sleep_until(request.executor(), when, request.cancel_token());
    co_await writer.send(Response());
  });
  router.add("GET", "/to/{n}", [](Request& request, ResponseWriter& writer) -> Task<void> {
    const int n = std::stoi(request.param("n"));
    Response response = make_response(302, kTextPlain, "the body of a redirect");
    response.headers.add("Location", n == 0 ? "/file" : concat(n - 1));
    co_await writer.send(std::move(response));
  });
  router.add("POST", "/echo", echo);
  return router;
}

TEST(HttpClient, FetchesByLengthByChunksAndByRange) {
  TestServer test(file_router());
  const HttpClient client(direct());
  std::size_t n_bytes = 0;
  const auto count = [&](const ClientResponseHead& head, std::string_view chunk) -> Status {
    EXPECT_EQ(head.status, 200);
    n_bytes += chunk.size();
    return {};
  };
  const auto whole = client.get(test.server->url() + "/file", {}, count);
  ASSERT_TRUE(whole) << whole.error().message;
  EXPECT_EQ(whole->status, 200);
  EXPECT_EQ(whole->n_body_bytes, 100'000U);
  EXPECT_EQ(n_bytes, 100'000U);
  EXPECT_EQ(client.get(test.server->url() + "/chunks", {}, count)->n_body_bytes, 100'000U);
  const Headers range{{"Range", "bytes=99990-"}};
  const auto part = client.request("GET", test.server->url() + "/file", range, "");
  EXPECT_EQ(part->response.status, 206);
  EXPECT_EQ(part->response.headers.get("content-range"), "bytes 99990-99999/100000");
  EXPECT_EQ(part->body.size(), 10U);
}

TEST(HttpClient, PostsAndLimitsWhatItCollects) {
  TestServer test(file_router());
  const HttpClient client(direct());
  EXPECT_EQ(client.request("POST", test.server->url() + "/echo", {}, "hello")->body,
            "POST /echo\nhello");
  EXPECT_EQ(client.request("HEAD", test.server->url() + "/file", {}, "")
                ->response.headers.get("Content-Length"),
            "100000");
  EXPECT_EQ(client.request("GET", test.server->url() + "/file", {}, "", 1000).error().code,
            Code::kResourceExhausted);
  EXPECT_EQ(client.request("GET", test.server->url() + "/none", {}, "")->response.status, 404);
}

TEST(HttpClient, FollowsRedirectsUpToALimit) {
  TestServer test(file_router());
  const HttpClient client(direct());
  const auto answer = client.request("GET", test.server->url() + "/to/5", {}, "");
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->body.size(), 100'000U);
  EXPECT_EQ(answer->response.url, test.server->url() + "/file");
  const auto endless = client.request("GET", test.server->url() + "/to/11", {}, "");
  EXPECT_EQ(endless.error().code, Code::kFailedPrecondition);
}

TEST(HttpClient, KeepsCredentialsFromOtherHosts) {
  ScriptedServer other({"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"});
  ScriptedServer first(
      {concat("HTTP/1.1 302 Found\r\nLocation: ", other.url("/next"), "\r\n\r\n")});
  const HttpClient client(direct());
  const Headers secret{{"Authorization", "Bearer key"}, {"X-Kept", "yes"}};
  EXPECT_EQ(client.request("GET", first.url(), secret, "")->body, "ok");
  EXPECT_NE(first.seen().find("Bearer key"), std::string::npos);
  EXPECT_EQ(other.seen().find("Bearer key"), std::string::npos);
  EXPECT_NE(other.seen().find("X-Kept: yes"), std::string::npos);
}

TEST(HttpClient, TellsATruncatedBodyFromAWholeOne) {
  TestServer test(file_router());
  const HttpClient client(direct());
  EXPECT_EQ(client.request("GET", test.server->url() + "/broken", {}, "").error().code,
            Code::kDataLoss);
  ScriptedServer truncating({"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"});
  const auto answer = client.request("GET", truncating.url(), {}, "");
  EXPECT_EQ(answer.error().code, Code::kDataLoss);
  EXPECT_NE(answer.error().message.find("6 bytes before the end"), std::string::npos)
      << answer.error().message;
  ScriptedServer silent({""});
  EXPECT_EQ(client.request("GET", silent.url(), {}, "").error().code, Code::kUnavailable);
  ScriptedServer other_protocol({"SSH-2.0-OpenSSH_9.2\r\n"});
  EXPECT_EQ(client.request("GET", other_protocol.url(), {}, "").error().code, Code::kDataLoss);
}

TEST(HttpClient, SkipsInterimAnswers) {
  ScriptedServer server(
      {"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: "
       "2\r\n\r\nok"});
  const auto answer = HttpClient(direct()).request("GET", server.url(), {}, "");
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->response.status, 200);
  EXPECT_EQ(answer->body, "ok");
}

TEST(HttpClient, SaysWhatFailed) {
  const HttpClient client(direct());
  const auto refused = client.request("GET", "http://127.0.0.1:1/path?key=secret", {}, "");
  EXPECT_EQ(refused.error().code, Code::kUnavailable);
  EXPECT_NE(
      refused.error().message.find("GET http://127.0.0.1:1/path: cannot connect to 127.0.0.1:1"),
      std::string::npos)
      << refused.error().message;
  EXPECT_NE(refused.error().message.find("refused"), std::string::npos) << refused.error().message;
  const auto unknown = client.request("GET", "http://no-such-host.invalid/", {}, "");
  ASSERT_FALSE(unknown);
  EXPECT_NE(unknown.error().message.find("no-such-host.invalid"), std::string::npos);
  EXPECT_EQ(client.request("GET", "nonsense", {}, "").error().code, Code::kInvalidArgument);
  const Headers forged{{"X", "a\r\nY: b"}};
  EXPECT_EQ(client.request("GET", "http://127.0.0.1:1/", forged, "").error().code,
            Code::kInvalidArgument);
}

TEST(HttpClient, EndsWaitsByTimeoutAndByCancellation) {
  TestServer test(file_router());
  ClientOptions options = direct();
  options.read_timeout = milliseconds(150);
  const auto late = HttpClient(options).request("GET", test.server->url() + "/slow", {}, "");
  EXPECT_EQ(late.error().code, Code::kDeadlineExceeded) << late.error().message;
  CancelSource source;
  std::thread canceller([&] {
    std::this_thread::sleep_for(milliseconds(50));
    source.request_stop();
  });
  const auto start = std::chrono::steady_clock::now();
  const auto cancelled = HttpClient(direct()).request("GET", test.server->url() + "/slow", {}, "",
                                                      1000, source.get_token());
  EXPECT_EQ(cancelled.error().code, Code::kCancelled);
  EXPECT_LT(std::chrono::steady_clock::now() - start, milliseconds(1500));
  canceller.join();
}

TEST(HttpClient, ReturnsWhatTheBodyCallbackObjectsTo) {
  TestServer test(file_router());
  const auto refuse = [](const ClientResponseHead&, std::string_view) -> Status {
    return Error{Code::kResourceExhausted, "disk full"};
  };
  const auto answer = HttpClient(direct()).get(test.server->url() + "/file", {}, refuse);
  EXPECT_EQ(answer.error().code, Code::kResourceExhausted);
  EXPECT_NE(answer.error().message.find("disk full"), std::string::npos);
}

TEST(HttpClient, SendsPlainRequestsThroughAProxy) {
  ScriptedServer proxy({"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nproxied"});
  ::setenv("http_proxy", concat("http://user:pass@127.0.0.1:", proxy.port()).c_str(), 1);
  ClientOptions options = direct();
  options.use_proxy_environment = true;
  const auto answer = HttpClient(options).request("GET", "http://somewhere.invalid/x?y", {}, "");
  ::unsetenv("http_proxy");
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->body, "proxied");
  EXPECT_TRUE(proxy.seen().starts_with(
      "GET http://somewhere.invalid/x?y HTTP/1.1\r\nHost: somewhere.invalid\r\n"))
      << proxy.seen();
  EXPECT_NE(proxy.seen().find("Proxy-Authorization: Basic dXNlcjpwYXNz\r\n"), std::string::npos);
}

TEST(HttpClient, ReportsAProxyThatRefusesATunnel) {
  ScriptedServer proxy({"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"});
  ::setenv("https_proxy", concat("127.0.0.1:", proxy.port()).c_str(), 1);
  ClientOptions options = direct();
  options.use_proxy_environment = true;
  const auto answer = HttpClient(options).request("GET", "https://somewhere.invalid/", {}, "");
  ::unsetenv("https_proxy");
  EXPECT_EQ(answer.error().code, Code::kUnavailable);
  EXPECT_NE(answer.error().message.find("407"), std::string::npos) << answer.error().message;
  EXPECT_TRUE(proxy.seen().starts_with("CONNECT somewhere.invalid:443 HTTP/1.1\r\n"));
}

/// A self-signed certificate in a folder of its own.
class Certificate {
 public:
  explicit Certificate(const std::string& name = "localhost") {
    std::string pattern = (std::filesystem::temp_directory_path() / "net_test_XXXXXX").string();
    folder_ = ::mkdtemp(pattern.data());
    EVP_PKEY* key = EVP_EC_gen("P-256");
    X509* cert = X509_new();
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    X509_EXTENSION* names =
        X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, concat("DNS:", name).c_str());
    X509_add_ext(cert, names, -1);
    X509_EXTENSION_free(names);
    X509_sign(cert, key, EVP_sha256());
    write(cert_file(), [&](FILE* file) { PEM_write_X509(file, cert); });
    write(key_file(), [&](FILE* file) {
      PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr);
    });
    X509_free(cert);
    EVP_PKEY_free(key);
  }
  ~Certificate() { std::filesystem::remove_all(folder_); }
  std::string cert_file() const { return folder_ + "/cert.pem"; }
  std::string key_file() const { return folder_ + "/key.pem"; }

 private:
  template <class Write>
  void write(const std::string& path, Write write_to) {
    FILE* file = std::fopen(path.c_str(), "w");
    write_to(file);
    std::fclose(file);
  }
  std::string folder_;
};

struct TlsServer {
  explicit TlsServer(const std::string& name = "localhost")
      : certificate(name), test(file_router(), options()) {}
  ServerOptions options() {
    ServerOptions tls_options = quick_options();
    tls_options.tls = TlsOptions{certificate.cert_file(), certificate.key_file()};
    return tls_options;
  }
  std::string url(std::string_view host = "localhost") const {
    return concat("https://", host, ":", test.server->port());
  }
  Certificate certificate;
  TestServer test;
};

TEST(Tls, ServesAndVerifies) {
  TlsServer tls;
  ClientOptions options = direct();
  options.ca_file = tls.certificate.cert_file();
  const HttpClient client(options);
  for (int i = 0; i < 3; ++i) {
    const auto answer = client.request("GET", tls.url() + "/file", {}, "");
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->body.size(), 100'000U);
  }
  EXPECT_EQ(client.request("GET", tls.url() + "/broken", {}, "").error().code, Code::kDataLoss);
  EXPECT_EQ(client.request("POST", tls.url() + "/echo", {}, std::string(200'000, 'x'))->body.size(),
            200'011U);
}

TEST(Tls, RefusesUntrustedCertificatesAndWrongNames) {
  TlsServer tls;
  const auto untrusted = HttpClient(direct()).request("GET", tls.url() + "/file", {}, "");
  EXPECT_EQ(untrusted.error().code, Code::kUnavailable);
  EXPECT_NE(untrusted.error().message.find("not trusted"), std::string::npos)
      << untrusted.error().message;
  ClientOptions options = direct();
  options.ca_file = tls.certificate.cert_file();
  const auto misnamed = HttpClient(options).request("GET", tls.url("127.0.0.1") + "/file", {}, "");
  EXPECT_EQ(misnamed.error().code, Code::kUnavailable);
  EXPECT_NE(misnamed.error().message.find("IP address mismatch"), std::string::npos)
      << misnamed.error().message;
  TlsServer elsewhere("elsewhere.invalid");
  options.ca_file = elsewhere.certificate.cert_file();
  const auto other_name = HttpClient(options).request("GET", elsewhere.url() + "/file", {}, "");
  EXPECT_EQ(other_name.error().code, Code::kUnavailable);
  EXPECT_NE(other_name.error().message.find("hostname mismatch"), std::string::npos)
      << other_name.error().message;
  TestServer plain(file_router());
  const auto not_tls = HttpClient(options).request(
      "GET", concat("https://localhost:", plain.server->port()), {}, "");
  EXPECT_EQ(not_tls.error().code, Code::kUnavailable);
}

TEST(Tls, HonoursSslCertFile) {
  TlsServer tls;
  ::setenv("SSL_CERT_FILE", tls.certificate.cert_file().c_str(), 1);
  EXPECT_TRUE(HttpClient(direct()).request("GET", tls.url() + "/file", {}, ""));
  ::unsetenv("SSL_CERT_FILE");
}

/// Answers one CONNECT and relays both ways until either side ends.
class TunnelProxy {
 public:
  TunnelProxy() : listener_(open_listen_socket("127.0.0.1", 0).value()) {
    ::fcntl(listener_.fd.get(), F_SETFL, 0);  // blocking
    thread_ = std::thread([this] { run(); });
  }
  ~TunnelProxy() { thread_.join(); }
  std::uint16_t port() const { return listener_.port; }

  std::string request;  // valid once the proxied request has ended

 private:
  void run() {
    const ScopedFd client(::accept4(listener_.fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
    char space[16384];
    while (request.find("\r\n\r\n") == std::string::npos) {
      const auto n = ::recv(client.get(), space, sizeof space, 0);
      if (n <= 0) return;
      request.append(space, static_cast<std::size_t>(n));
    }
    const auto colon = request.find(':');
    RawClient server(static_cast<std::uint16_t>(std::stoi(request.substr(colon + 1))));
    const std::string_view established = "HTTP/1.1 200 Connection established\r\n\r\n";
    (void)!::send(client.get(), established.data(), established.size(), MSG_NOSIGNAL);
    pollfd both[2] = {{client.get(), POLLIN, 0}, {server.fd(), POLLIN, 0}};
    while (::poll(both, 2, 5000) > 0) {
      for (int i = 0; i < 2; ++i) {
        if (both[i].revents == 0) continue;
        const auto n = ::recv(both[i].fd, space, sizeof space, 0);
        if (n <= 0) return;
        (void)!::send(both[1 - i].fd, space, static_cast<std::size_t>(n), MSG_NOSIGNAL);
      }
    }
  }

  ListenSocket listener_;
  std::thread thread_;
};

TEST(Tls, GoesThroughAProxysTunnel) {
  TlsServer tls;
  ClientOptions options = direct();
  options.use_proxy_environment = true;
  options.ca_file = tls.certificate.cert_file();
  std::string seen;
  {
    TunnelProxy proxy;
    ::setenv("HTTPS_PROXY", concat("http://me:pw@127.0.0.1:", proxy.port()).c_str(), 1);
    const auto answer = HttpClient(options).request("GET", tls.url() + "/file", {}, "");
    ::unsetenv("HTTPS_PROXY");
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->body.size(), 100'000U);
    seen = proxy.request;
  }
  EXPECT_TRUE(
      seen.starts_with(concat("CONNECT localhost:", tls.test.server->port(), " HTTP/1.1\r\n")))
      << seen;
  EXPECT_NE(seen.find("Proxy-Authorization: Basic bWU6cHc="), std::string::npos) << seen;
}

TEST(Tls, NeverFollowsFromHttpsToHttp) {
  TestServer plain(file_router());
  Router router;
  router.add("GET", "/", [&](Request&, ResponseWriter& writer) -> Task<void> {
    Response response = make_response(301, kTextPlain, "");
    response.headers.add("Location", plain.server->url() + "/file");
    co_await writer.send(std::move(response));
  });
  const Certificate certificate;
  ServerOptions options;
  options.tls = TlsOptions{certificate.cert_file(), certificate.key_file()};
  TestServer tls(std::move(router), options);
  ClientOptions client_options = direct();
  client_options.ca_file = certificate.cert_file();
  const auto answer = HttpClient(client_options)
                          .request("GET", concat("https://localhost:", tls.server->port()), {}, "");
  EXPECT_EQ(answer.error().code, Code::kFailedPrecondition);
  EXPECT_NE(answer.error().message.find("https to http"), std::string::npos)
      << answer.error().message;
}

TEST(Tls, EndsClientsThatNeverShakeHands) {
  TlsServer tls;
  RawClient silent = tls.test.connect();
  RawClient wrong = tls.test.connect();
  wrong.send(get_request("/file"));
  EXPECT_NE(wrong.read_to_end(milliseconds(3000)), RawClient::End::kOpen);
  EXPECT_NE(silent.read_to_end(milliseconds(3000)), RawClient::End::kOpen);
  EXPECT_TRUE(eventually([&] { return tls.test.server->stats().n_connections == 0; }));
}

TEST(Tls, SaysWhichFileIsWrong) {
  TestLog log;
  ServerOptions options;
  options.tls = TlsOptions{"/no/such/cert.pem", "/no/such/key.pem"};
  const auto server = Server::start(options, file_router(), log);
  ASSERT_FALSE(server);
  EXPECT_NE(server.error().message.find("/no/such/cert.pem"), std::string::npos);
}

}  // namespace
}  // namespace deepwell::net
