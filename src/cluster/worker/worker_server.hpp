// WorkerServer: serves one Generator to fronts, over a Unix socket or the network.
//
//   DW_ASSIGN(auto server, WorkerServer::start({.address = "unix:/run/worker.sock"}, engine, log));
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/log.hpp"
#include "base/result.hpp"
#include "cluster/protocol/peer_tls.hpp"
#include "engine/runtime/generator.hpp"

namespace deepwell::cluster {

struct WorkerServerOptions {
  std::string address;  // "unix:/path" or "host:port"
  const PeerTls* tls = nullptr;
  std::uint32_t n_parallel = 16;  // what the generator computes at once, for the fronts' accounts
  std::uint32_t n_max_waiting = 256;
  // What fronts make their tokenizer from, merges and all; asked whenever one wants the description. Empty: that of the
  // description's own tokenizer, which has no merges.
  std::function<Result<engine::Vocabulary>()> vocabulary;
};

/// Each front has one stream (proto/worker.proto, docs/formats/worker-protocol.md). What a front asked
/// for goes on when its stream breaks, for the grace that the front named.
class WorkerServer {
 public:
  /// Listens. `generator` and `log` must outlive the server. Errors: kUnavailable (the address cannot
  /// be bound), kNotFound and kInvalidArgument for TLS files.
  static Result<std::unique_ptr<WorkerServer>> start(WorkerServerOptions options,
                                                     engine::Generator& generator, Log& log);
  /// Ends the streams and cancels what runs.
  ~WorkerServer();
  WorkerServer(const WorkerServer&) = delete;
  WorkerServer& operator=(const WorkerServer&) = delete;

  /// Tells every front to give this worker nothing new.
  void set_draining();
  /// Generations that a front may still want: a drained worker leaves when there are none.
  std::size_t n_held() const;

 private:
  struct State;
  explicit WorkerServer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace deepwell::cluster
