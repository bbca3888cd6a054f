// The catalogue: the built-in one is sound, and a site's own is checked field by field.
#include "service/models/catalogue.hpp"

#include <gtest/gtest.h>

#include <set>

#include "base/concat.hpp"
#include "base/file.hpp"

namespace deepwell::service {
namespace {

Result<Catalogue> parse_model(const std::string& members) {
  return Catalogue::parse(concat(R"({"version": 1, "models": [{)", members, "}]}"), "test");
}

constexpr const char* kGood =
    R"("name": "m:1b", "license": "MIT", "description": {"en": "m", "zh": "m"},
       "sources": [{"kind": "url", "url": "https://x/y.gguf"}])";

std::string failure(const std::string& members) {
  const Result<Catalogue> parsed = parse_model(members);
  return parsed ? "" : parsed.error().message;
}

TEST(Catalogue, OursHasEveryPromisedModelWithChecksumSizeAndBothLanguages) {
  const Result<Catalogue> catalogue = Catalogue::load("/nonexistent");
  ASSERT_TRUE(catalogue) << catalogue.error().message;
  for (const char* name :
       {"deepseek-r1:1.5b", "deepseek-r1:7b", "deepseek-r1:8b", "deepseek-r1:14b",
        "deepseek-r1:32b", "deepseek-r1:70b", "qwen3:0.6b", "qwen3:1.7b", "qwen3:4b", "qwen3:8b",
        "qwen3:14b", "qwen3:32b", "qwen2.5-coder:0.5b", "smollm2:135m"}) {
    const CatalogueEntry* entry = catalogue->find(name);
    ASSERT_NE(entry, nullptr) << name;
    EXPECT_EQ(entry->sha256.size(), 64U) << name;
    EXPECT_GT(entry->n_bytes, 50'000'000U) << name;
    EXPECT_FALSE(entry->license.empty()) << name;
    EXPECT_NE(entry->description(Language::kEnglish), entry->description(Language::kChinese))
        << name;
  }
  std::set<std::string> checksums;
  for (const CatalogueEntry& entry : catalogue->entries()) checksums.insert(entry.sha256);
  EXPECT_EQ(checksums.size(), catalogue->entries().size()) << "two entries share a checksum";
  EXPECT_EQ(catalogue->preferred_default(), "deepseek-r1:1.5b");
  EXPECT_EQ(catalogue->default_without_hub(), "qwen2.5-coder:0.5b");
  EXPECT_NE(catalogue->find(catalogue->preferred_default()), nullptr);
}

TEST(Catalogue, FindsByAliasAndWithoutRegardToCase) {
  const Result<Catalogue> catalogue = Catalogue::load("/nonexistent");
  ASSERT_TRUE(catalogue);
  EXPECT_EQ(catalogue->find("DeepSeek-R1-Distill-Qwen-1.5B")->name, "deepseek-r1:1.5b");
  EXPECT_EQ(catalogue->find("smollm2")->name, "smollm2:135m");
  EXPECT_EQ(catalogue->find("gpt-5"), nullptr);
}

TEST(Catalogue, NamesWhatIsWrongWithAnEntry) {
  EXPECT_EQ(failure(kGood), "");
  const std::string good = kGood;
  EXPECT_EQ(failure(good + R"(, "sha256": "ABC")"),
            "test, model 'm:1b': 'sha256' must be 64 lower-case hexadecimal digits or null");
  EXPECT_EQ(failure(good + R"(, "bytes": -1)"),
            "test, model 'm:1b': 'bytes' must be a whole number");
  EXPECT_EQ(failure(good + R"(, "colour": 1)"), "test, model 'm:1b': unknown key 'colour'");
  EXPECT_EQ(failure(R"("license": "MIT")"), "test: 'name' is missing");
  EXPECT_NE(
      failure(
          R"("name": "../x", "license": "MIT", "description": {"en": "m", "zh": "m"}, "sources": [])"),
      "");
  EXPECT_NE(
      failure(
          R"("name": "m", "license": "MIT", "description": {"en": "m", "zh": "m"}, "sources": [])"),
      "");
  EXPECT_NE(failure(R"("name": "m", "license": "MIT", "description": {"en": "m", "zh": "m"},
                       "sources": [{"kind": "carrier pigeon"}])"),
            "");
}

TEST(Catalogue, RefusesPackageNamesThatWouldBeOptionsOfPip) {
  const std::string head =
      R"("name": "m", "license": "MIT", "description": {"en": "m", "zh": "m"}, "sources": )";
  EXPECT_EQ(
      failure(
          head +
          R"([{"kind": "packages", "packages": [{"package": "p", "version": "1", "path": "x"}]}])"),
      "");
  EXPECT_NE(
      failure(
          head +
          R"([{"kind": "packages", "packages": [{"package": "--index-url=x", "version": "1", "path": "x"}]}])"),
      "");
  EXPECT_NE(
      failure(
          head +
          R"([{"kind": "packages", "packages": [{"package": "p", "version": "1 @ x", "path": "x"}]}])"),
      "");
}

TEST(Catalogue, RefusesTwoModelsOfOneName) {
  const std::string model = concat("{", kGood, "}");
  const Result<Catalogue> parsed =
      Catalogue::parse(concat(R"({"version": 1, "models": [)", model, ",", model, "]}"), "test");
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().message, "test: the name 'm:1b' occurs twice");
  EXPECT_FALSE(Catalogue::parse("{", "test"));
  EXPECT_FALSE(Catalogue::parse("[]", "test"));
  EXPECT_FALSE(Catalogue::parse(R"({"version": 2, "models": []})", "test"));
}

TEST(Catalogue, LetsASiteAddAndReplaceEntries) {
  std::string home = ::testing::TempDir() + "deepwell-catalogue-XXXXXX";
  ASSERT_NE(::mkdtemp(home.data()), nullptr);
  ASSERT_TRUE(write_file_atomic(join_path(home, "catalogue.json"), R"({"version": 1, "models": [
    {"name": "smollm2:135m", "license": "site", "description": {"en": "a", "zh": "b"},
     "sources": [{"kind": "file", "path": "/share/x.gguf"}]}]})"));
  const Result<Catalogue> catalogue = Catalogue::load(home);
  ASSERT_TRUE(catalogue) << catalogue.error().message;
  EXPECT_EQ(catalogue->find("smollm2:135m")->license, "site");
  EXPECT_EQ(catalogue->find("qwen3:8b")->license, "Apache-2.0");
  EXPECT_EQ(catalogue->preferred_default(), "deepseek-r1:1.5b");
  ASSERT_TRUE(remove_tree(home));
}

}  // namespace
}  // namespace deepwell::service
