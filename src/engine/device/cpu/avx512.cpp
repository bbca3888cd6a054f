// The AVX-512 VNNI kernels.
#include "engine/device/cpu/kernel_includes.hpp"

#if defined(__x86_64__)
#include <immintrin.h>

DW_TARGET_BEGIN("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")

namespace deepwell::engine::avx512 {

#include "engine/device/cpu/avx512_vector.inl"

struct V : Avx512 {
  static constexpr Isa kIsa = Isa::kAvx512;
  static constexpr bool kHasTiles = false;
};

#include "engine/device/cpu/generic/panel.inl"

#include "engine/device/cpu/generic/panel_vector.inl"

#include "engine/device/cpu/generic/all.inl"

}  // namespace deepwell::engine::avx512

DW_TARGET_END
#endif
