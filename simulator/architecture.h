// What the attributes of a device say. What depends on the architecture is here, the rest in api.h.
#pragma once

#include "api.h"

namespace simulator::driver {

struct Architecture {
  int arch, multiprocessors, threads, blocks;
  int shared_kib;  // of a multiprocessor
  int reserved;    // of shared memory a block

  int most_shared_bytes() const { return shared_kib * 1024 - reserved; }
};

// sm_90 where an architecture is not known.
inline const Architecture& architecture(int arch) {
  static constexpr Architecture kArchitectures[] = {
      {90, 132, 2048, 32, 228, 1024},  {75, 40, 1024, 16, 64, 0},       {80, 108, 2048, 32, 164, 1024},
      {86, 84, 1536, 16, 100, 1024},   {87, 16, 1536, 16, 164, 1024},   {89, 128, 1536, 24, 100, 1024},
      {100, 148, 2048, 32, 228, 1024}, {103, 148, 2048, 32, 228, 1024}, {120, 170, 1536, 24, 100, 1024},
  };
  for (const Architecture& each : kArchitectures) {
    if (each.arch == arch) return each;
  }
  return kArchitectures[0];
}

// What cuDeviceGetAttribute gives; false for an attribute that is not known.
inline bool device_attribute(const Architecture& a, Enum which, int* value) {
  switch (which) {
    case kDevice_MULTIPROCESSOR_COUNT:
      *value = a.multiprocessors;
      return true;
    case kDevice_MAX_THREADS_PER_MULTIPROCESSOR:
      *value = a.threads;
      return true;
    case kDevice_COMPUTE_CAPABILITY_MAJOR:
      *value = a.arch / 10;
      return true;
    case kDevice_COMPUTE_CAPABILITY_MINOR:
      *value = a.arch % 10;
      return true;
    case kDevice_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR:
      *value = a.shared_kib * 1024;
      return true;
    case kDevice_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
      *value = a.most_shared_bytes();
      return true;
    case kDevice_MAX_BLOCKS_PER_MULTIPROCESSOR:
      *value = a.blocks;
      return true;
    case kDevice_RESERVED_SHARED_MEMORY_PER_BLOCK:
      *value = a.reserved;
      return true;
    default:
      break;
  }
  switch (which) {
#define SIM_CASE(name, number, constant) \
  case number:                           \
    *value = constant;                   \
    return true;
    SIM_DEVICE_ATTRIBUTES(SIM_CASE)
#undef SIM_CASE
  }
  return false;
}

}  // namespace simulator::driver
