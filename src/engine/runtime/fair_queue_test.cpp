// Whose turn it is, by priority, waiting, and what tenants got.
#include "engine/runtime/fair_queue.hpp"

#include <gtest/gtest.h>

#include <map>

namespace deepwell::engine {
namespace {

std::unique_ptr<Sequence> sequence(GenerationId id, const std::string& tenant = "",
                                   Priority priority = Priority::kNormal,
                                   std::uint32_t weight = 1) {
  auto s = std::make_unique<Sequence>();
  s->id = id;
  s->request.tenant = tenant;
  s->request.tenant_weight = weight;
  s->request.priority = priority;
  return s;
}

/// Takes all, one after the other, each costing its tenant `n_rows` and ending at once.
std::vector<GenerationId> order_of(FairQueue& queue, std::int64_t now_ms,
                                   std::uint32_t n_rows = 10) {
  std::vector<GenerationId> order;
  while (Sequence* next = queue.first(now_ms)) {
    const auto taken = queue.take(*next, now_ms);
    order.push_back(taken->id);
    queue.charge(*taken, n_rows);
    queue.leave(*taken);
  }
  return order;
}

TEST(FairQueue, ServesATenantInTheOrderOfArrival) {
  FairQueue queue(16);
  for (GenerationId id = 1; id <= 5; ++id) queue.add(sequence(id), static_cast<std::int64_t>(id));
  EXPECT_EQ(5U, queue.n_waiting());
  EXPECT_EQ((std::vector<GenerationId>{1, 2, 3, 4, 5}), order_of(queue, 10));
  EXPECT_EQ(0U, queue.n_waiting());
}

TEST(FairQueue, AlternatesBetweenTenantsHoweverManyOneSends) {
  FairQueue queue(16);
  for (GenerationId id = 1; id <= 50; ++id) queue.add(sequence(id, "many"), 0);
  for (GenerationId id = 101; id <= 103; ++id) queue.add(sequence(id, "few"), 1);
  const auto order = order_of(queue, 2);
  std::size_t n_few = 0;
  for (std::size_t i = 0; i < 6; ++i) n_few += order[i] > 100 ? 1 : 0;
  EXPECT_EQ(3U, n_few);
}

TEST(FairQueue, GivesByWeight) {
  FairQueue queue(16);
  for (GenerationId id = 1; id <= 40; ++id) queue.add(sequence(id, "one"), 0);
  for (GenerationId id = 101; id <= 140; ++id)
    queue.add(sequence(id, "three", Priority::kNormal, 3), 0);
  const auto order = order_of(queue, 2);
  const auto n_three =
      std::count_if(order.begin(), order.begin() + 20, [](auto id) { return id > 100; });
  EXPECT_NEAR(15, static_cast<double>(n_three), 1.0);
  queue.add(sequence(1, "one"), 0);
  queue.add(sequence(2, "three", Priority::kNormal, 3), 0);
  EXPECT_EQ(-4.0, queue.surplus_of(*queue.find(1)));
  EXPECT_EQ(-12.0, queue.surplus_of(*queue.find(2)));
}

TEST(FairQueue, GivesNobodyTurnsThatWereSavedUp) {
  FairQueue queue(16);
  queue.add(sequence(1, "busy"), 0);
  queue.add(sequence(2, "idle"), 0);
  auto idle = queue.take(*queue.find(2), 0);
  queue.leave(*idle);
  auto busy = queue.take(*queue.find(1), 0);
  queue.charge(*busy, 10'000);  // meanwhile
  queue.add(sequence(3, "idle"), 1);
  EXPECT_EQ(10'000.0, queue.n_served(*queue.find(3)));
}

TEST(FairQueue, LetsPrioritiesGoFirstButKeepsTurnsForTheLower) {
  FairQueue queue(16);
  for (GenerationId id = 1; id <= 20; ++id) queue.add(sequence(id, "", Priority::kHigh), 0);
  queue.add(sequence(100, "", Priority::kLow), 0);
  const auto order = order_of(queue, 1);
  EXPECT_EQ(100U, order[FairQueue::kTurnsPerLow - 1]);
}

TEST(FairQueue, GivesNobodyMoreForCallingEverythingUrgent) {
  FairQueue queue(1);
  for (GenerationId id = 1; id <= 40; ++id) {
    queue.add(sequence(id, "urgent", Priority::kHigh), 0);
    queue.add(sequence(100 + id, "calm", id == 40 ? Priority::kHigh : Priority::kNormal), 0);
  }
  const auto order = order_of(queue, 1);
  const auto n_calm =
      std::count_if(order.begin(), order.begin() + 40, [](auto id) { return id > 100; });
  EXPECT_NEAR(20, static_cast<double>(n_calm), 1.0);
  const auto first_calm =
      std::find_if(order.begin(), order.end(), [](auto id) { return id > 100; });
  EXPECT_EQ(140U, *first_calm);  // within a tenant the urgent goes first
}

TEST(FairQueue, LetsALowPriorityOfOneTenantWaitForAnothersNormalOne) {
  FairQueue queue(1);
  for (GenerationId id = 1; id <= 3; ++id) queue.add(sequence(id, "a", Priority::kLow), 0);
  for (GenerationId id = 11; id <= 13; ++id) queue.add(sequence(id, "b"), 1);
  EXPECT_EQ((std::vector<GenerationId>{11, 12, 13, 1, 2, 3}), order_of(queue, 1));
}

TEST(FairQueue, GivesATenantItsPlacesBeforeAnothersLongWaiting) {
  FairQueue queue(2);
  for (GenerationId id = 1; id <= 4; ++id) queue.add(sequence(id, "many", Priority::kHigh), 0);
  const auto first = queue.take(*queue.first(0), 0);
  const auto second = queue.take(*queue.first(0), 0);
  const std::int64_t now_ms = 10 * FairQueue::kRiseMs;
  queue.add(sequence(101, "few", Priority::kLow), now_ms);
  queue.add(sequence(102, "few", Priority::kLow), now_ms);
  EXPECT_EQ(101U, queue.first(now_ms)->id);
  const auto third = queue.take(*queue.first(now_ms), now_ms);
  EXPECT_EQ(3U, queue.first(now_ms)->id);
}

TEST(FairQueue, RaisesWhoeverWaitsLong) {
  FairQueue queue(16);
  queue.add(sequence(1, "", Priority::kLow), 0);
  queue.add(sequence(2, "", Priority::kHigh), FairQueue::kRiseMs + 1);
  EXPECT_EQ(2U, queue.first(FairQueue::kRiseMs + 1)->id);
  EXPECT_EQ(1U, queue.first(2 * FairQueue::kRiseMs)->id);
  EXPECT_EQ(static_cast<std::int64_t>(Priority::kHigh),
            queue.take(*queue.find(1), 2 * FairQueue::kRiseMs)->level);
}

TEST(FairQueue, KeepsBackgroundUntilNobodyElseWaits) {
  FairQueue queue(16);
  queue.add(sequence(1, "", Priority::kBackground), 0);
  queue.add(sequence(2, "", Priority::kLow), 1'000'000);
  EXPECT_EQ(1U, queue.n_wanted());
  EXPECT_EQ((std::vector<GenerationId>{2, 1}), order_of(queue, 1'000'000));
}

TEST(FairQueue, PutsOneThatRanBeforeItsFellows) {
  FairQueue queue(16);
  queue.add(sequence(1), 0);
  auto ran = queue.take(*queue.first(0), 0);
  queue.add(sequence(2), 1);
  queue.leave(*ran);
  queue.add_again(std::move(ran));
  EXPECT_EQ((std::vector<GenerationId>{1, 2}), order_of(queue, 2));
}

TEST(FairQueue, RemovesByName) {
  FairQueue queue(16);
  queue.add(sequence(1, "a"), 0);
  queue.add(sequence(2, "b", Priority::kBackground), 0);
  EXPECT_EQ(nullptr, queue.remove(3));
  EXPECT_EQ(2U, queue.remove(2)->id);
  EXPECT_EQ(nullptr, queue.find(2));
  EXPECT_EQ(1U, queue.any()->id);
  EXPECT_EQ(1U, queue.n_waiting());
}

TEST(FairQueue, ForgetsTenantsThatAreLongGone) {
  FairQueue queue(16);
  queue.add(sequence(1, "stays"), 0);
  auto stays = queue.take(*queue.find(1), 0);
  for (GenerationId id = 2; id < 5000; ++id) {
    queue.add(sequence(id, std::to_string(id)), 0);
    const auto taken = queue.take(*queue.find(id), 0);
    queue.charge(*taken, 1);
    queue.charge(*stays, 2);
    queue.leave(*taken);
  }
  EXPECT_LT(queue.n_known_tenants(), 1100U);
}

}  // namespace
}  // namespace deepwell::engine
