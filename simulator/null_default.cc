// Every entry as a success that does nothing; null.cc overrides those that have something to answer.
#include "api.h"

namespace simulator::driver {

#define SIM_NOTHING(query, symbol, since, parameters) \
  extern "C" __attribute__((weak, visibility("default"))) Result symbol parameters { return kSUCCESS; }
SIM_ENTRIES(SIM_NOTHING)
#undef SIM_NOTHING

}  // namespace simulator::driver
