// Pairs of models: which may guess for which, and an engine with a draft model.
#include "engine/runtime/draft_model.hpp"

#include <gtest/gtest.h>

#include "engine/gguf/gguf_writer.hpp"
#include "engine/runtime/engine.hpp"
#include "engine/runtime/testing/collector.hpp"
#include "engine/runtime/tiny_golden.hpp"

namespace deepwell::engine {
namespace {

const std::string kTiny = (kTinyGoldens / "llama-tied-gqa2-d16-f16.gguf").string();
const std::string kOther = (kTinyGoldens / "qwen2-tied-gqa7-d16-f16.gguf").string();

/// A model file of nothing but a vocabulary.
GgufWriter vocabulary(const std::vector<std::string>& tokens,
                      const std::vector<std::int32_t>& kinds) {
  GgufWriter writer;
  writer.add_string("general.architecture", "llama");
  writer.add_strings("tokenizer.ggml.tokens", tokens);
  if (!kinds.empty()) writer.add_int32s("tokenizer.ggml.token_type", kinds);
  return writer;
}

Status check(const GgufWriter& model, const GgufWriter& draft) {
  const auto model_bytes = model.bytes(), draft_bytes = draft.bytes();
  const auto model_file = GgufFile::parse(model_bytes), draft_file = GgufFile::parse(draft_bytes);
  if (!model_file || !draft_file) return internal_error("no file");
  return check_draft_pair(**model_file, **draft_file);
}

TEST(DraftPair, NamesTheFirstTokenThatDiffers) {
  const auto model = vocabulary({"a", "b", "c"}, {});
  EXPECT_TRUE(check(model, vocabulary({"a", "b", "c"}, {})));
  const Status status = check(model, vocabulary({"a", "x", "y"}, {}));
  ASSERT_FALSE(status);
  EXPECT_EQ(Code::kInvalidArgument, status.error().code);
  EXPECT_NE(std::string::npos, status.error().message.find("token 1 is 'x' there and 'b'"))
      << status.error().message;
}

TEST(DraftPair, MayDifferInPadding) {
  EXPECT_TRUE(check(vocabulary({"a", "b", "[PAD2]"}, {1, 1, 5}), vocabulary({"a", "b"}, {1, 1})));
  EXPECT_TRUE(check(vocabulary({"a", "b"}, {1, 1}), vocabulary({"a", "b", "[PAD2]"}, {1, 1, 5})));
  EXPECT_TRUE(check(vocabulary({"a", "unused"}, {1, 5}), vocabulary({"a", "[PAD1]"}, {1, 5})));
  EXPECT_FALSE(check(vocabulary({"a", "b"}, {1, 1}), vocabulary({"a", "[PAD1]"}, {1, 5})));
  std::vector<std::string> many{"a", "b"};
  for (int i = 0; i < 1000; ++i) many.push_back(concat("t", i));
  EXPECT_FALSE(check(vocabulary({"a", "b"}, {}), vocabulary(many, {})));
}

EngineOptions options_with(const std::string& draft) {
  return {.load = {.path = kTiny, .n_threads = 2, .n_ctx_tok = 256},
          .name = "tiny",
          .n_parallel = 4,
          .draft_model = {.path = draft, .is_adaptive = false}};
}

std::unique_ptr<Engine> open_or_die(EngineOptions options) {
  auto engine = Engine::open(std::move(options), null_log());
  if (!engine) ADD_FAILURE() << engine.error().message;
  return std::move(engine).value();
}

GenerateRequest request(std::uint32_t n, float temperature = 0.0F) {
  return {.prompt = {5, 60, 7, 80, 9, 100},
          .sampling = {.temperature = temperature, .seed = 3},
          .max_tokens = n,
          .ignore_end = true};
}

TEST(DraftModel, IsRefusedWithAnotherVocabulary) {
  const std::string path = ::testing::TempDir() + "/other_vocabulary.gguf";
  ASSERT_TRUE(vocabulary({"quite", "another"}, {}).write(path));
  const auto engine = Engine::open(options_with(path), null_log());
  ASSERT_FALSE(engine);
  EXPECT_EQ(Code::kInvalidArgument, engine.error().code);
  EXPECT_NE(std::string::npos, engine.error().message.find("token 0")) << engine.error().message;
}

TEST(DraftModel, IsRefusedIfItIsNotThere) {
  const auto engine = Engine::open(options_with("/nowhere/draft.gguf"), null_log());
  ASSERT_FALSE(engine);
  EXPECT_EQ(Code::kNotFound, engine.error().code);
}

TEST(DraftModel, ThatIsTheModelItselfIsAlwaysRight) {
  auto plain = open_or_die(options_with(""));
  auto engine = open_or_die(options_with(kTiny));
  EXPECT_EQ(plain->describe().fingerprint, engine->describe().fingerprint);
  // A beginning without repetition, so that nothing is guessed from the text.
  EXPECT_EQ(run_to_end(*plain, request(12))->ids(), run_to_end(*engine, request(12))->ids());
  const GeneratorStatus status = engine->status();
  EXPECT_GE(status.n_draft_tok, 8U);
  EXPECT_EQ(status.n_draft_tok, status.n_right_draft_tok);
  EXPECT_LT(status.n_steps, 6U);
}

TEST(DraftModel, OfAnotherMindChangesNoToken) {
  auto plain = open_or_die(options_with(""));
  auto engine = open_or_die(options_with(kOther));
  for (const float temperature : {0.0F, 1.0F}) {
    EXPECT_EQ(run_to_end(*plain, request(150, temperature))->ids(),
              run_to_end(*engine, request(150, temperature))->ids());
  }
  const GeneratorStatus status = engine->status();
  EXPECT_GT(status.n_draft_tok, 50U);
  EXPECT_LT(status.n_right_draft_tok, status.n_draft_tok);
}

/// A copy of the tiny model that was made for another context.
std::string tiny_for_context(std::uint32_t n_ctx_tok) {
  std::string bytes = read_bytes(kTiny);
  const std::string key = "llama.context_length";
  const std::size_t at = bytes.find(key) + key.size() + 4;  // behind the value's type
  std::memcpy(bytes.data() + at, &n_ctx_tok, sizeof n_ctx_tok);
  const std::string path = concat(::testing::TempDir(), "/context_", n_ctx_tok, ".gguf");
  std::ofstream(path, std::ios::binary) << bytes;
  return path;
}

TEST(DraftModel, WithAShorterContextGuessesUntilItsEnd) {
  auto plain = open_or_die(options_with(""));
  auto engine = open_or_die(options_with(tiny_for_context(64)));
  ASSERT_NE(nullptr, engine->draft_model());
  EXPECT_EQ(64U, engine->draft_model()->n_ctx_tok);
  EXPECT_EQ(run_to_end(*plain, request(12))->ids(), run_to_end(*engine, request(12))->ids());
  EXPECT_GE(engine->status().n_draft_tok, 8U);
  EXPECT_EQ(run_to_end(*plain, request(240, 1.0F))->ids(),
            run_to_end(*engine, request(240, 1.0F))->ids());
}

TEST(DraftModel, IsLeftOutWhereMemoryIsShort) {
  auto options = options_with(kOther);
  // It is asked twice for the draft, then for the model.
  options.load.available_bytes = [n_asked = std::make_shared<int>(0)] {
    return std::uint64_t{++*n_asked <= 2 ? 8U : 8192U} << 20;
  };
  auto engine = open_or_die(std::move(options));
  EXPECT_EQ(nullptr, engine->draft_model());
  EXPECT_EQ(12U, run_to_end(*engine, request(12))->ids().size());
}

TEST(DraftModel, LeavesCancelledAnswersAlone) {
  auto engine = open_or_die(options_with(kTiny));
  for (int round = 0; round < 60; ++round) {
    std::vector<GenerationId> ids;
    for (int i = 0; i < 3; ++i) {
      const auto id = engine->submit(request(200, 1.0F), std::make_shared<Collector>());
      ASSERT_TRUE(id);
      ids.push_back(*id);
    }
    std::this_thread::sleep_for(std::chrono::microseconds(150 * round));
    for (const GenerationId id : ids) engine->cancel(id);
  }
  EXPECT_EQ(20U, run_to_end(*engine, request(20))->ids().size());
  for (int i = 0; i < 10'000 && engine->status().n_kv_blocks_used > 0; ++i)  // told a little later
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(0U, engine->status().n_kv_blocks_used);
}

}  // namespace
}  // namespace deepwell::engine
