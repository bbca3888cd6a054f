// Tests of the Host and Origin rules.
#include "edge/access.hpp"

#include <gtest/gtest.h>

namespace deepwell::edge {
namespace {

AccessRules rules_for(std::string bound_host, std::vector<std::string> hosts = {},
                      std::vector<std::string> origins = {}) {
  return AccessRules({.bound_host = std::move(bound_host),
                      .allowed_hosts = std::move(hosts),
                      .allowed_origins = std::move(origins)});
}

TEST(AccessRules, AllowsLoopbackNamesWithAnyPort) {
  const AccessRules rules = rules_for("127.0.0.1");
  for (const char* host :
       {"localhost", "LocalHost:8080", "127.0.0.1:8080", "[::1]:8080", "[::1]", "localhost."}) {
    EXPECT_TRUE(rules.allows_host(host)) << host;
  }
}

TEST(AccessRules, RefusesEveryOtherName) {
  const AccessRules rules = rules_for("127.0.0.1");
  for (const char* host :
       {"evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example",
        "192.168.0.7", "", "[::2]", "evil.example@localhost", "localhost:1:2"}) {
    EXPECT_FALSE(rules.allows_host(host)) << host;
  }
}

TEST(AccessRules, AllowsAddressesButNoNamesWhenAllAddressesAreBound) {
  const AccessRules rules = rules_for("0.0.0.0");
  EXPECT_TRUE(rules.allows_host("192.168.0.7:8080"));
  EXPECT_TRUE(rules.allows_host("[fe80::1]:8080"));
  EXPECT_FALSE(rules.allows_host("evil.example"));
  EXPECT_TRUE(rules_for("0.0.0.0", {"chat.bank.example"}).allows_host("Chat.Bank.Example:443"));
  EXPECT_TRUE(rules_for("0.0.0.0", {"*"}).allows_host("anything.example"));
}

TEST(AccessRules, AllowsTheServersOwnPagesOnly) {
  const AccessRules rules = rules_for("127.0.0.1");
  EXPECT_TRUE(rules.allows_origin("http://localhost:8080", "localhost:8080"));
  EXPECT_TRUE(rules.allows_origin("https://localhost", "localhost"));
  EXPECT_FALSE(rules.allows_origin("http://localhost:3000",
                                   "localhost:8080"));  // another server on this machine
  EXPECT_FALSE(rules.allows_origin("https://evil.example", "localhost:8080"));
  EXPECT_FALSE(rules.allows_origin("null", "localhost:8080"));
  EXPECT_FALSE(rules.allows_origin("http://", ""));
}

TEST(AccessRules, AllowsListedOrigins) {
  const AccessRules rules = rules_for("127.0.0.1", {}, {"https://Chat.bank.example/"});
  EXPECT_TRUE(rules.allows_origin("https://chat.bank.example", "localhost"));
  EXPECT_FALSE(rules.allows_origin("http://chat.bank.example", "localhost"));
  EXPECT_TRUE(rules_for("127.0.0.1", {}, {"*"}).allows_origin("null", "localhost"));
}

TEST(IsLoopbackHost, KnowsTheAddressesOfThisMachine) {
  for (const char* host : {"127.0.0.1", "127.1.2.3", "localhost", "::1"})
    EXPECT_TRUE(is_loopback_host(host)) << host;
  for (const char* host : {"0.0.0.0", "::", "10.0.0.1", "127.evil.example", "example.org"}) {
    EXPECT_FALSE(is_loopback_host(host)) << host;
  }
}

}  // namespace
}  // namespace deepwell::edge
