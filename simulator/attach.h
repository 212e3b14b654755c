// What the stand-in for libcudnn asks of the simulator's libcuda, beside CUDA's entries. Found by name in the libcuda
// of the process (cudnn_driver.cc).
#pragma once

#include "api.h"

namespace simulator::driver {

// Work that runs in the order of a stream as a kernel does: it may be recorded into a graph, and run more than once.
struct Task {
  const char* name;
  // What it came to; the sentence (at most `size` bytes with its end) when that is not SUCCESS.
  Result (*run)(void* data, char* sentence, size_t size);
  void (*drop)(void* data);  // when it will not run again; takes no lock of the driver
  void* data;
};

#ifndef SIMULATOR_TYPES_ONLY

// Takes the task over, whatever it returns. Faults of launches (README.md) befall tasks too.
SIM_EXPORT Result simulatorEnqueue(StreamHandle stream, const Task* task);

// Where [address, address + bytes) of a context's memory lies on the host; null unless it lies inside one living
// allocation, and then where the address points to as text.
SIM_EXPORT void* simulatorHost(ContextHandle context, Pointer address, uint64_t bytes, char* place, size_t size);

// How often the context was torn down: what was made in it before is gone.
SIM_EXPORT uint64_t simulatorGeneration(ContextHandle context);

// The compute capability of the devices, as 90.
SIM_EXPORT int simulatorArch();

#endif

}  // namespace simulator::driver
