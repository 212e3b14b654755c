// Every call of a library as a line on stderr, for FRACSTRIDE_DEBUG=5.
#pragma once

#include <cstdio>
#include <cstdlib>

#include "driver.h"

namespace fracstride {

inline bool traces_calls() {
  const char* level = std::getenv("FRACSTRIDE_DEBUG");
  return level != nullptr && std::atoi(level) >= 5;
}

template <class Name, class Signature>
struct Traced;

template <class Name, class... Parameters>
struct Traced<Name, int(FS_CUDA_API*)(Parameters...)> {
  static inline int(FS_CUDA_API* entry)(Parameters...) = nullptr;

  static int FS_CUDA_API print(Parameters... parameters) {
    const int result = entry(parameters...);
    std::fprintf(stderr, "fracstride: %s -> %d\n", Name::text, result);
    return result;
  }
};

// Puts a printing function in front of an entry, which Name::text names. Called before anybody uses the entry.
template <class Name, class Signature>
void trace_calls(Signature& entry) {
  if (entry == nullptr) return;
  Traced<Name, Signature>::entry = entry;
  entry = Traced<Name, Signature>::print;
}

}  // namespace fracstride
