// LoadTestServer: a server for tests of the load client, whose every byte is the test's.
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/check.hpp"
#include "base/concat.hpp"
#include "base/listen_socket.hpp"

namespace deepwell::apps::testing {

struct TestRequest {
  std::string line;  // "POST /v1/chat/completions HTTP/1.1"
  std::string head;  // with the line
  std::string body;

  bool is_post() const { return line.starts_with("POST "); }
  /// The value of a header; empty if it is not there.
  std::string header(const std::string& name) const {
    const std::size_t at = head.find(name + ": ");
    if (at == std::string::npos) return {};
    const std::size_t begin = at + name.size() + 2;
    return head.substr(begin, head.find('\r', begin) - begin);
  }
};

class TestConnection {
 public:
  explicit TestConnection(int fd) : fd_(fd) {}
  /// False once the client is gone.
  bool send(std::string_view bytes) const {
    while (!bytes.empty()) {
      const ssize_t n = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }
  /// One byte a packet, so that the client sees every possible border.
  void send_byte_by_byte(std::string_view bytes) const {
    for (const char byte : bytes) {
      send({&byte, 1});
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }
  void send_chunk(std::string_view data) const {
    char size[32];
    std::snprintf(size, sizeof size, "%zx\r\n", data.size());
    send(concat(size, data, "\r\n"));
  }
  void wait(int ms) const { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

 private:
  int fd_;
};

inline const std::string kStreamHead =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A chunk of a chat completion with this text.
inline std::string token_event(const std::string& id, const std::string& text) {
  return concat("id: ", id, R"(
data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":")",
                text,
                R"("},"finish_reason":null}]}

)");
}

inline std::string last_events(const std::string& id) {
  return concat("id: ", id, R"(!
data: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}

id: )",
                id, R"(!u
data: {"id":"chatcmpl-1","choices":[],"usage":{"prompt_tokens":5,"completion_tokens":3}}

data: [DONE]

)");
}

/// A thread per connection; the handler's return closes it.
class LoadTestServer {
 public:
  using Handler = std::function<void(const TestRequest&, const TestConnection&)>;

  explicit LoadTestServer(Handler handler) : handler_(std::move(handler)) {
    auto opened = open_listen_socket("127.0.0.1", 0);
    DW_CHECK(opened.has_value(), "no port for a test");
    socket_ = std::move(*opened);
    acceptor_ = std::thread([this] { accept_all(); });
  }
  ~LoadTestServer() {
    is_stopping_ = true;
    acceptor_.join();
    for (std::thread& thread : threads_) thread.join();
  }
  LoadTestServer(const LoadTestServer&) = delete;
  LoadTestServer& operator=(const LoadTestServer&) = delete;

  std::uint16_t port() const { return socket_.port; }
  int n_connections() const { return n_connections_; }

 private:
  void accept_all() {
    while (!is_stopping_) {
      const int fd = ::accept4(socket_.fd.get(), nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
        continue;
      }
      ++n_connections_;
      threads_.emplace_back([this, fd] { serve(fd); });
    }
  }

  void serve(int fd) const {
    const ScopedFd owned(fd);
    TestRequest request;
    std::string bytes;
    std::size_t end = std::string::npos;
    while (end == std::string::npos || bytes.size() < end + 4 + length_of(bytes)) {
      char buffer[4096];
      const ssize_t n = ::recv(fd, buffer, sizeof buffer, 0);
      if (n <= 0) return;
      bytes.append(buffer, static_cast<std::size_t>(n));
      end = bytes.find("\r\n\r\n");
    }
    request.line = bytes.substr(0, bytes.find('\r'));
    request.head = bytes.substr(0, end + 2);
    request.body = bytes.substr(end + 4);
    handler_(request, TestConnection(fd));
  }

  static std::size_t length_of(const std::string& bytes) {
    const std::size_t at = bytes.find("Content-Length: ");
    return at == std::string::npos ? 0 : std::stoul(bytes.substr(at + 16));
  }

  Handler handler_;
  ListenSocket socket_;
  std::atomic<bool> is_stopping_{false};
  std::atomic<int> n_connections_{0};
  std::thread acceptor_;
  std::vector<std::thread> threads_;  // of acceptor_ alone, until it has ended
};

}  // namespace deepwell::apps::testing
