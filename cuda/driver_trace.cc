// Prints driver calls; see driver_trace.h.

#include "driver_trace.h"

#include "call_trace.h"

namespace fracstride {

namespace {

#define FS_NAME(query, symbol, field, parameters) \
  struct Name_##field {                           \
    static constexpr const char* text = #query;   \
  };
FS_DRIVER_ENTRIES(FS_NAME)
FS_DRIVER_OPTIONAL_ENTRIES(FS_NAME)
#undef FS_NAME

}  // namespace

void trace_driver(cu::Entries& call) {
#define FS_TRACE(query, symbol, field, parameters) trace_calls<Name_##field>(call.field);
  FS_DRIVER_ENTRIES(FS_TRACE)
  FS_DRIVER_OPTIONAL_ENTRIES(FS_TRACE)
#undef FS_TRACE
}

}  // namespace fracstride
