// FairQueue: who waits for the engine, and whose turn it is.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>

#include "engine/runtime/sequence.hpp"

namespace deepwell::engine {

/// Tenants take turns by virtual token counters (Sheng et al. 2024, "Fairness in Serving Large Language Models"): the
/// one for whom the fewest rows were computed, divided by its weight, is next. Who comes back after a pause starts from
/// the smallest counter of those present, so that nobody saves up turns. Who lacks fair places goes before who has them,
/// whatever their priorities: these are among those who have, or lack, alike. There a higher priority goes first, but
/// above normal only within a tenant, or whoever calls everything urgent would get more than its share. A request rises
/// by one for each kRise of waiting, and every kTurnsPerLow-th turn belongs to the lowest; within a tenant and a priority
/// the first come is first. Used by the engine's thread alone.
class FairQueue {
 public:
  /// What a sequence's level counts beside other tenants'.
  static std::int64_t level_among_tenants(std::int64_t level) {
    return std::min(level, static_cast<std::int64_t>(Priority::kNormal));
  }

  /// Over so many places to run in.
  explicit FairQueue(std::uint32_t n_places) : n_places_(n_places) {}

  static constexpr std::int64_t kRiseMs = 10'000;
  static constexpr std::uint32_t kTurnsPerLow = 8;

  void add(std::unique_ptr<Sequence> sequence, std::int64_t now_ms);
  /// Puts one that was running before those of its tenant that wait; it has waited since it first came.
  void add_again(std::unique_ptr<Sequence> sequence);

  /// Whose turn it is; null if nobody waits. A background request only if no other waits.
  Sequence* first(std::int64_t now_ms);
  /// Takes one out to run; its tenant runs one more until leave().
  std::unique_ptr<Sequence> take(const Sequence& sequence, std::int64_t now_ms);
  void leave(const Sequence& sequence) { --tenant_of(sequence).n_running; }
  /// Rows that were computed for it.
  void charge(const Sequence& sequence, std::uint32_t n_rows);

  /// How many places its tenant has beyond its fair part of them, by weight among the tenants who run or wait now (at
  /// least one); negative: it lacks some.
  double surplus_of(const Sequence& sequence) const {
    return surplus_of(tenant_of(sequence), present_weight());
  }
  /// Whether some tenant has more than its fair places; or would have, were there newcomers of so much weight.
  bool anybody_has_surplus(double newcomers_weight = 0.0) const;
  /// Rows computed for its tenant, divided by the tenant's weight.
  double n_served(const Sequence& sequence) const { return tenant_of(sequence).n_served; }

  std::unique_ptr<Sequence> remove(GenerationId id);
  Sequence* find(GenerationId id) const;
  std::uint32_t n_waiting() const { return n_waiting_; }
  /// Of them, those that are not mere background.
  std::uint32_t n_wanted() const { return n_wanted_; }
  std::size_t n_known_tenants() const { return tenants_.size(); }
  /// Any one that waits; null if nobody does.
  Sequence* any() const;

 private:
  struct Tenant {
    double n_served = 0.0;
    std::uint32_t weight = 1;
    std::uint32_t n_running = 0;
    std::array<std::deque<std::unique_ptr<Sequence>>, kNumPriorities> waiting;
    std::uint32_t n_waiting = 0;
    bool is_present() const { return n_running + n_waiting > 0; }
  };

  Tenant& tenant_of(const Sequence& sequence) { return tenants_.at(sequence.request.tenant); }
  const Tenant& tenant_of(const Sequence& sequence) const {
    return tenants_.at(sequence.request.tenant);
  }
  Tenant& enter(const Sequence& sequence);
  std::deque<std::unique_ptr<Sequence>>& enter_line(const Sequence& sequence);
  void count(const Sequence& sequence, int n);
  double smallest_served() const;
  double present_weight() const;
  double surplus_of(const Tenant& tenant, double present_weight) const;
  void forget_absent();

  std::uint32_t n_places_;
  std::unordered_map<std::string, Tenant> tenants_;
  std::uint32_t n_waiting_ = 0, n_wanted_ = 0;
  std::uint32_t n_turns_ = 0;
};

}  // namespace deepwell::engine
