// Test support: a server on a port of the kernel's choice, and a client that can misbehave.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/concat.hpp"
#include "base/log.hpp"
#include "net/server.hpp"

namespace deepwell::net {

using std::chrono::milliseconds;

/// Keeps what was logged.
class TestLog final : public Log {
 public:
  void write(LogLevel, std::string_view line) override {
    const std::lock_guard lock(mutex_);
    text_.append(line).append("\n");
  }
  std::string text() const {
    const std::lock_guard lock(mutex_);
    return text_;
  }

 private:
  mutable std::mutex mutex_;
  std::string text_;
};

/// A plain TCP client without any manners of its own.
class RawClient {
 public:
  explicit RawClient(std::uint16_t port, int receive_buffer_bytes = 0)
      : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    if (receive_buffer_bytes > 0) {
      ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof receive_buffer_bytes);
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    is_connected_ =
        ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  RawClient(RawClient&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)),
        is_connected_(other.is_connected_),
        input_(std::move(other.input_)) {}
  ~RawClient() { close(); }

  bool is_connected() const { return is_connected_; }
  int fd() const { return fd_; }

  /// False when the server has closed on us.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const auto n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }

  enum class End { kOpen, kFin, kReset };
  /// Reads until `stop(input)`, the end of the connection, or `limit`.
  template <class Stop>
  End read_until(Stop stop, milliseconds limit = milliseconds(5000)) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    while (!stop(input_)) {
      const auto left =
          std::chrono::duration_cast<milliseconds>(deadline - std::chrono::steady_clock::now());
      pollfd wait{fd_, POLLIN, 0};
      if (left.count() <= 0 || ::poll(&wait, 1, static_cast<int>(left.count())) <= 0)
        return End::kOpen;
      char space[65536];
      const auto n = ::recv(fd_, space, sizeof space, 0);
      if (n == 0) return End::kFin;
      if (n < 0) return End::kReset;
      input_.append(space, static_cast<std::size_t>(n));
    }
    return End::kOpen;
  }
  End read_to_end(milliseconds limit = milliseconds(5000)) {
    return read_until([](const std::string&) { return false; }, limit);
  }
  /// Reads until the text has come.
  bool expect(std::string_view text, milliseconds limit = milliseconds(5000)) {
    const auto has_text = [text](const std::string& input) {
      return input.find(text) != std::string::npos;
    };
    read_until(has_text, limit);
    return has_text(input_);
  }
  /// Reads one answer with Content-Length and removes it from the input.
  std::string read_answer(milliseconds limit = milliseconds(5000)) {
    std::size_t len = 0;
    const auto is_whole = [&len](const std::string& input) {
      const auto end = input.find("\r\n\r\n");
      if (end == std::string::npos) return false;
      const auto at = input.find("Content-Length: ");
      len = end + 4 + (at < end ? std::stoul(input.substr(at + 16)) : 0);
      return input.size() >= len;
    };
    read_until(is_whole, limit);
    if (!is_whole(input_)) return std::exchange(input_, "");
    std::string answer = input_.substr(0, len);
    input_.erase(0, len);
    return answer;
  }
  std::string& input() { return input_; }

  void shutdown_write() { ::shutdown(fd_, SHUT_WR); }
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  void reset() {
    const linger now{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close();
  }

 private:
  int fd_;
  bool is_connected_ = false;
  std::string input_;
};

/// The status of an answer's first line; 0 if there is none.
inline int status_of(std::string_view answer) {
  return answer.starts_with("HTTP/1.1 ") && answer.size() > 12
             ? std::stoi(std::string(answer.substr(9, 3)))
             : 0;
}

/// Waits until `condition` holds; false after `limit`.
template <class Condition>
bool eventually(Condition condition, milliseconds limit = milliseconds(5000)) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(milliseconds(2));
  }
  return true;
}

inline ServerOptions quick_options() {
  ServerOptions options;
  options.header_timeout = milliseconds(400);
  options.body_timeout = milliseconds(400);
  options.idle_timeout = milliseconds(400);
  options.write_timeout = milliseconds(400);
  return options;
}

/// A running server and what its tests need.
struct TestServer {
  explicit TestServer(Router router, ServerOptions options = {}) {
    auto started = Server::start(std::move(options), std::move(router), log);
    EXPECT_TRUE(started) << (started ? "" : started.error().message);
    if (started) server = std::move(*started);
  }
  RawClient connect(int receive_buffer_bytes = 0) const {
    return RawClient(server->port(), receive_buffer_bytes);
  }
  /// Sends `bytes` on a connection of its own and returns the first answer.
  std::string ask(std::string_view bytes) const {
    RawClient client = connect();
    client.send(bytes);
    return client.read_answer();
  }

  TestLog log;
  std::unique_ptr<Server> server;
};

inline std::string get_request(std::string_view path, std::string_view more_headers = {}) {
  return concat("GET ", path, " HTTP/1.1\r\nHost: test\r\n", more_headers, "\r\n");
}

inline std::string post_request(std::string_view path, std::string_view body,
                                std::string_view more_headers = {}) {
  return concat("POST ", path, " HTTP/1.1\r\nHost: test\r\nContent-Length: ", body.size(), "\r\n",
                more_headers, "\r\n", body);
}

/// Answers "METHOD path\n" and the body, whole.
inline Task<void> echo(Request& request, ResponseWriter& writer) {
  auto body = co_await request.read_body();
  Response response =
      body ? make_response(200, kTextPlain, concat(request.method, " ", request.path, "\n", *body))
           : make_response(status_of_body_error(body.error()), kTextPlain, body.error().message);
  co_await writer.send(std::move(response));
}

}  // namespace deepwell::net
