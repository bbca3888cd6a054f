// Reads the tiny models' goldens; shared by the tests of this folder.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "engine/runtime/loaded_model.hpp"

namespace deepwell::engine {

inline const std::filesystem::path kTinyGoldens =
    std::filesystem::path(DEEPWELL_SOURCE_DIR) / "tests/golden/tiny";

struct TinyGolden {
  std::string name;
  std::vector<TokenId> tokens;
  std::uint32_t first_position = 0;
  std::uint32_t n_positions = 0;
  std::uint32_t n_vocab = 0;
  std::vector<float> logits;  // [n_positions, n_vocab]

  std::string path() const { return (kTinyGoldens / (name + ".gguf")).string(); }
};

inline std::string read_bytes(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// The number, or the list of numbers, after "key": in the golden's JSON.
inline std::vector<long> numbers_after(const std::string& json, const std::string& key) {
  std::vector<long> numbers;
  const char* p = json.c_str() + json.find("\"" + key + "\":") + key.size() + 3;
  p += std::strspn(p, " ");
  const bool is_list = *p == '[';
  p += is_list ? 1 : 0;
  for (char* end = nullptr;; p = end + std::strspn(end, ", ")) {
    const long n = std::strtol(p, &end, 10);
    if (end == p) break;
    numbers.push_back(n);
    if (!is_list) break;
  }
  return numbers;
}

inline std::vector<TinyGolden> read_tiny_goldens() {
  std::vector<TinyGolden> goldens;
  for (const auto& entry : std::filesystem::directory_iterator(kTinyGoldens)) {
    if (entry.path().extension() != ".gguf") continue;
    TinyGolden golden{.name = entry.path().stem().string()};
    const std::string json = read_bytes(kTinyGoldens / (golden.name + ".json"));
    for (const long token : numbers_after(json, "tokens"))
      golden.tokens.push_back(static_cast<TokenId>(token));
    golden.first_position = static_cast<std::uint32_t>(numbers_after(json, "first_position").at(0));
    golden.n_positions = static_cast<std::uint32_t>(numbers_after(json, "n_positions").at(0));
    golden.n_vocab = static_cast<std::uint32_t>(numbers_after(json, "n_vocab").at(0));
    const std::string raw = read_bytes(kTinyGoldens / (golden.name + ".logits.f32"));
    golden.logits.resize(raw.size() / sizeof(float));
    std::memcpy(golden.logits.data(), raw.data(), raw.size());
    goldens.push_back(std::move(golden));
  }
  std::sort(goldens.begin(), goldens.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  return goldens;
}

inline LoadedModel load_or_die(const LoadOptions& options) {
  auto model = LoadedModel::load(options);
  if (!model) {
    ADD_FAILURE() << options.path << ": " << model.error().message;
    std::abort();
  }
  return std::move(model).value();
}

}  // namespace deepwell::engine
