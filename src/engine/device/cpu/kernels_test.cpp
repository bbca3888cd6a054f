// Every instruction set's kernels against the scalar ones, bit by bit, and the scalar ones against plain arithmetic.
#include "engine/device/cpu/kernels.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "engine/device/cpu/packed.hpp"
#include "engine/device/cpu/testing/q8_operand.hpp"
#include "engine/device/device.hpp"
#include "engine/numerics/functions.hpp"
#include "engine/quant/codec.hpp"
#include "engine/quant/half.hpp"

namespace deepwell::engine {
namespace {

std::vector<Isa> vector_isas() {
  std::vector<Isa> isas = supported_isas();
  isas.erase(isas.begin());
  return isas;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

std::vector<float> random_floats(std::mt19937& random, std::size_t n, float spread = 1.0F) {
  std::normal_distribution<float> normal(0.0F, spread);
  std::vector<float> values(n);
  for (float& value : values) value = normal(random);
  return values;
}

/// Where a block of the file holds its f16 scale and minimum.
std::vector<std::size_t> half_offsets(QuantType type) {
  switch (type) {
    case QuantType::Q4_1:
    case QuantType::Q5_1:
    case QuantType::Q4_K:
    case QuantType::Q5_K:
      return {0, 2};
    case QuantType::Q2_K:
      return {80, 82};
    case QuantType::Q3_K:
      return {108};
    case QuantType::Q6_K:
      return {208};
    default:
      return {0};
  }
}
bool has_min(QuantType type) { return half_offsets(type).size() == 2; }

/// A matrix of random blocks as a file could hold them: all code bytes occur, scales are finite.
std::vector<std::byte> random_matrix(std::mt19937& random, QuantType type, std::uint32_t n_out,
                                     std::uint32_t n_in) {
  const BlockShape shape = block_shape(type);
  const std::size_t n_blocks = std::size_t{n_out} * (n_in / shape.n_elements);
  std::vector<std::byte> bytes(n_blocks * shape.n_bytes);
  if (shape.n_elements == 1) {
    std::vector<float> row = random_floats(random, n_blocks);
    encode_row(type, row.data(), row.size(), bytes.data());
    return bytes;
  }
  std::uniform_int_distribution<int> byte(0, 255);
  for (std::byte& b : bytes) b = static_cast<std::byte>(byte(random));
  const auto set_half = [&](std::size_t block, std::size_t offset) {
    const std::uint16_t half = f32_to_f16(random_floats(random, 1, 0.05F)[0]);
    std::memcpy(bytes.data() + block * shape.n_bytes + offset, &half, 2);
  };
  for (std::size_t b = 0; b < n_blocks; ++b) {
    for (const std::size_t offset : half_offsets(type)) set_half(b, offset);
  }
  return bytes;
}

struct PackedMatrix {
  std::vector<std::byte> bytes;
  std::size_t group_bytes = 0;
  const std::byte* group(std::uint32_t g) const { return bytes.data() + g * group_bytes; }
};

PackedMatrix pack(QuantType type, const std::vector<std::byte>& matrix, std::uint32_t n_out,
                  std::uint32_t n_in) {
  PackedMatrix packed{.group_bytes = packed_group_bytes(type, n_in)};
  const std::uint32_t n_groups = (n_out + 15) / 16;
  packed.bytes.resize(n_groups * packed.group_bytes);
  for (std::uint32_t g = 0; g < n_groups; ++g) {
    pack_row_group(type, matrix.data(), matrix.size() / n_out, n_out, n_in, g * 16,
                   packed.bytes.data() + g * packed.group_bytes);
  }
  return packed;
}

/// Activations of which some rows are extreme: all equal magnitude, one outlier, zeros, tiny.
std::vector<float> activations(std::mt19937& random, std::uint32_t n_tokens, std::uint32_t n_in) {
  std::vector<float> x = random_floats(random, std::size_t{n_tokens} * n_in, 2.0F);
  for (std::uint32_t k = 0; k < n_in; ++k) {
    if (n_tokens > 1) x[n_in + k] = k % 3 == 0 ? 5.0F : -5.0F;
    if (n_tokens > 2) x[2 * n_in + k] = k == 7 ? 1e4F : 1e-4F * static_cast<float>(k);
    if (n_tokens > 3) x[3 * n_in + k] = 0.0F;
    if (n_tokens > 4) x[4 * n_in + k] *= 1e-34F;
  }
  return x;
}

std::vector<Q8Block> quantise(const KernelTable& table, const std::vector<float>& x,
                              std::uint32_t n_in) {
  const std::uint32_t n_blocks = (n_in + 31) / 32;
  std::vector<Q8Block> blocks(x.size() / n_in * n_blocks);
  for (std::size_t t = 0; t < x.size() / n_in; ++t)
    table.quantise(x.data() + t * n_in, n_in, &blocks[t * n_blocks]);
  return blocks;
}

std::vector<float> multiply(const KernelTable& table, QuantType type, const PackedMatrix& w,
                            const std::vector<float>& x, std::uint32_t n_tokens, std::uint32_t n_in,
                            const Epilogue& epilogue) {
  std::vector<float> out(std::size_t{n_tokens} * 16, 0.25F);
  if (const GemmQ8 gemm = table.gemm_q8(type)) {
    testing::Q8Operand operand(table, x.data(), n_tokens, n_in);
    ProductQ8 product = operand.product(w.group(0), out.data(), 16);
    product.epilogue = epilogue;
    gemm(product);
  } else {
    table.gemm_f32(type)({.group = w.group(0),
                          .act = x.data(),
                          .act_stride = n_in,
                          .n_tokens = n_tokens,
                          .n_in = n_in,
                          .out = out.data(),
                          .out_stride = 16,
                          .epilogue = epilogue});
  }
  return out;
}

TEST(Pack, KeepsEveryValueOfEveryType) {
  std::mt19937 random(1);
  for (const QuantType type : kQuantTypes) {
    const std::uint32_t n_out = 37;  // the last row group is padded
    const std::uint32_t n_in = 512;
    const auto matrix = random_matrix(random, type, n_out, n_in);
    const PackedMatrix packed = pack(type, matrix, n_out, n_in);
    std::vector<float> expected(n_in), actual(n_in);
    for (std::uint32_t r = 0; r < n_out; ++r) {
      decode_row(type, matrix.data() + r * (matrix.size() / n_out), n_in, expected.data());
      unpack_row(type, packed.group(r / 16), n_in, r % 16, actual.data());
      ASSERT_TRUE(same_bits(expected, actual)) << quant_type_name(type) << " row " << r;
    }
  }
}

TEST(Kernels, MultiplyWithTheSameBitsOnEveryInstructionSet) {
  std::mt19937 random(2);
  for (const QuantType type : kQuantTypes) {
    for (const std::uint32_t n_in : {96U, 256U, 576U, 768U, 4864U}) {
      if (n_in % block_shape(type).n_elements != 0) continue;
      const PackedMatrix w = pack(type, random_matrix(random, type, 16, n_in), 16, n_in);
      const std::vector<float> bias = random_floats(random, 16);
      for (const std::uint32_t n_tokens : {1U, 2U, 3U, 4U, 7U, 8U, 9U, 16U, 21U, 37U}) {
        const std::vector<float> x = activations(random, n_tokens, n_in);
        const Epilogue epilogue{.bias = n_tokens % 2 == 0 ? bias.data() : nullptr,
                                .is_added = n_tokens % 3 == 0};
        const auto expected = multiply(scalar::kKernels, type, w, x, n_tokens, n_in, epilogue);
        for (const Isa isa : vector_isas()) {
          ASSERT_TRUE(same_bits(expected,
                                multiply(kernel_table(isa), type, w, x, n_tokens, n_in, epilogue)))
              << isa_name(isa) << " " << quant_type_name(type) << " K=" << n_in
              << " tokens=" << n_tokens;
        }
      }
    }
  }
}

TEST(Kernels, MultiplyATokenTheSameWayInEveryTile) {
  std::mt19937 random(3);
  for (const QuantType type : kQuantTypes) {
    const std::uint32_t n_in = 512;
    const PackedMatrix w = pack(type, random_matrix(random, type, 16, n_in), 16, n_in);
    const std::vector<float> x = activations(random, 21, n_in);
    for (const Isa isa : supported_isas()) {
      const auto together = multiply(kernel_table(isa), type, w, x, 21, n_in, {});
      for (std::uint32_t t = 0; t < 21; ++t) {
        const std::vector<float> one(x.begin() + t * n_in, x.begin() + (t + 1) * n_in);
        const auto alone = multiply(kernel_table(isa), type, w, one, 1, n_in, {});
        ASSERT_EQ(0, std::memcmp(alone.data(), together.data() + t * 16, 64))
            << isa_name(isa) << " " << t;
      }
    }
  }
}

TEST(Kernels, MultiplyToWhatDoublePrecisionSays) {
  std::mt19937 random(4);
  for (const QuantType type : kQuantTypes) {
    const std::uint32_t n_in = 512;
    const auto matrix = random_matrix(random, type, 16, n_in);
    const PackedMatrix w = pack(type, matrix, 16, n_in);
    const std::vector<float> x = random_floats(random, n_in);
    std::vector<float> rounded = x;  // the operand as the kernel sees it
    if (scalar::kKernels.gemm_q8(type) != nullptr) {
      const auto blocks = quantise(scalar::kKernels, x, n_in);
      for (std::uint32_t k = 0; k < n_in; ++k)
        rounded[k] = blocks[k / 32].d * blocks[k / 32].q[k % 32];
    }
    const auto out = multiply(scalar::kKernels, type, w, x, 1, n_in, {});
    std::vector<float> row(n_in);
    for (std::uint32_t r = 0; r < 16; ++r) {
      decode_row(type, matrix.data() + r * (matrix.size() / 16), n_in, row.data());
      double expected = 0.0;
      double magnitude = 0.0;
      for (std::uint32_t k = 0; k < n_in; ++k) {
        expected += double{row[k]} * rounded[k];
        magnitude += std::fabs(double{row[k]} * rounded[k]);
      }
      // At most one rounding an input for the sum, and one each for the scale, its product and the operand.
      // Types with a minimum subtract two large sums: both count in full.
      const double tolerance = (has_min(type) ? 16.0 : 1.0) * magnitude * (n_in + 4) * 0x1p-24;
      EXPECT_NEAR(out[r], expected, tolerance) << quant_type_name(type) << " row " << r;
    }
  }
}

TEST(Kernels, QuantiseByTheRule) {
  std::mt19937 random(5);
  std::vector<float> x = activations(random, 6, 64);
  for (const Isa isa : supported_isas()) {
    const auto blocks = quantise(kernel_table(isa), x, 64);
    for (std::size_t b = 0; b < blocks.size(); ++b) {
      const float* v = x.data() + b * 32;
      float amax = 0.0F;
      for (int k = 0; k < 32; ++k) amax = std::fmax(amax, std::fabs(v[k]));
      if (amax < 1e-30F) {
        EXPECT_EQ(0.0F, blocks[b].d);
        continue;
      }
      ASSERT_EQ(amax / 127.0F, blocks[b].d);
      std::int32_t sums[2] = {0, 0};
      for (int k = 0; k < 32; ++k) {
        ASSERT_EQ(std::nearbyint(v[k] * (127.0F / amax)), blocks[b].q[k])
            << isa_name(isa) << " block " << b;
        sums[k / 16] += blocks[b].q[k];
      }
      EXPECT_EQ(sums[0], blocks[b].sum16[0]);
      EXPECT_EQ(sums[1], blocks[b].sum16[1]);
      EXPECT_EQ(blocks[b].d * static_cast<float>(sums[0] + sums[1]), blocks[b].d_sum);
    }
  }
}

TEST(Kernels, MarkABlockThatHoldsANonFiniteValue) {
  for (const Isa isa : supported_isas()) {
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
          -std::numeric_limits<float>::infinity()}) {
      for (const int at : {0, 5, 31}) {
        std::vector<float> x(64, 1.0F);
        x[static_cast<std::size_t>(at)] = bad;
        const auto blocks = quantise(kernel_table(isa), x, 64);
        EXPECT_TRUE(std::isnan(blocks[0].d)) << isa_name(isa);
        EXPECT_EQ(0, blocks[0].q[3]);
        EXPECT_EQ(1.0F / 127.0F, blocks[1].d);
      }
    }
  }
}

TEST(Kernels, NormaliseRotateAndGateWithTheSameBits) {
  std::mt19937 random(6);
  for (const std::uint32_t n : {16U, 48U, 100U, 896U}) {
    const auto x = random_floats(random, n, 3.0F);
    const auto gain = random_floats(random, n);
    const auto up = random_floats(random, (n + 15) / 16 * 16);
    auto gate = random_floats(random, (n + 15) / 16 * 16, 40.0F);
    const auto run = [&](const KernelTable& table) {
      std::vector<float> out(n), glu(gate.size()), head(x.begin(), x.begin() + 16);
      table.rms_norm(x.data(), gain.data(), n, 1e-6F, out.data());
      table.swiglu(gate.data(), up.data(), static_cast<std::uint32_t>(gate.size()), glu.data());
      table.rope(head.data(), 16, n % 32 == 0, up.data());
      out.insert(out.end(), glu.begin(), glu.end());
      out.insert(out.end(), head.begin(), head.end());
      return out;
    };
    const auto expected = run(scalar::kKernels);
    for (const Isa isa : vector_isas())
      EXPECT_TRUE(same_bits(expected, run(kernel_table(isa)))) << isa_name(isa) << n;

    double sum = 0.0;
    for (const float v : x) sum += double{v} * v;
    for (std::uint32_t k = 0; k < n; ++k) {
      const double wanted = x[k] / std::sqrt(sum / n + 1e-6) * gain[k];
      EXPECT_NEAR(wanted, expected[k], (n + 8) * 0x1p-24 * std::fabs(wanted));
    }
    for (std::size_t k = 0; k < gate.size(); ++k) {
      const double wanted = gate[k] / (1.0 + std::exp(-double{gate[k]})) * up[k];
      EXPECT_NEAR(wanted, expected[n + k], 16 * 0x1p-24 * std::fabs(wanted) + 1e-30);
    }
  }
}

/// One sequence's keys and values in blocks, and queries over them.
struct AttentionCase {
  std::uint32_t n_keys, n_queries, d_head;
  std::vector<std::vector<std::byte>> blocks;
  std::vector<std::vector<float>> queries, keys, values;
  std::vector<std::uint32_t> n_valid;
};

AttentionCase attention_case(std::mt19937& random, KvType type, std::uint32_t n_keys,
                             std::uint32_t n_queries, std::uint32_t d_head) {
  AttentionCase c{.n_keys = n_keys, .n_queries = n_queries, .d_head = d_head};
  // What lies behind the end is whatever an earlier sequence left: NaNs must not be seen.
  c.blocks.assign((n_keys + 15) / 16,
                  std::vector<std::byte>(kv_head_bytes(type, d_head), std::byte{0xFF}));
  for (std::uint32_t k = 0; k < n_keys; ++k) {
    c.keys.push_back(random_floats(random, d_head));
    c.values.push_back(random_floats(random, d_head));
    scalar::kKernels.store_kv[static_cast<int>(type)](c.keys[k].data(), c.values[k].data(), d_head,
                                                      k % 16, c.blocks[k / 16].data());
  }
  for (std::uint32_t q = 0; q < n_queries; ++q) {
    c.queries.push_back(random_floats(random, d_head, 2.0F));
    c.n_valid.push_back(n_keys - (n_queries - 1 - q) / 3);  // three heads a row
  }
  return c;
}

std::vector<std::vector<float>> attend(const KernelTable& table, KvType type,
                                       const AttentionCase& c, std::uint32_t first, std::uint32_t n,
                                       const std::vector<std::uint32_t>& cuts = {}) {
  std::vector<const float*> queries;
  std::vector<std::vector<float>> out(n, std::vector<float>(c.d_head));
  std::vector<float*> outputs;
  std::vector<const std::byte*> blocks;
  for (std::uint32_t q = 0; q < n; ++q) {
    queries.push_back(c.queries[first + q].data());
    outputs.push_back(out[q].data());
  }
  for (const auto& block : c.blocks) blocks.push_back(block.data());
  std::vector<float> scratch(attention_scratch_floats(n, c.d_head));
  const AttentionTile tile{.queries = queries.data(),
                           .outputs = outputs.data(),
                           .n_valid_keys = c.n_valid.data() + first,
                           .n_queries = n,
                           .d_head = c.d_head,
                           .scale = 0.125F,
                           .kv_blocks = blocks.data(),
                           .scratch = scratch.data()};
  if (cuts.empty()) {
    table.attention[static_cast<int>(type)](tile);
    return out;
  }
  // The parts between the cuts in descending order: none may depend on another.
  std::vector<std::uint32_t> ends = cuts;
  std::sort(ends.begin(), ends.end());
  std::vector<float> parts(ends.back() * attention_part_floats(n, c.d_head));
  for (std::size_t i = ends.size() - 1; i > 0; --i)
    table.attention_part[static_cast<int>(type)](tile, ends[i - 1], ends[i], parts.data());
  table.merge_parts(tile, parts.data());
  return out;
}

TEST(Kernels, AttendWithTheSameBitsOnEveryInstructionSetAndInEveryTile) {
  std::mt19937 random(7);
  for (const KvType type : {KvType::kF16, KvType::kF32, KvType::kQ8}) {
    for (const std::uint32_t n_keys : {1U, 15U, 16U, 17U, 127U, 128U, 129U, 300U, 513U}) {
      const std::uint32_t n_queries = n_keys < 20 ? 3 : 42;
      const AttentionCase c =
          attention_case(random, type, n_keys, n_queries, n_keys % 2 == 0 ? 48 : 64);
      const auto expected = attend(scalar::kKernels, type, c, 0, n_queries);
      for (const Isa isa : supported_isas()) {
        EXPECT_EQ(expected, attend(kernel_table(isa), type, c, 0, n_queries))
            << isa_name(isa) << " keys " << n_keys;
        for (std::uint32_t q = 0; q < n_queries; ++q) {
          EXPECT_EQ(expected[q], attend(kernel_table(isa), type, c, q, 1)[0])
              << isa_name(isa) << " query " << q;
        }
      }
    }
  }
}

TEST(Kernels, AttendInPartsWithTheSameBits) {
  std::mt19937 random(9);
  for (const KvType type : {KvType::kF16, KvType::kQ8}) {
    for (const std::uint32_t n_queries :
         {1U, 7U, 42U}) {  // the last ones begin in three key blocks
      AttentionCase c = attention_case(random, type, 389, n_queries, 64);
      for (std::uint32_t q = 0; q < n_queries / 2; ++q) c.n_valid[q] = 100 + 8 * q;
      const auto expected = attend(scalar::kKernels, type, c, 0, n_queries);
      for (const Isa isa : supported_isas()) {
        EXPECT_EQ(expected, attend(kernel_table(isa), type, c, 0, n_queries, {0, 3, 1, 4}))
            << isa_name(isa) << " queries " << n_queries;
      }
    }
  }
}

TEST(Kernels, KeepKeysAndValuesInEightBitsWithinHalfAStep) {
  std::mt19937 random(10);
  const std::uint32_t d_head = 80;
  for (const Isa isa : supported_isas()) {
    auto k = random_floats(random, d_head);
    auto v = random_floats(random, d_head);
    k[5] = 0.0F;
    std::vector<std::byte> block(kv_head_bytes(KvType::kQ8, d_head));
    const auto store = kernel_table(isa).store_kv[static_cast<int>(KvType::kQ8)];
    store(k.data(), v.data(), d_head, 3, block.data());
    const auto* q = reinterpret_cast<const std::int8_t*>(block.data());
    const auto* scales = reinterpret_cast<const float*>(q + 32 * d_head);
    for (std::uint32_t d = 0; d < d_head; ++d) {
      const float k_scale = scales[d / 32 * 16 + 3];
      const float v_scale = scales[3 * 16 + 3];
      EXPECT_NEAR(k[d], k_scale * q[d * 16 + 3], 0.5001F * k_scale) << isa_name(isa);
      EXPECT_NEAR(v[d], v_scale * q[16 * d_head + 3 * d_head + d], 0.5001F * v_scale);
    }
    k[40] = std::numeric_limits<float>::infinity();
    store(k.data(), v.data(), d_head, 3, block.data());
    EXPECT_FALSE(std::isnan(scales[3]));
    EXPECT_TRUE(std::isnan(scales[16 + 3]));  // what is not finite must reach the logits
  }
}

TEST(Kernels, RotateByHalvesWithTheSameBits) {
  std::mt19937 random(11);
  for (const std::uint32_t d_rope : {16U, 32U, 40U, 64U, 96U}) {
    const auto x = random_floats(random, 112);
    const auto cos_sin = random_floats(random, d_rope);
    for (const Isa isa : supported_isas()) {
      auto y = x;
      kernel_table(isa).rope(y.data(), d_rope, false, cos_sin.data());
      const std::uint32_t half = d_rope / 2;
      for (std::uint32_t i = 0; i < half; ++i) {
        const float c = cos_sin[2 * i];
        const float s = cos_sin[2 * i + 1];
        ASSERT_EQ(std::fma(x[i], c, -(x[half + i] * s)), y[i]) << isa_name(isa) << d_rope;
        ASSERT_EQ(std::fma(x[i], s, x[half + i] * c), y[half + i]) << isa_name(isa) << d_rope;
      }
      for (std::uint32_t i = d_rope; i < 112; ++i) ASSERT_EQ(x[i], y[i]);
    }
  }
}

TEST(Kernels, AttendToWhatDoublePrecisionSays) {
  std::mt19937 random(8);
  const AttentionCase c = attention_case(random, KvType::kF32, 300, 9, 64);
  const auto out = attend(scalar::kKernels, KvType::kF32, c, 0, 9);
  for (std::uint32_t q = 0; q < 9; ++q) {
    std::vector<double> weights;
    double sum = 0.0;
    for (std::uint32_t k = 0; k < c.n_valid[q]; ++k) {
      double score = 0.0;
      for (std::uint32_t d = 0; d < 64; ++d) score += double{c.queries[q][d]} * c.keys[k][d];
      weights.push_back(std::exp(score * 0.125));
      sum += weights.back();
    }
    for (std::uint32_t d = 0; d < 64; ++d) {
      double expected = 0.0;
      for (std::uint32_t k = 0; k < weights.size(); ++k)
        expected += weights[k] / sum * c.values[k][d];
      EXPECT_NEAR(expected, out[q][d], 64 * 0x1p-24 * 16);
    }
  }
}

}  // namespace
}  // namespace deepwell::engine
