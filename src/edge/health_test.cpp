// Tests of the judgement over an engine's progress.
#include "edge/health.hpp"

#include <gtest/gtest.h>

namespace deepwell::edge {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// An engine of which only the status exists.
class StatusOnly final : public engine::Generator {
 public:
  engine::GeneratorStatus now;

  const engine::ModelDescription& describe() const override { return description_; }
  Result<engine::GenerationId> submit(engine::GenerateRequest,
                                      std::shared_ptr<engine::GenerationSink>) override {
    return unavailable("not an engine");
  }
  void cancel(engine::GenerationId) override {}
  Status force(engine::GenerationId, std::vector<engine::TokenId>) override {
    return unavailable("not an engine");
  }
  Status attach(engine::GenerationId, std::uint32_t,
                std::shared_ptr<engine::GenerationSink>) override {
    return unavailable("not an engine");
  }
  engine::GeneratorStatus status() const override { return now; }

 private:
  engine::ModelDescription description_;
};

TEST(HealthWatch, StallsOnlyWithWorkAndWithoutProgress) {
  StatusOnly engine;
  HealthWatch watch(engine, milliseconds(1000));
  const auto start = HealthWatch::Clock::now();
  EXPECT_FALSE(watch.is_stalled(start));
  EXPECT_FALSE(watch.is_stalled(start + seconds(100)));  // idle is healthy

  engine.now.n_running = 1;
  EXPECT_FALSE(watch.is_stalled(start + seconds(100) + milliseconds(1)));
  EXPECT_FALSE(watch.is_stalled(start + seconds(100) + milliseconds(900)));
  EXPECT_TRUE(watch.is_stalled(start + seconds(102)));
}

TEST(HealthWatch, CountsLayersAsProgressWithinALongStep) {
  StatusOnly engine;
  engine.now.n_running = 1;
  HealthWatch watch(engine, milliseconds(1000));
  auto now = HealthWatch::Clock::now();
  for (int sample = 0; sample < 10; ++sample) {
    now += milliseconds(900);
    ++engine.now.n_layers_done;
    EXPECT_FALSE(watch.is_stalled(now)) << sample;
  }
}

TEST(HealthWatch, RecoversWithTheEngine) {
  StatusOnly engine;
  engine.now.n_waiting = 3;
  HealthWatch watch(engine, milliseconds(1000));
  const auto start = HealthWatch::Clock::now();
  EXPECT_FALSE(watch.is_stalled(start));
  EXPECT_TRUE(watch.is_stalled(start + seconds(2)));
  ++engine.now.n_steps;
  EXPECT_FALSE(watch.is_stalled(start + seconds(3)));
}

}  // namespace
}  // namespace deepwell::edge
