// What a submission carries over the wire.
#include "cluster/protocol/convert.hpp"

#include <gtest/gtest.h>

namespace deepwell::cluster {
namespace {

engine::GenerateRequest request() {
  return {.prompt = {1, 2, 3}, .max_tokens = 5, .tenant = "acme", .tag = 7};
}

engine::GenerateRequest sent(const engine::GenerateRequest& what) {
  proto::Submit message;
  write_submit(what, 1, message);
  auto read = read_submit(message);
  EXPECT_TRUE(read) << read.error().message;
  return read ? std::move(*read) : engine::GenerateRequest{};
}

TEST(Submit, KeepsWhoAsksAndHowUrgently) {
  engine::GenerateRequest what = request();
  what.tenant_weight = 3;
  for (const engine::Priority priority : {engine::Priority::kBackground, engine::Priority::kLow,
                                          engine::Priority::kNormal, engine::Priority::kHigh}) {
    what.priority = priority;
    const engine::GenerateRequest read = sent(what);
    EXPECT_EQ(read.tenant, "acme");
    EXPECT_EQ(read.tenant_weight, 3U);
    EXPECT_EQ(read.priority, priority);
  }
}

TEST(Submit, OfAnEarlierFrontWeighsOneAndIsNormal) {
  proto::Submit message;
  write_submit(request(), 1, message);
  message.clear_tenant_weight();
  message.clear_priority();
  const auto read = read_submit(message);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->tenant_weight, 1U);
  EXPECT_EQ(read->priority, engine::Priority::kNormal);
  message.set_priority(static_cast<proto::Priority>(9));
  EXPECT_EQ(read_submit(message).error().code, Code::kInvalidArgument);
}

}  // namespace
}  // namespace deepwell::cluster
