// RoundRobin: smooth weighted round robin with passive health checks, as nginx's
// ngx_http_upstream_module does it (weight, max_fails, fail_timeout, backup, down): for people who
// moved from there and rely on it.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace deepwell::cluster {

/// What nginx's `server` line says.
struct RoundRobinPeer {
  std::uint32_t weight = 1;
  std::uint32_t max_fails = 1;            // 0: failures are not counted
  std::chrono::seconds fail_timeout{10};  // both the window of failures and the time of rest
  bool is_backup = false;                 // asked only when no other peer can be
  bool is_down = false;
};

/// Choices among peers that are numbered in the order in which they were added. Times are whole
/// seconds, as nginx's clock has them. Not thread-safe.
class RoundRobin {
 public:
  using Seconds = std::int64_t;

  RoundRobin() = default;
  explicit RoundRobin(std::span<const RoundRobinPeer> peers);
  /// Its number.
  std::size_t add(const RoundRobinPeer& peer);

  /// The next peer; nothing if all are out or at rest. `is_out` [n_peers] names those that cannot be
  /// asked now: without a connection, full, or tried already by this request.
  std::optional<std::size_t> choose(const std::vector<bool>& is_out, Seconds now);
  /// How a peer did that was chosen.
  void report(std::size_t peer, bool has_failed, Seconds now);

  /// It failed too often of late. nginx never rests its only peer.
  bool is_resting(std::size_t peer, Seconds now) const;
  /// Somebody else chose it: after a rest, one request tells whether it is well again.
  void note_choice(std::size_t peer, Seconds now);
  /// Another process stands in its place.
  void forget_failures(std::size_t peer) { states_[peer].n_fails = 0; }

 private:
  struct State {
    RoundRobinPeer peer;
    std::int64_t current_weight = 0;
    std::int64_t effective_weight = 1;
    std::uint32_t n_fails = 0;
    Seconds last_failure = 0;
    Seconds checked = 0;  // since when it rests, or when it was tried again
  };
  std::optional<std::size_t> best(const std::vector<bool>& is_out, bool is_backup, Seconds now);

  std::vector<State> states_;
};

}  // namespace deepwell::cluster
