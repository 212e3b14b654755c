// Where the lanes of a memory operation point to, checked: inside an allocation (or the block's shared memory, or the
// thread's local memory) and aligned to the size of the access.
#pragma once

#include "decode.h"
#include "lanes.h"

namespace simulator {

struct Places {
  uint8_t* at[32];        // of executing lanes
  bool uniform = false;   // all executing lanes have at[] of the lowest one
  bool adjacent = false;  // all 32 lanes execute, each `bytes` behind the one before
};

// Uses op.a, op.value and op.small of an address (see Build::address). False when the warp has failed. `real` is the
// operation of the code when `op` is not (a changed copy of it).
bool reach(Warp& w, const Op& op, Space space, unsigned bytes, bool write, Places& places, const Op* real = nullptr);

// Into op.a, op.value, op.small.
void set_address(Op& op, const Build::Address& address);

// The space that the opcode names. A name in .param space that is a callee's lies in local memory.
Space space_of(Build& b, const Build::Address* address);

// Words that say how to cache, and orders that a machine that does one thing after another keeps anyway.
void ignore_hints(Build& b);

}  // namespace simulator
