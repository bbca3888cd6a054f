// A span: 32 inputs of 16 output rows, and its product with a token.
// Included inside each ISA's namespace and target region; no include guard on purpose.
//
// Numerics (DESIGN rule 3): a lane is an output row; over each weight scale's span the dot product is an exact
// int32; then, in the order of K: s = d_w·sc; acc = fma(s·d_a, dot, acc) and, for types with a minimum,
// acc = fma(-(dmin·m), d_a·sum, acc). The order never depends on the tile.

/// 32 inputs of 16 rows, ready to multiply.
template <class Type>
struct Span {
  V::B codes[8];
  V::F scale[Type::kScalesPerSpan];
  V::F min[Type::kScalesPerSpan];  // if Type::kHasMin
};

template <class Type>
inline Span<Type> load_span(const typename Type::Block& block, std::size_t span) {
  Span<Type> w;
  Type::codes(block, span, w.codes);
  DW_UNROLL for (std::size_t i = 0; i < Type::kScalesPerSpan; ++i) {
    const std::size_t at = span * Type::kScalesPerSpan + i;
    w.scale[i] = Type::scale(block, at);
    if constexpr (Type::kHasMin) w.min[i] = Type::min(block, at);
  }
  return w;
}

inline void store_row(V::F value, float* row, const Epilogue& epilogue) {
  if (epilogue.bias != nullptr) value = V::add(value, V::load(epilogue.bias));
  if (epilogue.is_added) value = V::add(V::load(row), value);
  V::store(row, value);
}

template <int NT>
inline void store_tile(const V::F (&acc)[NT], float* out, std::size_t out_stride,
                       const Epilogue& epilogue) {
  for (int t = 0; t < NT; ++t)
    store_row(acc[t], out + static_cast<std::size_t>(t) * out_stride, epilogue);
}

/// Sum over `kGroups` groups of four inputs from group `kFirst` on of value · a.q, exact.
template <class Type, int kFirst, int kGroups>
inline V::I dot(const Span<Type>& w, const Q8Block& a, std::int32_t sum) {
  const std::int8_t* q = a.q + 4 * kFirst;
  if constexpr (Type::kOffset == 128) {
    V::I even = V::begin_signed(sum);
    V::I odd = V::set_int(0);
    DW_UNROLL for (int g = 0; g < kGroups; g += 2) {
      even = V::dot_signed(even, V::as_signed(w.codes[kFirst + g]), q + 4 * g);
      odd = V::dot_signed(odd, V::as_signed(w.codes[kFirst + g + 1]), q + 4 * g + 4);
    }
    return V::add_int(even, odd);
  } else {
    V::I even = V::set_int(-Type::kOffset * sum);
    V::I odd = V::set_int(0);
    DW_UNROLL for (int g = 0; g < kGroups; g += 2) {
      even = V::dot_unsigned(even, w.codes[kFirst + g], q + 4 * g);
      odd = V::dot_unsigned(odd, w.codes[kFirst + g + 1], q + 4 * g + 4);
    }
    return V::add_int(even, odd);
  }
}

/// acc + span · a
template <class Type>
inline V::F add_span(V::F acc, const Span<Type>& w, const Q8Block& a) {
  const V::F d_a = V::set(a.d);
  if constexpr (Type::kScalesPerSpan == 1) {
    const V::I all = dot<Type, 0, 8>(w, a, a.sum16[0] + a.sum16[1]);
    acc = V::fma(V::mul(w.scale[0], d_a), V::to_float(all), acc);
    if constexpr (Type::kHasMin) acc = V::fma(w.min[0], V::set(a.d_sum), acc);
  } else {
    const V::I first = dot<Type, 0, 4>(w, a, a.sum16[0]);
    const V::I second = dot<Type, 4, 4>(w, a, a.sum16[1]);
    acc = V::fma(V::mul(w.scale[0], d_a), V::to_float(first), acc);
    if constexpr (Type::kHasMin)
      acc = V::fma(w.min[0], V::set(a.d * static_cast<float>(a.sum16[0])), acc);
    acc = V::fma(V::mul(w.scale[1], d_a), V::to_float(second), acc);
    if constexpr (Type::kHasMin)
      acc = V::fma(w.min[1], V::set(a.d * static_cast<float>(a.sum16[1])), acc);
  }
  return acc;
}
