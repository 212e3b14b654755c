// Integer arithmetic.
#include <algorithm>
#include <limits>

#include "decode.h"
#include "lanes.h"

namespace simulator {

namespace {

// f of a value of the type that stands for `type`; null when it is no integer type.
template <class F>
Run by_integer(Type type, F f) {
  switch (type) {
    case Type::kS16:
      return f(int16_t{});
    case Type::kU16:
      return f(uint16_t{});
    case Type::kS32:
      return f(int32_t{});
    case Type::kU32:
      return f(uint32_t{});
    case Type::kS64:
      return f(int64_t{});
    case Type::kU64:
      return f(uint64_t{});
    default:
      return nullptr;
  }
}

template <class T>
struct Wider;
template <>
struct Wider<int16_t> {
  using type = int32_t;
};
template <>
struct Wider<uint16_t> {
  using type = uint32_t;
};
template <>
struct Wider<int32_t> {
  using type = int64_t;
};
template <>
struct Wider<uint32_t> {
  using type = uint64_t;
};
template <>
struct Wider<int64_t> {
  using type = __int128;
};
template <>
struct Wider<uint64_t> {
  using type = unsigned __int128;
};

// Wraps around, whatever the type.
template <class T>
constexpr T plus(T a, T b) {
  return static_cast<T>(static_cast<std::make_unsigned_t<T>>(a) + static_cast<std::make_unsigned_t<T>>(b));
}
template <class T>
constexpr T minus(T a, T b) {
  return static_cast<T>(static_cast<std::make_unsigned_t<T>>(a) - static_cast<std::make_unsigned_t<T>>(b));
}
template <class T>
constexpr T times(T a, T b) {
  using U = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;
  return static_cast<T>(static_cast<U>(a) * static_cast<U>(b));
}
template <class T>
constexpr T high(T a, T b) {
  using W = typename Wider<T>::type;
  return static_cast<T>((static_cast<W>(a) * static_cast<W>(b)) >> (8 * sizeof(T)));
}

template <class T>
T divide(T a, T b) {
  if (b == 0) return static_cast<T>(-1);
  if constexpr (std::is_signed_v<T>)
    if (b == -1) return minus<T>(0, a);
  return static_cast<T>(a / b);
}
template <class T>
T remainder(T a, T b) {
  if (b == 0) return a;
  if constexpr (std::is_signed_v<T>)
    if (b == -1) return 0;
  return static_cast<T>(a % b);
}

int32_t saturated(int64_t v) {
  return static_cast<int32_t>(std::clamp<int64_t>(v, INT32_MIN, INT32_MAX));
}

// With a carry in (op.c or, for mad, op.more) and a carry out (op.target); either may be kNone.
template <class T, bool kMinus>
void carry(Warp& w, const Op& op) {
  const Cell<T>* a = cells<T>(w, op.a);
  const Cell<T>* b = cells<T>(w, op.b);
  Cell<T>* d = cells<T>(w, op.d);
  const uint32_t in = op.more == kNone ? 0 : predicate(w, op.more);
  uint32_t out = 0;
  lanes(w.mask, [&](int i) {
    const T x = from_cell<T>(a[i]), y = from_cell<T>(b[i]), c = in >> i & 1;
    const T first = kMinus ? x - y : x + y;
    const T result = kMinus ? first - c : first + c;
    const bool over = kMinus ? (first > x || result > first) : (first < x || result < first);
    d[i] = to_cell<T>(result);
    out |= static_cast<uint32_t>(over) << i;
  });
  if (op.target != kNone) set_predicate(w, op.target, out);
}

template <class T, bool kHigh>
void multiply_carry(Warp& w, const Op& op) {
  const Cell<T>* a = cells<T>(w, op.a);
  const Cell<T>* b = cells<T>(w, op.b);
  const Cell<T>* c = cells<T>(w, op.c);
  Cell<T>* d = cells<T>(w, op.d);
  const uint32_t in = op.more == kNone ? 0 : predicate(w, op.more);
  uint32_t out = 0;
  lanes(w.mask, [&](int i) {
    const T x = from_cell<T>(a[i]), y = from_cell<T>(b[i]);
    const T product = kHigh ? high<T>(x, y) : times<T>(x, y);
    using U = std::make_unsigned_t<T>;
    const U first = static_cast<U>(product) + static_cast<U>(c[i]);
    const U result = first + (in >> i & 1);
    d[i] = result;
    out |= static_cast<uint32_t>(first < static_cast<U>(product) || result < first) << i;
  });
  if (op.target != kNone) set_predicate(w, op.target, out);
}

// add.cc, addc, sub.cc, subc
void lower_carry(Build& b, bool in, bool minus) {
  const bool out = b.has("cc");
  const Type type = b.type();
  const bool wide = bytes_of(type) == 8;
  const Run run = minus ? (wide ? carry<uint64_t, true> : carry<uint32_t, true>)
                        : (wide ? carry<uint64_t, false> : carry<uint32_t, false>);
  Op& op = b.simple(run, kInteger, type, type);
  op.more = in ? b.decoder().carry() : kNone;
  op.target = out ? b.decoder().carry() : kNone;
}

void lower_multiply_carry(Build& b, bool in) {
  const bool out = b.has("cc"), up = b.has("hi");
  b.has("lo");
  const Type type = b.type();
  const Run run = by_integer(type, [=](auto t) -> Run {
    using T = decltype(t);
    if constexpr (sizeof(T) < 4)
      return nullptr;
    else
      return up ? multiply_carry<T, true> : multiply_carry<T, false>;
  });
  Op& op = b.simple(run, kInteger, type, type);
  op.more = in ? b.decoder().carry() : kNone;
  op.target = out ? b.decoder().carry() : kNone;
}

Type wider(Type type) {
  switch (type) {
    case Type::kS16:
      return Type::kS32;
    case Type::kU16:
      return Type::kU32;
    case Type::kS32:
      return Type::kS64;
    case Type::kU32:
      return Type::kU64;
    default:
      return Type::kNone;
  }
}

// mul and mad with .lo, .hi, .wide
void lower_multiply(Build& b, bool add) {
  const Type type = b.type();
  if (add && b.has("cc")) return lower_multiply_carry(b, false);
  if (b.has("wide")) {
    const Run run = by_integer(type, [=](auto t) -> Run {
      using T = decltype(t);
      using W = typename Wider<T>::type;
      if constexpr (sizeof(T) == 8)
        return nullptr;
      else if (add)
        return ternary<W, T, T, W>([](T x, T y, W z) { return plus<W>(static_cast<W>(x) * static_cast<W>(y), z); });
      else
        return binary<W, T, T>([](T x, T y) { return static_cast<W>(static_cast<W>(x) * static_cast<W>(y)); });
    });
    if (run == nullptr) b.refuse("the type is not one of this instruction");
    const uint32_t x = b.source(1, type), y = b.source(2, type), z = add ? b.source(3, wider(type)) : 0;
    const uint32_t d = b.result(0, wider(type));
    Op& op = b.emit(run, kInteger);
    op.d = d, op.a = x, op.b = y, op.c = z;
    return;
  }
  const bool up = b.has("hi"), saturate = b.has("sat");
  if (!up && !b.has("lo")) b.refuse("a product must be .lo, .hi or .wide");
  const Run run = by_integer(type, [=](auto t) -> Run {
    using T = decltype(t);
    if (saturate) {
      if constexpr (std::is_same_v<T, int32_t>)
        if (up && add)
          return ternary<T, T, T, T>([](T x, T y, T z) { return saturated(static_cast<int64_t>(high<T>(x, y)) + z); });
      return nullptr;
    }
    if (add && up) return ternary<T, T, T, T>([](T x, T y, T z) { return plus<T>(high<T>(x, y), z); });
    if (add) return ternary<T, T, T, T>([](T x, T y, T z) { return plus<T>(times<T>(x, y), z); });
    if (up) return binary<T, T, T>([](T x, T y) { return high<T>(x, y); });
    return binary<T, T, T>([](T x, T y) { return times<T>(x, y); });
  });
  b.simple(run, kInteger, type, type);
}

// mul24 and mad24: the low 24 bits of each factor.
void lower_multiply24(Build& b, bool add) {
  const Type type = b.type();
  const bool up = b.has("hi");
  b.has("lo");
  const Run run = by_integer(type, [=](auto t) -> Run {
    using T = decltype(t);
    if constexpr (sizeof(T) != 4)
      return nullptr;
    else {
      if (up && add)
        return ternary<T, T, T, T>([](T x, T y, T z) {
          return plus<T>(
              static_cast<T>((static_cast<int64_t>(static_cast<T>(x << 8) >> 8) * (static_cast<T>(y << 8) >> 8)) >> 16),
              z);
        });
      if (up)
        return binary<T, T, T>([](T x, T y) {
          return static_cast<T>((static_cast<int64_t>(static_cast<T>(x << 8) >> 8) * (static_cast<T>(y << 8) >> 8)) >>
                                16);
        });
      if (add)
        return ternary<T, T, T, T>([](T x, T y, T z) {
          return plus<T>(times<T>(static_cast<T>(x << 8) >> 8, static_cast<T>(y << 8) >> 8), z);
        });
      return binary<T, T, T>(
          [](T x, T y) { return times<T>(static_cast<T>(x << 8) >> 8, static_cast<T>(y << 8) >> 8); });
    }
  });
  b.simple(run, kInteger, type, type);
}

void lower_sad(Build& b) {
  const Type type = b.type();
  b.simple(by_integer(type,
                      [](auto t) -> Run {
                        using T = decltype(t);
                        return ternary<T, T, T, T>(
                            [](T x, T y, T z) { return plus<T>(z, x > y ? minus<T>(x, y) : minus<T>(y, x)); });
                      }),
           kInteger, type, type);
}

template <class A, class B>
Run dot_product() {
  return ternary<uint32_t, uint32_t, uint32_t, uint32_t>([](uint32_t x, uint32_t y, uint32_t z) {
    for (int i = 0; i < 32; i += 8)
      z += static_cast<uint32_t>(static_cast<int32_t>(static_cast<A>(x >> i)) *
                                 static_cast<int32_t>(static_cast<B>(y >> i)));
    return z;
  });
}

void lower_dp4a(Build& b) {
  const bool sa = b.type(0) == Type::kS32, sb = b.type(1) == Type::kS32;
  const Run run = sa ? (sb ? dot_product<int8_t, int8_t>() : dot_product<int8_t, uint8_t>())
                     : (sb ? dot_product<uint8_t, int8_t>() : dot_product<uint8_t, uint8_t>());
  b.simple(run, kInteger, Type::kB32, Type::kB32);
}

}  // namespace

// add sub mul mad div rem abs neg min max
void lower_integer(Build& b) {
  const std::string& name = b.in.words[0];
  const Type type = b.type();
  if (name == "mul") return lower_multiply(b, false);
  if (name == "mad") return lower_multiply(b, true);
  if ((name == "add" || name == "sub") && b.has("cc")) return lower_carry(b, false, name == "sub");
  const bool saturate = (name == "add" || name == "sub") && b.has("sat");
  if (saturate && type != Type::kS32) b.refuse(".sat is for .s32");
  const Run run = by_integer(type, [&](auto t) -> Run {
    using T = decltype(t);
    if (saturate) {
      if (name == "add")
        return binary<int32_t, int32_t, int32_t>([](int32_t x, int32_t y) { return saturated(int64_t{x} + y); });
      return binary<int32_t, int32_t, int32_t>([](int32_t x, int32_t y) { return saturated(int64_t{x} - y); });
    }
    if (name == "add") return binary<T, T, T>([](T x, T y) { return plus<T>(x, y); });
    if (name == "sub") return binary<T, T, T>([](T x, T y) { return minus<T>(x, y); });
    if (name == "div") return binary<T, T, T>([](T x, T y) { return divide<T>(x, y); });
    if (name == "rem") return binary<T, T, T>([](T x, T y) { return remainder<T>(x, y); });
    if (name == "min") return binary<T, T, T>([](T x, T y) { return x < y ? x : y; });
    if (name == "max") return binary<T, T, T>([](T x, T y) { return x > y ? x : y; });
    if (name == "neg") return unary<T, T>([](T x) { return minus<T>(0, x); });
    if (name == "abs") return unary<T, T>([](T x) { return x < 0 ? minus<T>(0, x) : x; });
    return nullptr;
  });
  b.simple(run, kInteger, type, type);
}

void add_integer_operations() {
  add_lowering("addc", [](Build& b) { lower_carry(b, true, false); });
  add_lowering("subc", [](Build& b) { lower_carry(b, true, true); });
  add_lowering("madc", [](Build& b) { lower_multiply_carry(b, true); });
  add_lowering("mul24", [](Build& b) { lower_multiply24(b, false); });
  add_lowering("mad24", [](Build& b) { lower_multiply24(b, true); });
  add_lowering("sad", lower_sad);
  add_lowering("dp4a", lower_dp4a);
}

}  // namespace simulator
