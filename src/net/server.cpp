// Starting loops, handing out connections, sweeping deadlines, stopping.
#include "net/server.hpp"

#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <condition_variable>
#include <future>
#include <unordered_set>
#include <vector>

#include "base/concat.hpp"
#include "net/connection.hpp"
#include "net/listener.hpp"
#include "net/tls.hpp"

namespace deepwell::net {

namespace {

constexpr std::chrono::milliseconds kSweepInterval{100};
constexpr std::uint32_t kRefusalsAtOnce = 256;

// One loop and the connections that live on it. But for `loop`, touched on its thread only.
struct LoopState {
  EventLoop loop;
  std::unordered_set<Connection*> connections;
  bool is_sweeping = false;

  void sweep() {
    is_sweeping = !connections.empty();
    if (!is_sweeping) return;
    const auto now = std::chrono::steady_clock::now();
    for (Connection* connection : connections) connection->check_deadlines(now);
    loop.post_at(now + kSweepInterval, [this] { sweep(); });
  }

  // A copy, because what `use` does may end connections.
  template <class Use>
  void for_each(Use use) {
    std::vector<std::shared_ptr<Connection>> all;
    for (Connection* connection : connections) all.push_back(connection->shared_from_this());
    for (const auto& connection : all) use(*connection);
  }
};

void set_option(int fd, int level, int name, int value) {
  ::setsockopt(fd, level, name, &value, sizeof value);  // best effort: each only improves behaviour
}

void configure(int fd, const ServerOptions& options) {
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, static_cast<int>(options.max_unsent_bytes));
  // A client whose machine vanished sends neither FIN nor RST: probes find it while its handler
  // computes.
  set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 30);
  set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 10);
  set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

Peer describe(const tcp::endpoint& endpoint) {
  auto address = endpoint.address();
  if (address.is_v6() && address.to_v6().is_v4_mapped()) {
    address = boost::asio::ip::make_address_v4(boost::asio::ip::v4_mapped, address.to_v6());
  }
  return Peer{address.to_string(), endpoint.port(), address.is_loopback()};
}

}  // namespace

struct Server::State {
  ServerContext context;
  std::unique_ptr<boost::asio::ssl::context> tls;
  tcp::endpoint endpoint;
  std::atomic<std::uint32_t> n_refusing{0};
  std::mutex mutex;
  std::condition_variable connection_ended;
  std::unique_ptr<Listener> listener;             // used on loop 0
  std::size_t next_loop = 0;                      // likewise
  std::vector<std::unique_ptr<LoopState>> loops;  // last: ended first

  void accept(ScopedFd fd, const tcp::endpoint& peer);
  void adopt(LoopState& loop, ScopedFd fd, const tcp::endpoint& peer, bool is_refused);
  Task<void> serve(LoopState& loop, std::shared_ptr<Connection> connection, bool is_refused);
  void end_connection(bool is_refused);
  template <class Work>
  void on_every_loop(Work work);
};

void Server::State::accept(ScopedFd fd, const tcp::endpoint& peer) {
  ++context.n_accepted;
  const bool is_refused = context.n_connections >= context.options.max_connections;
  if (is_refused) {
    ++context.n_refused;
    if (n_refusing >= kRefusalsAtOnce || tls != nullptr) return;  // closed without a word
    ++n_refusing;
  } else {
    ++context.n_connections;
  }
  configure(fd.get(), context.options);
  LoopState& loop = *loops[next_loop++ % loops.size()];
  loop.loop.post([this, &loop, fd = std::move(fd), peer, is_refused]() mutable {
    adopt(loop, std::move(fd), peer, is_refused);
  });
}

void Server::State::adopt(LoopState& loop, ScopedFd fd, const tcp::endpoint& peer,
                          bool is_refused) {
  boost::system::error_code error;
  tcp::socket socket(loop.loop.context());
  socket.assign(peer.protocol(), fd.get(), error);
  if (error) {
    context.log->warn("cannot watch a new connection: ", error.message());
    return end_connection(is_refused);
  }
  (void)fd.release();
  auto stream = tls == nullptr ? make_plain_stream(std::move(socket))
                               : make_tls_stream(std::move(socket), *tls, true);
  auto connection =
      std::make_shared<Connection>(context, loop.loop, std::move(stream), describe(peer));
  loop.connections.insert(connection.get());
  if (!loop.is_sweeping) loop.sweep();
  spawn(loop.loop, serve(loop, std::move(connection), is_refused));
}

Task<void> Server::State::serve(LoopState& loop, std::shared_ptr<Connection> connection,
                                bool is_refused) {
  try {
    if (is_refused) {
      co_await connection->refuse();
    } else {
      co_await connection->run();
    }
  } catch (const std::exception& exception) {
    context.log->error("a connection ended by an exception: ", exception.what());
  } catch (...) {
    context.log->error("a connection ended by an unknown exception");
  }
  loop.connections.erase(connection.get());
  connection.reset();
  end_connection(is_refused);
}

