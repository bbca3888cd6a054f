// Blocking use of the asynchronous streams: every wait has a deadline and can be cancelled.
#include "net/client_transport.hpp"

#include <netdb.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/ssl/error.hpp>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "base/concat.hpp"

namespace deepwell::net {

namespace {

using boost::system::error_code;

constexpr std::chrono::milliseconds kCancelPoll{50};

SteadyTime now() { return std::chrono::steady_clock::now(); }

Error cancelled(std::string_view what) {
  return {Code::kCancelled, concat("cancelled while ", what)};
}

Error too_late(std::string_view what) {
  return {Code::kDeadlineExceeded, concat("timed out while ", what)};
}

// One DNS question. getaddrinfo() cannot be interrupted, so it runs on a thread that may outlast
// the asker.
struct Lookup {
  std::mutex mutex;
  std::condition_variable done;
  bool is_done = false;
  int code = 0;
  std::vector<tcp::endpoint> endpoints;
};

void look_up(const std::string& host, std::uint16_t port, Lookup& lookup) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG;
  addrinfo* list = nullptr;
  const int code = ::getaddrinfo(host.c_str(), nullptr, &hints, &list);
  const std::lock_guard lock(lookup.mutex);
  for (const addrinfo* info = list; info != nullptr; info = info->ai_next) {
    tcp::endpoint endpoint;
    if (info->ai_addrlen > endpoint.capacity()) continue;
    std::copy_n(reinterpret_cast<const char*>(info->ai_addr), info->ai_addrlen,
                reinterpret_cast<char*>(endpoint.data()));
    endpoint.resize(info->ai_addrlen);
    endpoint.port(port);
    lookup.endpoints.push_back(endpoint);
  }
  if (list != nullptr) ::freeaddrinfo(list);
  lookup.code = code;
  lookup.is_done = true;
  lookup.done.notify_one();
}

Result<std::vector<tcp::endpoint>> resolve(const std::string& host, std::uint16_t port,
                                           SteadyTime deadline, const CancelToken& cancel) {
  error_code not_an_address;
  const auto address = boost::asio::ip::make_address(host, not_an_address);
  if (!not_an_address) return std::vector<tcp::endpoint>{tcp::endpoint(address, port)};

  const auto lookup = std::make_shared<Lookup>();  // owners: this call and the thread
  std::thread([lookup, host, port] { look_up(host, port, *lookup); }).detach();
  const std::string what = concat("looking up ", host);
  std::unique_lock lock(lookup->mutex);
  while (!lookup->is_done) {
    if (cancel.stop_requested()) return cancelled(what);
    if (now() >= deadline) return too_late(what);
    lookup->done.wait_until(lock, std::min(deadline, now() + kCancelPoll));
  }
  if (lookup->code != 0 || lookup->endpoints.empty()) {
    return unavailable(concat("cannot find the address of ", host, ": ",
                              ::gai_strerror(lookup->code),
                              "; check the name and the network's DNS"));
  }
  return std::move(lookup->endpoints);
}

std::string tls_problem(SSL* session, const error_code& error) {
  const long verdict = SSL_get_verify_result(session);
  if (verdict != X509_V_OK) {
    return concat("its certificate is not trusted (", X509_verify_cert_error_string(verdict),
                  "); if a company proxy signs it, name its CA file in SSL_CERT_FILE");
  }
  return error.message();
}

}  // namespace

ClientTransport::~ClientTransport() {
  if (stream_) stream_->close();
}

Result<ClientTransport::Outcome> ClientTransport::run(const std::function<void(IoHandler)>& start,
                                                      SteadyTime deadline, std::string_view what) {
  Outcome outcome;
  bool is_done = false;
  start([&](error_code error, std::size_t n) {
    outcome = Outcome{error, n};
    is_done = true;
  });
  std::optional<Error> stopped;
  while (!is_done) {
    if (!stopped && cancel_.stop_requested()) stopped = cancelled(what);
    if (!stopped && now() >= deadline) stopped = too_late(what);
    if (stopped) stream_->close();  // the operation ends with an error; its handler must still run
    context_.restart();
    const auto wake = now() + kCancelPoll;
    context_.run_one_until(stopped ? wake : std::min(deadline, wake));
  }
  if (stopped) return *stopped;
  return outcome;
}

