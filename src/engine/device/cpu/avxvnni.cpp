// The AVX-VNNI kernels, for processors without AVX-512: AVX2's, with products of bytes in one instruction.
#include "engine/device/cpu/kernel_includes.hpp"

#if defined(__x86_64__)
#include <immintrin.h>

DW_TARGET_BEGIN("avxvnni,avx2,fma,f16c")

namespace deepwell::engine::avxvnni {

#include "engine/device/cpu/avx2_vector.inl"

struct V : Avx2 {
  static constexpr Isa kIsa = Isa::kAvxVnni;

  static I dot_unsigned(I acc, B w, const std::int8_t* a4) {
    const __m256i a = broadcast4(a4);
    return {_mm256_dpbusd_avx_epi32(acc.lo, w.lo, a), _mm256_dpbusd_avx_epi32(acc.hi, w.hi, a)};
  }
  // vpdpbusd wants unsigned weights: value + 128, as stored; the surplus 128·sum is taken off at the start.
  static B as_signed(B stored) { return stored; }
  static I begin_signed(std::int32_t sum) { return set_int(-128 * sum); }
  static I dot_signed(I acc, B w, const std::int8_t* a4) { return dot_unsigned(acc, w, a4); }
};

#include "engine/device/cpu/generic/panel.inl"

#include "engine/device/cpu/generic/panel_vector.inl"

#include "engine/device/cpu/generic/all.inl"

}  // namespace deepwell::engine::avxvnni

DW_TARGET_END
#endif
