// From the staging area of `launch` (numbers) to the array of pointers to argument values that a kernel takes.
#pragma once

#include <cstdint>

#include "registry.h"

namespace fracstride {

constexpr size_t kMostParameters = 128;

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
};

// Reads the arguments of `kernel` from `slots`: three for a pointer (handle, byte offset, bytes used), one for a
// scalar. Throws ERR_ARGUMENT for a handle that is not live, a range outside its buffer, a number that is no integer of
// its kind, and buffers too small for the sizes.
void read_arguments(const Kernel& kernel, Place& place, uint64_t owner, const double* slots, size_t count,
                    Arguments& out);

}  // namespace fracstride
