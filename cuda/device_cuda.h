// The CUDA device: the verbs through the driver API, with the primary context and one stream a device.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "device.h"

namespace fracstride {

// Devices that get a number; handles have room for no more.
constexpr unsigned kMostCudaDevices = 31;

struct CudaDeviceInfo {
  std::string name;
  int arch;
  int multiprocessors;
  uint64_t total_memory;
  int clock_rate_khz;
  int memory_clock_rate_khz;
  int memory_bus_width_bits;
  int l2_cache_bytes;
};

struct CudaInfo {
  bool available = false;
  std::string reason;
  int driver_version = 0;
  std::vector<CudaDeviceInfo> devices;
};

// What is there, or why nothing is; asked once.
const CudaInfo& cuda_info();

// Throws ERR_DEVICE_UNAVAILABLE with the reason.
std::unique_ptr<Device> make_cuda_device(int ordinal);

}  // namespace fracstride
