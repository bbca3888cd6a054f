// Attention kernels alone: multiply-adds a second of prefill, bytes a second of decode, for each instruction set.
//
//   ninja -C build attention_bench && build/src/engine/device/attention_bench
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "engine/device/cpu/cpu_memory.hpp"
#include "engine/device/cpu/kernels.hpp"
#include "engine/device/device.hpp"

using namespace deepwell;
using namespace deepwell::engine;

namespace {

struct Case {
  std::uint32_t n_rows, n_heads, d_head, n_keys;  // heads that share a key/value head
  std::uint32_t n_layers;  // rotated through, so that caches are as in a step
};

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Best and median seconds of one pass over all layers.
void measure(const KernelTable& table, KvType type, const Case& c) {
  const std::size_t block_bytes = kv_block_bytes({1, 1, c.d_head, type});
  const std::uint32_t n_blocks = (c.n_keys + kKvBlockTok - 1) / kKvBlockTok;
  CpuMemory arena = std::move(CpuMemory::allocate(block_bytes * n_blocks * c.n_layers)).value();
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> row(c.d_head);
  for (std::size_t i = 0; i < std::size_t{n_blocks} * c.n_layers; ++i) {
    for (std::uint32_t lane = 0; lane < kKvBlockTok; ++lane) {
      for (float& x : row) x = 0.1F * static_cast<float>((i + lane) % 7);
      table.store_kv[static_cast<std::size_t>(type)](row.data(), row.data(), c.d_head, lane,
                                                     arena.data() + i * block_bytes);
    }
  }
  const std::uint32_t n_queries = c.n_rows * c.n_heads;
  std::vector<float> q(std::size_t{n_queries} * c.d_head), out(q.size());
  for (float& x : q) x = normal(random);
  std::vector<const float*> queries;
  std::vector<float*> outputs;
  std::vector<std::uint32_t> n_valid;
  for (std::uint32_t i = 0; i < n_queries; ++i) {
    queries.push_back(q.data() + std::size_t{i} * c.d_head);
    outputs.push_back(out.data() + std::size_t{i} * c.d_head);
    n_valid.push_back(c.n_keys - (n_queries - 1 - i) / c.n_heads);
  }
  std::vector<float> scratch(attention_scratch_floats(n_queries, c.d_head));
  std::vector<const std::byte*> blocks(n_blocks);
  std::vector<double> times;
  for (int repetition = 0; repetition < 9; ++repetition) {
    const double start = seconds();
    for (std::uint32_t l = 0; l < c.n_layers; ++l) {
      for (std::uint32_t b = 0; b < n_blocks; ++b)
        blocks[b] = arena.data() + (std::size_t{b} * c.n_layers + l) * block_bytes;
      table.attention[static_cast<std::size_t>(type)]({.queries = queries.data(),
                                                       .outputs = outputs.data(),
                                                       .n_valid_keys = n_valid.data(),
                                                       .n_queries = n_queries,
                                                       .d_head = c.d_head,
                                                       .scale = 0.125F,
                                                       .kv_blocks = blocks.data(),
                                                       .scratch = scratch.data()});
    }
    if (repetition > 0) times.push_back(seconds() - start);
  }
  std::sort(times.begin(), times.end());
  const double n_fma = 2.0 * n_queries * c.n_keys * c.d_head * c.n_layers;
  const double n_bytes = static_cast<double>(block_bytes * n_blocks * c.n_layers);
  const double median = times[times.size() / 2];
  std::printf(
      "%-7s rows %3u heads %u d %3u keys %5u layers %2u: %6.1f G multiply-adds/s (best %6.1f), "
      "%5.1f GB/s\n",
      std::string(isa_name(table.isa)).c_str(), c.n_rows, c.n_heads, c.d_head, c.n_keys, c.n_layers,
      n_fma / median / 1e9, n_fma / times[0] / 1e9, n_bytes / median / 1e9);
}

}  // namespace

int main() {
  for (const Isa isa : supported_isas()) {
    if (isa == Isa::kScalar) continue;
    for (const Case& c :
         {Case{16, 7, 64, 4096, 1}, Case{32, 3, 64, 4096, 1}, Case{16, 7, 64, 512, 1},
          Case{16, 6, 128, 2048, 1}, Case{1, 7, 64, 4096, 48}, Case{1, 3, 64, 4096, 90},
          Case{1, 6, 128, 4096, 28}, Case{1, 1, 64, 4096, 90}, Case{1, 3, 64, 4096, 1}})
      measure(kernel_table(isa), KvType::kF16, c);
  }
  return 0;
}
