// Stream: a TCP connection, plain or TLS, behind one interface of callbacks. Internal to net.
#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <memory>

#include "base/unique_function.hpp"

namespace deepwell::net {

using boost::asio::ip::tcp;
using IoHandler = UniqueFunction<void(boost::system::error_code, std::size_t)>;

/// One read and one write may be outstanding at a time. Handlers run on the context of the socket,
/// never inside the starting call. close() makes outstanding operations fail; their buffers must
/// live until their handlers ran.
class Stream {
 public:
  virtual ~Stream() = default;
  virtual void read_some(boost::asio::mutable_buffer space, IoHandler done) = 0;
  virtual void write_some(boost::asio::const_buffer bytes, IoHandler done) = 0;
  /// TLS handshake; a plain stream is done at once.
  virtual void handshake(IoHandler done) = 0;
  /// Tells the peer that no byte follows: FIN, after close_notify under TLS.
  virtual void shutdown_write(IoHandler done) = 0;
  virtual tcp::socket& socket() = 0;
  /// The TLS session, for the client's SNI and for verification results; null when plain.
  virtual SSL* tls() { return nullptr; }

  void close();
  /// Closes with RST instead of FIN, so that the peer cannot mistake what it has for a whole.
  void reset();
};

std::unique_ptr<Stream> make_plain_stream(tcp::socket socket);
std::unique_ptr<Stream> make_tls_stream(tcp::socket socket, boost::asio::ssl::context& context,
                                        bool is_server);

}  // namespace deepwell::net
