// The AVX2 kernels (with FMA and F16C).
#include "engine/device/cpu/kernel_includes.hpp"

#if defined(__x86_64__)
#include <immintrin.h>

DW_TARGET_BEGIN("avx2,fma,f16c")

namespace deepwell::engine::avx2 {

#include "engine/device/cpu/avx2_vector.inl"

struct V : Avx2 {
  static constexpr Isa kIsa = Isa::kAvx2;

  // Weights are at most 63 (or 128 in dot_signed), activations at most 127: two products fit int16.
  static __m256i dot_unsigned(__m256i acc, __m256i w, __m256i a) {
    const __m256i pairs = _mm256_maddubs_epi16(w, a);
    return _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
  static I dot_unsigned(I acc, B w, const std::int8_t* a4) {
    const __m256i a = broadcast4(a4);
    return {dot_unsigned(acc.lo, w.lo, a), dot_unsigned(acc.hi, w.hi, a)};
  }
  static B as_signed(B stored) {
    const __m256i flip = _mm256_set1_epi8(static_cast<char>(0x80));
    return {_mm256_xor_si256(stored.lo, flip), _mm256_xor_si256(stored.hi, flip)};
  }
  static I begin_signed(std::int32_t) { return set_int(0); }
  static I dot_signed(I acc, B w, const std::int8_t* a4) {
    const __m256i a = broadcast4(a4);
    return {dot_unsigned(acc.lo, _mm256_abs_epi8(w.lo), _mm256_sign_epi8(a, w.lo)),
            dot_unsigned(acc.hi, _mm256_abs_epi8(w.hi), _mm256_sign_epi8(a, w.hi))};
  }
};

#include "engine/device/cpu/generic/panel.inl"

#include "engine/device/cpu/generic/panel_vector.inl"

#include "engine/device/cpu/generic/all.inl"

}  // namespace deepwell::engine::avx2

DW_TARGET_END
#endif
