// Q8Operand: activations in every form in which the kernels of quantised weights read them, for tests and benches.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/device/cpu/kernels.hpp"

namespace deepwell::engine::testing {

class Q8Operand {
 public:
  /// `x` is [n_tokens, n_in], n_in a multiple of 32. The table quantises it.
  Q8Operand(const KernelTable& table, const float* x, std::uint32_t n_tokens, std::uint32_t n_in)
      : n_tokens_(n_tokens),
        n_in_(n_in),
        n_spans_(n_in / kQ8BlockLen),
        blocks_(std::size_t{n_tokens} * n_spans_),
        tiles_((n_tokens + Q8Tile::kTokens - 1) / Q8Tile::kTokens * n_spans_),
        scratch_(panel_bytes(n_in) / sizeof(Line)) {
    for (std::uint32_t t = 0; t < n_tokens; ++t) {
      Q8Block* blocks = &blocks_[std::size_t{t} * n_spans_];
      table.quantise(x + std::size_t{t} * n_in, n_in, blocks);
      for (std::size_t s = 0; s < n_spans_; ++s)
        tiles_[t / Q8Tile::kTokens * n_spans_ + s].put(t % Q8Tile::kTokens, blocks[s]);
    }
  }

  /// A row group times the first n_tokens tokens, as the device asks for it.
  ProductQ8 product(const std::byte* group, std::uint32_t n_tokens, float* out,
                    std::size_t out_stride) {
    return {.group = group,
            .act = blocks_.data(),
            .act_stride = n_spans_,
            .n_tokens = n_tokens,
            .n_in = n_in_,
            .out = out,
            .out_stride = out_stride,
            .scratch = scratch_.data()->bytes,
            .tiles = tiles_.data()};
  }
  ProductQ8 product(const std::byte* group, float* out, std::size_t out_stride) {
    return product(group, n_tokens_, out, out_stride);
  }

 private:
  struct alignas(64) Line {
    std::byte bytes[64];
  };
  std::uint32_t n_tokens_, n_in_;
  std::size_t n_spans_;
  std::vector<Q8Block> blocks_;  // [n_tokens, n_spans]
  std::vector<Q8Tile> tiles_;    // [ceil(n_tokens/16), n_spans]
  std::vector<Line> scratch_;
};

}  // namespace deepwell::engine::testing
