// The control channel: how the supervisor and its children talk, one short text line a packet.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace deepwell::cluster {

enum class ControlKind : std::uint8_t {
  // A child to the supervisor.
  kTick,        // every 100 ms: "I run"; a front that falls silent is replaced
  kLoading,     // a worker's `progress`, 0 to 1
  kReady,       // a worker listens on its socket; a front accepts connections
  kKillWorker,  // a front: worker `worker` of epoch `epoch` stalls, `text` says how
  kDrained,     // a draining child has nothing left; the supervisor may forget it
  // The supervisor to a front.
  kWorkerLoading,  // `worker`, `epoch`, `progress`
  kWorkerReady,    // `worker`, `epoch`, `text` = path of its socket
  kWorkerDied,  // `worker`, `epoch`, `signal` (0: it exited), `tags` = suspects of the crash page
  kWorkerDraining,  // `worker`, `epoch`: give it nothing new, move or finish what it has
  // The supervisor to any child.
  kDrain,  // finish what runs, take nothing new, leave; `text` = limit in seconds
  // The supervisor to a front: as kDrain, but another front accepts on the same socket; whoever is
  // connected here is served until it leaves.
  kHandOver,
};

/// Plain data; a kind uses the fields named beside it.
struct ControlMessage {
  ControlKind kind = ControlKind::kTick;
  std::uint32_t worker = 0;
  std::uint64_t epoch = 0;
  int signal = 0;
  double progress = 0.0;
  std::vector<std::uint64_t> tags;
  std::string text;  // the rest of the line: any bytes but a line feed

  bool operator==(const ControlMessage&) const = default;
};

/// "worker-died worker=1 epoch=3 signal=11 tags=5,9 text=..."; what is zero or empty is left out. Read
/// it with parse_control().
std::string format_control(const ControlMessage& message);
/// Error: kInvalidArgument naming the word that is not understood. Unknown keys are an error: both
/// ends are of one build, or a neighbour version that knows the same kinds.
Result<ControlMessage> parse_control(std::string_view line);

/// One end of a SOCK_SEQPACKET pair. Thread-safe: sends and receives may run on different threads.
class ControlChannel {
 public:
  /// Takes the descriptor and makes it close-on-exec.
  explicit ControlChannel(int fd);
  ~ControlChannel();
  ControlChannel(ControlChannel&& other) noexcept;
  ControlChannel& operator=(ControlChannel&& other) noexcept;

  /// Both ends, close-on-exec.
  static Result<std::pair<ControlChannel, ControlChannel>> make_pair();

  int fd() const { return fd_; }

  /// Never blocks. Errors: kUnavailable (the other end is gone), kResourceExhausted (its buffer is
  /// full: it does not read).
  Status send(const ControlMessage& message);
  /// The next message, or nothing within `limit`. Errors: kUnavailable (the other end is gone),
  /// kInvalidArgument (a line that is not understood; the channel goes on).
  Result<std::optional<ControlMessage>> receive(std::chrono::milliseconds limit);

 private:
  int fd_ = -1;
};

}  // namespace deepwell::cluster
