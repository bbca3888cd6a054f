// Tiny seeded models against the logits that transformers computes from the same weights, and against themselves.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <numeric>
#include <string>

#include "engine/runtime/loaded_model.hpp"

namespace deepwell::engine {
namespace {

namespace fs = std::filesystem;

const fs::path kGoldens = fs::path(DEEPWELL_SOURCE_DIR) / "tests/golden/tiny";

struct TinyGolden {
  std::string name;
  std::vector<TokenId> tokens;
  std::uint32_t first_position = 0;
  std::uint32_t n_positions = 0;
  std::uint32_t n_vocab = 0;
  std::vector<float> logits;  // [n_positions, n_vocab]
};

std::string read_text(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// The numbers after "key": in the golden's JSON.
std::vector<long> numbers_after(const std::string& json, const std::string& key) {
  std::vector<long> numbers;
  const char* p = json.c_str() + json.find("\"" + key + "\":") + key.size() + 3;
  const bool is_list = std::strspn(p, " ") < std::strlen(p) && p[std::strspn(p, " ")] == '[';
  p += std::strspn(p, " [");
  for (char* end = nullptr;; p = end + std::strspn(end, ", ")) {
    const long n = std::strtol(p, &end, 10);
    if (end == p) break;
    numbers.push_back(n);
    if (!is_list) break;
  }
  return numbers;
}

std::vector<TinyGolden> read_goldens() {
  std::vector<TinyGolden> goldens;
  for (const auto& entry : fs::directory_iterator(kGoldens)) {
    if (entry.path().extension() != ".gguf") continue;
    TinyGolden golden{.name = entry.path().stem().string()};
    const std::string json = read_text(kGoldens / (golden.name + ".json"));
    for (const long token : numbers_after(json, "tokens")) golden.tokens.push_back(static_cast<TokenId>(token));
    golden.first_position = static_cast<std::uint32_t>(numbers_after(json, "first_position").at(0));
    golden.n_positions = static_cast<std::uint32_t>(numbers_after(json, "n_positions").at(0));
    golden.n_vocab = static_cast<std::uint32_t>(numbers_after(json, "n_vocab").at(0));
    const std::string raw = read_text(kGoldens / (golden.name + ".logits.f32"));
    golden.logits.resize(raw.size() / sizeof(float));
    std::memcpy(golden.logits.data(), raw.data(), raw.size());
    goldens.push_back(std::move(golden));
  }
  std::sort(goldens.begin(), goldens.end(), [](auto& a, auto& b) { return a.name < b.name; });
  return goldens;
}

LoadedModel load(const TinyGolden& golden, Isa isa, std::uint32_t n_threads, std::uint32_t n_sequences = 1) {
  auto model = LoadedModel::load({.path = (kGoldens / (golden.name + ".gguf")).string(),
                                  .n_threads = n_threads,
                                  .n_sequences = n_sequences,
                                  .kv_type = KvType::kF32,
                                  .isa = isa,
                                  .on_progress = {}});
  if (!model) ADD_FAILURE() << golden.name << ": " << model.error().message;
  return std::move(model).value();
}

/// Logits of every position, [n_tokens, n_vocab], the tokens fed in chunks.
std::vector<float> run_in_chunks(LoadedModel& model, std::span<const TokenId> tokens, std::uint32_t n_chunk) {
  std::vector<std::uint32_t> blocks;
  model.blocks.take((static_cast<std::uint32_t>(tokens.size()) + 15) / 16, blocks);
  std::vector<float> logits;
  StepBatch batch;
  for (std::uint32_t pos = 0; pos < tokens.size(); pos += n_chunk) {
    const std::size_t n = std::min<std::size_t>(n_chunk, tokens.size() - pos);
    batch.clear();
    batch.add(tokens.subspan(pos, n), pos, blocks, Outputs::kAll);
    model.forward(batch);
    for (std::uint32_t i = 0; i < n; ++i) {
      const auto row = model.logits(i);
      logits.insert(logits.end(), row.begin(), row.end());
    }
  }
  model.blocks.release(blocks);
  return logits;
}

TEST(TinyModels, GiveTheLogitsOfTransformers) {
  const auto goldens = read_goldens();
  ASSERT_GE(goldens.size(), 13U);
  for (const TinyGolden& golden : goldens) {
    LoadedModel model = load(golden, supported_isas().back(), 1);
    const std::vector<float> all = run_in_chunks(model, golden.tokens, 512);
    const std::span<const float> ours(all.data() + std::size_t{golden.first_position} * golden.n_vocab,
                                      golden.logits.size());
    double sum_error2 = 0, sum2 = 0, worst = 0, largest = 0;
    for (std::size_t i = 0; i < golden.logits.size(); ++i) {
      const double error = std::fabs(double{ours[i]} - golden.logits[i]);
      sum_error2 += error * error;
      sum2 += double{golden.logits[i]} * golden.logits[i];
      worst = std::max(worst, error);
      largest = std::max(largest, std::fabs(double{golden.logits[i]}));
    }
    std::printf("%-40s rms error %.2e of rms logit %.2e, worst %.2e of largest %.2f\n", golden.name.c_str(),
                std::sqrt(sum_error2 / double(ours.size())), std::sqrt(sum2 / double(ours.size())), worst, largest);
  }
}

}  // namespace
}  // namespace deepwell::engine
