// The CPU as a device: aligned memory, the kernels of every instruction set that this machine runs, the thread team.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "../cuda/device.h"

namespace fracstride {

struct CpuInfo {
  std::vector<std::string> isas;  // best first
  int threads;
};

CpuInfo cpu_info();
void set_cpu_threads(int count);

std::unique_ptr<Device> make_cpu_device();

}  // namespace fracstride
