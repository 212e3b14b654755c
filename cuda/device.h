// A device as a few verbs: alloc free copy_in copy_out load launch sync info. Kernels are launched with
// cuLaunchKernel's own ABI: an array of pointers to argument values. No device is mentioned outside its own file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace fracstride {

struct LaunchShape {
  uint32_t grid[3];
  uint32_t block[3];
  uint32_t shared_bytes;
};

// Something launchable; each device derives its own. `kinds` has one letter an argument: p i l f d.
struct Kernel {
  std::string name;
  std::string kinds;
  virtual ~Kernel() = default;
  // The first pointer whose buffer does not hold what the scalars ask for, or -1; `bytes[i]` are those behind argument
  // i.
  virtual int too_small(void* const* params, const uint64_t* bytes) const {
    (void)params;
    (void)bytes;
    return -1;
  }
};

struct Image {
  const void* data = nullptr;
  size_t size = 0;
};

class Device {
 public:
  virtual ~Device() = default;

  // Memory aligned to 64 bytes, or null when there is none left.
  virtual void* alloc(size_t bytes) = 0;
  virtual void free(void* memory, size_t bytes) noexcept = 0;
  // Bytes that could be allocated now, as far as the device can tell.
  virtual uint64_t available() = 0;

  virtual void copy_in(void* target, const void* source, size_t bytes) = 0;
  virtual void copy_out(void* target, const void* source, size_t bytes) = 0;
  virtual void set_bytes(void* target, uint8_t value, size_t bytes) = 0;

  virtual std::vector<std::string> kernel_names() = 0;
  virtual std::unique_ptr<Kernel> load(const std::string& name, const std::string& kinds, Image image) = 0;
  virtual void launch(const Kernel& kernel, const LaunchShape& shape, void** params) = 0;
  virtual void sync() = 0;

  virtual const char* label() const = 0;
};

}  // namespace fracstride
