// Programs of neighbouring releases, in both directions, and of releases further apart.
#include "cluster/protocol/versions.hpp"

#include <gtest/gtest.h>

namespace deepwell::cluster {
namespace {

constexpr ProtocolVersions kOld{.oldest = 3, .newest = 4};
constexpr ProtocolVersions kNew{.oldest = 4, .newest = 5};
constexpr ProtocolVersions kNewer{.oldest = 5, .newest = 6};

bool can_work(ProtocolVersions front, ProtocolVersions worker) {
  const auto agreed = agree(worker, front.newest);
  return agreed && can_speak(front, *agreed);
}

TEST(ProtocolVersions, NeighboursSpeakTheOlderOnesVersion) {
  EXPECT_EQ(agree(kOld, kNew.newest), 4U) << "a new front, a worker of the release before";
  EXPECT_TRUE(can_speak(kNew, 4));
  EXPECT_EQ(agree(kNew, kOld.newest), 4U) << "an old front, a worker of the next release";
  EXPECT_TRUE(can_speak(kOld, 4));
  EXPECT_EQ(agree(kNew, kNew.newest), 5U);
}

TEST(ProtocolVersions, OthersDoNotSpeak) {
  EXPECT_FALSE(can_work(kNewer, kOld));
  EXPECT_FALSE(can_work(kOld, kNewer));
  EXPECT_TRUE(can_work(kNewer, kNew));
  EXPECT_TRUE(can_work(kNew, kNewer));
  EXPECT_FALSE(can_speak(kNew, 6)) << "a worker that names what the front never offered";
  EXPECT_FALSE(agree(kOurVersions, 0)) << "a hello without a version";
}

}  // namespace
}  // namespace deepwell::cluster
