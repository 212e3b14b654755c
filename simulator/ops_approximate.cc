// rcp, sqrt, rsqrt, ex2, lg2, sin, cos, tanh, copysign, testp. What PTX calls approximate is computed in double and
// rounded, so it is at least as close as PTX asks.
#include "decode.h"
#include "floats.h"

namespace simulator {

void lower_reciprocal(Build& b);
void lower_square_root(Build& b);

namespace {

struct ReciprocalOf {
  static double of(double x) { return 1 / x; }
};
struct SquareRootOf {
  static double of(double x) { return std::sqrt(x); }
};
struct ReciprocalRootOf {
  static double of(double x) { return 1 / std::sqrt(x); }
};
struct PowerOfTwo {
  static double of(double x) { return std::exp2(x); }
};
struct LogarithmOfTwo {
  static double of(double x) { return std::log2(x); }
};
struct Sine {
  static double of(double x) { return std::sin(x); }
};
struct Cosine {
  static double of(double x) { return std::cos(x); }
};
struct Tangent {
  static double of(double x) { return std::tanh(x); }
};

template <class F>
void run_single(Warp& w, const Op& op) {
  const uint32_t* a = cells<float>(w, op.a);
  uint32_t* d = cells<float>(w, op.d);
  const bool ftz = (op.small & kFtz) != 0;
  lanes(w.mask, [&](int i) {
    float x = from_cell<float>(a[i]);
    if (ftz) x = flushed(x);
    float r = canonical(static_cast<float>(F::of(static_cast<double>(x))));
    if (ftz) r = flushed(r);
    d[i] = to_cell<float>(r);
  });
}

// rcp.approx.ftz.f64 and rsqrt.approx.ftz.f64 give the upper 32 bits of the result; code refines it. Without .ftz the
// result is a whole one.
template <class F>
void run_double(Warp& w, const Op& op) {
  const uint64_t* a = cells<double>(w, op.a);
  uint64_t* d = cells<double>(w, op.d);
  const bool ftz = (op.small & kFtz) != 0;
  lanes(w.mask, [&](int i) {
    const double x = from_cell<double>(a[i]);
    d[i] = ftz ? to_cell<double>(flushed(F::of(flushed(x)))) & 0xffffffff00000000u : to_cell<double>(F::of(x));
  });
}

template <class F, bool kUpper>
void run_half(Warp& w, const Op& op) {
  const uint32_t* a = cells<uint32_t>(w, op.a);
  uint32_t* d = cells<uint32_t>(w, op.d);
  const auto half = [&](uint16_t bits) -> uint32_t {
    if (op.more != 0) return to_bf16(F::of(to_float(Bf16{bits}))).bits;
    return to_half(F::of(to_float(Half{bits}))).bits;
  };
  lanes(w.mask, [&](int i) {
    uint32_t r = half(static_cast<uint16_t>(a[i]));
    if (kUpper) r |= half(static_cast<uint16_t>(a[i] >> 16)) << 16;
    d[i] = r;
  });
}

template <class F>
void lower_approximate(Build& b) {
  const Type type = b.type();
  const uint8_t small = b.has("ftz") ? kFtz : 0;
  if (!b.has("approx")) b.refuse("it must be .approx");
  switch (type) {
    case Type::kF32:
      b.simple(run_single<F>, kFloat, type, type).small = small;
      return;
    case Type::kF64:
      b.simple(run_double<F>, kDouble, type, type).small = small;
      return;
    case Type::kF16:
      b.simple(run_half<F, false>, kHalf, type, type);
      return;
    case Type::kF16x2:
      b.simple(run_half<F, true>, kHalf, type, type);
      return;
    case Type::kBf16:
      b.simple(run_half<F, false>, kHalf, type, type).more = 1;
      return;
    case Type::kBf16x2:
      b.simple(run_half<F, true>, kHalf, type, type).more = 1;
      return;
    default:
      b.refuse("the type is not one of this instruction");
  }
}

// Copies the sign of the first source into the second.
void lower_copysign(Build& b) {
  const Type type = b.type();
  if (type == Type::kF64)
    b.simple(binary<uint64_t, uint64_t, uint64_t>(
                 [](uint64_t s, uint64_t x) { return (s & 0x8000000000000000u) | (x & 0x7fffffffffffffffu); }),
             kDouble, type, type);
  else
    b.simple(binary<uint32_t, uint32_t, uint32_t>(
                 [](uint32_t s, uint32_t x) { return (s & 0x80000000u) | (x & 0x7fffffffu); }),
             kFloat, type, type);
}

enum Property : uint8_t { kFinite, kInfinite, kNumber, kNotANumber, kNormal, kSubnormal };

template <class T>
void run_test(Warp& w, const Op& op) {
  const Cell<T>* a = cells<T>(w, op.a);
  each_predicate(w, op.d, [=](int i) {
    const int kind = std::fpclassify(from_cell<T>(a[i]));
    switch (op.small) {
      case kFinite:
        return kind != FP_NAN && kind != FP_INFINITE;
      case kInfinite:
        return kind == FP_INFINITE;
      case kNumber:
        return kind != FP_NAN;
      case kNotANumber:
        return kind == FP_NAN;
      case kNormal:
        return kind == FP_NORMAL;
      default:
        return kind == FP_SUBNORMAL;
    }
  });
}

void lower_testp(Build& b) {
  const char* const names[] = {"finite", "infinite", "number", "notanumber", "normal", "subnormal"};
  const Type type = b.type();
  uint8_t property = 0;
  while (property < 6 && !b.has(names[property])) property++;
  const uint32_t a = b.source(1, type), d = b.predicate_result(b.operand(0));
  Op& op = b.emit(type == Type::kF64 ? run_test<double> : run_test<float>, type == Type::kF64 ? kDouble : kFloat);
  op.d = d, op.a = a, op.small = property;
}

}  // namespace

void add_approximate_operations() {
  add_lowering("rcp", [](Build& b) { b.has("approx") ? lower_approximate<ReciprocalOf>(b) : lower_reciprocal(b); });
  add_lowering("sqrt", [](Build& b) { b.has("approx") ? lower_approximate<SquareRootOf>(b) : lower_square_root(b); });
  add_lowering("rsqrt", lower_approximate<ReciprocalRootOf>);
  add_lowering("ex2", lower_approximate<PowerOfTwo>);
  add_lowering("lg2", lower_approximate<LogarithmOfTwo>);
  add_lowering("sin", lower_approximate<Sine>);
  add_lowering("cos", lower_approximate<Cosine>);
  add_lowering("tanh", lower_approximate<Tangent>);
  add_lowering("copysign", lower_copysign);
  add_lowering("testp", lower_testp);
}

}  // namespace simulator
