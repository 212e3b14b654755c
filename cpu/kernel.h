// What a CPU kernel is to the registry: a name, the kinds of its arguments and an entry with cuLaunchKernel's own ABI.
// Generated files that are compiled for one instruction set include this, so it holds no inline code.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace fracstride {

// params[i] points at the value of argument i: a `void*`, int32_t, int64_t, float or double by its kind p i l f d, or
// at the first entry of a table of pointers or int64_t (P and L), which come before all others. May throw
// std::bad_alloc (scratch memory) and std::invalid_argument (sizes that it does not compute) on the calling thread.
using CpuEntry = void (*)(void** params);

struct CpuKernelRow {
  const char* name;
  const char* kinds;
  CpuEntry entry;
  const char* extents;  // what its buffers must hold, as codegen/extents.ts writes it
};

// The rows of one generated file: `fracstride_table_<unit>_<isa>`.
struct CpuKernelTable {
  const char* isa;
  const CpuKernelRow* rows;
  size_t count;
};

// Every table of this build, best instruction set first, whether this machine runs it or not (generated).
extern const CpuKernelTable* const CPU_KERNEL_TABLES[];
extern const size_t CPU_KERNEL_TABLE_COUNT;

}  // namespace fracstride
