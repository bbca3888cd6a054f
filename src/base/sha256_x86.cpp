// SHA-256 with the x86 SHA extensions (Intel SDM volume 2: SHA256RNDS2, SHA256MSG1, SHA256MSG2).
#include "base/sha256.hpp"

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>

namespace deepwell::detail {

namespace {

// GCC and clang both take the attribute per function, so no other function of this file is compiled
// for SHA.
#define DW_SHA_TARGET __attribute__((target("sha,sse4.1")))

/// Four rounds: `words` are four schedule words; `abef` and `cdgh` hold the state as the
/// instruction wants it.
DW_SHA_TARGET inline void four_rounds(__m128i& abef, __m128i& cdgh, __m128i words, std::size_t t) {
  const __m128i k = _mm_loadu_si128(reinterpret_cast<const __m128i*>(kSha256Constants.data() + t));
  const __m128i sum = _mm_add_epi32(words, k);
  cdgh = _mm_sha256rnds2_epu32(cdgh, abef, sum);
  abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(sum, 0x0E));
}

/// The next four schedule words from the last sixteen, oldest first.
DW_SHA_TARGET inline __m128i next_words(__m128i w0, __m128i w4, __m128i w8, __m128i w12) {
  const __m128i partial = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w4), _mm_alignr_epi8(w12, w8, 4));
  return _mm_sha256msg2_epu32(partial, w12);
}

DW_SHA_TARGET void compress_sha(std::array<std::uint32_t, 8>& state, const std::byte* blocks,
                                std::size_t n_blocks) {
  const __m128i swap_bytes = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  // The state is kept as (a, b, e, f) and (c, d, g, h), highest lane first.
  __m128i abef = _mm_set_epi32(static_cast<int>(state[0]), static_cast<int>(state[1]),
                               static_cast<int>(state[4]), static_cast<int>(state[5]));
  __m128i cdgh = _mm_set_epi32(static_cast<int>(state[2]), static_cast<int>(state[3]),
                               static_cast<int>(state[6]), static_cast<int>(state[7]));
  for (; n_blocks > 0; --n_blocks, blocks += 64) {
    const __m128i abef_before = abef;
    const __m128i cdgh_before = cdgh;
    __m128i w[4];
    for (std::size_t i = 0; i < 4; ++i) {
      const __m128i raw = _mm_loadu_si128(reinterpret_cast<const __m128i*>(blocks + 16 * i));
      w[i] = _mm_shuffle_epi8(raw, swap_bytes);
      four_rounds(abef, cdgh, w[i], 4 * i);
    }
    for (std::size_t t = 16; t < 64; t += 16) {
      w[0] = next_words(w[0], w[1], w[2], w[3]);
      four_rounds(abef, cdgh, w[0], t);
      w[1] = next_words(w[1], w[2], w[3], w[0]);
      four_rounds(abef, cdgh, w[1], t + 4);
      w[2] = next_words(w[2], w[3], w[0], w[1]);
      four_rounds(abef, cdgh, w[2], t + 8);
      w[3] = next_words(w[3], w[0], w[1], w[2]);
      four_rounds(abef, cdgh, w[3], t + 12);
    }
    abef = _mm_add_epi32(abef, abef_before);
    cdgh = _mm_add_epi32(cdgh, cdgh_before);
  }
  alignas(16) std::uint32_t lanes[8];
  _mm_store_si128(reinterpret_cast<__m128i*>(lanes), abef);
  _mm_store_si128(reinterpret_cast<__m128i*>(lanes + 4), cdgh);
  state = {lanes[3], lanes[2], lanes[7], lanes[6], lanes[1], lanes[0], lanes[5], lanes[4]};
}

#undef DW_SHA_TARGET

}  // namespace

Sha256Compress sha256_compress_accelerated() {
  // CPUID leaf 7 EBX bit 29: SHA; leaf 1 ECX bit 19: SSE4.1. SSE state needs no check of the
  // operating system.
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (b & (1U << 29U)) == 0) return nullptr;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & (1U << 19U)) == 0) return nullptr;
  return &compress_sha;
}

}  // namespace deepwell::detail

#else

namespace deepwell::detail {
Sha256Compress sha256_compress_accelerated() { return nullptr; }
}  // namespace deepwell::detail

#endif
