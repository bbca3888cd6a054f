// Lines that operators write, right and wrong.
#include "cluster/front/worker_spec.hpp"

#include <gtest/gtest.h>

namespace deepwell::cluster {
namespace {

TEST(WorkerSpec, ReadsAnAddressWithNginxsDefaults) {
  const auto spec = parse_worker_spec("engine-1:9000");
  ASSERT_TRUE(spec);
  EXPECT_EQ(spec->address, "engine-1:9000");
  EXPECT_EQ(spec->rules.weight, 1U);
  EXPECT_EQ(spec->rules.max_fails, 1U);
  EXPECT_EQ(spec->rules.fail_timeout, std::chrono::seconds(10));
  EXPECT_FALSE(spec->rules.is_backup);
}

TEST(WorkerSpec, ReadsEveryRule) {
  const auto spec =
      parse_worker_spec("  [::1]:9000  weight=2 max_fails=3\tfail_timeout=2m backup ");
  ASSERT_TRUE(spec);
  EXPECT_EQ(spec->address, "[::1]:9000");
  EXPECT_EQ(spec->rules.weight, 2U);
  EXPECT_EQ(spec->rules.max_fails, 3U);
  EXPECT_EQ(spec->rules.fail_timeout, std::chrono::seconds(120));
  EXPECT_TRUE(spec->rules.is_backup);
  EXPECT_FALSE(spec->rules.is_down);
  EXPECT_EQ(parse_worker_spec("a:1 fail_timeout=7s")->rules.fail_timeout, std::chrono::seconds(7));
  EXPECT_EQ(parse_worker_spec("a:1 fail_timeout=7")->rules.fail_timeout, std::chrono::seconds(7));
  EXPECT_TRUE(parse_worker_spec("a:1 down")->rules.is_down);
}

TEST(WorkerSpec, NamesTheWordThatIsWrong) {
  for (const char* text : {"", "engine-1", "weight=2 engine-1:9000", "a:1 weight=0",
                           "a:1 weight=", "a:1 weight", "a:1 max_fails=-1", "a:1 fail_timeout=10x",
                           "a:1 fail_timeout=99999h", "a:1 slow_start=3s", "a:1 backup=1"}) {
    const auto spec = parse_worker_spec(text);
    ASSERT_FALSE(spec) << text;
    EXPECT_EQ(spec.error().code, Code::kInvalidArgument);
    EXPECT_NE(spec.error().message.find("--worker: '"), std::string::npos) << spec.error().message;
  }
}

}  // namespace
}  // namespace deepwell::cluster
