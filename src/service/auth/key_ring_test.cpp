// Tests of the key file's rules and of looking keys up.
#include "service/auth/key_ring.hpp"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace deepwell::service {
namespace {

class WarningLog final : public Log {
 public:
  void write(LogLevel level, std::string_view line) override {
    if (level == LogLevel::kWarn) warnings.emplace_back(line);
  }
  std::vector<std::string> warnings;
};

class KeyFile {
 public:
  explicit KeyFile(std::string_view text, mode_t mode = 0600) {
    const ::testing::TestInfo* test = ::testing::UnitTest::GetInstance()->current_test_info();
    path_ = std::filesystem::temp_directory_path() /
            (std::string("deepwell-keys-") + test->name() + "-" + std::to_string(::getpid()));
    std::ofstream(path_) << text;
    ::chmod(path_.c_str(), mode);
  }
  ~KeyFile() { std::filesystem::remove(path_); }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

Result<KeyRing> open_text(std::string_view text) {
  const KeyFile file(text);
  return KeyRing::open({.api_key = "", .key_file_path = file.path()}, null_log());
}

TEST(KeyRing, AsksForNoKeyWhenNoneIsConfigured) {
  const auto ring = KeyRing::open({}, null_log());
  ASSERT_TRUE(ring);
  EXPECT_TRUE(ring->is_open());
  EXPECT_FALSE(ring->find(""));
}

TEST(KeyRing, FindsWhoseKeyItIs) {
  const auto ring = open_text("# who may call\n\nalice = sk-1 \r\n  bob=sk-2=\n");
  ASSERT_TRUE(ring) << ring.error().message;
  EXPECT_FALSE(ring->is_open());
  EXPECT_EQ(ring->find("sk-1")->tenant, "alice");
  EXPECT_EQ(ring->find("sk-2=")->subject, "bob");
  EXPECT_TRUE(ring->find("sk-1")->scopes.has(Scope::kInference));
  EXPECT_FALSE(ring->find("sk-"));
  EXPECT_FALSE(ring->find("sk-1 "));
  EXPECT_FALSE(ring->find(""));
}

TEST(KeyRing, KnowsSeveralKeysOfOneTenant) {
  const auto ring = open_text("acme/alice = sk-1\nacme/bob = sk-2\nacme = sk-3\nalice = sk-4\n");
  ASSERT_TRUE(ring) << ring.error().message;
  EXPECT_EQ(ring->find("sk-1")->tenant, "acme");
  EXPECT_EQ(ring->find("sk-1")->subject, "alice");
  EXPECT_EQ(ring->find("sk-2")->tenant, "acme");
  EXPECT_EQ(ring->find("sk-2")->subject, "bob");
  EXPECT_EQ(ring->find("sk-3")->tenant, "acme");
  EXPECT_EQ(ring->find("sk-4")->tenant, "alice") << "a subject's name gives no way into a tenant";
  EXPECT_EQ(ring->n_tenants(), 2U);
}

TEST(KeyRing, AcceptsTheSingleKeyBesideAFile) {
  const KeyFile file("alice = sk-1\n");
  const auto ring = KeyRing::open({.api_key = "sk-0", .key_file_path = file.path()}, null_log());
  ASSERT_TRUE(ring);
  EXPECT_EQ(ring->find("sk-0")->tenant, "default");
  EXPECT_EQ(ring->find("sk-1")->tenant, "alice");
}

TEST(KeyRing, RefusesBadLinesByNumberWithoutTellingTheKey) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"alice = sk-1\nsecret-alone\n", "line 2: expected `name = key`"},
      {" = sk-secret\n", "line 1: the name before `=` is empty"},
      {"alice =\n", "line 1: the key of 'alice' is empty"},
      {"alice = secret-1\nalice = secret-2\n", "line 2: the name 'alice' is given twice"},
      {"alice = secret-1\nbob = secret-1\n", "line 2: 'bob' has the same key as 'alice'"},
      {"al ice = secret\n", "may hold only letters"},
      {"acme/ = secret\n", "line 1: the name before `=` is empty"},
      {"/alice = secret\n", "line 1: the name before `=` is empty"},
      {"acme/alice/x = secret\n", "one / behind a tenant"},
      {"acme/alice = secret\nacme/alice = secret2\n",
       "line 2: the name 'acme/alice' is given twice"},
      {"alice = secret two\n", "holds a blank"},
      {"# nothing\n", "holds no key"},
  };
  for (const auto& [text, message] : cases) {
    const auto ring = open_text(text);
    ASSERT_FALSE(ring) << text;
    EXPECT_NE(ring.error().message.find(message), std::string::npos) << ring.error().message;
    EXPECT_EQ(ring.error().message.find("secret"), std::string::npos) << ring.error().message;
  }
}

