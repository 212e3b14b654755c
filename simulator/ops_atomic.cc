// atom and red. Lanes go one after another, lowest first; other host threads see each as one step.
#include "access.h"
#include "floats.h"

namespace simulator {

namespace {

enum Operation : uint8_t { kAnd, kOr, kXor, kCas, kExch, kAdd, kInc, kDec, kMin, kMax };
const char* const kNames[] = {"and", "or", "xor", "cas", "exch", "add", "inc", "dec", "min", "max"};

// Halves, one or two to a word.
struct Halves {
  uint32_t bits;
};
struct Bf16s {
  uint32_t bits;
};

template <class H>
uint16_t half_sum(uint16_t x, uint16_t y) {
  const double sum = static_cast<double>(to_float(H{x})) + static_cast<double>(to_float(H{y}));
  if constexpr (std::is_same_v<H, Half>)
    return to_half(sum).bits;
  else
    return to_bf16(sum).bits;
}
template <class H>
uint32_t halves_sum(uint32_t x, uint32_t y) {
  return half_sum<H>(static_cast<uint16_t>(x), static_cast<uint16_t>(y)) |
         static_cast<uint32_t>(half_sum<H>(static_cast<uint16_t>(x >> 16), static_cast<uint16_t>(y >> 16))) << 16;
}

template <class T>
T changed(Operation what, T old, T b, T c) {
  if constexpr (std::is_same_v<T, Half>)
    return {half_sum<Half>(old.bits, b.bits)};
  else if constexpr (std::is_same_v<T, Bf16>)
    return {half_sum<Bf16>(old.bits, b.bits)};
  else if constexpr (std::is_same_v<T, Halves>)
    return {halves_sum<Half>(old.bits, b.bits)};
  else if constexpr (std::is_same_v<T, Bf16s>)
    return {halves_sum<Bf16>(old.bits, b.bits)};
  else if constexpr (std::is_floating_point_v<T>)
    return what == kExch ? b : old + b;
  else {
    using U = std::make_unsigned_t<T>;
    switch (what) {
      case kAnd:
        return old & b;
      case kOr:
        return old | b;
      case kXor:
        return old ^ b;
      case kCas:
        return old == b ? c : old;
      case kExch:
        return b;
      case kAdd:
        return static_cast<T>(static_cast<U>(old) + static_cast<U>(b));
      case kInc:
        return static_cast<U>(old) >= static_cast<U>(b) ? 0 : static_cast<T>(old + 1);
      case kDec:
        return old == 0 || static_cast<U>(old) > static_cast<U>(b) ? b : static_cast<T>(old - 1);
      case kMin:
        return old < b ? old : b;
      default:
        return old > b ? old : b;
    }
  }
}

template <size_t kBytes>
struct BitsOf;
template <>
struct BitsOf<2> {
  using type = uint16_t;
};
template <>
struct BitsOf<4> {
  using type = uint32_t;
};
template <>
struct BitsOf<8> {
  using type = uint64_t;
};

template <class T>
void run(Warp& w, const Op& op) {
  Places p;
  if (!reach(w, op, static_cast<Space>(op.target & 255), sizeof(T), true, p)) return;
  using Bits = typename BitsOf<sizeof(T)>::type;
  const auto what = static_cast<Operation>(op.target >> 8);
  const Cell<T>*b = cells<T>(w, op.b), *c = cells<T>(w, op.c);
  Cell<T>* d = op.d == kNone ? nullptr : cells<T>(w, op.d);
  lanes(w.mask, [&](int i) {
    auto* const at = reinterpret_cast<Bits*>(p.at[i]);
    const T y = std::bit_cast<T>(static_cast<Bits>(b[i])), z = std::bit_cast<T>(static_cast<Bits>(c[i]));
    Bits old = __atomic_load_n(at, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(at, &old, std::bit_cast<Bits>(changed<T>(what, std::bit_cast<T>(old), y, z)),
                                        false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
    }
    if (d != nullptr) d[i] = old;
  });
}

Run run_of(Type type, Operation what) {
  const bool add = what == kAdd;
  switch (type) {
    case Type::kB16:
      return what == kCas || what == kExch ? run<uint16_t> : nullptr;
    case Type::kB32:
    case Type::kU32:
      return run<uint32_t>;
    case Type::kS32:
      return run<int32_t>;
    case Type::kB64:
    case Type::kU64:
      return run<uint64_t>;
    case Type::kS64:
      return run<int64_t>;
    case Type::kF32:
      return add ? run<float> : nullptr;
    case Type::kF64:
      return add ? run<double> : nullptr;
    case Type::kF16:
      return add ? run<Half> : nullptr;
    case Type::kBf16:
      return add ? run<Bf16> : nullptr;
    case Type::kF16x2:
      return add ? run<Halves> : nullptr;
    case Type::kBf16x2:
      return add ? run<Bf16s> : nullptr;
    default:
      return nullptr;
  }
}

void lower_atomic(Build& b) {
  const bool reduce = b.in.words[0] == "red";
  ignore_hints(b);
  b.has("noftz");
  const Type type = b.type();
  uint8_t what = 0;
  while (what < 10 && !b.has(kNames[what])) what++;
  const Run run = what < 10 ? run_of(type, static_cast<Operation>(what)) : nullptr;
  if (run == nullptr) b.refuse("the operation is not one of its type");
  const size_t at = reduce ? 0 : 1;
  const Build::Address address = b.address(b.operand(at));
  const Space space = space_of(b, &address);
  const uint32_t y = b.source(at + 1, type), z = what == kCas ? b.source(at + 2, type) : y;
  const uint32_t d = reduce ? kNone : b.result(0, type);
  Op& op = b.emit(run, kAtomic);
  set_address(op, address);
  op.d = d, op.b = y, op.c = z;
  op.target = static_cast<uint32_t>(space) | static_cast<uint32_t>(what) << 8;
  // What a thread gets back, and how floating point adds up, depends on which block comes first.
  const bool floating = type == Type::kF32 || type == Type::kF64 || type == Type::kF16 || type == Type::kBf16 ||
                        type == Type::kF16x2 || type == Type::kBf16x2;
  if (space != Space::kShared && (!reduce || floating || what == kExch || what == kCas))
    b.decoder().code().one_host_thread = true;
}

}  // namespace

void add_atomic_operations() {
  add_lowering("atom", lower_atomic);
  add_lowering("red", lower_atomic);
}

}  // namespace simulator
