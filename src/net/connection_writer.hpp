// ConnectionWriter: the ResponseWriter of one request on a connection. Internal to net.
#pragma once

#include "net/connection.hpp"

namespace deepwell::net {

class ConnectionWriter final : public ResponseWriter {
 public:
  ConnectionWriter(Connection& connection, const Request& request);

  Task<Status> send(Response response) override;
  Task<Status> start(int status, Headers headers) override;
  Task<Status> write(std::string_view chunk) override;
  Task<Status> finish() override;
  void abort() override;

  /// After the handler, on the loop: an answer that is not whole ends its connection, visibly.
  void settle();

 private:
  enum class Framing { kLength, kChunked, kUntilClose };
  std::string head(int status, const Headers& headers, Framing framing, std::size_t len_body);
  Task<Status> write_last(std::string_view bytes);

  Connection& connection_;
  const bool is_head_request_;
  const bool is_http_1_1_;
  Framing framing_ = Framing::kLength;
  bool is_aborted_ = false;
};

}  // namespace deepwell::net
