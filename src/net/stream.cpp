// Plain and TLS streams over Asio sockets.
#include "net/stream.hpp"

#include <boost/asio/post.hpp>

namespace deepwell::net {

namespace {

using boost::system::error_code;

class PlainStream final : public Stream {
 public:
  explicit PlainStream(tcp::socket socket) : socket_(std::move(socket)) {}

  void read_some(boost::asio::mutable_buffer space, IoHandler done) override {
    socket_.async_read_some(space, std::move(done));
  }
  void write_some(boost::asio::const_buffer bytes, IoHandler done) override {
    socket_.async_write_some(bytes, std::move(done));
  }
  void handshake(IoHandler done) override { post_success(std::move(done)); }
  void shutdown_write(IoHandler done) override {
    error_code ignored;
    socket_.shutdown(tcp::socket::shutdown_send, ignored);
    post_success(std::move(done));
  }
  tcp::socket& socket() override { return socket_; }

 private:
  void post_success(IoHandler done) {
    boost::asio::post(socket_.get_executor(),
                      [done = std::move(done)]() mutable { done(error_code{}, 0); });
  }

  tcp::socket socket_;
};

class TlsStream final : public Stream {
 public:
  TlsStream(tcp::socket socket, boost::asio::ssl::context& context, bool is_server)
      : stream_(std::move(socket), context), is_server_(is_server) {}

  void read_some(boost::asio::mutable_buffer space, IoHandler done) override {
    stream_.async_read_some(space, std::move(done));
  }
  void write_some(boost::asio::const_buffer bytes, IoHandler done) override {
    stream_.async_write_some(bytes, std::move(done));
  }
  void handshake(IoHandler done) override {
    const auto role =
        is_server_ ? boost::asio::ssl::stream_base::server : boost::asio::ssl::stream_base::client;
    stream_.async_handshake(role,
                            [done = std::move(done)](error_code error) mutable { done(error, 0); });
  }
  void shutdown_write(IoHandler done) override {
    // async_shutdown also waits for the peer's close_notify; the caller's deadline ends that wait.
    stream_.async_shutdown([done = std::move(done)](error_code error) mutable { done(error, 0); });
  }
  tcp::socket& socket() override { return stream_.next_layer(); }
  SSL* tls() override { return stream_.native_handle(); }

 private:
  boost::asio::ssl::stream<tcp::socket> stream_;
  const bool is_server_;
};

}  // namespace

void Stream::close() {
  error_code ignored;
  socket().close(ignored);
}

void Stream::reset() {
  error_code ignored;
  socket().set_option(boost::asio::socket_base::linger(true, 0), ignored);
  socket().close(ignored);
}

std::unique_ptr<Stream> make_plain_stream(tcp::socket socket) {
  return std::make_unique<PlainStream>(std::move(socket));
}

std::unique_ptr<Stream> make_tls_stream(tcp::socket socket, boost::asio::ssl::context& context,
                                        bool is_server) {
  return std::make_unique<TlsStream>(std::move(socket), context, is_server);
}

}  // namespace deepwell::net
