// A raw HTTP client for tests: sends exactly the bytes it is told to, reads answers and event
// streams.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace deepwell::edge::testing {

struct Reply {
  int status = 0;                              // 0: the connection ended before a status line
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;                            // chunks joined
  bool is_whole = false;                       // Content-Length reached, or the last chunk came
};

/// One event of a stream; `event` is empty for the default type.
struct SseEvent {
  std::string event;
  std::string data;
  std::string id;
};

std::vector<SseEvent> parse_events(std::string_view body);

/// One TCP connection to 127.0.0.1. Not thread-safe.
class RawClient {
 public:
  explicit RawClient(std::uint16_t port);
  ~RawClient();
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  bool is_connected() const { return fd_ >= 0; }
  void send(std::string_view bytes);
  /// What arrives next, at most 64 KiB; empty at the end or after 20 s.
  std::string receive_some();
  /// One whole answer (of a request other than HEAD).
  Reply receive();
  /// FIN: nothing more will be sent.
  void half_close();
  /// Leaves; with `is_abrupt` by RST.
  void close(bool is_abrupt = false);

 private:
  int fd_ = -1;
  std::string buffer_;
};

/// "POST path" with a JSON body and further header lines ("X-Api-Key: k\r\n").
std::string post_request(std::string_view path, std::string_view body,
                         std::string_view headers = {});
std::string get_request(std::string_view path, std::string_view headers = {});

/// A connection of its own for one request.
Reply exchange(std::uint16_t port, std::string_view request);

}  // namespace deepwell::edge::testing
