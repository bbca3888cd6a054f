// Fuzzes the matrix kernels of every instruction set against the scalar ones: any bytes as weights and activations.
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <vector>

#include "engine/device/cpu/kernels.hpp"
#include "engine/device/cpu/packed.hpp"
#include "engine/device/cpu/testing/q8_operand.hpp"

using namespace deepwell::engine;

namespace {

/// Equal bits, or both NaN: which NaN comes out is not part of the promise, a request that meets one ends.
bool is_same(float a, float b) {
  return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b) ||
         (std::isnan(a) && std::isnan(b));
}

std::vector<float> multiply(const KernelTable& table, QuantType type,
                            const std::vector<std::byte>& group, const std::vector<float>& x,
                            std::uint32_t n_tokens, std::uint32_t n_in) {
  std::vector<float> out(n_tokens * 16);
  if (const GemmQ8 gemm = table.gemm_q8(type)) {
    testing::Q8Operand operand(table, x.data(), n_tokens, n_in);
    gemm(operand.product(group.data(), out.data(), 16));
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
