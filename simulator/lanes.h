// Lane loops: how operations read and write registers. The compiler turns them into vector code.
#pragma once

#include <bit>
#include <cstring>
#include <type_traits>

#include "code.h"

namespace simulator {

struct Half {
  uint16_t bits;
};
struct Bf16 {
  uint16_t bits;
};

template <class T>
using Cell = std::conditional_t<sizeof(T) == 8, uint64_t, uint32_t>;

template <class T>
inline T from_cell(Cell<T> cell) {
  if constexpr (sizeof(T) == sizeof(cell))
    return std::bit_cast<T>(cell);
  else if constexpr (sizeof(T) == 2)
    return std::bit_cast<T>(static_cast<uint16_t>(cell));
  else
    return std::bit_cast<T>(static_cast<uint8_t>(cell));
}

// Signed types are extended, so that a 32-bit register loaded with an s8 holds its value.
template <class T>
inline Cell<T> to_cell(T value) {
  if constexpr (sizeof(T) >= 4)
    return std::bit_cast<Cell<T>>(value);
  else if constexpr (std::is_integral_v<T>)
    return static_cast<uint32_t>(static_cast<int32_t>(value));
  else
    return value.bits;
}

template <class T>
inline Cell<T>* cells(const Warp& w, uint32_t at) {
  return reinterpret_cast<Cell<T>*>(w.registers + at);
}

inline uint32_t& predicate(const Warp& w, uint32_t at) {
  return *reinterpret_cast<uint32_t*>(w.registers + at);
}

// target[lane] = f(lane) for every executing lane.
template <class D, class F>
inline void each(Warp& w, uint32_t target, F f) {
  Cell<D>* out = cells<D>(w, target);
  if (w.mask == kAll) {
#pragma GCC ivdep
    for (int i = 0; i < 32; i++) out[i] = to_cell<D>(f(i));
    return;
  }
  alignas(64) Cell<D> made[32];
#pragma GCC ivdep
  for (int i = 0; i < 32; i++) made[i] = to_cell<D>(f(i));
  const uint32_t mask = w.mask;
#pragma GCC ivdep
  for (int i = 0; i < 32; i++) out[i] = (mask >> i & 1) != 0 ? made[i] : out[i];
}

// Bits of the predicate `target` for every executing lane.
template <class F>
inline void each_predicate(Warp& w, uint32_t target, F f) {
  alignas(64) uint32_t bits[32];
#pragma GCC ivdep
  for (int i = 0; i < 32; i++) bits[i] = static_cast<uint32_t>(f(i)) << i;
  uint32_t made = 0;
  for (int i = 0; i < 32; i++) made |= bits[i];
  uint32_t& p = predicate(w, target);
  p = (p & ~w.mask) | (made & w.mask);
}

inline void set_predicate(Warp& w, uint32_t target, uint32_t bits) {
  uint32_t& p = predicate(w, target);
  p = (p & ~w.mask) | (bits & w.mask);
}

// Executing lanes, lowest first.
template <class F>
inline void lanes(uint32_t mask, F f) {
  for (; mask != 0; mask &= mask - 1) f(std::countr_zero(mask));
}

// Operations made of a function without captures on values.
template <class D, class A, class F>
Run unary(F) {
  return [](Warp& w, const Op& op) {
    const Cell<A>* a = cells<A>(w, op.a);
    each<D>(w, op.d, [=](int i) { return F{}(from_cell<A>(a[i])); });
  };
}

template <class D, class A, class B, class F>
Run binary(F) {
  return [](Warp& w, const Op& op) {
    const Cell<A>* a = cells<A>(w, op.a);
    const Cell<B>* b = cells<B>(w, op.b);
    each<D>(w, op.d, [=](int i) { return F{}(from_cell<A>(a[i]), from_cell<B>(b[i])); });
  };
}

template <class D, class A, class B, class C, class F>
Run ternary(F) {
  return [](Warp& w, const Op& op) {
    const Cell<A>* a = cells<A>(w, op.a);
    const Cell<B>* b = cells<B>(w, op.b);
    const Cell<C>* c = cells<C>(w, op.c);
    each<D>(w, op.d, [=](int i) { return F{}(from_cell<A>(a[i]), from_cell<B>(b[i]), from_cell<C>(c[i])); });
  };
}

}  // namespace simulator
