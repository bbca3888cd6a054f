// The kernel table of an instruction set. Included last inside each ISA's namespace and target region.

inline GemmQ8 find_gemm_q8(QuantType type) {
  switch (type) {
    case QuantType::Q4_0:
      return gemm_q8<TypeQ4_0>;
    case QuantType::Q4_1:
      return gemm_q8<TypeQ4_1>;
    case QuantType::Q5_0:
      return gemm_q8<TypeQ5_0>;
    case QuantType::Q5_1:
      return gemm_q8<TypeQ5_1>;
    case QuantType::Q8_0:
      return gemm_q8<TypeQ8_0>;
    case QuantType::Q2_K:
      return gemm_q8<TypeQ2_K>;
    case QuantType::Q3_K:
      return gemm_q8<TypeQ3_K>;
    case QuantType::Q4_K:
      return gemm_q8<TypeQ4_K>;
    case QuantType::Q5_K:
      return gemm_q8<TypeQ5_K>;
    case QuantType::Q6_K:
      return gemm_q8<TypeQ6_K>;
    case QuantType::IQ4_NL:
      return gemm_q8<TypeIQ4_NL>;
    case QuantType::IQ4_XS:
      return gemm_q8<TypeIQ4_XS>;
    default:
      return nullptr;
  }
}

inline GemmF32 find_gemm_f32(QuantType type) {
  switch (type) {
    case QuantType::F32:
      return gemm_f32<float>;
    case QuantType::F16:
      return gemm_f32<Half>;
    case QuantType::BF16:
      return gemm_f32<Brain>;
    default:
      return nullptr;
  }
}

const KernelTable kKernels = {
    .isa = V::kIsa,
    .has_tiles = V::kHasTiles,
    .gemm_q8 = find_gemm_q8,
    .gemm_f32 = find_gemm_f32,
    .quantise = quantise,
    .rms_norm = rms_norm,
    .swiglu = swiglu,
    .rope = rope,
    .store_kv = {store_kv<Half>, store_kv<float>, store_kv_q8},
    .attention = {attention<Half>, attention<float>, attention<std::int8_t>},
    .attention_part = {attention_part<Half>, attention_part<float>, attention_part<std::int8_t>},
    .merge_parts = merge_parts,
};
