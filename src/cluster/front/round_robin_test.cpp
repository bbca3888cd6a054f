// The same choices as a real nginx, over recorded sequences (tests/golden/nginx).
#include "cluster/front/round_robin.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <string>

namespace deepwell::cluster {
namespace {

std::vector<RoundRobinPeer> parse_group(std::istringstream& words) {
  std::vector<RoundRobinPeer> peers;
  std::string word;
  while (words >> word) {  // "3/1/2b": weight, max_fails, fail_timeout; b: backup, x: down
    RoundRobinPeer peer;
    char slash = 0;
    std::int64_t timeout = 0;
    std::istringstream numbers(word);
    numbers >> peer.weight >> slash >> peer.max_fails >> slash >> timeout;
    peer.fail_timeout = std::chrono::seconds(timeout);
    peer.is_backup = word.find('b') != std::string::npos;
    peer.is_down = word.find('x') != std::string::npos;
    peers.push_back(peer);
  }
  return peers;
}

/// "0,3": whom it asked, in order; "-": nobody. A request asks each peer once at most, and nginx asks
/// an only peer just once.
std::string choices(RoundRobin& balance, const std::string& is_up, std::int64_t now) {
  std::string asked;
  std::vector<bool> is_tried(is_up.size(), false);
  while (const auto peer = balance.choose(is_tried, now)) {
    asked += (asked.empty() ? "" : ",") + std::to_string(*peer);
    is_tried[*peer] = true;
    const bool has_failed = is_up[*peer] != 'u';
    balance.report(*peer, has_failed, now);
    if (!has_failed) break;
  }
  return asked.empty() ? "-" : asked;
}

TEST(RoundRobin, ChoosesAsNginxDid) {
  std::ifstream file(DEEPWELL_SOURCE_DIR "/tests/golden/nginx/sequences.txt");
  ASSERT_TRUE(file);
  std::string line;
  std::getline(file, line);  // the versions
  std::optional<RoundRobin> balance;
  int n_groups = 0;
  int n_requests = 0;
  constexpr std::int64_t kSomeDay =
      1'700'000'000;  // nginx counts from 1970: no peer was just checked
  while (std::getline(file, line)) {
    std::istringstream words(line);
    if (line.starts_with("group ")) {
      words.ignore(6);
      balance.emplace(parse_group(words));
      ++n_groups;
      continue;
    }
    std::int64_t now = 0;
    std::string is_up;
    std::string asked;
    words >> now >> is_up >> asked;
    ++n_requests;
    ASSERT_EQ(choices(*balance, is_up, kSomeDay + now), asked)
        << "group " << n_groups << ", request " << n_requests << ": " << line;
  }
  EXPECT_GE(n_groups, 200);
  EXPECT_GE(n_requests, 4000);
}

}  // namespace
}  // namespace deepwell::cluster
