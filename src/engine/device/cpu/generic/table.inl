// The kernel table of an instruction set. Included last inside each ISA's namespace and target region.

const KernelTable kKernels = {
    .isa = V::kIsa,
    .q8_0 = gemm_q8<GemmQ8_0>,
    .q4_1 = gemm_q8<GemmQ4_1>,
    .q5_0 = gemm_q8<GemmQ5_0>,
    .q4_k = gemm_q8<GemmQ4_K>,
    .q6_k = gemm_q8<GemmQ6_K>,
    .f32 = gemm_f32<float>,
    .f16 = gemm_f32<Half>,
    .bf16 = gemm_f32<Brain>,
    .quantise = quantise,
    .rms_norm = rms_norm,
    .swiglu = swiglu,
    .rope = rope,
    .store_kv = {store_kv<Half>, store_kv<float>},
    .attention = {attention<Half>, attention<float>},
    .attention_part = {attention_part<Half>, attention_part<float>},
    .merge_parts = merge_parts,
};
