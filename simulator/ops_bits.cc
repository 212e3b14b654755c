// Logic, shifts and other operations on bits.
#include <algorithm>

#include "decode.h"
#include "lanes.h"

namespace simulator {

namespace {

using U16 = uint16_t;
using U32 = uint32_t;
using U64 = uint64_t;

template <class F>
Run by_width(Type type, F f) {
  switch (bytes_of(type)) {
    case 2:
      return f(U16{});
    case 4:
      return f(U32{});
    case 8:
      return f(U64{});
    default:
      return nullptr;
  }
}

enum class Logic { kAnd, kOr, kXor };

template <Logic kLogic, class T>
constexpr auto combine(T x, T y) {
  if constexpr (kLogic == Logic::kAnd)
    return x & y;
  else if constexpr (kLogic == Logic::kOr)
    return x | y;
  else
    return x ^ y;
}

template <Logic kLogic>
void lower_logic(Build& b) {
  const Type type = b.type();
  if (type == Type::kPred) {
    const uint32_t x = b.predicate_source(b.operand(1)), y = b.predicate_source(b.operand(2));
    const uint32_t d = b.predicate_result(b.operand(0));
    Op& op = b.emit(
        [](Warp& w, const Op& op) { set_predicate(w, op.d, combine<kLogic>(predicate(w, op.a), predicate(w, op.b))); },
        kInteger);
    op.d = d, op.a = x, op.b = y;
    return;
  }
  b.simple(by_width(type,
                    [](auto t) -> Run {
                      using T = decltype(t);
                      return binary<T, T, T>([](T x, T y) { return static_cast<T>(combine<kLogic>(x, y)); });
                    }),
           kInteger, type, type);
}

void lower_not(Build& b) {
  const Type type = b.type();
  if (type == Type::kPred) {
    const uint32_t x = b.predicate_source(b.operand(1)), d = b.predicate_result(b.operand(0));
    Op& op = b.emit([](Warp& w, const Op& op) { set_predicate(w, op.d, ~predicate(w, op.a)); }, kInteger);
    op.d = d, op.a = x;
    return;
  }
  b.simple(by_width(type,
                    [](auto t) -> Run {
                      using T = decltype(t);
                      return unary<T, T>([](T x) { return static_cast<T>(~x); });
                    }),
           kInteger, type, type);
}

void lower_cnot(Build& b) {
  const Type type = b.type();
  b.simple(by_width(type,
                    [](auto t) -> Run {
                      using T = decltype(t);
                      return unary<T, T>([](T x) { return static_cast<T>(x == 0); });
                    }),
           kInteger, type, type);
}

// Shift amounts have 32 bits; those above the width act as the width.
void lower_shift(Build& b) {
  const Type type = b.type();
  const bool left = b.in.words[0] == "shl";
  const bool arithmetic = type == Type::kS16 || type == Type::kS32 || type == Type::kS64;
  const Run run = by_width(type, [=](auto t) -> Run {
    using T = decltype(t);
    using S = std::make_signed_t<T>;
    constexpr U32 kBits = 8 * sizeof(T);
    if (left)
      return binary<T, T, U32>(
          [](T x, U32 n) { return static_cast<T>(n >= kBits ? 0 : static_cast<Cell<T>>(x) << n); });
    if (arithmetic)
      return binary<S, S, U32>([](S x, U32 n) { return static_cast<S>(x >> (n >= kBits ? kBits - 1 : n)); });
    return binary<T, T, U32>([](T x, U32 n) { return static_cast<T>(n >= kBits ? 0 : x >> n); });
  });
  if (run == nullptr) b.refuse("the type is not one of this instruction");
  const uint32_t x = b.source(1, type), n = b.source(2, Type::kU32), d = b.result(0, type);
  Op& op = b.emit(run, kInteger);
  op.d = d, op.a = x, op.b = n;
}

constexpr U64 pair(U32 low, U32 high) {
  return static_cast<U64>(high) << 32 | low;
}

// shf.{l,r}.{wrap,clamp}: 32 bits out of the pair (b, a).
void lower_funnel(Build& b) {
  const bool left = b.has("l"), wrap = b.has("wrap");
  if (!left && !b.has("r")) b.refuse("a funnel shift must be .l or .r");
  if (!wrap && !b.has("clamp")) b.refuse("a funnel shift must be .wrap or .clamp");
  Run run;
  if (left && wrap)
    run =
        ternary<U32, U32, U32, U32>([](U32 a, U32 h, U32 n) { return static_cast<U32>(pair(a, h) << (n & 31) >> 32); });
  else if (left)
    run = ternary<U32, U32, U32, U32>(
        [](U32 a, U32 h, U32 n) { return static_cast<U32>(pair(a, h) << std::min(n, 32u) >> 32); });
  else if (wrap)
    run = ternary<U32, U32, U32, U32>([](U32 a, U32 h, U32 n) { return static_cast<U32>(pair(a, h) >> (n & 31)); });
  else
    run = ternary<U32, U32, U32, U32>(
        [](U32 a, U32 h, U32 n) { return static_cast<U32>(pair(a, h) >> std::min(n, 32u)); });
  b.simple(run, kInteger, Type::kB32, Type::kB32);
}

void lop3(Warp& w, const Op& op) {
  const U32 *a = cells<U32>(w, op.a), *b = cells<U32>(w, op.b), *c = cells<U32>(w, op.c);
  U32 table[8];
  for (int k = 0; k < 8; k++) table[k] = (op.small >> k & 1) != 0 ? kAll : 0;
  each<U32>(w, op.d, [=](int i) {
    const U32 x = a[i], y = b[i], z = c[i];
    return (table[0] & ~x & ~y & ~z) | (table[1] & ~x & ~y & z) | (table[2] & ~x & y & ~z) | (table[3] & ~x & y & z) |
           (table[4] & x & ~y & ~z) | (table[5] & x & ~y & z) | (table[6] & x & y & ~z) | (table[7] & x & y & z);
  });
}

void lower_lop3(Build& b) {
  if (b.operand(4).form != Operand::kInteger) b.refuse("the table must be a literal");
  const uint32_t x = b.source(1, Type::kB32), y = b.source(2, Type::kB32), z = b.source(3, Type::kB32);
  const uint32_t d = b.result(0, Type::kB32);
  Op& op = b.emit(lop3, kInteger);
  op.d = d, op.a = x, op.b = y, op.c = z;
  op.small = static_cast<uint8_t>(b.operand(4).value);
}

// Fields: the position and the length count modulo 256.
template <class T>
T extract(T x, U32 position, U32 length) {
  using U = std::make_unsigned_t<T>;
  constexpr U32 kTop = 8 * sizeof(T) - 1;
  position &= 255, length &= 255;
  if (length == 0) return 0;
  const U32 last = std::min(position + length - 1, kTop);
  const bool sign = std::is_signed_v<T> && (static_cast<U>(x) >> last & 1) != 0;
  U field = position > kTop ? 0 : static_cast<U>(x) >> position;
  if (length <= kTop) field &= (U{1} << length) - 1;
  const U32 kept = position > kTop ? 0 : last - position + 1;
  if (sign && kept <= kTop) field |= ~U{0} << kept;
  return static_cast<T>(field);
}

void lower_bfe(Build& b) {
  const Type type = b.type();
  Run run;
  switch (type) {
    case Type::kU32:
      run = ternary<U32, U32, U32, U32>([](U32 x, U32 p, U32 n) { return extract<U32>(x, p, n); });
      break;
    case Type::kS32:
      run = ternary<int32_t, int32_t, U32, U32>([](int32_t x, U32 p, U32 n) { return extract<int32_t>(x, p, n); });
      break;
    case Type::kU64:
      run = ternary<U64, U64, U32, U32>([](U64 x, U32 p, U32 n) { return extract<U64>(x, p, n); });
      break;
    case Type::kS64:
      run = ternary<int64_t, int64_t, U32, U32>([](int64_t x, U32 p, U32 n) { return extract<int64_t>(x, p, n); });
      break;
    default:
      b.refuse("the type is not one of this instruction");
  }
  const uint32_t x = b.source(1, type), p = b.source(2, Type::kU32), n = b.source(3, Type::kU32), d = b.result(0, type);
  Op& op = b.emit(run, kInteger);
  op.d = d, op.a = x, op.b = p, op.c = n;
}

template <class T>
void insert(Warp& w, const Op& op) {
  const Cell<T>*a = cells<T>(w, op.a), *b = cells<T>(w, op.b);
  const U32 *c = cells<U32>(w, op.c), *l = cells<U32>(w, op.more);
  each<T>(w, op.d, [=](int i) {
    constexpr U32 kBits = 8 * sizeof(T);
    const U32 position = c[i] & 255, length = l[i] & 255;
    T field = length >= kBits ? ~T{0} : (T{1} << length) - 1;
    field = position >= kBits ? 0 : field << position;
    const T moved = position >= kBits ? 0 : a[i] << position;
    return (b[i] & ~field) | (moved & field);
  });
}

void lower_bfi(Build& b) {
  const Type type = b.type();
  const uint32_t x = b.source(1, type), y = b.source(2, type), p = b.source(3, Type::kU32), n = b.source(4, Type::kU32);
  const uint32_t d = b.result(0, type);
  Op& op = b.emit(bytes_of(type) == 8 ? insert<U64> : insert<U32>, kInteger);
  op.d = d, op.a = x, op.b = y, op.c = p, op.more = n;
}

// The highest bit that is not a sign bit; all ones when there is none.
template <class T>
U32 top_bit(T x) {
  using U = std::make_unsigned_t<T>;
  const U bits = std::is_signed_v<T> && x < 0 ? ~static_cast<U>(x) : static_cast<U>(x);
  return bits == 0 ? kAll : static_cast<U32>(8 * sizeof(T) - 1 - std::countl_zero(bits));
}

void lower_bfind(Build& b) {
  const Type type = b.type();
  const bool shift = b.has("shiftamt");
  const auto of = [&](auto t) -> Run {
    using T = decltype(t);
    if (shift)
      return unary<U32, T>(
          [](T x) { return top_bit(x) == kAll ? kAll : static_cast<U32>(8 * sizeof(T) - 1) - top_bit(x); });
    return unary<U32, T>([](T x) { return top_bit(x); });
  };
  Run run = nullptr;
  if (type == Type::kU32)
    run = of(U32{});
  else if (type == Type::kS32)
    run = of(int32_t{});
  else if (type == Type::kU64)
    run = of(U64{});
  else if (type == Type::kS64)
    run = of(int64_t{});
  b.simple(run, kInteger, Type::kU32, type);
}

U64 reversed(U64 x, int bits) {
  U64 r = 0;
  for (int i = 0; i < bits; i++) r |= (x >> i & 1) << (bits - 1 - i);
  return r;
}

void lower_count(Build& b) {
  const std::string& name = b.in.words[0];
  const Type type = b.type();
  const bool wide = bytes_of(type) == 8;
  if (name == "brev")
    b.simple(wide ? unary<U64, U64>([](U64 x) { return reversed(x, 64); })
                  : unary<U32, U32>([](U32 x) { return static_cast<U32>(reversed(x, 32)); }),
             kInteger, type, type);
  else if (name == "popc")
    b.simple(wide ? unary<U32, U64>([](U64 x) { return static_cast<U32>(std::popcount(x)); })
                  : unary<U32, U32>([](U32 x) { return static_cast<U32>(std::popcount(x)); }),
             kInteger, Type::kU32, type);
  else
    b.simple(wide ? unary<U32, U64>([](U64 x) { return static_cast<U32>(std::countl_zero(x)); })
                  : unary<U32, U32>([](U32 x) { return static_cast<U32>(std::countl_zero(x)); }),
             kInteger, Type::kU32, type);
}

U32 permuted(U32 a, U32 b, const U32 (&selector)[4], bool signs) {
  const U64 bytes = static_cast<U64>(b) << 32 | a;
  U32 result = 0;
  for (int i = 0; i < 4; i++) {
    U32 byte = static_cast<U32>(bytes >> (8 * (selector[i] & 7))) & 255;
    if (signs && (selector[i] & 8) != 0) byte = (byte & 128) != 0 ? 255 : 0;
    result |= byte << (8 * i);
  }
  return result;
}

template <int kMode>
Run permute() {
  return ternary<U32, U32, U32, U32>([](U32 a, U32 b, U32 c) {
    const U32 n = c & 3;
    if constexpr (kMode == 0)
      return permuted(a, b, {c & 15, c >> 4 & 15, c >> 8 & 15, c >> 12 & 15}, true);
    else if constexpr (kMode == 1)
      return permuted(a, b, {n, n + 1, n + 2, n + 3}, false);  // f4e
    else if constexpr (kMode == 2)
      return permuted(a, b, {n, (n + 7) & 7, (n + 6) & 7, (n + 5) & 7}, false);  // b4e
    else if constexpr (kMode == 3)
      return permuted(a, b, {n, n, n, n}, false);  // rc8
    else if constexpr (kMode == 4)
      return permuted(a, b, {n, std::max(n, 1u), std::max(n, 2u), 3}, false);  // ecl
    else if constexpr (kMode == 5)
      return permuted(a, b, {0, std::min(n, 1u), std::min(n, 2u), n}, false);  // ecr
    else
      return permuted(a, b, {(n & 1) * 2, (n & 1) * 2 + 1, (n & 1) * 2, (n & 1) * 2 + 1}, false);  // rc16
  });
}

void lower_prmt(Build& b) {
  Run run = permute<0>();
  if (b.has("f4e"))
    run = permute<1>();
  else if (b.has("b4e"))
    run = permute<2>();
  else if (b.has("rc8"))
    run = permute<3>();
  else if (b.has("ecl"))
    run = permute<4>();
  else if (b.has("ecr"))
    run = permute<5>();
  else if (b.has("rc16"))
    run = permute<6>();
  b.simple(run, kInteger, Type::kB32, Type::kB32);
}

// szext: the low n bits, extended; bmsk: n ones from a position on.
template <bool kSigned>
U32 extended(U32 x, U32 n, bool wrap) {
  n = wrap ? n & 31 : std::min(n, 32u);
  if (n == 0) return 0;
  if (n == 32) return x;
  const U32 field = x & ((1u << n) - 1);
  return kSigned && (field >> (n - 1)) != 0 ? field | kAll << n : field;
}

void lower_szext(Build& b) {
  const bool wrap = b.has("wrap"), sign = b.type() == Type::kS32;
  b.has("clamp");
  const Run run = sign ? (wrap ? binary<U32, U32, U32>([](U32 x, U32 n) { return extended<true>(x, n, true); })
                               : binary<U32, U32, U32>([](U32 x, U32 n) { return extended<true>(x, n, false); }))
                       : (wrap ? binary<U32, U32, U32>([](U32 x, U32 n) { return extended<false>(x, n, true); })
                               : binary<U32, U32, U32>([](U32 x, U32 n) { return extended<false>(x, n, false); }));
  b.simple(run, kInteger, Type::kB32, Type::kB32);
}

U32 mask(U32 from, U32 n, bool wrap) {
  from = wrap ? from & 31 : std::min(from, 32u);
  n = wrap ? n & 31 : std::min(n, 32u);
  return static_cast<U32>(((U64{1} << n) - 1) << from);
}

void lower_bmsk(Build& b) {
  const bool wrap = b.has("wrap");
  b.has("clamp");
  b.simple(wrap ? binary<U32, U32, U32>([](U32 f, U32 n) { return mask(f, n, true); })
                : binary<U32, U32, U32>([](U32 f, U32 n) { return mask(f, n, false); }),
           kInteger, Type::kB32, Type::kB32);
}

}  // namespace

void add_bit_operations() {
  add_lowering("and", lower_logic<Logic::kAnd>);
  add_lowering("or", lower_logic<Logic::kOr>);
  add_lowering("xor", lower_logic<Logic::kXor>);
  add_lowering("not", lower_not);
  add_lowering("cnot", lower_cnot);
  add_lowering("shl", lower_shift);
  add_lowering("shr", lower_shift);
  add_lowering("shf", lower_funnel);
  add_lowering("lop3", lower_lop3);
  add_lowering("bfe", lower_bfe);
  add_lowering("bfi", lower_bfi);
  add_lowering("bfind", lower_bfind);
  for (const char* name : {"brev", "popc", "clz"}) add_lowering(name, lower_count);
  add_lowering("prmt", lower_prmt);
  add_lowering("szext", lower_szext);
  add_lowering("bmsk", lower_bmsk);
}

}  // namespace simulator