void Server::State::end_connection(bool is_refused) {
  const std::lock_guard lock(mutex);
  is_refused ? --n_refusing : --context.n_connections;
  connection_ended.notify_all();
}

// Runs `work` on each loop's thread and waits for it; from a loop's own thread that one runs at
// once.
template <class Work>
void Server::State::on_every_loop(Work work) {
  std::vector<std::future<void>> pending;
  for (const auto& loop : loops) {
    if (loop->loop.is_current()) {
      work(*loop);
      continue;
    }
    std::promise<void> done;
    pending.push_back(done.get_future());
    loop->loop.post([work, &loop, done = std::move(done)]() mutable {
      work(*loop);
      done.set_value();
    });
  }
  for (auto& future : pending) future.wait();
}

int status_of_body_error(const Error& error) {
  switch (error.code) {
    case Code::kResourceExhausted:
      return 413;
    case Code::kDeadlineExceeded:
      return 408;
    case Code::kCancelled:
      return 499;
    default:
      return 400;
  }
}

Result<std::unique_ptr<Server>> Server::start(ServerOptions options, Router router, Log& log) {
  auto state = std::make_unique<State>();
  auto socket = options.listen_fd >= 0 ? adopt_listen_socket(options.listen_fd)
                                       : open_listen_socket(options.host, options.port);
  if (!socket) return std::move(socket).error();
  if (options.tls) {
    DW_ASSIGN(state->tls, make_server_tls(*options.tls));
  }
  state->endpoint = endpoint_of(*socket);
  state->context.options = std::move(options);
  state->context.router = std::move(router);
  state->context.log = &log;
  for (unsigned i = 0; i < std::max(1U, state->context.options.n_loops); ++i) {
    state->loops.push_back(std::make_unique<LoopState>());
  }
  State* raw = state.get();
  auto on_accept = [raw](ScopedFd fd, tcp::endpoint peer) { raw->accept(std::move(fd), peer); };
  state->listener =
      std::make_unique<Listener>(state->loops[0]->loop, std::move(*socket), log, on_accept);
  state->loops[0]->loop.post([raw] { raw->listener->accept_next(); });
  return std::unique_ptr<Server>(new Server(std::move(state)));
}

Server::Server(std::unique_ptr<State> state) : state_(std::move(state)) {}

Server::~Server() {
  stop_accepting();
  for (;;) {
    stop_now();  // again and again: a connection may just have been accepted
    std::unique_lock lock(state_->mutex);
    const auto is_quiet = [this] {
      return state_->context.n_connections == 0 && state_->n_refusing == 0;
    };
    if (state_->connection_ended.wait_for(lock, std::chrono::seconds(1), is_quiet)) break;
    state_->context.log->warn("waiting for ", state_->context.n_connections.load(),
                              " connections whose handlers do not end");
  }
  for (const auto& loop : state_->loops) loop->loop.stop();
  state_->listener.reset();  // its acceptor belongs to loop 0
}

std::uint16_t Server::port() const { return state_->endpoint.port(); }

std::string Server::host() const { return state_->endpoint.address().to_string(); }

std::string Server::url() const {
  const bool is_v6 = state_->endpoint.address().is_v6();
  return concat(state_->tls ? "https://" : "http://", is_v6 ? "[" : "", host(), is_v6 ? "]" : "",
                ":", port());
}

ServerStats Server::stats() const {
  const ServerContext& context = state_->context;
  ServerStats stats;
  stats.n_accepted = context.n_accepted;
  stats.n_refused = context.n_refused;
  stats.n_requests = context.n_requests;
  stats.n_bad_requests = context.n_bad_requests;
  stats.n_clients_left = context.n_clients_left;
  stats.n_connections = context.n_connections;
  stats.n_active_requests = context.n_active_requests;
  return stats;
}

Executor& Server::loop(unsigned i) { return state_->loops[i % state_->loops.size()]->loop; }

void Server::announce_stop() { state_->context.is_stop_announced = true; }

void Server::stop_listening() {
  announce_stop();
  State* state = state_.get();
  state_->on_every_loop([state](LoopState& loop) {
    if (&loop == state->loops[0].get()) state->listener->close();
  });
}

void Server::stop_accepting() {
  stop_listening();
  state_->context.is_draining = true;
  state_->on_every_loop([](LoopState& loop) {
    loop.for_each([](Connection& connection) { connection.close_if_idle(); });
  });
}

bool Server::drain(std::chrono::milliseconds limit) {
  stop_accepting();
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (state_->context.n_active_requests > 0) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

void Server::stop_now() {
  announce_stop();
  state_->context.is_draining = true;
  for (const auto& loop : state_->loops) {
    LoopState* raw = loop.get();
    raw->loop.post([raw] { raw->for_each([](Connection& connection) { connection.stop_now(); }); });
  }
}

}  // namespace deepwell::net
