// The primitives of AVX-512 VNNI: sixteen lanes are one register.
// Included inside the namespace and target region of each ISA that has them; no include guard on purpose.

struct Avx512 {
  static constexpr int kTokenTile = 8;
  static constexpr int kQueryTile = 16;

  using F = __m512;
  using I = __m512i;
  using B = __m512i;

  static F load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, F a) { _mm512_storeu_ps(p, a); }
  static F set(float x) { return _mm512_set1_ps(x); }
  static F add(F a, F b) { return _mm512_add_ps(a, b); }
  static F sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F div(F a, F b) { return _mm512_div_ps(a, b); }
  static F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F fma_negated(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }
  static float fma1(float a, float b, float c) {
    return _mm_cvtss_f32(_mm_fmadd_ss(_mm_set_ss(a), _mm_set_ss(b), _mm_set_ss(c)));
  }
  static F min(F a, F b) { return _mm512_min_ps(a, b); }
  static F negate(F a) { return _mm512_xor_ps(a, _mm512_set1_ps(-0.0F)); }
  static F max(F a, F b) { return _mm512_max_ps(a, b); }
  static F abs(F a) { return _mm512_abs_ps(a); }
  static F power_of_two(F shifted) {
    const __m512i exponent = _mm512_slli_epi32(_mm512_castps_si512(shifted), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(exponent, _mm512_set1_epi32(0x3F800000)));
  }
  static F zero_where_less(F x, F limit, F a) {
    return _mm512_mask_mov_ps(a, _mm512_cmp_ps_mask(x, limit, _CMP_LT_OQ), _mm512_setzero_ps());
  }

  static __m256 high_half(F a) { return _mm512_extractf32x8_ps(a, 1); }
  static float sum_lanes(F a) {
    const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(a), high_half(a));
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  static float max_lanes(F a) {
    const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(a), high_half(a));
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
  }
  static bool all_at_most(F a, float limit) {
    return _mm512_cmp_ps_mask(a, _mm512_set1_ps(limit), _CMP_LE_OQ) == 0xFFFF;
  }
  static void load_pairs(const float* p, F& first, F& second) {
    const __m512i even =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_or_si512(even, _mm512_set1_epi32(1));
    first = _mm512_permutex2var_ps(load(p), even, load(p + 16));
    second = _mm512_permutex2var_ps(load(p), odd, load(p + 16));
  }

  static F load_f16(const std::uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static void store_f16(std::uint16_t* p, F a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT));
  }
  static F load_u8(const std::uint8_t* p) {
    return _mm512_cvtepi32_ps(
        _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  template <int kFrom>
  static F load_u4(const std::uint8_t* p) {
    const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return _mm512_cvtepi32_ps(
        _mm512_cvtepu8_epi32(_mm_and_si128(_mm_srli_epi16(x, kFrom), _mm_set1_epi8(15))));
  }
  static F load_i8(const std::int8_t* p) {
    return _mm512_cvtepi32_ps(
        _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  static void store_rounded(float* p, F a) { store(p, a); }
  static void store_rounded(Half* p, F a) { store_f16(&p->bits, a); }
  static F load_weights(const float* p) { return load(p); }
  static F load_weights(const Half* p) { return load_f16(&p->bits); }
  static F load_weights(const Brain* p) {
    const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16));
  }

  static I set_int(std::int32_t x) { return _mm512_set1_epi32(x); }
  static I add_int(I a, I b) { return _mm512_add_epi32(a, b); }
  static F to_float(I a) { return _mm512_cvtepi32_ps(a); }
  static I to_int(F a) { return _mm512_cvtps_epi32(a); }
  static void store_int8(std::int8_t* p, I a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(a));
  }

  static __m256i fold(I a) {
    return _mm256_add_epi32(_mm512_castsi512_si256(a), _mm512_extracti64x4_epi64(a, 1));
  }
  static void store_sums(std::int32_t* p, I a, I b) {
    const __m256i pairs = _mm256_hadd_epi32(fold(a), fold(b));
    const __m256i quads = _mm256_hadd_epi32(pairs, pairs);  // a, b, a, b in each half
    const __m128i sums =
        _mm_add_epi32(_mm256_castsi256_si128(quads), _mm256_extracti128_si256(quads, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), sums);
  }

  static B load_bytes(const std::uint8_t* p) { return _mm512_loadu_si512(p); }
  static void store_bytes(std::uint8_t* p, B a) { _mm512_storeu_si512(p, a); }
  static B sub_bytes(B a, int b) {
    return _mm512_sub_epi8(a, _mm512_set1_epi8(static_cast<char>(b)));
  }
  template <int kFrom, int kMask>
  static B take_bits(B a) {
    return _mm512_and_si512(_mm512_srli_epi16(a, kFrom), _mm512_set1_epi8(kMask));
  }
  static B look_up(const std::uint8_t (&table)[16], B a) {
    const __m128i lane = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(lane), a);
  }
  template <int kFrom, int kTo, int kMask>
  static B or_bits(B a, B bits) {
    const __m512i moved = kFrom <= kTo ? _mm512_slli_epi16(bits, kTo > kFrom ? kTo - kFrom : 0)
                                       : _mm512_srli_epi16(bits, kFrom > kTo ? kFrom - kTo : 0);
    return _mm512_ternarylogic_epi32(a, moved, _mm512_set1_epi8(kMask),
                                     0xF8);  // a | (moved & mask)
  }

  static I dot_unsigned(I acc, B w, const std::int8_t* a4) {
    std::int32_t word;
    std::memcpy(&word, a4, sizeof word);
    return _mm512_dpbusd_epi32(acc, w, _mm512_set1_epi32(word));
  }
  // vpdpbusd wants unsigned weights: value + 128, as stored; the surplus 128·sum is taken off at the start.
  static B as_signed(B stored) { return stored; }
  static I begin_signed(std::int32_t sum) { return set_int(-128 * sum); }
  static I dot_signed(I acc, B w, const std::int8_t* a4) { return dot_unsigned(acc, w, a4); }
};
