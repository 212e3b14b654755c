#include "floats.h"

namespace simulator {

uint64_t rounded(double value, int exponent_bits, int mantissa_bits, Round round) {
  const uint64_t sign = std::signbit(value) ? uint64_t{1} << (exponent_bits + mantissa_bits) : 0;
  const uint64_t infinity = ((uint64_t{1} << exponent_bits) - 1) << mantissa_bits;
  const double magnitude = std::fabs(value);
  if (std::isinf(magnitude)) return sign | infinity;
  if (magnitude == 0) return sign;
  const int bias = (1 << (exponent_bits - 1)) - 1;
  int exponent;
  std::frexp(magnitude, &exponent);
  exponent -= 1;  // magnitude = 1.f * 2^exponent
  if (exponent < 1 - bias) exponent = 1 - bias;
  // In units of the last place the value is an integer and a fraction, both exact.
  const double units = std::ldexp(magnitude, mantissa_bits - exponent);
  const double whole = std::floor(units), fraction = units - whole;
  auto integer = static_cast<uint64_t>(whole);
  bool up = false;
  switch (round) {
    case Round::kNearest:
      up = fraction > 0.5 || (fraction == 0.5 && (integer & 1) != 0);
      break;
    case Round::kAway:
      up = fraction >= 0.5;
      break;
    case Round::kZero:
      break;
    case Round::kDown:
      up = fraction > 0 && sign != 0;
      break;
    case Round::kUp:
      up = fraction > 0 && sign == 0;
      break;
  }
  integer += up ? 1 : 0;
  // A carry out of the mantissa adds one to the exponent by itself.
  const uint64_t bits = integer + (static_cast<uint64_t>(exponent + bias - 1) << mantissa_bits);
  if (bits < infinity) return sign | bits;
  const bool largest =
      round == Round::kZero || (round == Round::kDown && sign == 0) || (round == Round::kUp && sign != 0);
  return sign | (largest ? infinity - 1 : infinity);
}

}  // namespace simulator
