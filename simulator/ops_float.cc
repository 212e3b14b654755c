// Arithmetic on f32 and f64.
#include <cfenv>

#include "decode.h"
#include "floats.h"

namespace simulator {

namespace {

struct Add {
  template <class T>
  static T of(T x, T y, T) {
    return x + y;
  }
};
struct Subtract {
  template <class T>
  static T of(T x, T y, T) {
    return x - y;
  }
};
struct Multiply {
  template <class T>
  static T of(T x, T y, T) {
    return x * y;
  }
};
struct MultiplyAdd {
  template <class T>
  static T of(T x, T y, T z) {
    return std::fma(x, y, z);
  }
};
struct Divide {
  template <class T>
  static T of(T x, T y, T) {
    return x / y;
  }
};
struct Reciprocal {
  template <class T>
  static T of(T x, T, T) {
    return T(1) / x;
  }
};
struct SquareRoot {
  template <class T>
  static T of(T x, T, T) {
    return std::sqrt(x);
  }
};
struct Minimum {
  template <class T>
  static T of(T x, T y, T) {
    return minimum<T>(x, y, false);
  }
};
struct Maximum {
  template <class T>
  static T of(T x, T y, T) {
    return maximum<T>(x, y, false);
  }
};
struct MinimumNan {
  template <class T>
  static T of(T x, T y, T) {
    return minimum<T>(x, y, true);
  }
};
struct MaximumNan {
  template <class T>
  static T of(T x, T y, T) {
    return maximum<T>(x, y, true);
  }
};

template <class T, class F, bool kPlain>
void run_float(Warp& w, const Op& op) {
  const Cell<T>*a = cells<T>(w, op.a), *b = cells<T>(w, op.b), *c = cells<T>(w, op.c);
  const bool ftz = !kPlain && (op.small & kFtz) != 0, sat = !kPlain && (op.small & kSat) != 0;
  each<T>(w, op.d, [=](int i) {
    T x = from_cell<T>(a[i]), y = from_cell<T>(b[i]), z = from_cell<T>(c[i]);
    if (!kPlain && ftz) x = flushed(x), y = flushed(y), z = flushed(z);
    T r = F::of(x, y, z);
    if (!kPlain && ftz) r = flushed(r);
    if (!kPlain && sat) r = saturated(r);
    return canonical(r);
  });
}

// op.more is the host's rounding mode. The call through a pointer keeps the arithmetic between the two changes of mode.
template <class T, class F>
void run_directed(Warp& w, const Op& op) {
  static void (*volatile run)(Warp&, const Op&) = run_float<T, F, false>;
  std::fesetround(static_cast<int>(op.more));
  run(w, op);
  std::fesetround(FE_TONEAREST);
}

template <class F>
Op& lower_as(Build& b) {
  const Type type = b.type();
  uint32_t mode = FE_TONEAREST;
  if (b.has("rz")) mode = FE_TOWARDZERO;
  if (b.has("rm")) mode = FE_DOWNWARD;
  if (b.has("rp")) mode = FE_UPWARD;
  b.has("rn");
  const uint8_t small = static_cast<uint8_t>((b.has("ftz") ? kFtz : 0) | (b.has("sat") ? kSat : 0));
  if (type != Type::kF32 && type != Type::kF64) b.refuse("the type is not one of this instruction");
  const bool single = type == Type::kF32;
  Run run = single ? run_float<float, F, true> : run_float<double, F, true>;
  if (small != 0) run = single ? run_float<float, F, false> : run_float<double, F, false>;
  if (mode != FE_TONEAREST) run = single ? run_directed<float, F> : run_directed<double, F>;
  Op& op = b.simple(run, single ? kFloat : kDouble, type, type);
  op.small = small;
  op.more = mode;
  return op;
}

// abs and neg work on the sign alone, also of a NaN.
template <class T, bool kAbs>
void run_sign(Warp& w, const Op& op) {
  const Cell<T>* a = cells<T>(w, op.a);
  constexpr Cell<T> kSign = Cell<T>{1} << (8 * sizeof(T) - 1);
  const bool ftz = (op.small & kFtz) != 0;
  each<T>(w, op.d, [=](int i) {
    T x = from_cell<T>(a[i]);
    if (ftz) x = flushed(x);
    const auto bits = std::bit_cast<Cell<T>>(x);
    return std::bit_cast<T>(kAbs ? bits & ~kSign : bits ^ kSign);
  });
}

void lower_sign(Build& b) {
  const Type type = b.type();
  const bool abs = b.in.words[0] == "abs", single = type == Type::kF32;
  const uint8_t small = b.has("ftz") ? kFtz : 0;
  const Run run = single ? (abs ? run_sign<float, true> : run_sign<float, false>)
                         : (abs ? run_sign<double, true> : run_sign<double, false>);
  b.simple(run, single ? kFloat : kDouble, type, type).small = small;
}

}  // namespace

// add sub mul fma mad div abs neg min max
void lower_float(Build& b) {
  const std::string& name = b.in.words[0];
  if (name == "abs" || name == "neg") return lower_sign(b);
  if (name == "add")
    lower_as<Add>(b);
  else if (name == "sub")
    lower_as<Subtract>(b);
  else if (name == "mul")
    lower_as<Multiply>(b);
  else if (name == "fma" || name == "mad")
    lower_as<MultiplyAdd>(b).multiply_adds = 1;
  else if (name == "div") {
    // The approximate divisions (within 2 ulp) are done exactly.
    if (b.has("approx") || b.has("full")) {
    }
    lower_as<Divide>(b);
  } else if (name == "min") {
    if (b.has("NaN"))
      lower_as<MinimumNan>(b);
    else
      lower_as<Minimum>(b);
  } else if (name == "max") {
    if (b.has("NaN"))
      lower_as<MaximumNan>(b);
    else
      lower_as<Maximum>(b);
  } else {
    b.refuse("the type is not one of this instruction");
  }
}

void lower_reciprocal(Build& b) {
  lower_as<Reciprocal>(b);
}
void lower_square_root(Build& b) {
  lower_as<SquareRoot>(b);
}

}  // namespace simulator
