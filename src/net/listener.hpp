// Listener: accepts connections close-on-exec. Internal to net.
#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <functional>

#include "base/listen_socket.hpp"
#include "base/log.hpp"
#include "base/scoped_fd.hpp"
#include "net/event_loop.hpp"

namespace deepwell::net {

/// The address it listens on, as Asio spells it.
boost::asio::ip::tcp::endpoint endpoint_of(const ListenSocket& socket);

/// Accepts on `loop` until closed. Every member is called on that loop's thread.
class Listener {
 public:
  using OnAccept = std::function<void(ScopedFd, boost::asio::ip::tcp::endpoint peer)>;
  Listener(EventLoop& loop, ListenSocket socket, Log& log, OnAccept on_accept);

  void accept_next();
  void close();

 private:
  void accept_waiting();

  EventLoop& loop_;
  Log& log_;
  boost::asio::ip::tcp::acceptor acceptor_;
  OnAccept on_accept_;
};

}  // namespace deepwell::net
