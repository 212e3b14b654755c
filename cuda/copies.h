// Copies between the host and a CUDA device through staging blocks, in pieces.
#pragma once

#include "staging.h"

namespace fracstride {

// The source may change as soon as this returns.
void copy_to_device(CudaQueue& queue, Staging& staging, void* target, const void* source, size_t bytes);

// Waits.
void copy_to_host(CudaQueue& queue, Staging& staging, void* target, const void* source, size_t bytes);

}  // namespace fracstride
