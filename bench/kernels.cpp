// The matrix kernels alone, on one core: for each weight type and instruction set the bytes a second of a product with
// one token, from memory, and the multiply-adds a second of one with many tokens, from cache; beside them in percent
// what this core reads from memory and multiplies at most, measured in the same minute.
//
//   ninja -C build kernels_bench && build/src/engine/device/kernels_bench [TYPE ...]
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "engine/device/cpu/cpu_memory.hpp"
#include "engine/device/cpu/kernels.hpp"
#include "engine/device/cpu/packed.hpp"
#include "engine/device/cpu/target_region.hpp"
#include "engine/device/cpu/testing/q8_operand.hpp"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

using namespace deepwell;
using namespace deepwell::engine;

namespace {

constexpr std::size_t kMemoryBytes = std::size_t{512} << 20;  // more than caches keep
constexpr std::uint32_t kInputs = 1024;
constexpr std::uint32_t kTokens = 128;
constexpr std::uint32_t kGroups = 32;  // of 16 outputs, for many tokens
constexpr int kRepetitions = 7;        // of which the best counts

volatile std::uint64_t g_sink;  // so that no compiler drops a loop

template <class Fn>
double seconds_of(Fn fn) {
  const auto start = std::chrono::steady_clock::now();
  fn();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

template <class Fn>
double best_of(Fn fn) {
  double best = seconds_of(fn);
  for (int i = 1; i < kRepetitions; ++i) best = std::min(best, seconds_of(fn));
  return best;
}

#if defined(__x86_64__)

DW_TARGET_BEGIN("avx2")
void read_all(const std::byte* p, std::size_t n_bytes) {
  __m256i sums[8] = {};
  for (std::size_t at = 0; at + 256 <= n_bytes; at += 256) {
    __builtin_prefetch(p + at + 4096);
    __builtin_prefetch(p + at + 4160);
    __builtin_prefetch(p + at + 4224);
    __builtin_prefetch(p + at + 4288);
    DW_UNROLL for (std::size_t i = 0; i < 8; ++i) sums[i] = _mm256_xor_si256(
        sums[i], _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + at + 32 * i)));
  }
  for (const __m256i& sum : sums) g_sink = static_cast<std::uint64_t>(_mm256_extract_epi64(sum, 0));
}

/// Multiply-adds of n rounds.
std::uint64_t multiply_avx2(std::uint64_t n) {
  __m256i sums[8] = {};
  __m256i a = _mm256_set1_epi8(5);
  const __m256i w = _mm256_set1_epi8(3);
  const __m256i ones = _mm256_set1_epi16(1);
  for (std::uint64_t round = 0; round < n; ++round) {
    DW_UNROLL for (__m256i& sum : sums) {
      asm("" : "+x"(a));  // another value, for all that the compiler knows
      sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(w, a), ones));
    }
  }
  for (const __m256i& sum : sums) g_sink = static_cast<std::uint64_t>(_mm256_extract_epi64(sum, 0));
  return n * 8 * 32;
}
DW_TARGET_END

DW_TARGET_BEGIN("avx512f,avx512bw,avx512vnni")
std::uint64_t multiply_avx512(std::uint64_t n) {
  __m512i sums[16];
  for (__m512i& sum : sums) sum = _mm512_set1_epi8(1);
  const __m512i w = _mm512_set1_epi8(3);
  const __m512i a = _mm512_set1_epi8(5);
  for (std::uint64_t round = 0; round < n; ++round) {
    DW_UNROLL for (__m512i& sum : sums) sum = _mm512_dpbusd_epi32(sum, w, a);
  }
  std::uint64_t words[8];
  for (const __m512i& sum : sums) {
    _mm512_storeu_si512(words, sum);
    g_sink = words[0];
  }
  return n * 16 * 64;
}
DW_TARGET_END

DW_TARGET_BEGIN("amx-tile,amx-int8")
std::uint64_t multiply_amx(std::uint64_t n) {
  struct alignas(64) {
    std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
    std::uint16_t n_column_bytes[16] = {};
    std::uint8_t n_rows[16] = {};
  } config;
  for (int t = 0; t < 8; ++t) {
    config.n_column_bytes[t] = 64;
    config.n_rows[t] = 16;
  }
  asm volatile("" : : "r"(&config) : "memory");  // g++ 12 says that LDTILECFG reads eight bytes
  _tile_loadconfig(&config);
  _tile_zero(4);
  _tile_zero(6);
  for (std::uint64_t round = 0; round < n; ++round) {
    _tile_dpbssd(0, 4, 6);
    _tile_dpbssd(1, 4, 6);
    _tile_dpbssd(2, 4, 6);
    _tile_dpbssd(3, 4, 6);
  }
  _tile_release();
  return n * 4 * 16 * 16 * 64;
}
DW_TARGET_END

