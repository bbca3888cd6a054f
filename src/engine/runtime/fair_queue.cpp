// Counting what tenants got, and choosing by it.
#include "engine/runtime/fair_queue.hpp"

#include <algorithm>
#include <limits>
#include <tuple>
#include <utility>

namespace deepwell::engine {

namespace {

constexpr std::size_t kMaxAbsentTenants = 1024;  // whose counters are remembered

std::size_t line_of(const Sequence& sequence) {
  return static_cast<std::size_t>(sequence.request.priority);
}

bool is_background(const Sequence& sequence) {
  return sequence.request.priority == Priority::kBackground;
}

/// Its priority after the time that it has waited.
std::int64_t level_of(const Sequence& sequence, std::int64_t now_ms) {
  const auto base = static_cast<std::int64_t>(line_of(sequence));
  if (is_background(sequence)) return base;
  const std::int64_t waited_ms = std::max<std::int64_t>(0, now_ms - sequence.waiting_since_ms);
  return std::min<std::int64_t>(kNumPriorities - 1, base + waited_ms / FairQueue::kRiseMs);
}

}  // namespace

double FairQueue::smallest_served() const {
  double smallest = std::numeric_limits<double>::infinity();
  for (const auto& [name, tenant] : tenants_) {
    if (tenant.is_present()) smallest = std::min(smallest, tenant.n_served);
  }
  return smallest;
}

/// Whoever is absent and behind the present ones would start from their smallest counter anyhow.
void FairQueue::forget_absent() {
  const double smallest = smallest_served();
  std::erase_if(tenants_, [smallest](const auto& entry) {
    return !entry.second.is_present() && entry.second.n_served <= smallest;
  });
}

FairQueue::Tenant& FairQueue::enter(const Sequence& sequence) {
  const std::string& name = sequence.request.tenant;
  if (tenants_.size() > kMaxAbsentTenants && !tenants_.contains(name)) forget_absent();
  const double smallest = smallest_served();
  Tenant& tenant = tenants_[name];
  if (!tenant.is_present() && smallest < std::numeric_limits<double>::infinity())
    tenant.n_served = std::max(tenant.n_served, smallest);
  tenant.weight = std::max(1U, sequence.request.tenant_weight);
  return tenant;
}

void FairQueue::count(const Sequence& sequence, int n) {
  const auto change = static_cast<std::uint32_t>(n);
  tenant_of(sequence).n_waiting += change;
  n_waiting_ += change;
  if (!is_background(sequence)) n_wanted_ += change;
}

std::deque<std::unique_ptr<Sequence>>& FairQueue::enter_line(const Sequence& sequence) {
  Tenant& tenant = enter(sequence);
  count(sequence, 1);
  return tenant.waiting[line_of(sequence)];
}

void FairQueue::add(std::unique_ptr<Sequence> sequence, std::int64_t now_ms) {
  sequence->waiting_since_ms = now_ms;
  auto& line = enter_line(*sequence);
  line.push_back(std::move(sequence));
}

void FairQueue::add_again(std::unique_ptr<Sequence> sequence) {
  auto& line = enter_line(*sequence);
  line.push_front(std::move(sequence));
}

Sequence* FairQueue::first(std::int64_t now_ms) {
  const bool is_turn_of_low = n_turns_ % kTurnsPerLow == kTurnsPerLow - 1;
  Sequence* best = nullptr;
  std::tuple<bool, std::int64_t, double, std::int64_t, std::int64_t> best_rank;
  const double weight = present_weight();
  for (const auto& [name, tenant] : tenants_) {
    for (const auto& line : tenant.waiting) {
      if (line.empty() || (n_wanted_ > 0 && is_background(*line.front()))) continue;
      Sequence& candidate = *line.front();
      const std::int64_t level = level_of(candidate, now_ms);
      const bool has_its_part = surplus_of(tenant, weight) > -1.0;
      const std::tuple rank{has_its_part, is_turn_of_low ? level : -level_among_tenants(level),
                            tenant.n_served, -level, candidate.waiting_since_ms};
      if (best == nullptr || rank < best_rank) {
        best = &candidate;
        best_rank = rank;
      }
    }
  }
  return best;
}

std::unique_ptr<Sequence> FairQueue::take(const Sequence& sequence, std::int64_t now_ms) {
  std::unique_ptr<Sequence> taken = remove(sequence.id);
  taken->level = level_of(*taken, now_ms);
  ++tenant_of(*taken).n_running;
  ++n_turns_;
  return taken;
}

void FairQueue::charge(const Sequence& sequence, std::uint32_t n_rows) {
  Tenant& tenant = tenant_of(sequence);
  tenant.n_served += static_cast<double>(n_rows) / tenant.weight;
}

double FairQueue::present_weight() const {
  double sum = 0.0;
  for (const auto& [name, tenant] : tenants_) {
    if (tenant.is_present()) sum += tenant.weight;
  }
  return sum;
}

double FairQueue::surplus_of(const Tenant& tenant, double present_weight) const {
  return tenant.n_running - std::max(1.0, n_places_ * tenant.weight / present_weight);
}

bool FairQueue::anybody_has_surplus(double newcomers_weight) const {
  const double weight = present_weight() + newcomers_weight;
  return std::any_of(tenants_.begin(), tenants_.end(),
                     [&](const auto& entry) { return surplus_of(entry.second, weight) > 0.0; });
}

std::unique_ptr<Sequence> FairQueue::remove(GenerationId id) {
  for (auto& [name, tenant] : tenants_) {
    for (auto& line : tenant.waiting) {
      const auto it = std::find_if(line.begin(), line.end(),
                                   [id](const auto& waiting) { return waiting->id == id; });
      if (it == line.end()) continue;
      std::unique_ptr<Sequence> removed = std::move(*it);
      line.erase(it);
      count(*removed, -1);
      return removed;
    }
  }
  return nullptr;
}

Sequence* FairQueue::find(GenerationId id) const {
  for (const auto& [name, tenant] : tenants_) {
    for (const auto& line : tenant.waiting) {
      for (const auto& waiting : line) {
        if (waiting->id == id) return waiting.get();
      }
    }
  }
  return nullptr;
}

Sequence* FairQueue::any() const {
  for (const auto& [name, tenant] : tenants_) {
    for (const auto& line : tenant.waiting) {
      if (!line.empty()) return line.front().get();
    }
  }
  return nullptr;
}

}  // namespace deepwell::engine
