// ClientTransport: one outgoing connection, used blockingly, with deadlines and cancellation.
// Internal to net.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/context.hpp>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/cancel.hpp"
#include "base/executor.hpp"
#include "base/result.hpp"
#include "net/stream.hpp"

namespace deepwell::net {

/// For one thread. After an error it is closed. Every wait ends at its deadline (kDeadlineExceeded)
/// and soon after `cancel` fires (kCancelled).
class ClientTransport {
 public:
  explicit ClientTransport(CancelToken cancel) : cancel_(std::move(cancel)) {}
  ~ClientTransport();

  /// Looks up `host` and tries its addresses in turn. Errors: kUnavailable (DNS, refused,
  /// unreachable).
  Status connect(const std::string& host, std::uint16_t port, SteadyTime deadline);
  /// From here on speaks TLS with `host`, whose certificate must be trusted and bear that name.
  /// `context` must outlive this.
  Status start_tls(boost::asio::ssl::context& context, const std::string& host,
                   SteadyTime deadline);
  Status write(std::string_view bytes, SteadyTime deadline);
  /// At least one byte; 0 at the end.
  Result<std::size_t> read(std::span<char> space, SteadyTime deadline);

 private:
  struct Outcome {
    boost::system::error_code error;
    std::size_t n = 0;
  };
  // Runs one operation to its end; a Result's error is a deadline or a cancellation, during `what`.
  Result<Outcome> run(const std::function<void(IoHandler)>& start, SteadyTime deadline,
                      std::string_view what);
  Result<Outcome> connect_to(const tcp::endpoint& endpoint, SteadyTime deadline,
                             const std::string& what);

  CancelToken cancel_;
  boost::asio::io_context context_{1};
  std::unique_ptr<Stream> stream_;
};

}  // namespace deepwell::net