Result<ClientTransport::Outcome> ClientTransport::connect_to(const tcp::endpoint& endpoint,
                                                             SteadyTime deadline,
                                                             const std::string& what) {
  const int fd = ::socket(endpoint.protocol().family(), SOCK_STREAM | SOCK_CLOEXEC, 0);
  tcp::socket socket(context_);
  if (fd < 0) return Outcome{error_code(errno, boost::system::system_category()), 0};
  socket.assign(endpoint.protocol(), fd);
  stream_ = make_plain_stream(std::move(socket));
  const auto start = [this, &endpoint](IoHandler done) {
    stream_->socket().async_connect(
        endpoint, [done = std::move(done)](error_code error) mutable { done(error, 0); });
  };
  return run(start, deadline, what);
}

Status ClientTransport::connect(const std::string& host, std::uint16_t port, SteadyTime deadline) {
  DW_ASSIGN(const auto endpoints, resolve(host, port, deadline, cancel_));
  const std::string what = concat("connecting to ", host, ":", port);
  Error last = unavailable(concat("cannot connect to ", host, ":", port));
  for (std::size_t i = 0; i < endpoints.size(); ++i) {
    // Each address gets its share of the time, so that one that never answers leaves some for the
    // next.
    const auto share = (deadline - now()) / static_cast<int>(endpoints.size() - i);
    auto outcome = connect_to(endpoints[i], now() + share, what);
    if (!outcome) {
      last = std::move(outcome).error();
      if (last.code == Code::kCancelled) return last;
    } else if (outcome->error) {
      last =
          unavailable(concat("cannot connect to ", host, ":", port, " (",
                             endpoints[i].address().to_string(), "): ", outcome->error.message()));
    } else {
      return {};
    }
  }
  return last;
}

Status ClientTransport::start_tls(boost::asio::ssl::context& context, const std::string& host,
                                  SteadyTime deadline) {
  stream_ = make_tls_stream(std::move(stream_->socket()), context, false);
  SSL* session = stream_->tls();
  error_code not_an_address;
  boost::asio::ip::make_address(host, not_an_address);
  if (not_an_address) {
    SSL_set_tlsext_host_name(session, host.c_str());
    SSL_set1_host(session, host.c_str());
  } else {
    X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(session), host.c_str());
  }
  const auto start = [this](IoHandler done) { stream_->handshake(std::move(done)); };
  DW_ASSIGN(const auto outcome, run(start, deadline, concat("negotiating TLS with ", host)));
  if (outcome.error) {
    return unavailable(concat("TLS with ", host, " failed: ", tls_problem(session, outcome.error)));
  }
  return {};
}

Status ClientTransport::write(std::string_view bytes, SteadyTime deadline) {
  while (!bytes.empty()) {
    const auto start = [this, bytes](IoHandler done) {
      stream_->write_some(boost::asio::buffer(bytes.data(), bytes.size()), std::move(done));
    };
    DW_ASSIGN(const auto outcome, run(start, deadline, "sending the request"));
    if (outcome.error)
      return unavailable(concat("cannot send the request: ", outcome.error.message()));
    bytes.remove_prefix(outcome.n);
  }
  return {};
}

Result<std::size_t> ClientTransport::read(std::span<char> space, SteadyTime deadline) {
  const auto start = [this, space](IoHandler done) {
    stream_->read_some(boost::asio::buffer(space.data(), space.size()), std::move(done));
  };
  DW_ASSIGN(const auto outcome, run(start, deadline, "waiting for the server"));
  // A TLS peer that closes without close_notify also ends here: the message's own framing tells
  // whether it is whole.
  if (outcome.error == boost::asio::error::eof ||
      outcome.error == boost::asio::ssl::error::stream_truncated) {
    return std::size_t{0};
  }
  if (outcome.error) return unavailable(concat("the connection broke: ", outcome.error.message()));
  return outcome.n;
}

}  // namespace deepwell::net
