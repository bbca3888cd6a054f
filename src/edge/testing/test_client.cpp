// Sockets and just enough HTTP for tests.
#include "edge/testing/test_client.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "base/concat.hpp"

namespace deepwell::edge::testing {

namespace {

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return text;
}

void parse_head(std::string_view head, Reply& reply) {
  const auto space = head.find(' ');
  if (space != std::string_view::npos)
    reply.status = std::atoi(std::string(head.substr(space + 1, 3)).c_str());
  std::size_t at = head.find("\r\n");
  while (at != std::string_view::npos && at + 2 < head.size()) {
    const auto end = std::min(head.find("\r\n", at + 2), head.size());
    const std::string_view line = head.substr(at + 2, end - at - 2);
    if (const auto colon = line.find(": "); colon != std::string_view::npos) {
      reply.headers[lower(std::string(line.substr(0, colon)))] = line.substr(colon + 2);
    }
    at = head.find("\r\n", end);
  }
}

}  // namespace

std::vector<SseEvent> parse_events(std::string_view body) {
  std::vector<SseEvent> events;
  while (!body.empty()) {
    const auto end = std::min(body.find("\n\n"), body.size());
    std::string_view block = body.substr(0, end);
    body.remove_prefix(std::min(end + 2, body.size()));
    SseEvent event;
    bool has_data = false;
    while (!block.empty()) {
      const auto line_end = std::min(block.find('\n'), block.size());
      const std::string_view line = block.substr(0, line_end);
      block.remove_prefix(std::min(line_end + 1, block.size()));
      if (line.starts_with("event: ")) event.event = line.substr(7);
      if (line.starts_with("id: ")) event.id = line.substr(4);
      if (line.starts_with("data: ")) {
        event.data += (has_data ? "\n" : "") + std::string(line.substr(6));
        has_data = true;
      }
    }
    if (has_data) events.push_back(std::move(event));
  }
  return events;
}

RawClient::RawClient(std::uint16_t port) {
  fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const timeval limit{.tv_sec = 20, .tv_usec = 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ::setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) close();
}

RawClient::~RawClient() { close(); }

void RawClient::send(std::string_view bytes) {
  while (fd_ >= 0 && !bytes.empty()) {
    const ssize_t n_sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n_sent <= 0) return;
    bytes.remove_prefix(static_cast<std::size_t>(n_sent));
  }
}

std::string RawClient::receive_some() {
  if (!buffer_.empty()) return std::exchange(buffer_, {});
  std::string bytes(64 * 1024, '\0');
  const ssize_t n_read = fd_ < 0 ? -1 : ::recv(fd_, bytes.data(), bytes.size(), 0);
  bytes.resize(n_read > 0 ? static_cast<std::size_t>(n_read) : 0);
  return bytes;
}

Reply RawClient::receive() {
  Reply reply;
  std::string bytes;
  const auto read_more = [&] {
    const std::string more = receive_some();
    bytes += more;
    return !more.empty();
  };
  std::size_t end = 0;
  while ((end = bytes.find("\r\n\r\n")) == std::string::npos) {
    if (!read_more()) return reply;
  }
  parse_head(std::string_view(bytes).substr(0, end), reply);
  bytes.erase(0, end + 4);

  if (reply.status == 204) {  // has no body
    reply.is_whole = true;
    return reply;
  }
  if (const auto length = reply.headers.find("content-length"); length != reply.headers.end()) {
    const auto n_bytes =
        static_cast<std::size_t>(std::strtoull(length->second.c_str(), nullptr, 10));
    while (bytes.size() < n_bytes && read_more()) {
    }
    reply.is_whole = bytes.size() >= n_bytes;
    reply.body = bytes.substr(0, n_bytes);
    buffer_ = bytes.substr(std::min(n_bytes, bytes.size()));
    return reply;
  }
  for (;;) {  // chunked
    std::size_t line = 0;
    while ((line = bytes.find("\r\n")) == std::string::npos) {
      if (!read_more()) return reply;
    }
    const auto n_bytes = static_cast<std::size_t>(std::strtoull(bytes.c_str(), nullptr, 16));
    while (bytes.size() < line + 2 + n_bytes + 2) {
      if (!read_more()) return reply;
    }
    reply.body += bytes.substr(line + 2, n_bytes);
    bytes.erase(0, line + 2 + n_bytes + 2);
    if (n_bytes == 0) break;
  }
  reply.is_whole = true;
  buffer_ = bytes;
  return reply;
}

void RawClient::half_close() { ::shutdown(fd_, SHUT_WR); }

void RawClient::close(bool is_abrupt) {
  if (fd_ < 0) return;
  if (is_abrupt) {
    const linger reset{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  }
  ::close(fd_);
  fd_ = -1;
}

std::string post_request(std::string_view path, std::string_view body, std::string_view headers) {
  return concat("POST ", path, " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n",
                headers, "Content-Length: ", body.size(), "\r\n\r\n", body);
}

std::string get_request(std::string_view path, std::string_view headers) {
  return concat("GET ", path, " HTTP/1.1\r\nHost: localhost\r\n", headers, "\r\n");
}

Reply exchange(std::uint16_t port, std::string_view request) {
  RawClient client(port);
  client.send(request);
  return client.receive();
}

}  // namespace deepwell::edge::testing
