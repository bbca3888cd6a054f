// Choosing kernels by instruction set and type.
#include "engine/device/cpu/kernels.hpp"

namespace deepwell::engine {

std::size_t attention_scratch_floats(std::uint32_t n_queries, std::uint32_t d_head) {
  constexpr std::size_t kMostQueries = 32;  // of a tile, on any instruction set
  const std::size_t n_padded = (n_queries + kMostQueries - 1) / kMostQueries * kMostQueries;
  return n_padded * d_head + kMostQueries * (kKeyBlockTok + d_head);
}

const KernelTable& kernel_table(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::kAvx2) return avx2::kKernels;
  if (isa == Isa::kAvxVnni) return avxvnni::kKernels;
  if (isa == Isa::kAvx512) return avx512::kKernels;
  if (isa == Isa::kAmx) return amx::kKernels;
#endif
  static_cast<void>(isa);
  return scalar::kKernels;
}

}  // namespace deepwell::engine
