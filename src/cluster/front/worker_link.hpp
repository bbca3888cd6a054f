// WorkerLink: a front's end of the stream to one worker. Internal to cluster.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/result.hpp"
#include "cluster/protocol/convert.hpp"
#include "cluster/protocol/peer_tls.hpp"

namespace deepwell::cluster {

/// What a link tells its owner, on gRPC's threads, one call at a time. None comes after close() has
/// returned and the call that was running has ended.
struct LinkEvents {
  std::function<void(Result<engine::ModelDescription>)> on_model;  // after describe()
  std::function<void(proto::WorkerFrame&)> on_frame;
  std::function<void(std::string why)> on_lost;  // the stream has ended; connect() begins another
};

/// Thread-safe. Frames that are sent while a write is outstanding are merged into the next one.
class WorkerLink {
 public:
  /// `address` is "unix:/path" or "host:port". Error: TLS files that cannot be read.
  static Result<std::shared_ptr<WorkerLink>> create(const std::string& address, const PeerTls* tls,
                                                    LinkEvents events);
  virtual ~WorkerLink() = default;

  /// Asks for the model; on_model answers.
  virtual void describe() = 0;
  /// Begins a stream, unless one runs. Its first frame says how long the worker should go on without us.
  virtual void connect(std::chrono::milliseconds orphan_grace) = 0;
  /// Whether a stream has begun and has not been lost.
  virtual bool is_connected() const = 0;
  /// Adds to the next frame by `fill`. Dropped when no stream runs: whoever resumes knows what to send.
  virtual void send(const std::function<void(proto::FrontFrame&)>& fill) = 0;
  /// Ends the stream; on_lost follows.
  virtual void cut() = 0;
  /// Ends the stream; nothing is reported any more.
  virtual void close() = 0;
};

}  // namespace deepwell::cluster
