// Learning a machine's speed from its steps.
#include "engine/runtime/step_times.hpp"

#include <gtest/gtest.h>

#include <random>

namespace deepwell::engine {
namespace {

double time_of(const StepWork& work, double speed = 1.0) {
  return (0.016 + 0.001 * work.n_rows + 4e-9 * static_cast<double>(work.n_keys)) / speed;
}

StepWork some_work(std::mt19937& source) {
  const auto random = [&source] { return static_cast<std::uint32_t>(source()); };
  StepWork work;
  for (unsigned i = 0; i < 1 + random() % 16; ++i) work = work.plus(1, random() % 4000);
  if (random() % 3 == 0) work = work.plus(1 + random() % 200, random() % 8000);
  return work;
}

void learn(StepTimes& times, std::mt19937& random, int n_steps, double speed = 1.0) {
  for (int i = 0; i < n_steps; ++i) {
    const StepWork work = some_work(random);
    times.note(work, time_of(work, speed));
  }
}

TEST(StepTimes, PredictsAMachineWithNoise) {
  StepTimes times;
  std::mt19937 random(1);
  std::normal_distribution<double> noise(1.0, 0.05);
  for (int i = 0; i < 500; ++i) {
    const StepWork work = some_work(random);
    times.note(work, time_of(work) * noise(random));
  }
  ASSERT_TRUE(times.is_known());
  for (int i = 0; i < 50; ++i) {
    const StepWork work = some_work(random);
    EXPECT_NEAR(1.0, times.predict(work) / time_of(work), 0.15);
  }
}

TEST(StepTimes, FollowsAMachineThatBecomesSlower) {
  StepTimes times;
  std::mt19937 random(1);
  learn(times, random, 2000);
  learn(times, random, 500, 0.5);
  const StepWork work = some_work(random);
  EXPECT_NEAR(1.0, times.predict(work) / time_of(work, 0.5), 0.1);
}

TEST(StepTimes, StaysSaneAfterTheSameStepOverAndOver) {
  StepTimes times;
  const StepWork decode{.n_rows = 4, .n_keys = 4000};
  for (int i = 0; i < 100'000; ++i) times.note(decode, 0.02);
  EXPECT_NEAR(0.02, times.predict(decode), 1e-4);
  std::mt19937 random(1);
  learn(times, random, 300);
  const StepWork work = some_work(random);
  EXPECT_NEAR(1.0, times.predict(work) / time_of(work), 0.1);
}

TEST(StepTimes, LearnsNothingFromTheFirstStep) {
  StepTimes times;
  times.note({.n_rows = 16, .n_keys = 128}, 100.0);
  EXPECT_EQ(0.0, times.predict({.n_rows = 1, .n_keys = 16}));
  for (std::uint32_t i = 0; i < 8; ++i)
    times.note({.n_rows = 1, .n_keys = 16 + i}, time_of({.n_rows = 1, .n_keys = 16 + i}));
  EXPECT_NEAR(0.017, times.predict({.n_rows = 1, .n_keys = 20}), 1e-3);
}

TEST(StepTimes, FitsAPromptIntoATime) {
  StepTimes times;
  std::mt19937 random(1);
  learn(times, random, 500);
  const StepWork decode = StepWork{}.plus(1, 500).plus(1, 700);
  const std::uint32_t n = times.n_tok_within(0.05, decode, 1000, 512);
  EXPECT_LE(times.predict(decode.plus(n, 1000)), 0.05);
  EXPECT_GT(times.predict(decode.plus(n + 1, 1000)), 0.05);
  EXPECT_EQ(10U, times.n_tok_within(10.0, decode, 1000, 10));
  EXPECT_EQ(0U, times.n_tok_within(0.0, decode, 1000, 10));
}

}  // namespace
}  // namespace deepwell::engine
