// RoundRobin: smooth weighted round robin with passive health checks, as nginx's
// ngx_http_upstream_module does it (weight, max_fails, fail_timeout, backup, down): for people who
// moved from there and rely on it. Internal to cluster.
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

/// Choices for a fixed set of peers. Times are whole seconds, as nginx's clock has them. Not
/// thread-safe.
class RoundRobin {
 public:
  using Seconds = std::int64_t;

  explicit RoundRobin(std::span<const RoundRobinPeer> peers);

  /// One request's way through the peers: choose(), then report() how that peer did; after a failure
  /// choose() again, until it gives nothing.
  class Attempt {
   public:
    /// Index of the next peer, among those not tried yet; nothing if none is left or allowed.
    std::optional<std::size_t> choose(Seconds now);
    void report(bool has_failed, Seconds now);

   private:
    friend class RoundRobin;
    explicit Attempt(RoundRobin& owner);
    RoundRobin& owner_;
    std::vector<bool> is_tried_;  // [n_peers]
    bool is_on_backups_ = false;
    std::size_t n_tries_left_ = 0;
    std::optional<std::size_t> current_;
  };
  Attempt start() { return Attempt(*this); }

 private:
  struct State {
    RoundRobinPeer peer;
    std::int64_t current_weight = 0;
    std::int64_t effective_weight = 1;
    std::uint32_t n_fails = 0;
    Seconds last_failure = 0;
    Seconds checked = 0;  // since when it rests, or when it was tried again
  };
  std::optional<std::size_t> best(const std::vector<bool>& is_tried, bool is_backup, Seconds now);
  bool is_resting(const State& state, Seconds now) const;

  std::vector<State> states_;
  bool is_single_ = false;  // nginx never rests its only peer
};

}  // namespace deepwell::cluster
