// From the staging area of `launch` (numbers) to the array of pointers to argument values that a kernel takes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "registry.h"

namespace fracstride {

constexpr size_t kMostParameters = 128;
// Of all tables of a kernel together: more than this no kernel takes by value.
constexpr size_t kMostTableBytes = 4096;

// One argument: a letter of codegen/passes.ts, and how much a table (P or L) holds.
struct Parameter {
  char kind;
  uint32_t capacity;
};

// Reads a kinds string such as "ppid" or "P384L64di". Throws ERR_ARGUMENT.
std::vector<Parameter> read_kinds(const std::string& kinds);

struct Arguments {
  union Value {
    void* pointer;
    int32_t i;
    int64_t l;
    float f;
    double d;
  };
  Value values[kMostParameters];
  void* params[kMostParameters];
  uint64_t bytes[kMostParameters];  // behind each pointer, as the caller said and the pool confirmed
  alignas(16) uint8_t tables[kMostTableBytes];
};

// Reads the arguments of `kernel` from `slots`: three for a pointer (handle, byte offset, bytes used), one for a
// scalar; a table is preceded by the number of its entries. Throws ERR_ARGUMENT for a handle that is not live, a range
// outside its buffer, a number that is no integer of its kind, more entries than a table holds, and buffers too small
// for the sizes.
void read_arguments(const Kernel& kernel, const std::vector<Parameter>& parameters, Place& place, uint64_t owner,
                    const double* slots, size_t count, Arguments& out);

}  // namespace fracstride
