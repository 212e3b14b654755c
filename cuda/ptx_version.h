// PTX for a driver that is older than the compiler that wrote it.
#pragma once

#include <cstddef>
#include <string>

namespace fracstride {

// Whether an image is PTX text; a cubin or a fat binary begins with a magic number instead.
bool is_ptx(const void* data, size_t size);

// The text with a `.version` that a driver of `driver_version` (12040 for CUDA 12.4) knows. What nvcc 13 writes for our
// kernels assembles unchanged from PTX 8.3 on, and from 7.0 on without its `.pragma "used_bytes_mask …"` lines, which
// only tell the assembler something. A text that is old enough is returned as it is.
std::string ptx_for_driver(std::string text, int driver_version);

}  // namespace fracstride
