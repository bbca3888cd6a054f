// The order in which tenants' requests leave the queue.
#include "cluster/front/fair_order.hpp"

#include <gtest/gtest.h>

#include <set>

namespace deepwell::cluster {
namespace {

engine::GenerateRequest request(const std::string& tenant, std::uint32_t n_prompt = 100,
                                engine::Priority priority = engine::Priority::kNormal,
                                std::uint32_t weight = 1) {
  return {.prompt = std::vector<engine::TokenId>(n_prompt, 1),
          .max_tokens = 100,
          .tenant = tenant,
          .tenant_weight = weight,
          .priority = priority};
}

TEST(FairOrder, KeepsATenantsOrder) {
  FairOrder order;
  std::uint64_t last = order.next(request("a"));
  for (std::uint32_t i = 0; i < 100; ++i) {
    const std::uint64_t number = order.next(request("a", 1 + i % 7));
    EXPECT_GT(number, last);
    last = number;
  }
}

TEST(FairOrder, PutsOneWhoComesBeforeTheCrowdOfAnother) {
  FairOrder order;
  std::set<std::uint64_t> crowd;
  for (int i = 0; i < 50; ++i) crowd.insert(order.next(request("many")));
  for (int i = 0; i < 10; ++i) {
    order.begin(*crowd.begin(), engine::Priority::kNormal);
    crowd.erase(crowd.begin());
  }
  EXPECT_LT(order.next(request("few")), *crowd.begin());
}

TEST(FairOrder, ServesByWeight) {
  FairOrder order;
  std::set<std::pair<std::uint64_t, bool>> waiting;
  for (int i = 0; i < 100; ++i) {
    waiting.emplace(order.next(request("one")), false);
    waiting.emplace(order.next(request("three", 100, engine::Priority::kNormal, 3)), true);
  }
  int n_three = 0;
  for (int i = 0; i < 40; ++i) {
    n_three += waiting.begin()->second ? 1 : 0;
    waiting.erase(waiting.begin());
  }
  EXPECT_NEAR(30, n_three, 1);
}

TEST(FairOrder, KeepsSharesOfSmallRequestsWithLargeWeights) {
  FairOrder order;
  std::set<std::pair<std::uint64_t, bool>> waiting;
  for (int i = 0; i < 2000; ++i) {
    waiting.emplace(order.next(request("one", 1)), false);
    waiting.emplace(order.next(request("sixty", 1, engine::Priority::kNormal, 60)), true);
  }
  int n_one = 0;
  for (int i = 0; i < 20 * 61; ++i) {
    n_one += waiting.begin()->second ? 0 : 1;
    waiting.erase(waiting.begin());
  }
  EXPECT_NEAR(20, n_one, 2);
}

TEST(FairOrder, GivesAnUrgentRequestNoAdvantageOverOtherTenants) {
  FairOrder order;
  const std::uint64_t normal = order.next(request("a"));
  EXPECT_GT(order.next(request("b", 100, engine::Priority::kHigh)), normal);
  EXPECT_LT(order.next(request("c", 100, engine::Priority::kHigh)), order.next(request("a")));
}

TEST(FairOrder, LetsALowPriorityWaitButNotForEver) {
  FairOrder order;
  const std::uint64_t low = order.next(request("low", 100, engine::Priority::kLow));
  EXPECT_LT(order.next(request("high", 100, engine::Priority::kHigh)), low);
  std::uint64_t number = order.next(request("normal"));
  EXPECT_LT(number, low);
  int n = 0;
  for (; number < low && n < 10'000; ++n) {
    order.begin(number, engine::Priority::kNormal);
    number = order.next(request("normal"));
  }
  EXPECT_LT(n, 1'000);
}

}  // namespace
}  // namespace deepwell::cluster
