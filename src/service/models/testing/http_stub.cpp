// A loopback HTTP server over plain sockets, one connection at a time.
#include "service/models/testing/http_stub.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/check.hpp"
#include "base/concat.hpp"

namespace deepwell::service::testing {

namespace {

std::string header_of(const std::string& request, const std::string& name) {
  const std::size_t at = request.find(concat("\r\n", name, ": "));
  if (at == std::string::npos) return {};
  const std::size_t start = at + name.size() + 4;
  return request.substr(start, request.find("\r\n", start) - start);
}

void send_all(int connection, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::send(connection, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n <= 0) return;
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
}

}  // namespace

HttpStub::HttpStub() {
  listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  DW_CHECK(::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0, "bind");
  DW_CHECK(::listen(listener_, 16) == 0, "listen");
  socklen_t n = sizeof address;
  ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &n);
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { serve(); });
}

HttpStub::~HttpStub() {
  is_stopping_ = true;
  thread_.join();
  ::close(listener_);
}

std::string HttpStub::url(const std::string& path) const {
  return concat("http://127.0.0.1:", port_, path);
}

void HttpStub::set(StubFile file) {
  const std::lock_guard lock(mutex_);
  file_ = std::move(file);
}

void HttpStub::set_handler(std::function<bool(const std::string&, StubFile&)> handler) {
  const std::lock_guard lock(mutex_);
  handler_ = std::move(handler);
}

std::vector<std::string> HttpStub::ranges() const {
  const std::lock_guard lock(mutex_);
  return ranges_;
}

std::vector<std::string> HttpStub::paths() const {
  const std::lock_guard lock(mutex_);
  return paths_;
}

void HttpStub::serve() {
  while (!is_stopping_) {
    pollfd polled{listener_, POLLIN, 0};
    if (::poll(&polled, 1, 20) <= 0) continue;
    const int connection = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0) continue;
    answer(connection);
    ::close(connection);
  }
}

void HttpStub::answer(int connection) {
  std::string request;
  char buffer[4096];
  while (request.find("\r\n\r\n") == std::string::npos) {
    const ssize_t n = ::recv(connection, buffer, sizeof buffer, 0);
    if (n <= 0) return;
    request.append(buffer, static_cast<std::size_t>(n));
  }
  const std::size_t start = request.find(' ') + 1;
  const std::string path = request.substr(start, request.find(' ', start) - start);
  const std::string range = header_of(request, "Range");
  StubFile file;
  {
    const std::lock_guard lock(mutex_);
    ranges_.push_back(range);
    paths_.push_back(path);
    file = file_;
    if (handler_) handler_(path, file);
  }
  const std::string etag = file.etag.empty() ? "" : concat("ETag: ", file.etag, "\r\n");
  if (file.status != 200) {
    send_all(connection, concat("HTTP/1.1 ", file.status,
                                " No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
    return;
  }
  std::size_t first = 0;
  const std::string if_range = header_of(request, "If-Range");
  const bool is_partial =
      file.has_range && range.starts_with("bytes=") && (if_range.empty() || if_range == file.etag);
  if (is_partial) first = std::stoul(range.substr(6));
  const std::string_view body =
      std::string_view(file.content).substr(std::min(first, file.content.size()));
  std::string head;
  if (is_partial && first >= file.content.size()) {
    send_all(connection, concat("HTTP/1.1 416 No\r\nContent-Range: bytes */", file.content.size(),
                                "\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
    return;
  }
  if (is_partial) {
    head = concat("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes ", first, "-",
                  file.content.size() - 1, "/", file.content.size(), "\r\n");
  } else {
    head = "HTTP/1.1 200 OK\r\n";
  }
  send_all(connection,
           concat(head, etag, "Content-Length: ", body.size(), "\r\nConnection: close\r\n\r\n"));
  const std::size_t n_sent =
      file.n_bytes_until_cut == 0 ? body.size() : std::min(body.size(), file.n_bytes_until_cut);
  send_all(connection, body.substr(0, n_sent));
}

}  // namespace deepwell::service::testing
