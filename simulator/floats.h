// Floating-point values: conversions between formats, NaN, what .ftz and .sat do. Exact, and vectorisable where hot.
#pragma once

#include <cmath>
#include <limits>

#include "lanes.h"

namespace simulator {

constexpr uint8_t kFtz = 1;  // bits of Op::small
constexpr uint8_t kSat = 2;

// The NaN that f32 operations make.
inline float canonical(float x) {
  return x == x ? x : std::bit_cast<float>(0x7fffffffu);
}
inline double canonical(double x) {
  return x;
}

inline float flushed(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  return (bits & 0x7f800000u) == 0 ? std::bit_cast<float>(bits & 0x80000000u) : x;
}
inline double flushed(double x) {
  const auto bits = std::bit_cast<uint64_t>(x);
  return (bits & 0x7ff0000000000000u) == 0 ? std::bit_cast<double>(bits & 0x8000000000000000u) : x;
}

template <class T>
inline T saturated(T x) {
  return x > T(0) ? (x < T(1) ? x : T(1)) : T(0);  // NaN becomes +0
}

inline float to_float(Half h) {
  const uint32_t magnitude = static_cast<uint32_t>(h.bits & 0x7fffu) << 13;
  // 2^112 moves the exponent; subnormals come out right, as the product is exact.
  const float scaled = std::bit_cast<float>(magnitude) * 0x1p112f;
  const uint32_t special = magnitude | 0x7f800000u;
  const uint32_t bits = magnitude >= 0x0f800000u ? special : std::bit_cast<uint32_t>(scaled);
  return std::bit_cast<float>(bits | static_cast<uint32_t>(h.bits & 0x8000u) << 16);
}
inline float to_float(Bf16 b) {
  return std::bit_cast<float>(static_cast<uint32_t>(b.bits) << 16);
}
inline float to_float(float x) {
  return x;
}

enum class Round : uint8_t { kNearest, kZero, kDown, kUp, kAway };

// `value` (of a wider format) to a format of `exponent_bits` and `mantissa_bits`, as bits. Overflow gives infinity, or
// the largest finite number where the rounding goes towards it.
uint64_t rounded(double value, int exponent_bits, int mantissa_bits, Round round);

inline Half to_half(double x, Round round = Round::kNearest) {
  if (x != x) return {0x7fff};
  return {static_cast<uint16_t>(rounded(x, 5, 10, round))};
}
inline Bf16 to_bf16(double x, Round round = Round::kNearest) {
  if (x != x) return {0x7fff};
  return {static_cast<uint16_t>(rounded(x, 8, 7, round))};
}

// Minimum and maximum: a NaN loses against a number unless `kNan`, and -0 is less than +0.
template <class T>
inline T minimum(T x, T y, bool nan) {
  if (x != x) return nan || y != y ? canonical(std::numeric_limits<T>::quiet_NaN()) : y;
  if (y != y) return nan ? canonical(std::numeric_limits<T>::quiet_NaN()) : x;
  if (x == y) return std::signbit(x) ? x : y;
  return x < y ? x : y;
}
template <class T>
inline T maximum(T x, T y, bool nan) {
  return -minimum<T>(-x, -y, nan);
}

}  // namespace simulator
