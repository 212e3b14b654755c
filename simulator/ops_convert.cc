// cvt, cvt.pack and cvta.
#include <algorithm>

#include "decode.h"
#include "floats.h"

namespace simulator {

namespace {

constexpr uint8_t kRelu = 4;  // bits of Op::small beside kFtz and kSat

template <class F>
Run by_integer(Type type, F f) {
  switch (type) {
    case Type::kB8:
    case Type::kU8:
      return f(uint8_t{});
    case Type::kS8:
      return f(int8_t{});
    case Type::kB16:
    case Type::kU16:
      return f(uint16_t{});
    case Type::kS16:
      return f(int16_t{});
    case Type::kB32:
    case Type::kU32:
      return f(uint32_t{});
    case Type::kS32:
      return f(int32_t{});
    case Type::kB64:
    case Type::kU64:
      return f(uint64_t{});
    case Type::kS64:
      return f(int64_t{});
    default:
      return nullptr;
  }
}

template <class F>
Run by_float(Type type, F f) {
  switch (type) {
    case Type::kF16:
      return f(Half{});
    case Type::kBf16:
      return f(Bf16{});
    case Type::kF32:
      return f(float{});
    case Type::kF64:
      return f(double{});
    default:
      return nullptr;
  }
}

double value_of(Half h) {
  return to_float(h);
}
double value_of(Bf16 h) {
  return to_float(h);
}
double value_of(float x) {
  return x;
}
double value_of(double x) {
  return x;
}

double whole(double x, Round round) {
  switch (round) {
    case Round::kNearest:
      return std::nearbyint(x);
    case Round::kZero:
      return std::trunc(x);
    case Round::kDown:
      return std::floor(x);
    case Round::kUp:
      return std::ceil(x);
    default:
      return std::round(x);
  }
}

// Out of range gives the nearest limit, NaN gives 0 (in 64 bits: the top bit alone).
template <class T>
T to_integer(double x, Round round) {
  if (x != x) return sizeof(T) == 8 ? static_cast<T>(uint64_t{1} << 63) : T(0);
  x = whole(x, round);
  constexpr auto least = std::numeric_limits<T>::min(), greatest = std::numeric_limits<T>::max();
  if (x <= static_cast<double>(least)) return least;
  if (x >= static_cast<double>(greatest)) return greatest;
  return static_cast<T>(x);
}

template <class T>
T to_float_type(double x, Round round) {
  if constexpr (std::is_same_v<T, Half>)
    return to_half(x, round);
  else if constexpr (std::is_same_v<T, Bf16>)
    return to_bf16(x, round);
  else if constexpr (std::is_same_v<T, double>)
    return x;
  else {
    if (x != x) return canonical(std::numeric_limits<float>::quiet_NaN());
    if (round == Round::kNearest) return static_cast<float>(x);
    return std::bit_cast<float>(static_cast<uint32_t>(rounded(x, 8, 23, round)));
  }
}

template <class D, class A>
void integer_to_integer(Warp& w, const Op& op) {
  const Cell<A>* a = cells<A>(w, op.a);
  if (op.small == 0) return each<D>(w, op.d, [=](int i) { return static_cast<D>(from_cell<A>(a[i])); });
  each<D>(w, op.d, [=](int i) {
    using W = __int128;
    return static_cast<D>(std::clamp<W>(static_cast<W>(from_cell<A>(a[i])), std::numeric_limits<D>::min(),
                                        std::numeric_limits<D>::max()));
  });
}

// 64-bit integers have more bits than a double; towards f32 and narrower that would round twice.
template <class D, class A>
void integer_to_float(Warp& w, const Op& op) {
  const Cell<A>* a = cells<A>(w, op.a);
  const auto round = static_cast<Round>(op.more);
  Cell<D>* d = cells<D>(w, op.d);
  if constexpr ((std::is_same_v<D, float> || std::is_same_v<D, double>)) {
    if (round == Round::kNearest && op.small == 0)
      return each<D>(w, op.d, [=](int i) { return static_cast<D>(from_cell<A>(a[i])); });
  }
  lanes(w.mask, [&](int i) {
    const A x = from_cell<A>(a[i]);
    double v = static_cast<double>(x);
    const auto exact = static_cast<__int128>(x);
    const auto back = static_cast<__int128>(v);
    if (back != exact) {
      // v is next to x: take the neighbour towards zero, made odd where bits were lost.
      const bool beyond = (exact > 0) == (back > exact);
      if constexpr (std::is_same_v<D, double>) {
        const bool up = round == Round::kUp, down = round == Round::kDown, zero = round == Round::kZero;
        if ((up && back < exact) || (down && back > exact) || (zero && beyond))
          v = std::nextafter(v, up ? HUGE_VAL : down ? -HUGE_VAL : 0.0);
      } else {
        if (beyond) v = std::nextafter(v, 0.0);
        v = std::bit_cast<double>(std::bit_cast<uint64_t>(v) | 1);
      }
    }
    D r = to_float_type<D>(v, round);
    if ((op.small & kSat) != 0) r = to_float_type<D>(saturated(value_of(r)), Round::kNearest);
    d[i] = to_cell<D>(r);
  });
}

template <class D, class A>
void float_to_integer(Warp& w, const Op& op) {
  const Cell<A>* a = cells<A>(w, op.a);
  Cell<D>* d = cells<D>(w, op.d);
  const auto round = static_cast<Round>(op.more);
  const bool ftz = (op.small & kFtz) != 0;
  lanes(w.mask, [&](int i) {
    A x = from_cell<A>(a[i]);
    if constexpr (std::is_same_v<A, float>)
      if (ftz) x = flushed(x);
    d[i] = to_cell<D>(to_integer<D>(value_of(x), round));
  });
}

// op.target: round to a whole number, not to fewer bits.
template <class D, class A>
void float_to_float(Warp& w, const Op& op) {
  const Cell<A>* a = cells<A>(w, op.a);
  if constexpr (std::is_same_v<D, float> && !std::is_same_v<A, double>) {
    if (op.small == 0 && op.target == 0)
      return each<float>(w, op.d, [=](int i) { return canonical(to_float(from_cell<A>(a[i]))); });
  }
  Cell<D>* d = cells<D>(w, op.d);
  const auto round = static_cast<Round>(op.more);
  lanes(w.mask, [&](int i) {
    A x = from_cell<A>(a[i]);
    if constexpr (std::is_same_v<A, float>)
      if ((op.small & kFtz) != 0) x = flushed(x);
    double v = value_of(x);
    if (op.target != 0) v = whole(v, round);
    if ((op.small & kSat) != 0) v = saturated(v);
    if ((op.small & kRelu) != 0 && !(v > 0) && v == v) v = 0;
    D r = to_float_type<D>(v, round);
    if constexpr (std::is_same_v<D, float>)
      if ((op.small & kFtz) != 0) r = flushed(r);
    d[i] = to_cell<D>(r);
  });
}

void to_tf32(Warp& w, const Op& op) {
  const uint32_t* a = cells<uint32_t>(w, op.a);
  const auto round = static_cast<Round>(op.more);
  const bool relu = (op.small & kRelu) != 0;
  each<uint32_t>(w, op.d, [=](int i) -> uint32_t {
    const uint32_t x = a[i];
    if ((x & 0x7fffffffu) > 0x7f800000u) return 0x7fffffffu;
    if (relu && (x & 0x80000000u) != 0) return 0;
    if ((x & 0x7f800000u) == 0x7f800000u || round == Round::kZero) return x & ~0x1fffu;
    if (round == Round::kAway) return (x + 0x1000u) & ~0x1fffu;
    return (x + 0xfffu + (x >> 13 & 1)) & ~0x1fffu;
  });
}

// cvt.rn.{f16x2,bf16x2}.f32 d, a, b: a into the upper half.
template <class H>
void pack_floats(Warp& w, const Op& op) {
  const uint32_t *a = cells<float>(w, op.a), *b = cells<float>(w, op.b);
  uint32_t* d = cells<uint32_t>(w, op.d);
  const auto round = static_cast<Round>(op.more);
  lanes(w.mask, [&](int i) {
    const auto one = [&](uint32_t bits) -> uint32_t {
      double v = std::bit_cast<float>(bits);
      if ((op.small & kRelu) != 0 && !(v > 0) && v == v) v = 0;
      return to_float_type<H>(v, round).bits;
    };
    d[i] = one(a[i]) << 16 | one(b[i]);
  });
}

bool is_float(Type t) {
  return t == Type::kF16 || t == Type::kBf16 || t == Type::kF32 || t == Type::kF64;
}

void lower_cvt(Build& b) {
  if (b.has("pack")) b.refuse(".pack is not known for it");
  const Type to = b.type(0), from = b.type(1);
  Round round = Round::kNearest;
  bool integral = false;
  const struct {
    const char* name;
    Round round;
    bool integral;
  } rounds[] = {{"rn", Round::kNearest, false}, {"rz", Round::kZero, false},  {"rm", Round::kDown, false},
                {"rp", Round::kUp, false},      {"rna", Round::kAway, false}, {"rni", Round::kNearest, true},
                {"rzi", Round::kZero, true},    {"rmi", Round::kDown, true},  {"rpi", Round::kUp, true}};
  for (const auto& r : rounds)
    if (b.has(r.name)) round = r.round, integral = r.integral;
  uint8_t small = static_cast<uint8_t>((b.has("ftz") ? kFtz : 0) | (b.has("relu") ? kRelu : 0));
  const bool saturate = b.has("sat");
  b.has("satfinite");
  Op* op = nullptr;
  if (to == Type::kF16x2 || to == Type::kBf16x2) {
    if (from != Type::kF32) b.refuse("only .f32 packs into it");
    op = &b.simple(to == Type::kF16x2 ? pack_floats<Half> : pack_floats<Bf16>, kConvert, to, Type::kF32);
  } else if (to == Type::kTf32) {
    op = &b.simple(to_tf32, kConvert, Type::kB32, Type::kF32);
  } else if (is_float(from) && is_float(to)) {
    const Run run = by_float(to, [&](auto d) {
      return by_float(from, [](auto a) -> Run { return float_to_float<decltype(d), decltype(a)>; });
    });
    op = &b.simple(run, kConvert, to, from);
    op->target = integral ? 1 : 0;
    if (saturate) small |= kSat;
  } else if (is_float(from)) {
    const Run run = by_float(from, [&](auto a) {
      return by_integer(to, [](auto d) -> Run { return float_to_integer<decltype(d), decltype(a)>; });
    });
    if (!integral) b.refuse("a conversion to integers must say how it rounds");
    op = &b.simple(run, kConvert, to, from);
  } else if (is_float(to)) {
    const Run run = by_float(to, [&](auto d) {
      return by_integer(from, [](auto a) -> Run { return integer_to_float<decltype(d), decltype(a)>; });
    });
    op = &b.simple(run, kConvert, to, from);
    if (saturate) small |= kSat;
  } else {
    const Run run = by_integer(to, [&](auto d) {
      return by_integer(from, [](auto a) -> Run { return integer_to_integer<decltype(d), decltype(a)>; });
    });
    op = &b.simple(run, kConvert, to, from);
    if (saturate) small |= kSat;
  }
  op->small = small;
  op->more = static_cast<uint32_t>(round);
}

// Generic addresses of shared and local memory are those of the space, in a window.
void lower_cvta(Build& b) {
  const bool to = b.has("to");
  const Type type = b.type();
  uint64_t window = 0;
  if (b.has("shared") || b.has("shared::cta"))
    window = kSharedWindow;
  else if (b.has("local"))
    window = kLocalWindow;
  else if (!b.has("global") && !b.has("const") && !b.has("param"))
    b.refuse("the space is not known");
  if (type != Type::kU64) b.refuse("addresses must have 64 bits");
  const uint32_t a = b.source(1, type), d = b.result(0, type);
  Op& op = b.emit(
      [](Warp& w, const Op& op) {
        const uint64_t* a = cells<uint64_t>(w, op.a);
        const auto add = static_cast<uint64_t>(op.value);
        each<uint64_t>(w, op.d, [=](int i) { return a[i] + add; });
      },
      kConvert);
  op.d = d, op.a = a;
  op.value = static_cast<int64_t>(to ? -window : window);
}

}  // namespace

void add_convert_operations() {
  add_lowering("cvt", lower_cvt);
  add_lowering("cvta", lower_cvta);
}

}  // namespace simulator
