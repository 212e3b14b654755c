// What a warp's access to memory costs.
#pragma once

#include "machine.h"

namespace simulator {

// Distinct 32-byte sectors of the executing lanes; an aligned access of up to 16 bytes lies in one. The fewest are
// those that the distinct bytes would fill.
void count_global(Counters& counters, const int64_t* address, uint32_t mask, unsigned bytes, bool write);
// Shared memory serves 32 banks of 4 bytes a wavefront: lanes that want different words of one bank wait. 8 bytes a
// thread go in two halves of the warp, 16 in four quarters.
void count_shared(Counters& counters, const int64_t* address, uint32_t mask, unsigned bytes, bool write);

}  // namespace simulator
