// setp, set, selp, slct: comparisons and what is chosen by them.
#include "decode.h"
#include "floats.h"

namespace simulator {

namespace {

// Bits: less, equal, greater, unordered.
constexpr uint8_t kLess = 1, kEqual = 2, kGreater = 4, kUnordered = 8;

const struct {
  const char* name;
  uint8_t when;
} kComparisons[] = {
    {"eq", kEqual},
    {"ne", kLess | kGreater},
    {"lt", kLess},
    {"le", kLess | kEqual},
    {"gt", kGreater},
    {"ge", kGreater | kEqual},
    {"lo", kLess},
    {"ls", kLess | kEqual},
    {"hi", kGreater},
    {"hs", kGreater | kEqual},
    {"equ", kEqual | kUnordered},
    {"neu", kLess | kGreater | kUnordered},
    {"ltu", kLess | kUnordered},
    {"leu", kLess | kEqual | kUnordered},
    {"gtu", kGreater | kUnordered},
    {"geu", kGreater | kEqual | kUnordered},
    {"num", kLess | kEqual | kGreater},
    {"nan", kUnordered},
};

template <class T, uint8_t kWhen>
bool holds(T x, T y) {
  bool r = false;
  if ((kWhen & kLess) != 0) r |= x < y;
  if ((kWhen & kEqual) != 0) r |= x == y;
  if ((kWhen & kGreater) != 0) r |= x > y;
  if constexpr (std::is_floating_point_v<T>)
    if ((kWhen & kUnordered) != 0) r |= x != x || y != y;
  return r;
}

// op.small: kFtz. op.target: 0 alone, 1 and, 2 or, 3 xor with the predicate op.c. op.more: the opposite, or kNone.
template <class T, uint8_t kWhen>
void compare(Warp& w, const Op& op) {
  const Cell<T>*a = cells<T>(w, op.a), *b = cells<T>(w, op.b);
  alignas(64) uint32_t bits[32];
  if constexpr (std::is_floating_point_v<T>) {
    const bool ftz = (op.small & kFtz) != 0;
    for (int i = 0; i < 32; i++) {
      const T x = from_cell<T>(a[i]), y = from_cell<T>(b[i]);
      bits[i] = static_cast<uint32_t>(ftz ? holds<T, kWhen>(flushed(x), flushed(y)) : holds<T, kWhen>(x, y)) << i;
    }
  } else {
    for (int i = 0; i < 32; i++)
      bits[i] = static_cast<uint32_t>(holds<T, kWhen>(from_cell<T>(a[i]), from_cell<T>(b[i]))) << i;
  }
  uint32_t made = 0;
  for (int i = 0; i < 32; i++) made |= bits[i];
  uint32_t opposite = ~made;
  if (op.target != 0) {
    const uint32_t c = predicate(w, op.c);
    made = op.target == 1 ? made & c : op.target == 2 ? made | c : made ^ c;
    opposite = op.target == 1 ? opposite & c : op.target == 2 ? opposite | c : opposite ^ c;
  }
  set_predicate(w, op.d, made);
  if (op.more != kNone) set_predicate(w, op.more, opposite);
}

template <class T>
Run comparison(uint8_t when) {
  switch (when & (std::is_floating_point_v<T> ? 15 : 7)) {
    case 1:
      return compare<T, 1>;
    case 2:
      return compare<T, 2>;
    case 3:
      return compare<T, 3>;
    case 4:
      return compare<T, 4>;
    case 5:
      return compare<T, 5>;
    case 6:
      return compare<T, 6>;
    case 7:
      return compare<T, 7>;
    case 8:
      return compare<T, 8>;
    case 9:
      return compare<T, 9>;
    case 10:
      return compare<T, 10>;
    case 11:
      return compare<T, 11>;
    case 12:
      return compare<T, 12>;
    case 13:
      return compare<T, 13>;
    case 14:
      return compare<T, 14>;
    default:
      return nullptr;
  }
}

// Halves, single or packed: bits of p from the lower half, of op.more from the upper.
template <class H, bool kPacked>
void compare_half(Warp& w, const Op& op) {
  const uint32_t *a = cells<uint32_t>(w, op.a), *b = cells<uint32_t>(w, op.b);
  const auto when = static_cast<uint8_t>(op.value);
  uint32_t low = 0, high = 0;
  const auto test = [&](uint16_t x, uint16_t y) {
    float fx = to_float(H{x}), fy = to_float(H{y});
    if ((op.small & kFtz) != 0) fx = std::fabs(fx) < 0x1p-14f ? 0 : fx, fy = std::fabs(fy) < 0x1p-14f ? 0 : fy;
    const uint8_t is = fx < fy ? kLess : fx == fy ? kEqual : fx > fy ? kGreater : kUnordered;
    return (when & is) != 0;
  };
  lanes(w.mask, [&](int i) {
    low |= static_cast<uint32_t>(test(static_cast<uint16_t>(a[i]), static_cast<uint16_t>(b[i]))) << i;
    if (kPacked)
      high |= static_cast<uint32_t>(test(static_cast<uint16_t>(a[i] >> 16), static_cast<uint16_t>(b[i] >> 16))) << i;
  });
  if (!kPacked) high = ~low;
  if (op.target != 0) {
    const uint32_t c = predicate(w, op.c);
    low = op.target == 1 ? low & c : op.target == 2 ? low | c : low ^ c;
    high = op.target == 1 ? high & c : op.target == 2 ? high | c : high ^ c;
  }
  set_predicate(w, op.d, low);
  if (op.more != kNone) set_predicate(w, op.more, high);
}

Run comparison_of(Type type, uint8_t when) {
  switch (type) {
    case Type::kB16:
    case Type::kU16:
      return comparison<uint16_t>(when);
    case Type::kS16:
      return comparison<int16_t>(when);
    case Type::kB32:
    case Type::kU32:
      return comparison<uint32_t>(when);
    case Type::kS32:
      return comparison<int32_t>(when);
    case Type::kB64:
    case Type::kU64:
      return comparison<uint64_t>(when);
    case Type::kS64:
      return comparison<int64_t>(when);
    case Type::kF32:
      return comparison<float>(when);
    case Type::kF64:
      return comparison<double>(when);
    case Type::kF16:
      return compare_half<Half, false>;
    case Type::kBf16:
      return compare_half<Bf16, false>;
    case Type::kF16x2:
      return compare_half<Half, true>;
    case Type::kBf16x2:
      return compare_half<Bf16, true>;
    default:
      return nullptr;
  }
}

Kind kind_of(Type type) {
  switch (type) {
    case Type::kF32:
      return kFloat;
    case Type::kF64:
      return kDouble;
    case Type::kF16:
    case Type::kBf16:
    case Type::kF16x2:
    case Type::kBf16x2:
      return kHalf;
    default:
      return kInteger;
  }
}

uint8_t comparison_word(Build& b) {
  for (const auto& c : kComparisons)
    if (b.has(c.name)) return c.when;
  b.refuse("the comparison is not known");
}

// The comparison of operands 1 and 2 into the predicate d (and its opposite), combined with operand 3 when there is
// one.
Op& emit_comparison(Build& b, Type type, uint32_t d, uint32_t opposite) {
  const uint8_t when = comparison_word(b);
  uint32_t combine = 0;
  if (b.has("and")) combine = 1;
  if (b.has("or")) combine = 2;
  if (b.has("xor")) combine = 3;
  const Run run = comparison_of(type, when);
  if (run == nullptr) b.refuse("the type is not one of this instruction");
  const uint8_t small = b.has("ftz") ? kFtz : 0;
  const uint32_t x = b.source(1, type), y = b.source(2, type);
  const uint32_t c = combine != 0 ? b.predicate_source(b.operand(3)) : 0;
  Op& op = b.emit(run, kind_of(type));
  op.d = d, op.a = x, op.b = y, op.c = c;
  op.small = small;
  op.target = combine;
  op.more = opposite;
  op.value = when;
  return op;
}

void lower_setp(Build& b) {
  const Operand& d = b.operand(0);
  const uint32_t opposite = d.second ? b.predicate_result(*d.second) : kNone;
  emit_comparison(b, b.type(), b.predicate_result(d), opposite);
}

// set.CmpOp.dtype.stype: all ones or 1.0 where it holds.
void lower_set(Build& b) {
  const Type to = b.type(0), from = b.type(1);
  const bool packed = from == Type::kF16x2 || from == Type::kBf16x2;
  const uint32_t low = b.temporary_predicate(), high = packed ? b.temporary_predicate() : kNone;
  emit_comparison(b, from, low, high);
  const uint32_t d = b.result(0, to);
  Op& op = b.emit_hidden([](Warp& w, const Op& op) {
    const uint32_t low = predicate(w, op.a), high = op.more == kNone ? 0 : predicate(w, op.more);
    const auto one = static_cast<uint32_t>(op.value);
    each<uint32_t>(w, op.d, [=](int i) { return (low >> i & 1) * one | ((high >> i & 1) * one) << 16; });
  });
  op.d = d, op.a = low, op.more = high;
  switch (to) {
    case Type::kF32:
      op.value = 0x3f800000;
      break;
    case Type::kF16:
    case Type::kF16x2:
      op.value = 0x3c00;
      break;
    case Type::kBf16:
    case Type::kBf16x2:
      op.value = 0x3f80;
      break;
    default:
      op.value = packed ? 0xffff : 0xffffffffu;
      break;
  }
}

template <class T>
void select(Warp& w, const Op& op) {
  const Cell<T>*a = cells<T>(w, op.a), *b = cells<T>(w, op.b);
  const uint32_t p = predicate(w, op.c);
  each<T>(w, op.d, [=](int i) { return (p >> i & 1) != 0 ? a[i] : b[i]; });
}

void lower_selp(Build& b) {
  const Type type = b.type();
  const bool wide = bytes_of(type) == 8;
  const uint32_t x = b.source(1, type), y = b.source(2, type), p = b.predicate_source(b.operand(3));
  const uint32_t d = b.result(0, type);
  Op& op = b.emit(wide ? select<uint64_t> : select<uint32_t>, kMove);
  op.d = d, op.a = x, op.b = y, op.c = p;
}

// slct: the first source where the third is not negative.
template <class T, class C>
void select_by_sign(Warp& w, const Op& op) {
  const Cell<T>*a = cells<T>(w, op.a), *b = cells<T>(w, op.b);
  const Cell<C>* c = cells<C>(w, op.c);
  each<T>(w, op.d, [=](int i) { return from_cell<C>(c[i]) >= 0 ? a[i] : b[i]; });
}

void lower_slct(Build& b) {
  const Type type = b.type(0), by = b.type(1);
  b.has("ftz");
  const bool wide = bytes_of(type) == 8;
  const uint32_t x = b.source(1, type), y = b.source(2, type), c = b.source(3, by), d = b.result(0, type);
  const Run run = by == Type::kF32 ? (wide ? select_by_sign<uint64_t, float> : select_by_sign<uint32_t, float>)
                                   : (wide ? select_by_sign<uint64_t, int32_t> : select_by_sign<uint32_t, int32_t>);
  Op& op = b.emit(run, kMove);
  op.d = d, op.a = x, op.b = y, op.c = c;
}

}  // namespace

void add_compare_operations() {
  add_lowering("setp", lower_setp);
  add_lowering("set", lower_set);
  add_lowering("selp", lower_selp);
  add_lowering("slct", lower_slct);
}

}  // namespace simulator
