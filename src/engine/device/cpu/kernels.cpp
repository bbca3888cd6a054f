// Choosing kernels by instruction set and type.
#include "engine/device/cpu/kernels.hpp"

namespace deepwell::engine {

std::size_t attention_scratch_floats(std::uint32_t n_queries, std::uint32_t d_head) {
  constexpr std::size_t kMostQueries = 32;  // of a tile, on any instruction set
  const std::size_t n_padded = (n_queries + kMostQueries - 1) / kMostQueries * kMostQueries;
  return n_padded * d_head + kMostQueries * (kKeyBlockTok + d_head);
}

GemmQ8 KernelTable::gemm_q8(QuantType type) const {
  switch (type) {
    case QuantType::Q8_0:
      return q8_0;
    case QuantType::Q4_1:
      return q4_1;
    case QuantType::Q5_0:
      return q5_0;
    case QuantType::Q4_K:
      return q4_k;
    case QuantType::Q6_K:
      return q6_k;
    default:
      return nullptr;
  }
}

GemmF32 KernelTable::gemm_f32(QuantType type) const {
  switch (type) {
    case QuantType::F32:
      return f32;
    case QuantType::F16:
      return f16;
    case QuantType::BF16:
      return bf16;
    default:
      return nullptr;
  }
}

const KernelTable& kernel_table(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx2) return avx2::kKernels;
  if (isa == Isa::kAvx512) return avx512::kKernels;
#endif
  static_cast<void>(isa);
  return scalar::kKernels;
}

}  // namespace deepwell::engine
