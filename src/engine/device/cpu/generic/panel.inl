// A panel: one row group whose codes and scales were unpacked once, for many tokens to pass by.
// Included inside each ISA's namespace and target region; no include guard on purpose.

#include "engine/device/cpu/generic/types.inl"

#include "engine/device/cpu/generic/spans.inl"

/// Lies in the caller's scratch: codes [n_spans][8][64], scales [n_spans][kScalesPerSpan][16] f32, then as many
/// minima. Codes as they are, or for matrix tiles as the int8 that they mean.
struct Panel {
  std::uint8_t* codes;
  float* scales;
  float* minima;
  std::size_t n_spans;
};

template <class Type, bool kForTiles, class Vectors = V>
Panel unpack_panel(const std::byte* group, std::uint32_t n_in, std::byte* scratch) {
  using Block = typename Type::Block;
  const auto* blocks = reinterpret_cast<const Block*>(group);
  constexpr std::size_t kSpans = Block::kInputs / kQ8BlockLen;
  Panel panel{.n_spans = n_in / kQ8BlockLen};
  panel.codes = reinterpret_cast<std::uint8_t*>(scratch);
  panel.scales = reinterpret_cast<float*>(scratch + panel.n_spans * 512);
  panel.minima = panel.scales + panel.n_spans * 16 * Type::kScalesPerSpan;
  for (std::size_t s = 0; s < panel.n_spans; ++s) {
    const Span<Type> w = load_span<Type>(blocks[s / kSpans], s % kSpans);
    DW_UNROLL for (int g = 0; g < 8; ++g) {
      V::B codes = w.codes[g];
      if constexpr (kForTiles) codes = Vectors::template as_int8<Type>(codes);
      V::store_bytes(panel.codes + s * 512 + static_cast<std::size_t>(g) * 64, codes);
    }
    DW_UNROLL for (std::size_t i = 0; i < Type::kScalesPerSpan; ++i) {
      const std::size_t at = (s * Type::kScalesPerSpan + i) * 16;
      V::store(panel.scales + at, w.scale[i]);
      if constexpr (Type::kHasMin) V::store(panel.minima + at, w.min[i]);
    }
  }
  return panel;
}

/// The row group behind the one that tokens multiply, fetched from memory meanwhile: a little with each step of that.
class NextGroup {
 public:
  NextGroup(const std::byte* group, std::size_t n_bytes, std::size_t n_steps)
      : at_(group + n_bytes), end_(at_ + n_bytes), share_(n_bytes / (n_steps + 1) + 1) {}

  void fetch_some() {
    const std::byte* until = std::min(end_, at_ + share_);
    for (; at_ < until; at_ += 64) __builtin_prefetch(at_, 0, 2);
  }

 private:
  const std::byte* at_;
  const std::byte* end_;
  std::size_t share_;
};

template <class Type>
NextGroup next_group(const ProductQ8& p, std::size_t n_steps) {
  using Block = typename Type::Block;
  return {p.group, p.n_in / Block::kInputs * sizeof(Block), n_steps};
}

template <class Type>
inline Span<Type> load_span(const Panel& panel, std::size_t s) {
  Span<Type> w;
  DW_UNROLL for (int g = 0; g < 8; ++g) w.codes[g] =
      V::load_bytes(panel.codes + s * 512 + static_cast<std::size_t>(g) * 64);
  DW_UNROLL for (std::size_t i = 0; i < Type::kScalesPerSpan; ++i) {
    const std::size_t at = (s * Type::kScalesPerSpan + i) * 16;
    w.scale[i] = V::load(panel.scales + at);
    if constexpr (Type::kHasMin) w.min[i] = V::load(panel.minima + at);
  }
  return w;
}

/// The panel times 16 tokens at once, where an ISA has matrix tiles (V::kHasTiles). Returns how many tokens, from the
/// first on, it has done.
template <class Type>
std::uint32_t multiply_panel_tiles(const Panel& panel, const ProductQ8& p);
