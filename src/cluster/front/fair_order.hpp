// FairOrder: in which order waiting requests of several tenants go to workers.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <unordered_map>

#include "engine/runtime/generator.hpp"

namespace deepwell::cluster {

/// Start-time fair queueing (Goyal, Vin and Cheng 1997): a request's number is fixed when it comes. It is the larger of
/// the number that is being served now and of where its tenant's last request ends, which is its own number and its
/// tokens divided by the tenant's weight. So a tenant's requests keep their order, those of one who sends many lie ever
/// further ahead, and one who comes after a pause is served next. A priority below normal is a handicap in tokens and not
/// a class of its own: whoever waits is reached. One above normal counts only within the tenant (goes_before_fellow()).
class FairOrder {
 public:
  /// Of a new request; later ones of equal rank get larger numbers.
  std::uint64_t next(const engine::GenerateRequest& request) {
    if (ends_.size() > kMaxTenants) forget_past();
    const std::uint64_t start = std::max(now_, ends_[request.tenant]);
    ends_[request.tenant] = start + cost_of(request);
    return (start + handicap_of(request.priority)) << kArrivalBits | (n_arrivals_++ & kArrivalMask);
  }
  /// It goes to a worker now.
  void begin(std::uint64_t number, engine::Priority priority) {
    now_ = std::max(now_, (number >> kArrivalBits) - handicap_of(priority));
  }
  /// Whether a request takes the number of an earlier one that waits still, which takes its own: so the urgent goes before
  /// the rest of its tenant, and no other tenant notices.
  static bool goes_before_fellow(const engine::GenerateRequest& request,
                                 const engine::GenerateRequest& fellow) {
    return request.priority == engine::Priority::kHigh &&
           fellow.priority == engine::Priority::kNormal && request.tenant == fellow.tenant;
  }

 private:
  static constexpr unsigned kArrivalBits = 20;  // ties are broken by arrival
  static constexpr std::uint64_t kArrivalMask = (1U << kArrivalBits) - 1;
  static constexpr std::uint64_t kUnitsPerTok = 16;  // of numbers, so that weights divide well
  static constexpr std::uint64_t kHandicap = 65'536 * kUnitsPerTok;
  static constexpr std::uint32_t kUsualAnswerTok = 512;  // what an answer is taken to be at most
  static constexpr std::size_t kMaxTenants = 4096;

  static std::uint64_t cost_of(const engine::GenerateRequest& request) {
    const std::uint64_t n_tok =
        request.prompt.size() + std::min(request.max_tokens, kUsualAnswerTok);
    return std::max<std::uint64_t>(1, n_tok * kUnitsPerTok / std::max(1U, request.tenant_weight));
  }
  static std::uint64_t handicap_of(engine::Priority priority) {
    const auto normal = static_cast<std::uint64_t>(engine::Priority::kNormal);
    return (normal - std::min(normal, static_cast<std::uint64_t>(priority))) * kHandicap;
  }
  void forget_past() {
    std::erase_if(ends_, [this](const auto& entry) { return entry.second <= now_; });
  }

  std::unordered_map<std::string, std::uint64_t> ends_;  // of tenants' last requests
  std::uint64_t now_ = 0;
  std::uint64_t n_arrivals_ = 0;
};

}  // namespace deepwell::cluster
