// The codecs: decoding against the goldens bit for bit, encoding against decoding.
#include "engine/quant/codec.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <string>
#include <vector>

namespace deepwell::engine {
namespace {

TEST(QuantType, NumbersNamesAndBlocksAgree) {
  for (const QuantType type : kQuantTypes) {
    EXPECT_EQ(quant_type(static_cast<std::uint32_t>(type)), type);
    EXPECT_FALSE(quant_type_name(type).empty());
    EXPECT_GT(block_shape(type).n_bytes, 0U);
  }
  EXPECT_EQ(quant_type_name(QuantType::Q4_K), "Q4_K");
  EXPECT_EQ(quant_type(4), std::nullopt);   // Q4_2, long gone
  EXPECT_EQ(quant_type(16), std::nullopt);  // IQ2_XXS, no codec here
  EXPECT_EQ(quant_type(0xFFFFFFFFU), std::nullopt);
}

struct GoldenBlock {
  QuantType type;
  std::vector<std::byte> bytes;
  std::vector<float> values;
};

std::vector<GoldenBlock> read_goldens() {
  std::ifstream file(DEEPWELL_SOURCE_DIR "/tests/golden/quant/blocks.bin", std::ios::binary);
  const std::vector<char> content((std::istreambuf_iterator<char>(file)), {});
  std::vector<GoldenBlock> all;
  for (std::size_t at = 0; at < content.size();) {
    std::uint32_t head[3];
    std::memcpy(head, &content[at], sizeof head);
    at += sizeof head;
    GoldenBlock golden{static_cast<QuantType>(head[0]), std::vector<std::byte>(head[1]),
                       std::vector<float>(head[2])};
    std::memcpy(golden.bytes.data(), &content[at], head[1]);
    at += head[1];
    std::memcpy(golden.values.data(), &content[at], head[2] * sizeof(float));
    at += head[2] * sizeof(float);
    all.push_back(std::move(golden));
  }
  return all;
}

TEST(DecodeRow, GivesTheGoldenBitsForEveryType) {
  std::map<QuantType, int> n_checked;
  for (const GoldenBlock& golden : read_goldens()) {
    // An odd address: rows of a damaged or foreign file may lie anywhere.
    std::vector<std::byte> shifted(golden.bytes.size() + 1);
    std::copy(golden.bytes.begin(), golden.bytes.end(), shifted.begin() + 1);
    std::vector<float> got(golden.values.size());
    decode_row(golden.type, shifted.data() + 1, got.size(), got.data());
    for (std::size_t k = 0; k < got.size(); ++k) {
      if (std::isnan(golden.values[k])) {  // whose payload and sign differ between machines
        ASSERT_TRUE(std::isnan(got[k])) << quant_type_name(golden.type) << " " << k;
      } else {
        ASSERT_EQ(std::bit_cast<std::uint32_t>(got[k]),
                  std::bit_cast<std::uint32_t>(golden.values[k]))
            << quant_type_name(golden.type) << " " << k << ": " << got[k] << " "
            << golden.values[k];
      }
    }
    ++n_checked[golden.type];
  }
  EXPECT_EQ(n_checked.size(), std::size(kQuantTypes));
  for (const auto& [type, n] : n_checked) {
    EXPECT_GE(n, 20) << quant_type_name(type);
  }
}

TEST(DecodeRow, TakesRowsOfSeveralBlocks) {
  std::mt19937 random(7);
  for (const QuantType type : kQuantTypes) {
    const BlockShape block = block_shape(type);
    const std::size_t n = 512;
    std::vector<std::byte> row(n / block.n_elements * block.n_bytes);
    std::generate(row.begin(), row.end(), [&] { return std::byte(random() & 0x3FU); });
    std::vector<float> whole(n);
    decode_row(type, row.data(), n, whole.data());
    for (std::size_t b = 0; b < n / block.n_elements; ++b) {
      std::vector<float> one(block.n_elements);
      decode_row(type, row.data() + b * block.n_bytes, one.size(), one.data());
      ASSERT_EQ(std::memcmp(one.data(), &whole[b * block.n_elements], one.size() * sizeof(float)),
                0);
    }
  }
}

/// The largest error that an encoder of that type may make in a row whose values span [-range,
/// range], as a fraction of the range: half a step, the rounding of the scales, and for K types the
/// step of 4- or 6-bit scales.
double allowed_error(QuantType type) {
  switch (type) {
    case QuantType::F32:
      return 0;
    case QuantType::F16:
      return 0x1p-11;
    case QuantType::BF16:
      return 0x1p-8;
    case QuantType::Q4_0:
      return 1.0 / 8 + 0.001;  // the far end is clipped by up to a step
    case QuantType::Q4_1:
      return 1.0 / 15 + 0.002;
    case QuantType::Q5_0:
      return 1.0 / 16 + 0.001;
    case QuantType::Q5_1:
      return 1.0 / 31 + 0.002;
    case QuantType::Q8_0:
      return 0.5 / 127 + 0.001;
    case QuantType::IQ4_NL:
      return 14.0 / 127 + 0.001;  // the far end of the values is 113 rather than 127
    case QuantType::Q2_K:
      return 1.0 / 3 + 3.0 / 15;
    case QuantType::Q3_K:
      return 1.0 / 4 + 1.0 / 32;
    case QuantType::Q4_K:
      return 1.0 / 15 + 3.0 / 63;
    case QuantType::Q5_K:
      return 1.0 / 31 + 3.0 / 63;
    case QuantType::Q6_K:
      return 1.0 / 32 + 1.0 / 128;
    case QuantType::IQ4_XS:
      return 14.0 / 127 + 1.0 / 32;
  }
  return -1;
}

TEST(EncodeRow, StaysWithinAStepOfEveryValue) {
  std::mt19937 random(11);
  for (const QuantType type : kQuantTypes) {
    for (const float range : {1.0F, 0.03F, 300.0F}) {
      std::uniform_real_distribution<float> uniform(-range, range);
      std::vector<float> values(512);
      std::generate(values.begin(), values.end(), [&] { return uniform(random); });
      const BlockShape block = block_shape(type);
      std::vector<std::byte> row(values.size() / block.n_elements * block.n_bytes);
      encode_row(type, values.data(), values.size(), row.data());
      std::vector<float> back(values.size());
      decode_row(type, row.data(), back.size(), back.data());
      double worst = 0;
      for (std::size_t i = 0; i < values.size(); ++i) {
        worst = std::max(worst, static_cast<double>(std::fabs(values[i] - back[i])) / range);
      }
      EXPECT_LE(worst, allowed_error(type)) << quant_type_name(type) << " range " << range;
    }
  }
}

TEST(EncodeRow, KeepsWhatItsOwnDecoderSaid) {
  // Codes and scales of an encoded row can be said again: encoding what was decoded changes no
  // value by much.
  std::mt19937 random(13);
  std::normal_distribution<float> normal(0, 0.05F);
  for (const QuantType type : kQuantTypes) {
    std::vector<float> values(256);
    std::generate(values.begin(), values.end(), [&] { return normal(random); });
    const BlockShape block = block_shape(type);
    std::vector<std::byte> row(values.size() / block.n_elements * block.n_bytes);
    std::vector<float> once(values.size());
    std::vector<float> twice(values.size());
    encode_row(type, values.data(), values.size(), row.data());
    decode_row(type, row.data(), once.size(), once.data());
    encode_row(type, once.data(), once.size(), row.data());
    decode_row(type, row.data(), twice.size(), twice.data());
    double error = 0;
    double power = 0;
    for (std::size_t i = 0; i < once.size(); ++i) {
      error += std::pow(once[i] - twice[i], 2);
      power += std::pow(once[i], 2);
    }
    EXPECT_LE(std::sqrt(error / power), 0.05) << quant_type_name(type);
  }
}

TEST(EncodeRow, SurvivesZerosAndNotNumbers) {
  const float kNan = std::numeric_limits<float>::quiet_NaN();
  const float kInf = std::numeric_limits<float>::infinity();
  for (const QuantType type : kQuantTypes) {
    const BlockShape block = block_shape(type);
    std::vector<std::byte> row(256 / block.n_elements * block.n_bytes);
    std::vector<float> values(256, 0.0F);
    std::vector<float> back(256, 1.0F);
    encode_row(type, values.data(), values.size(), row.data());
    decode_row(type, row.data(), back.size(), back.data());
    EXPECT_TRUE(std::all_of(back.begin(), back.end(), [](float x) { return x == 0; }))
        << quant_type_name(type);
    for (std::size_t i = 0; i < values.size(); ++i) {  // must not trap or leave a code's range
      values[i] = i % 5 == 0 ? kNan : i % 7 == 0 ? kInf : i % 11 == 0 ? -3e38F : 1e-42F;
    }
    encode_row(type, values.data(), values.size(), row.data());
    decode_row(type, row.data(), back.size(), back.data());
  }
}

}  // namespace
}  // namespace deepwell::engine
