// Which instruction set is chosen, and that a forced one really runs.
#include "engine/device/cpu/isa.hpp"

#include <gtest/gtest.h>

#include <cstdlib>

#include "engine/device/cpu/kernels.hpp"

namespace deepwell::engine {
namespace {

class ForcedIsa {
 public:
  explicit ForcedIsa(const char* name) {
    if (const char* old = std::getenv("DEEPWELL_FORCE_ISA")) old_ = old;
    ::setenv("DEEPWELL_FORCE_ISA", name, 1);
  }
  ~ForcedIsa() { ::setenv("DEEPWELL_FORCE_ISA", old_.c_str(), 1); }

 private:
  std::string old_;
};

TEST(Isa, ForcesEverySupportedOneByEnvironment) {
  for (const Isa isa : supported_isas()) {
    const ForcedIsa forced(std::string(isa_name(isa)).c_str());
    const auto chosen = choose_isa();
    ASSERT_TRUE(chosen);
    EXPECT_EQ(isa, *chosen);
    EXPECT_EQ(isa, kernel_table(*chosen).isa);
  }
}

TEST(Isa, ChoosesTheBestWithoutForce) {
  const ForcedIsa forced("");
  EXPECT_EQ(supported_isas().back(), *choose_isa());
}

TEST(Isa, RefusesAnUnknownNameAndSaysWhichThereAre) {
  const ForcedIsa forced("sse9");
  const auto chosen = choose_isa();
  ASSERT_FALSE(chosen);
  EXPECT_EQ(Code::kInvalidArgument, chosen.error().code);
  EXPECT_NE(std::string::npos, chosen.error().message.find("avx512"));
}

}  // namespace
}  // namespace deepwell::engine
