// How much memory this process may still take.
#pragma once

#include <cstdint>

namespace fracstride {

// Bytes of physical memory that are free or can be freed, within the limits of the process's control groups (v1, v2)
// and its address space. Where a system tells nothing, 2^63.
uint64_t memory_left();

// Bytes of physical memory that the process occupies now; 0 where a system tells nothing.
uint64_t memory_resident();

}  // namespace fracstride
