// What the AVX2 and the AVX-VNNI kernels share: sixteen lanes are two registers.
// Included inside each ISA's namespace and target region; no include guard on purpose.

struct Avx2 {
  static constexpr int kTokenTile = 4;
  static constexpr int kQueryTile = 6;

  struct F {
    __m256 lo, hi;
  };
  struct I {
    __m256i lo, hi;
  };
  struct B {
    __m256i lo, hi;  // rows 0-7, rows 8-15
  };

  static F load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static void store(float* p, F a) {
    _mm256_storeu_ps(p, a.lo);
    _mm256_storeu_ps(p + 8, a.hi);
  }
  static F set(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  static F add(F a, F b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
  static F sub(F a, F b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
  static F mul(F a, F b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
  static F div(F a, F b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
  static F fma(F a, F b, F c) {
    return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
  }
  static F fma_negated(F a, F b, F c) {
    return {_mm256_fnmadd_ps(a.lo, b.lo, c.lo), _mm256_fnmadd_ps(a.hi, b.hi, c.hi)};
  }
  static float fma1(float a, float b, float c) {
    return _mm_cvtss_f32(_mm_fmadd_ss(_mm_set_ss(a), _mm_set_ss(b), _mm_set_ss(c)));
  }
  static F min(F a, F b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
  static F max(F a, F b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
  static F abs(F a) {
    const __m256 sign = _mm256_set1_ps(-0.0F);
    return {_mm256_andnot_ps(sign, a.lo), _mm256_andnot_ps(sign, a.hi)};
  }
  static F negate(F a) {
    const __m256 sign = _mm256_set1_ps(-0.0F);
    return {_mm256_xor_ps(sign, a.lo), _mm256_xor_ps(sign, a.hi)};
  }
  static __m256 power_of_two(__m256 shifted) {
    const __m256i exponent = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(exponent, _mm256_set1_epi32(0x3F800000)));
  }
  static F power_of_two(F shifted) { return {power_of_two(shifted.lo), power_of_two(shifted.hi)}; }
  static F zero_where_less(F x, F limit, F a) {
    return {_mm256_andnot_ps(_mm256_cmp_ps(x.lo, limit.lo, _CMP_LT_OQ), a.lo),
            _mm256_andnot_ps(_mm256_cmp_ps(x.hi, limit.hi, _CMP_LT_OQ), a.hi)};
  }

  static float sum_lanes(F a) {
    const __m256 eight = _mm256_add_ps(a.lo, a.hi);
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  static float max_lanes(F a) {
    const __m256 eight = _mm256_max_ps(a.lo, a.hi);
    const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
  }
  static bool all_at_most(F a, float limit) {
    const __m256 most = _mm256_set1_ps(limit);
    return _mm256_movemask_ps(_mm256_and_ps(_mm256_cmp_ps(a.lo, most, _CMP_LE_OQ),
                                            _mm256_cmp_ps(a.hi, most, _CMP_LE_OQ))) == 0xFF;
  }
  template <int kFrom>  // 0x88: even, 0xDD: odd
  static __m256 every_second(__m256 a, __m256 b) {
    const __m256d quarters = _mm256_castps_pd(_mm256_shuffle_ps(a, b, kFrom));
    return _mm256_castpd_ps(_mm256_permute4x64_pd(quarters, 0xD8));
  }
  static void load_pairs(const float* p, F& first, F& second) {
    const F a = load(p);
    const F b = load(p + 16);
    first = {every_second<0x88>(a.lo, a.hi), every_second<0x88>(b.lo, b.hi)};
    second = {every_second<0xDD>(a.lo, a.hi), every_second<0xDD>(b.lo, b.hi)};
  }

  static F load_f16(const std::uint16_t* p) {
    const auto* q = reinterpret_cast<const __m128i*>(p);
    return {_mm256_cvtph_ps(_mm_loadu_si128(q)), _mm256_cvtph_ps(_mm_loadu_si128(q + 1))};
  }
  static void store_f16(std::uint16_t* p, F a) {
    auto* q = reinterpret_cast<__m128i*>(p);
    _mm_storeu_si128(q, _mm256_cvtps_ph(a.lo, _MM_FROUND_TO_NEAREST_INT));
    _mm_storeu_si128(q + 1, _mm256_cvtps_ph(a.hi, _MM_FROUND_TO_NEAREST_INT));
  }
  static F widen_u8(__m128i x) {
    return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(x)),
            _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(x, 8)))};
  }
  static F load_u8(const std::uint8_t* p) {
    return widen_u8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  template <int kFrom>
  static F load_u4(const std::uint8_t* p) {
    const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return widen_u8(_mm_and_si128(_mm_srli_epi16(x, kFrom), _mm_set1_epi8(15)));
  }
  static F load_i8(const std::int8_t* p) {
    const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(x)),
            _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(x, 8)))};
  }
  static __m256 widen_brain(__m128i x) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
  }
  static void store_rounded(float* p, F a) { store(p, a); }
  static void store_rounded(Half* p, F a) { store_f16(&p->bits, a); }
  static F load_weights(const float* p) { return load(p); }
  static F load_weights(const Half* p) { return load_f16(&p->bits); }
  static F load_weights(const Brain* p) {
    const auto* q = reinterpret_cast<const __m128i*>(p);
    return {widen_brain(_mm_loadu_si128(q)), widen_brain(_mm_loadu_si128(q + 1))};
  }

  static I set_int(std::int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
  static I add_int(I a, I b) {
    return {_mm256_add_epi32(a.lo, b.lo), _mm256_add_epi32(a.hi, b.hi)};
  }
  static F to_float(I a) { return {_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)}; }
  static I to_int(F a) { return {_mm256_cvtps_epi32(a.lo), _mm256_cvtps_epi32(a.hi)}; }
  static void store_int8(std::int8_t* p, I a) {
    const __m128i lo =
        _mm_packs_epi32(_mm256_castsi256_si128(a.lo), _mm256_extracti128_si256(a.lo, 1));
    const __m128i hi =
        _mm_packs_epi32(_mm256_castsi256_si128(a.hi), _mm256_extracti128_si256(a.hi, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(lo, hi));
  }

  static constexpr bool kHasTiles = false;
  static void store_sums(std::int32_t* p, I a, I b) {
    const __m256i pairs =
        _mm256_hadd_epi32(_mm256_add_epi32(a.lo, a.hi), _mm256_add_epi32(b.lo, b.hi));
    const __m256i quads = _mm256_hadd_epi32(pairs, pairs);  // a, b, a, b in each half
    const __m128i sums =
        _mm_add_epi32(_mm256_castsi256_si128(quads), _mm256_extracti128_si256(quads, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), sums);
  }

  static B load_bytes(const std::uint8_t* p) {
    const auto* q = reinterpret_cast<const __m256i*>(p);
    return {_mm256_loadu_si256(q), _mm256_loadu_si256(q + 1)};
  }
  static void store_bytes(std::uint8_t* p, B a) {
    auto* q = reinterpret_cast<__m256i*>(p);
    _mm256_storeu_si256(q, a.lo);
    _mm256_storeu_si256(q + 1, a.hi);
  }
  template <int kFrom, int kMask>
  static B take_bits(B a) {
    const __m256i mask = _mm256_set1_epi8(kMask);
    return {_mm256_and_si256(_mm256_srli_epi16(a.lo, kFrom), mask),
            _mm256_and_si256(_mm256_srli_epi16(a.hi, kFrom), mask)};
  }
  static B look_up(const std::uint8_t (&table)[16], B a) {
    const __m256i lanes =
        _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table)));
    return {_mm256_shuffle_epi8(lanes, a.lo), _mm256_shuffle_epi8(lanes, a.hi)};
  }
  template <int kFrom, int kTo, int kMask>
  static __m256i or_bits(__m256i a, __m256i bits) {
    const __m256i moved = kFrom <= kTo ? _mm256_slli_epi16(bits, kTo > kFrom ? kTo - kFrom : 0)
                                       : _mm256_srli_epi16(bits, kFrom > kTo ? kFrom - kTo : 0);
    return _mm256_or_si256(a, _mm256_and_si256(moved, _mm256_set1_epi8(kMask)));
  }
  template <int kFrom, int kTo, int kMask>
  static B or_bits(B a, B bits) {
    return {or_bits<kFrom, kTo, kMask>(a.lo, bits.lo), or_bits<kFrom, kTo, kMask>(a.hi, bits.hi)};
  }

  static __m256i broadcast4(const std::int8_t* a4) {
    std::int32_t word;
    std::memcpy(&word, a4, sizeof word);
    return _mm256_set1_epi32(word);
  }
};
