// QueueGate: who may still wait for the generator, decided before any work is spent on a request.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "base/executor.hpp"
#include "base/result.hpp"

namespace deepwell::service {

/// `reason` of refusals.
inline constexpr std::string_view kReasonQueueFull = "queue_full";
inline constexpr std::string_view kReasonTenantQueueFull = "tenant_queue_full";

struct QueueLimits {
  std::uint32_t n_parallel = 0;   // computed at once; 0: not known, the generator alone refuses
  std::uint32_t max_waiting = 0;  // beside those
  std::uint32_t max_waiting_per_tenant = 0;  // 0: no bound of its own
};

/// What somebody who comes now would find.
struct Congestion {
  std::uint32_t position = 0;    // in the queue, from 1
  std::chrono::seconds wait{1};  // until that one's turn, at least 1: estimated
};

class QueueGate;

/// A place for the generations of one answer. Leaves the queue when it ends.
class QueueTicket {
 public:
  QueueTicket() = default;
  QueueTicket(QueueTicket&& other) noexcept { swap(other); }
  QueueTicket& operator=(QueueTicket&& other) noexcept {
    swap(other);
    return *this;
  }
  ~QueueTicket() { end(); }

  /// One of its generations is being computed.
  void start_one();
  /// Where it stands, while none of its generations has begun; by order of arrival, so an estimate where tenants
  /// and priorities decide too.
  std::optional<Congestion> place() const;
  void end();

 private:
  friend class QueueGate;
  void swap(QueueTicket& other) noexcept;

  std::shared_ptr<QueueGate> gate_;  // owners: its tickets and the dialogue
  std::string tenant_;
  std::uint64_t number_ = 0;  // in order of arrival
  std::uint32_t n_waiting_ = 0;
  std::uint32_t n_running_ = 0;
  SteadyTime started_at_{};
};

/// Thread-safe.
class QueueGate : public std::enable_shared_from_this<QueueGate> {
 public:
  explicit QueueGate(QueueLimits limits) : limits_(limits) {}

  /// Errors: kUnavailable with kReasonQueueFull, kResourceExhausted with kReasonTenantQueueFull.
  Result<QueueTicket> enter(const std::string& tenant, std::uint32_t n_generations);

  /// A place without asking: for answers that were admitted before.
  QueueTicket enter_always(const std::string& tenant, std::uint32_t n_generations);

  Congestion congestion() const;

 private:
  friend class QueueTicket;
  QueueTicket add(const std::string& tenant, std::uint32_t n_generations);
  Congestion congestion_at(std::uint32_t position) const;
  Congestion place_of(const QueueTicket& ticket) const;
  void start_one(const QueueTicket& ticket);
  void leave(const QueueTicket& ticket);

  const QueueLimits limits_;
  mutable std::mutex mutex_;
  std::map<std::string, std::uint32_t> waiting_by_tenant_;
  std::map<std::uint64_t, std::uint32_t> waiting_by_arrival_;  // generations of each ticket
  std::uint64_t n_arrived_ = 0;
  std::uint32_t n_waiting_ = 0;
  std::uint32_t n_running_ = 0;
  double mean_run_s_ = 0.0;  // of finished answers, the later ones weigh more
};

}  // namespace deepwell::service
