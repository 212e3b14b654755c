// How operations hand lanes over to the scheduler of a warp (exec.cc).
#pragma once

#include "code.h"

namespace simulator {

// Lanes `taken` of the current fragment go to `target`, the others on.
void branch(Warp& w, uint32_t taken, uint32_t target);
// Lanes `mask` end.
void exit_lanes(Warp& w, uint32_t mask);
// Whether all of `wanted` execute `op` now. If not, the fragment waits at it until the rest come (the operation then
// runs again), or the warp fails because they cannot.
bool gather(Warp& w, const Op& op, uint32_t wanted);
// The executing lanes wait at a barrier; `expected` threads make it complete.
void arrive(Warp& w, const Op& op, uint32_t barrier, uint32_t expected, uint32_t vote);

}  // namespace simulator
