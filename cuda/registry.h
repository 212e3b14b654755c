// What this process can run on: the devices, each with its pool of buffers.
// Made on first use, shared by every JavaScript environment of the process, never torn down before the process is.
#pragma once

#include "device.h"
#include "pool.h"

namespace fracstride {

struct Place {
  Device& device;
  Pool& pool;
};

// Device 0 is the CPU, device 1 + i is CUDA device i. Throws ERR_DEVICE_UNAVAILABLE with the reason, or ERR_ARGUMENT
// for what is no device number.
Place& place(double number, const char* where);

// Calls `visit` for every device in use so far.
void each_place(void (*visit)(Place&, void*), void* context);

}  // namespace fracstride
