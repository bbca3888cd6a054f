// The median of late steps.
#include "engine/runtime/step_pace.hpp"

#include <gtest/gtest.h>

namespace deepwell::engine {
namespace {

TEST(StepPace, IsTheMedianOfWhatIsKnown) {
  StepPace pace;
  EXPECT_EQ(0.0, pace.seconds());
  for (const double seconds : {0.05, 0.04, 9.0}) pace.note(seconds);
  EXPECT_EQ(0.05, pace.seconds());
}

TEST(StepPace, ForgetsWhatIsLongAgo) {
  StepPace pace;
  for (int i = 0; i < 1000; ++i) pace.note(0.05);
  for (int i = 0; i < 40; ++i) pace.note(0.02);
  EXPECT_EQ(0.02, pace.seconds());
}

}  // namespace
}  // namespace deepwell::engine
