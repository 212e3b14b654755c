// Prints driver calls; see driver_trace.h.

#include "driver_trace.h"

#include <cstdio>

namespace fracstride {

namespace {

template <class Name, class Signature>
struct Traced;

template <class Name, class... Parameters>
struct Traced<Name, cu::Result(FS_CUDA_API*)(Parameters...)> {
  static inline cu::Result(FS_CUDA_API* entry)(Parameters...) = nullptr;

  static cu::Result FS_CUDA_API print(Parameters... parameters) {
    const cu::Result result = entry(parameters...);
    std::fprintf(stderr, "fracstride: %s -> %d\n", Name::text, result);
    return result;
  }
};

template <class Name, class Signature>
void trace(Signature& entry) {
  if (entry == nullptr) return;
  Traced<Name, Signature>::entry = entry;
  entry = Traced<Name, Signature>::print;
}

#define FS_NAME(query, symbol, field, parameters) \
  struct Name_##field {                           \
    static constexpr const char* text = #query;   \
  };
FS_DRIVER_ENTRIES(FS_NAME)
FS_DRIVER_OPTIONAL_ENTRIES(FS_NAME)
#undef FS_NAME

}  // namespace

void trace_driver(cu::Entries& call) {
#define FS_TRACE(query, symbol, field, parameters) trace<Name_##field>(call.field);
  FS_DRIVER_ENTRIES(FS_TRACE)
  FS_DRIVER_OPTIONAL_ENTRIES(FS_TRACE)
#undef FS_TRACE
}

}  // namespace fracstride
