// Arithmetic on f16 and bf16, single and packed. Products and sums are made in double, which holds them exactly enough
// that one rounding is the right one.
#include "decode.h"
#include "floats.h"

namespace simulator {

namespace {

enum class HalfOp : uint8_t { kAdd, kSub, kMul, kFma, kMin, kMax, kMinNan, kMaxNan, kNeg, kAbs };

// fma in double: the product is exact; adding may round, which must not be followed by a second rounding. Rounding to
// odd keeps what the second one has to know.
double add_odd(double a, double b) {
  const double sum = a + b;
  if (!std::isfinite(sum)) return sum;
  const double back = sum - a;
  const double error = (a - (sum - back)) + (b - back);  // exact
  if (error == 0) return sum;
  auto bits = std::bit_cast<uint64_t>(sum);
  if ((bits & 1) != 0) return sum;
  const bool outward = (error > 0) == !std::signbit(sum);
  bits += outward ? 1 : -1;
  return std::bit_cast<double>(bits);
}

template <class H>
H narrowed(double x) {
  if constexpr (std::is_same_v<H, Half>)
    return to_half(x);
  else
    return to_bf16(x);
}

// .ftz flushes subnormals of f16; .relu makes negatives and NaN... zero and canonical NaN.
template <class H>
uint16_t compute(HalfOp what, uint8_t flags, uint16_t xb, uint16_t yb, uint16_t zb) {
  if (what == HalfOp::kNeg) return xb ^ 0x8000;
  if (what == HalfOp::kAbs) return xb & 0x7fff;
  const auto load = [&](uint16_t bits) {
    constexpr uint16_t kExponent = std::is_same_v<H, Half> ? 0x7c00 : 0x7f80;
    if ((flags & kFtz) != 0 && (bits & kExponent) == 0) bits &= 0x8000;
    return static_cast<double>(to_float(H{bits}));
  };
  const double x = load(xb), y = load(yb), z = load(zb);
  double r = 0;
  switch (what) {
    case HalfOp::kAdd:
      r = add_odd(x, y);
      break;
    case HalfOp::kSub:
      r = add_odd(x, -y);
      break;
    case HalfOp::kMul:
      r = x * y;
      break;
    case HalfOp::kFma:
      r = add_odd(x * y, z);
      break;
    case HalfOp::kMin:
      r = minimum(x, y, false);
      break;
    case HalfOp::kMax:
      r = maximum(x, y, false);
      break;
    case HalfOp::kMinNan:
      r = minimum(x, y, true);
      break;
    default:
      r = maximum(x, y, true);
      break;
  }
  if ((flags & kSat) != 0) r = saturated(r);
  if ((flags & 4) != 0 && !(r > 0) && r == r) r = 0;  // .relu
  uint16_t bits = narrowed<H>(r).bits;
  if ((flags & kFtz) != 0 && std::is_same_v<H, Half> && (bits & 0x7c00) == 0) bits &= 0x8000;
  return bits;
}

template <class H, bool kPacked>
void run(Warp& w, const Op& op) {
  const uint32_t *a = cells<uint32_t>(w, op.a), *b = cells<uint32_t>(w, op.b), *c = cells<uint32_t>(w, op.c);
  uint32_t* d = cells<uint32_t>(w, op.d);
  const auto what = static_cast<HalfOp>(op.more);
  lanes(w.mask, [&](int i) {
    const uint32_t x = a[i], y = b[i], z = c[i];
    const auto part = [&](int shift) -> uint32_t {
      return compute<H>(what, op.small, static_cast<uint16_t>(x >> shift), static_cast<uint16_t>(y >> shift),
                        static_cast<uint16_t>(z >> shift));
    };
    d[i] = kPacked ? part(0) | part(16) << 16 : part(0);
  });
}

}  // namespace

// add sub mul fma abs neg min max
void lower_half(Build& b) {
  const std::string& name = b.in.words[0];
  const Type type = b.type();
  b.has("rn");
  uint8_t flags = static_cast<uint8_t>((b.has("ftz") ? kFtz : 0) | (b.has("sat") ? kSat : 0) | (b.has("relu") ? 4 : 0));
  HalfOp what;
  if (name == "add")
    what = HalfOp::kAdd;
  else if (name == "sub")
    what = HalfOp::kSub;
  else if (name == "mul")
    what = HalfOp::kMul;
  else if (name == "fma")
    what = HalfOp::kFma;
  else if (name == "min")
    what = b.has("NaN") ? HalfOp::kMinNan : HalfOp::kMin;
  else if (name == "max")
    what = b.has("NaN") ? HalfOp::kMaxNan : HalfOp::kMax;
  else if (name == "neg")
    what = HalfOp::kNeg;
  else if (name == "abs")
    what = HalfOp::kAbs;
  else
    b.refuse("the type is not one of this instruction");
  const bool packed = type == Type::kF16x2 || type == Type::kBf16x2;
  const bool half = type == Type::kF16 || type == Type::kF16x2;
  const Run go = half ? (packed ? run<Half, true> : run<Half, false>) : (packed ? run<Bf16, true> : run<Bf16, false>);
  Op& op = b.simple(go, kHalf, type, type);
  op.small = flags;
  op.more = static_cast<uint32_t>(what);
  if (what == HalfOp::kFma) op.multiply_adds = packed ? 2 : 1;
}

}  // namespace simulator
