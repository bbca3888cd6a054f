// Fuzzes the matrix kernels of every instruction set against the scalar ones: any bytes as weights and activations.
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <vector>

#include "engine/device/cpu/kernels.hpp"
#include "engine/device/cpu/packed.hpp"

using namespace deepwell::engine;

namespace {

/// Equal bits, or both NaN: which NaN comes out is not part of the promise, a request that meets one ends.
bool is_same(float a, float b) {
  return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b) ||
         (std::isnan(a) && std::isnan(b));
}

struct alignas(64) Line {
  std::byte bytes[64];
};

std::vector<float> multiply(const KernelTable& table, QuantType type,
                            const std::vector<std::byte>& group, const std::vector<float>& x,
                            std::uint32_t n_tokens, std::uint32_t n_in) {
  std::vector<float> out(n_tokens * 16);
  if (const GemmQ8 gemm = table.gemm_q8(type)) {
    std::vector<Q8Block> blocks(n_tokens * (n_in / 32));
    for (std::uint32_t t = 0; t < n_tokens; ++t)
      table.quantise(&x[t * n_in], n_in, &blocks[t * (n_in / 32)]);
    std::vector<Line> scratch(panel_bytes(n_in) / sizeof(Line));
    const std::uint32_t n_spans = n_in / 32;
    std::vector<Q8Tile> tiles((n_tokens + 15) / 16 * n_spans);
    for (std::uint32_t t = 0; t < n_tokens; ++t) {
      for (std::uint32_t b = 0; b < n_spans; ++b)
        tiles[t / 16 * n_spans + b].put(t % 16, blocks[t * n_spans + b]);
    }
    gemm({.group = group.data(),
          .act = blocks.data(),
          .act_stride = n_in / 32,
          .n_tokens = n_tokens,
          .n_in = n_in,
          .out = out.data(),
          .out_stride = 16,
          .scratch = scratch.data()->bytes,
          .tiles = tiles.data()});
  } else {
    table.gemm_f32(type)({.group = group.data(),
                          .act = x.data(),
                          .act_stride = n_in,
                          .n_tokens = n_tokens,
                          .n_in = n_in,
                          .out = out.data(),
                          .out_stride = 16});
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::uint32_t kInputs = 256;
  if (size < 3) return 0;
  const QuantType type = kQuantTypes[data[0] % std::size(kQuantTypes)];
  const std::uint32_t n_tokens = 1 + data[1] % 35;
  std::vector<std::byte> group(packed_group_bytes(type, kInputs));
  std::vector<float> x(n_tokens * kInputs);
  for (std::size_t i = 0; i < group.size(); ++i) group[i] = std::byte{data[2 + i % (size - 2)]};
  for (std::size_t i = 0; i < x.size() * 4; ++i) {
    reinterpret_cast<std::uint8_t*>(x.data())[i] = data[2 + (7 * i + size / 2) % (size - 2)];
  }
  const std::vector<float> expected = multiply(scalar::kKernels, type, group, x, n_tokens, kInputs);
  for (const Isa isa : supported_isas()) {
    const std::vector<float> actual =
        multiply(kernel_table(isa), type, group, x, n_tokens, kInputs);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      if (!is_same(expected[i], actual[i])) std::abort();
    }
  }
  return 0;
}
