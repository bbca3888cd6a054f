// Counting who waits and who runs, and what that means for the next.
#include "service/dialogue/queue_gate.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/concat.hpp"

namespace deepwell::service {

namespace {

constexpr double kNewWeight = 0.1;   // of the latest answer in the mean duration
constexpr double kMaxWaitS = 600.0;  // nobody is told to wait longer

}  // namespace

void QueueTicket::start_one() {
  if (!gate_ || n_waiting_ == 0) return;
  --n_waiting_;
  if (n_running_++ == 0) started_at_ = std::chrono::steady_clock::now();
  gate_->start_one(*this);
}

std::optional<Congestion> QueueTicket::place() const {
  if (!gate_ || n_waiting_ == 0 || n_running_ > 0) return std::nullopt;
  return gate_->place_of(*this);
}

void QueueTicket::end() {
  if (!gate_) return;
  gate_->leave(*this);
  gate_.reset();
}

void QueueTicket::swap(QueueTicket& other) noexcept {
  std::swap(gate_, other.gate_);
  std::swap(tenant_, other.tenant_);
  std::swap(number_, other.number_);
  std::swap(n_waiting_, other.n_waiting_);
  std::swap(n_running_, other.n_running_);
  std::swap(started_at_, other.started_at_);
}

Result<QueueTicket> QueueGate::enter(const std::string& tenant, std::uint32_t n_generations) {
  const std::lock_guard lock(mutex_);
  const std::uint32_t n_all = n_waiting_ + n_running_;
  if (limits_.n_parallel > 0 && n_all + n_generations > limits_.n_parallel) {
    if (n_all + n_generations > limits_.n_parallel + limits_.max_waiting) {
      return Error{.code = Code::kUnavailable,
                   .message = concat("the queue is full: ", n_all, " generations run or wait"),
                   .reason = std::string(kReasonQueueFull)};
    }
    const auto found = waiting_by_tenant_.find(tenant);
    const std::uint32_t n_own = found == waiting_by_tenant_.end() ? 0 : found->second;
    if (limits_.max_waiting_per_tenant > 0 &&
        n_own + n_generations > limits_.max_waiting_per_tenant) {
      return Error{.code = Code::kResourceExhausted,
                   .message = concat("your share of the queue is used up: ", n_own,
                                     " of your generations wait already"),
                   .reason = std::string(kReasonTenantQueueFull)};
    }
  }
  return add(tenant, n_generations);
}

QueueTicket QueueGate::enter_always(const std::string& tenant, std::uint32_t n_generations) {
  const std::lock_guard lock(mutex_);
  return add(tenant, n_generations);
}

QueueTicket QueueGate::add(const std::string& tenant, std::uint32_t n_generations) {
  waiting_by_tenant_[tenant] += n_generations;
  n_waiting_ += n_generations;
  QueueTicket ticket;
  ticket.gate_ = shared_from_this();
  ticket.tenant_ = tenant;
  ticket.number_ = ++n_arrived_;
  ticket.n_waiting_ = n_generations;
  if (n_generations > 0) waiting_by_arrival_[ticket.number_] = n_generations;
  return ticket;
}

Congestion QueueGate::congestion() const {
  const std::lock_guard lock(mutex_);
  return congestion_at(n_waiting_ + 1);
}

Congestion QueueGate::place_of(const QueueTicket& ticket) const {
  const std::lock_guard lock(mutex_);
  std::uint32_t n_before = 0;
  for (const auto& [number, n_waiting] : waiting_by_arrival_) {
    if (number >= ticket.number_) break;
    n_before += n_waiting;
  }
  return congestion_at(n_before + 1);
}

Congestion QueueGate::congestion_at(std::uint32_t position) const {
  Congestion congestion;
  congestion.position = position;
  const std::uint32_t n_parallel =
      std::max(1U, limits_.n_parallel > 0 ? limits_.n_parallel : n_running_);
  const double wait_s = mean_run_s_ * congestion.position / n_parallel;
  congestion.wait =
      std::chrono::seconds(static_cast<int>(std::ceil(std::clamp(wait_s, 1.0, kMaxWaitS))));
  return congestion;
}

void QueueGate::start_one(const QueueTicket& ticket) {
  const std::lock_guard lock(mutex_);
  --waiting_by_tenant_[ticket.tenant_];
  const auto found = waiting_by_arrival_.find(ticket.number_);
  if (--found->second == 0) waiting_by_arrival_.erase(found);
  --n_waiting_;
  ++n_running_;
}

void QueueGate::leave(const QueueTicket& ticket) {
  const std::lock_guard lock(mutex_);
  n_waiting_ -= ticket.n_waiting_;
  n_running_ -= ticket.n_running_;
  waiting_by_arrival_.erase(ticket.number_);
  const auto found = waiting_by_tenant_.find(ticket.tenant_);
  if (found != waiting_by_tenant_.end() && (found->second -= ticket.n_waiting_) == 0) {
    waiting_by_tenant_.erase(found);
  }
  if (ticket.n_running_ == 0) return;
  const std::chrono::duration<double> run = std::chrono::steady_clock::now() - ticket.started_at_;
  mean_run_s_ += (mean_run_s_ == 0.0 ? 1.0 : kNewWeight) * (run.count() - mean_run_s_);
}

}  // namespace deepwell::service
