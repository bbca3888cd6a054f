// The same ids as the `tokenizers` library on real vocabularies. Needs files: DEEPWELL_TEST_MODELS
// is their folder.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "engine/tokenizer/golden_check.hpp"
#include "engine/tokenizer/vocabulary_gguf.hpp"

namespace deepwell::engine {
namespace {

class RealVocabulary : public ::testing::TestWithParam<std::string> {};

TEST_P(RealVocabulary, GivesTheIdsOfTheLibrary) {
  const char* folder = std::getenv("DEEPWELL_TEST_MODELS");
  if (folder == nullptr)
    GTEST_SKIP() << "set DEEPWELL_TEST_MODELS to a folder with " << GetParam() << ".gguf";
  const std::string path = std::string(folder) + "/" + GetParam() + ".gguf";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "no file " << path;
  auto file = GgufFile::open(path);
  ASSERT_TRUE(file) << file.error().message;
  auto vocabulary = read_vocabulary(**file);
  ASSERT_TRUE(vocabulary) << vocabulary.error().message;
  auto tokenizer = Tokenizer::create(std::move(*vocabulary));
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  testing::check_golden(**tokenizer, GetParam());
}

// The last two are vocabularies without weights, which tests/golden/tokenizer/make_golden.py
// writes.
INSTANTIATE_TEST_SUITE_P(Files, RealVocabulary,
                         ::testing::Values("smollm2-135m", "qwen2.5-coder-0.5b",
                                           "deepseek-r1-qwen-vocab", "llama3.1-vocab"));

}  // namespace
}  // namespace deepwell::engine
