// Types as two declarations of one function may be compared: enumerations count as int, whatever they are called.
// Specialise it for structures that each side declares for itself.
#pragma once

#include <type_traits>

template <class T>
struct Plain {
  using Type = std::conditional_t<std::is_enum_v<T>, int, T>;
};
template <class T>
struct Plain<T*> {
  using Type = typename Plain<T>::Type*;
};
template <class R, class... P>
struct Plain<R(P...)> {
  using Type = typename Plain<R>::Type(typename Plain<P>::Type...);
};
