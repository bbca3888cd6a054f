// HttpClient: blocking HTTP and HTTPS requests for worker threads (model downloads), with redirects
// and proxies.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/cancel.hpp"
#include "base/result.hpp"
#include "net/headers.hpp"

namespace deepwell::net {

struct ClientOptions {
  std::chrono::milliseconds connect_timeout{15'000};  // DNS, TCP, proxy and TLS together
  std::chrono::milliseconds read_timeout{60'000};     // without any byte from the server
  unsigned n_redirects_max = 10;                      // never from https to http
  /// Environment variables http_proxy, https_proxy, all_proxy, no_proxy (lower or upper case) are
  /// honoured.
  bool use_proxy_environment = true;
  std::string user_agent;  // empty: "deepwell/<version>"
  std::string ca_file;     // PEM; empty: SSL_CERT_FILE / SSL_CERT_DIR, else the system's bundle
};

/// What came back. 4xx and 5xx are answers, not errors: look at status.
struct ClientResponse {
  int status = 0;
  Headers headers;
  std::string url;  // after redirects
  std::uint64_t n_body_bytes = 0;
};

/// What the body callback sees of the response before any body byte.
struct ClientResponseHead {
  int status = 0;
  const Headers& headers;
};

/// Thread-safe; holds no connection between calls.
class HttpClient {
 public:
  explicit HttpClient(ClientOptions options = {}) : options_(std::move(options)) {}

  /// Called with each piece of the body (of the final answer, whatever its status), in order, on
  /// the calling thread. An error ends the transfer and is returned from get(). Must not throw.
  using OnBody = std::function<Status(const ClientResponseHead& head, std::string_view chunk)>;

  /// GET with `headers` (Range: "bytes=1000-" resumes; the caller checks for 206 and
  /// Content-Range). Blocks until the body is complete. Errors, each saying what failed and for
  /// which host: kInvalidArgument (URL), kUnavailable (DNS, refused, TLS with its reason, proxy),
  /// kDeadlineExceeded, kDataLoss (the body ended before Content-Length or broke its framing),
  /// kFailedPrecondition (redirect loop or https to http), kCancelled.
  Result<ClientResponse> get(std::string_view url, const Headers& headers, const OnBody& on_body,
                             CancelToken cancel = {}) const;

  /// Any method with a body; the answer's body is collected, up to `max_bytes` (beyond:
  /// kResourceExhausted).
  struct Collected {
    ClientResponse response;
    std::string body;
  };
  Result<Collected> request(std::string_view method, std::string_view url, const Headers& headers,
                            std::string_view body, std::uint64_t max_bytes = 16 * 1024 * 1024,
                            CancelToken cancel = {}) const;

 private:
  ClientOptions options_;
};

}  // namespace deepwell::net