Result<KeyRing> open_weighed(std::vector<std::string> weights) {
  const KeyFile file("acme/alice = sk-1\nacme/bob = sk-2\nglobex = sk-3\n");
  return KeyRing::open({.api_key = "sk-0", .key_file_path = file.path(), .tenant_weights = weights},
                       null_log());
}

TEST(KeyRing, KnowsTheWeightsOfTenants) {
  const auto ring = open_weighed({"acme=3", " default = 1000 "});
  ASSERT_TRUE(ring) << ring.error().message;
  EXPECT_EQ(ring->weights(), (TenantWeights{{"acme", 3}, {"default", 1000}}));
}

TEST(KeyRing, RefusesWeightsThatMeanNothing) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"acme", "expected NAME=N, got 'acme'"},
      {"acme=0", "the weight of 'acme' must be a whole number from 1 to 1000, got '0'"},
      {"acme=-1", "got '-1'"},
      {"acme=1.5", "got '1.5'"},
      {"acme=many", "got 'many'"},
      {"acme=", "got ''"},
      {"acme=1001", "from 1 to 1000, got '1001'"},
      {"acme=99999999999999999999", "got '99999999999999999999'"},
      {"acne=2", "no key belongs to a tenant 'acne', did you mean 'acme'?"},
      {"alice=2", "no key belongs to a tenant 'alice'"},
  };
  for (const auto& [line, message] : cases) {
    const auto ring = open_weighed({line});
    ASSERT_FALSE(ring) << line;
    EXPECT_EQ(ring.error().code, Code::kInvalidArgument);
    EXPECT_NE(ring.error().message.find(message), std::string::npos) << ring.error().message;
  }
  const auto twice = open_weighed({"acme=2", "acme=3"});
  ASSERT_FALSE(twice);
  EXPECT_NE(twice.error().message.find("'acme' is given twice"), std::string::npos);
  const auto keyless = KeyRing::open({.tenant_weights = {"acme=2"}}, null_log());
  ASSERT_FALSE(keyless);
  EXPECT_NE(keyless.error().message.find("without keys"), std::string::npos);
}

TEST(KeyRing, NamesAMissingFile) {
  const auto ring = KeyRing::open({.api_key = "", .key_file_path = "/nowhere/keys"}, null_log());
  ASSERT_FALSE(ring);
  EXPECT_EQ(ring.error().code, Code::kNotFound);
  EXPECT_NE(ring.error().message.find("/nowhere/keys"), std::string::npos);
}

TEST(KeyRing, WarnsWhenOthersCanReadTheFile) {
  WarningLog log;
  {
    const KeyFile file("alice = sk-1\n", 0644);
    ASSERT_TRUE(KeyRing::open({.api_key = "", .key_file_path = file.path()}, log));
  }
  ASSERT_EQ(log.warnings.size(), 1U);
  EXPECT_NE(log.warnings[0].find("chmod 600"), std::string::npos);
  {
    const KeyFile file("alice = sk-1\n", 0600);
    ASSERT_TRUE(KeyRing::open({.api_key = "", .key_file_path = file.path()}, log));
  }
  EXPECT_EQ(log.warnings.size(), 1U);
}

}  // namespace
}  // namespace deepwell::service
