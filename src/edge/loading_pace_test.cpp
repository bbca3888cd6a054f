// Tests of the estimate that clients are sent away with while a model loads.
#include "edge/loading_pace.hpp"

#include <gtest/gtest.h>

namespace deepwell::edge {
namespace {

using namespace std::chrono_literals;

TEST(LoadingPace, SaysNothingBeforeItCanJudge) {
  LoadingPace pace;
  const auto start = LoadingPace::Clock::now();
  EXPECT_FALSE(pace.eta_s(start));
  pace.note(0.0, start);
  pace.note(0.01, start + 1s);
  EXPECT_FALSE(pace.eta_s(start + 1s));
}

TEST(LoadingPace, ExtendsWhatLoadingTookSoFar) {
  LoadingPace pace;
  const auto start = LoadingPace::Clock::now();
  pace.note(0.2, start);  // somebody looked when it was under way
  pace.note(0.4, start + 10s);
  EXPECT_NEAR(*pace.eta_s(start + 10s), 30.0, 1e-6);
  EXPECT_NEAR(*pace.eta_s(start + 20s), 60.0, 1e-6) << "nothing has moved since";
  pace.note(1.0, start + 40s);
  EXPECT_NEAR(*pace.eta_s(start + 40s), 0.0, 1e-6);
}

TEST(LoadingPace, BeginsAnewWithAnotherLoading) {
  LoadingPace pace;
  const auto start = LoadingPace::Clock::now();
  pace.note(0.0, start);
  pace.note(0.9, start + 90s);
  pace.note(0.0, start + 100s);  // the loader died, another began
  EXPECT_FALSE(pace.eta_s(start + 100s));
  pace.note(0.5, start + 105s);
  EXPECT_NEAR(*pace.eta_s(start + 105s), 5.0, 1e-6);
}

}  // namespace
}  // namespace deepwell::edge
