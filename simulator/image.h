// What cuModuleLoadData is handed: PTX text, a fatbin with PTX entries, or a cubin (which cannot run here).
#pragma once

#include <memory>
#include <string>

#include "machine.h"

namespace simulator::driver {

struct Loaded {
  int result = 0;
  std::string log;  // for the caller's error log
  std::unique_ptr<Module> module;
};

// `arch` as 90 for sm_90; `ptx` the newest PTX version the driver takes.
Loaded load_image(const void* image, Memory& memory, int arch, unsigned ptx);

}  // namespace simulator::driver
