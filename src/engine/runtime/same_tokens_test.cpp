// One hash of logits over threads, chunks, batches and instruction sets: the promise of same tokens everywhere.
#include <gtest/gtest.h>

#include <cstdio>

#include "base/sha256.hpp"
#include "engine/runtime/tiny_golden.hpp"

namespace deepwell::engine {
namespace {

std::string hash_of(const std::vector<std::vector<float>>& rows) {
  Sha256 sha;
  for (const auto& row : rows) sha.update(std::as_bytes(std::span(row)));
  return sha.hex_digest();
}

std::vector<std::uint32_t> blocks_for(LoadedModel& model, std::size_t n_tok) {
  std::vector<std::uint32_t> blocks;
  model.blocks.take(static_cast<std::uint32_t>((n_tok + 15) / 16), blocks);
  return blocks;
}

/// Logits of each position, fed in chunks; if not alone, beside two other sequences whose pieces surround it.
std::string run(LoadedModel& model, std::span<const TokenId> tokens, std::uint32_t n_chunk,
                bool is_alone) {
  const std::vector<TokenId> reversed(tokens.rbegin(), tokens.rend());
  auto first = blocks_for(model, tokens.size());
  auto own = blocks_for(model, tokens.size());
  auto last = blocks_for(model, tokens.size());
  std::vector<std::vector<float>> rows;
  StepBatch batch;
  for (std::uint32_t pos = 0; pos < tokens.size(); pos += n_chunk) {
    const std::size_t n = std::min<std::size_t>(n_chunk, tokens.size() - pos);
    const auto others = std::span<const TokenId>(reversed).subspan(pos, n);
    batch.clear();
    if (!is_alone) batch.add(others, pos, first, Outputs::kLast);
    const std::uint32_t output = batch.add(tokens.subspan(pos, n), pos, own, Outputs::kAll);
    if (!is_alone) batch.add(others.first((n + 1) / 2), pos, last, Outputs::kNone);
    model.forward(batch);
    for (std::uint32_t i = 0; i < n; ++i) {
      const auto row = model.logits(output + i);
      rows.emplace_back(row.begin(), row.end());
    }
  }
  for (auto* blocks : {&first, &own, &last}) model.blocks.release(*blocks);
  return hash_of(rows);
}

void expect_one_hash(const std::string& path, const std::vector<TokenId>& tokens,
                     const std::vector<Isa>& isas, KvType kv_type = KvType::kF16) {
  std::string expected;
  for (const Isa isa : isas) {
    for (const std::uint32_t n_threads : {1U, 2U, 4U}) {
      LoadedModel model = load_or_die({.path = path,
                                       .n_threads = n_threads,
                                       .n_ctx_tok = 512,
                                       .n_sequences = 3,
                                       .n_max_rows = 1536,
                                       .kv_type = kv_type,
                                       .isa = isa});
      for (const std::uint32_t n_chunk : {512U, 64U, 7U, 1U}) {
        for (const bool is_alone : {true, false}) {
          if (!is_alone && n_chunk == 1 && n_threads == 4)
            continue;  // thousands of tiny steps, nothing new in them
          const std::string hash = run(model, tokens, n_chunk, is_alone);
          if (expected.empty()) expected = hash;
          EXPECT_EQ(expected, hash)
              << path << ": " << isa_name(isa) << ", " << n_threads << " threads, chunks of "
              << n_chunk << (is_alone ? ", alone" : ", in a batch");
        }
      }
    }
  }
  std::printf("%s: %s\n", std::filesystem::path(path).filename().c_str(),
              expected.substr(0, 16).c_str());
}

TEST(SameTokens, GiveOneHashOverThreadsChunksBatchesAndInstructionSets) {
  for (const TinyGolden& golden : read_tiny_goldens()) {
    // More than one key block of 128, so that merging is part of it.
    std::vector<TokenId> tokens;
    while (tokens.size() < 132)
      tokens.insert(tokens.end(), golden.tokens.begin(), golden.tokens.end());
    expect_one_hash(golden.path(), tokens, supported_isas());
  }
}

TEST(SameTokens, GiveOneHashWithKeysAndValuesInEightBits) {
  // Three key blocks, so that a single row's keys are split over the threads.
  for (const TinyGolden& golden : read_tiny_goldens()) {
    if (golden.path().find("qwen2-tied-gqa7") == std::string::npos &&  // rotates halves; a key bias
        golden.path().find("llama-tied-gqa4-d64") == std::string::npos)  // rotates neighbours
      continue;
    std::vector<TokenId> tokens;
    while (tokens.size() < 260)
      tokens.insert(tokens.end(), golden.tokens.begin(), golden.tokens.end());
    expect_one_hash(golden.path(), tokens, supported_isas(), KvType::kQ8);
  }
}

TEST(SameTokens, GiveOneHashWhenThreadsShareARowsKeys) {
  const std::vector<TinyGolden> goldens = read_tiny_goldens();
  std::vector<TokenId> tokens;
  while (tokens.size() < 400)
    tokens.insert(tokens.end(), goldens[0].tokens.begin(), goldens[0].tokens.end());
  expect_one_hash(goldens[0].path(), tokens, supported_isas());
}

TEST(SameTokens, GiveOneHashOnARealModel) {
  const char* folder = std::getenv("DEEPWELL_TEST_MODELS");
  if (folder == nullptr)
    GTEST_SKIP() << "set DEEPWELL_TEST_MODELS to a folder with smollm2-135m.gguf";
  std::vector<TokenId> tokens;
  for (TokenId i = 0; i < 64; ++i) tokens.push_back((i * 7919 + 13) % 49152);
  expect_one_hash((std::filesystem::path(folder) / "smollm2-135m.gguf").string(), tokens,
                  supported_isas());
}

}  // namespace
}  // namespace deepwell::engine