/// Multiply-adds of int8 a second at most.
double multiply_peak(Isa isa) {
  constexpr std::uint64_t kRounds = 1'000'000;
  std::uint64_t n = 0;
  const double best = best_of([&] {
    n = isa == Isa::kAmx      ? multiply_amx(kRounds / 4)
        : isa == Isa::kAvx512 ? multiply_avx512(kRounds)
                              : multiply_avx2(kRounds);
  });
  return static_cast<double>(n) / best;
}
#else
void read_all(const std::byte* p, std::size_t n_bytes) {
  std::uint64_t sum = 0, word;
  for (std::size_t at = 0; at + 8 <= n_bytes; at += 8) {
    std::memcpy(&word, p + at, 8);
    sum ^= word;
  }
  g_sink = sum;
}
double multiply_peak(Isa) { return 0.0; }
#endif

struct Buffers {
  CpuMemory weights;
  std::vector<float> x;
  testing::Q8Operand q8;
  std::vector<float> out;
};

/// Row groups `first` .. `first` + n times the first n_tokens tokens.
void multiply(const KernelTable& table, QuantType type, Buffers& b, std::size_t n_groups,
              std::uint32_t n_tokens) {
  const std::size_t group_bytes = packed_group_bytes(type, kInputs);
  const GemmQ8 gemm = table.gemm_q8(type);
  for (std::size_t g = 0; g < n_groups; ++g) {
    const std::byte* group = b.weights.data() + g * group_bytes;
    float* out = b.out.data() + g % kGroups * 16;
    if (gemm != nullptr) {
      gemm(b.q8.product(group, n_tokens, out, kGroups * 16));
    } else {
      table.gemm_f32(type)({.group = group,
                            .act = b.x.data(),
                            .act_stride = kInputs,
                            .n_tokens = n_tokens,
                            .n_in = kInputs,
                            .out = out,
                            .out_stride = kGroups * 16});
    }
  }
}

void measure(const KernelTable& table, QuantType type, Buffers& b, double peak) {
  const std::size_t group_bytes = packed_group_bytes(type, kInputs);
  const std::size_t n_groups = kMemoryBytes / group_bytes;
  double read = 1e9, vector = 1e9;
  for (int i = 0; i < kRepetitions; ++i) {  // in turn: whatever disturbs, disturbs both
    read = std::min(read, seconds_of([&] { read_all(b.weights.data(), n_groups * group_bytes); }));
    vector = std::min(vector, seconds_of([&] { multiply(table, type, b, n_groups, 1); }));
  }
  const double matrix = best_of([&] { multiply(table, type, b, kGroups, kTokens); });
  const double n_bytes = static_cast<double>(n_groups * group_bytes);
  const double rate = double{kTokens} * kInputs * kGroups * 16 / matrix;
  std::printf("%-7s %-7s %6.2f GB/s %4.0f %%   %7.1f G multiply-adds/s",
              std::string(quant_type_name(type)).c_str(), std::string(isa_name(table.isa)).c_str(),
              n_bytes / vector / 1e9, 100.0 * read / vector, rate / 1e9);
  if (table.gemm_q8(type) != nullptr) std::printf(" %4.0f %%", 100.0 * rate / peak);
  std::printf("\n");
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  auto weights = CpuMemory::allocate(kMemoryBytes + (std::size_t{1} << 16));
  if (!weights) {
    std::fprintf(stderr, "no memory for %zu bytes of weights\n", kMemoryBytes);
    return 1;
  }
  std::mt19937 random(1);
  std::byte page[4096];
  for (std::size_t at = 0; at + sizeof page <= kMemoryBytes; at += sizeof page) {
    if (at % (256 * sizeof page) == 0) {
      for (std::byte& byte : page)
        byte = std::byte(0x30U | (random() & 15U));  // no denormal as any type
    }
    std::memcpy(weights->data() + at, page, sizeof page);
  }
  std::normal_distribution<float> normal;
  std::vector<float> x(std::size_t{kTokens} * kInputs);
  for (float& value : x) value = normal(random);
  testing::Q8Operand q8(kernel_table(Isa::kScalar), x.data(), kTokens, kInputs);
  Buffers b{.weights = std::move(*weights),
            .x = std::move(x),
            .q8 = std::move(q8),
            .out = std::vector<float>(std::size_t{kTokens} * kGroups * 16)};

  std::printf("one token reads %zu MiB of weights; %u tokens, %u inputs, %u outputs from cache\n",
              kMemoryBytes >> 20, kTokens, kInputs, kGroups * 16);
  std::printf("reads at most %.2f GB/s\n", static_cast<double>(kMemoryBytes) / best_of([&] {
                                             read_all(b.weights.data(), kMemoryBytes);
                                           }) / 1e9);
  for (const Isa isa : supported_isas()) {
    if (isa == Isa::kScalar) continue;
    const double peak = multiply_peak(isa);
    std::printf("%s multiplies at most %.1f G multiply-adds/s of int8\n",
                std::string(isa_name(isa)).c_str(), peak / 1e9);
    for (const QuantType type : kQuantTypes) {
      const auto is_named = [&](const char* name) { return quant_type_name(type) == name; };
      if (argc > 1 && std::none_of(argv + 1, argv + argc, is_named)) continue;
      measure(kernel_table(isa), type, b, peak);
    }
  }
  return 0;
}
