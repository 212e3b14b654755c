// What the driver says about the devices; see device_cuda.h.

#include "device_cuda.h"
#include "driver.h"
#include "error.h"

namespace fracstride {

namespace {

void check(const cu::Entries& call, cu::Result result, const char* what) {
  if (result != cu::kSuccess) {
    throw Error("ERR_CUDA", std::string("device: ") + what + " must succeed, got " + driver_error(call, result));
  }
}

CudaDeviceInfo describe(const cu::Entries& call, int ordinal) {
  cu::DeviceId id = 0;
  check(call, call.device_get(&id, ordinal), "opening the device");
  const auto attribute = [&](cu::Attribute which) {
    int value = 0;
    call.device_get_attribute(&value, which, id);
    return value;
  };
  char name[256] = "";
  call.device_get_name(name, sizeof name - 1, id);
  size_t total = 0;
  call.device_total_mem(&total, id);
  CudaDeviceInfo info;
  info.name = name;
  info.arch = attribute(cu::kCapabilityMajor) * 10 + attribute(cu::kCapabilityMinor);
  info.multiprocessors = attribute(cu::kMultiprocessors);
  info.total_memory = total;
  info.clock_rate_khz = attribute(cu::kClockRate);
  info.memory_clock_rate_khz = attribute(cu::kMemoryClockRate);
  info.memory_bus_width_bits = attribute(cu::kMemoryBusWidth);
  info.l2_cache_bytes = attribute(cu::kL2CacheBytes);
  return info;
}

CudaInfo ask_driver() {
  CudaInfo info;
  const Driver& found = driver();
  info.driver_version = found.version;
  info.reason = found.reason;
  try {
    for (int i = 0; found.reason.empty() && i < found.devices && i < int(kMostCudaDevices); ++i) {
      info.devices.push_back(describe(found.call, i));
    }
  } catch (const Error& error) {
    info.devices.clear();
    info.reason = error.what();
  }
  info.available = info.reason.empty();
  return info;
}

}  // namespace

const CudaInfo& cuda_info() {
  static const CudaInfo* const asked = new CudaInfo(ask_driver());
  return *asked;
}

}  // namespace fracstride
