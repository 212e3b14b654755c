// NVRTC, NVIDIA's compiler as a library, opened at run time (FRACSTRIDE_LIBNVRTC, else libnvrtc.so.13, .12, .11.2).
#pragma once

#include <string>
#include <vector>

namespace fracstride {

struct NvrtcInfo {
  bool available = false;
  std::string reason;  // why not, one sentence that ends with what to do
  std::string path;    // of the library that was opened
  int major = 0, minor = 0;
  std::vector<int> architectures;  // what it compiles for, e.g. 75, 80
};

struct NvrtcImage {
  std::vector<char> bytes;  // PTX with its closing zero byte removed, or a cubin
  std::string log;
};

// Opens the library on first use.
const NvrtcInfo& nvrtc_info();

// Compiles one text; throws ERR_KERNEL_COMPILE with the first lines of the log, ERR_DEVICE_UNAVAILABLE without a
// library. `cubin`: machine code (the options name a real architecture, --gpu-architecture=sm_90), else PTX.
NvrtcImage nvrtc_compile(const std::string& name, const std::string& source, const std::vector<std::string>& options,
                         bool cubin);

}  // namespace fracstride
