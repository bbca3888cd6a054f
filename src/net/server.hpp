// Server: an HTTP/1.1 server on N event loops. Knows no product word: the router decides what is
// answered.
//
//   Router router;
//   router.add("GET", "/hello/{name}", [](Request& request, ResponseWriter& writer) -> Task<void> {
//     const std::string text = concat("hello ", request.param("name"), "\n");
//     auto response = make_response(200, kTextPlain, text);
//     co_await writer.send(std::move(response));
//   });
//   DW_ASSIGN(auto server, Server::start({.port = 8080}, std::move(router), log));
//   ...
//   server->stop_accepting();
//   if (!server->drain(std::chrono::seconds(30))) server->stop_now();
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/executor.hpp"
#include "base/log.hpp"
#include "base/result.hpp"
#include "net/router.hpp"

namespace deepwell::net {

struct TlsOptions {
  std::string cert_file;  // PEM chain
  std::string key_file;   // PEM
};

struct ServerOptions {
  std::string host = "127.0.0.1";  // an address of this machine, "0.0.0.0", "::", or "localhost"
  std::uint16_t port = 0;          // 0: the kernel chooses, see Server::port()
  /// >= 0: an open listening socket to use instead; the server owns it from now on.
  int listen_fd = -1;
  unsigned n_loops = 2;
  std::optional<TlsOptions> tls;

  std::uint32_t max_connections = 4096;                // beyond: 503 with Retry-After, and closed
  std::uint32_t max_header_bytes = 32 * 1024;          // 431
  std::uint32_t max_target_bytes = 8 * 1024;           // 414
  std::uint64_t max_body_bytes = 16ULL * 1024 * 1024;  // 413; a Route may set its own

  /// From a request's first byte (or accept) to its last header: 408.
  std::chrono::milliseconds header_timeout{10'000};
  /// For a body, plus one second per min_body_bytes_per_s received: 408.
  std::chrono::milliseconds body_timeout{30'000};
  std::uint32_t min_body_bytes_per_s = 16 * 1024;
  /// Between requests: closed silently.
  std::chrono::milliseconds idle_timeout{75'000};
  /// Without any progress, for a client that does not read: broken off.
  std::chrono::milliseconds write_timeout{30'000};
  /// What a connection may hold unsent in the kernel (TCP_NOTSENT_LOWAT).
  std::uint32_t max_unsent_bytes = 128 * 1024;
};

/// Counters since start, for metrics.
struct ServerStats {
  std::uint64_t n_accepted = 0;
  std::uint64_t n_refused = 0;          // over max_connections
  std::uint64_t n_requests = 0;         // headers read
  std::uint64_t n_bad_requests = 0;     // headers that no handler saw: 400, 408, 431 ...
  std::uint64_t n_clients_left = 0;     // before their answer was whole
  std::uint32_t n_connections = 0;      // now
  std::uint32_t n_active_requests = 0;  // now, from header to end of response
};

/// 400, 408, 413 or 499 (the client left; nobody sees it) for an error of Request::read_body().
int status_of_body_error(const Error& error);

class Server {
 public:
  /// Listens and serves. Errors: kAlreadyExists (address in use), kPermissionDenied (port below
  /// 1024), kInvalidArgument (not an address of this machine), each saying what to do. `log` must
  /// outlive the server.
  static Result<std::unique_ptr<Server>> start(ServerOptions options, Router router, Log& log);

  /// stop_now(), then waits for every handler to end: handlers must heed their cancel token.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  std::uint16_t port() const;
  std::string host() const;
  /// "http://127.0.0.1:8080"
  std::string url() const;

  ServerStats stats() const;
  /// Loop `i % n_loops`, for work that wants to live on one.
  Executor& loop(unsigned i = 0);

  // Stopping, from any thread but a loop's.

  /// From now on answers ask their clients to close the connection. Idle connections stay open: a
  /// client may be sending its next request at this moment.
  void announce_stop();
  /// announce_stop(), and closes the listening socket: another process may accept on it.
  void stop_listening();
  /// stop_listening(), and closes idle connections; running requests go on and then close their
  /// connection.
  void stop_accepting();
  /// stop_accepting(), then waits until no request runs. False if some still ran after `limit`.
  bool drain(std::chrono::milliseconds limit);
  /// Cancels every request and closes every connection. Returns at once.
  void stop_now();

 private:
  struct State;
  explicit Server(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace deepwell::net
