// The CUDA device; see device_cuda.h. Work of one device is ordered by its stream, so memory that a launch still reads
// may be given to the next buffer at once.

#include "device_cuda.h"

#include <cstring>

#include "driver.h"
#include "embedded_images.h"
#include "error.h"

namespace fracstride {

namespace {

// Above this a kernel has to ask for dynamic shared memory.
constexpr uint32_t kPlainSharedBytes = 48 * 1024;

void check(cu::Result result, const char* where, const std::string& what) {
  if (result == cu::kSuccess) return;
  throw Error("ERR_CUDA",
              std::string(where) + ": " + what + " must succeed, got " + driver_error(driver().call, result));
}

struct CudaKernel : Kernel {
  cu::Module module = nullptr;
  cu::Function function = nullptr;
  mutable uint32_t shared_bytes = kPlainSharedBytes;
};

class CudaDevice : public Device {
 public:
  explicit CudaDevice(int ordinal) : call_(driver().call), label_("cuda:" + std::to_string(ordinal)) {
    check(call_.device_get(&id_, ordinal), "cuda", "opening the device");
    check(call_.device_primary_ctx_retain(&context_, id_), "cuda", "making its context");
    enter();
    check(call_.stream_create(&stream_, cu::kStreamNonBlocking), "cuda", "making its stream");
  }

  void* alloc(size_t bytes) override {
    enter();
    cu::Pointer pointer = 0;
    const cu::Result result = call_.mem_alloc(&pointer, bytes);
    if (result == cu::kOutOfMemory) return nullptr;
    check(result, "alloc", "device memory");
    return reinterpret_cast<void*>(static_cast<uintptr_t>(pointer));
  }

  void free(void* memory, size_t) noexcept override {
    if (call_.ctx_set_current(context_) == cu::kSuccess) call_.mem_free(address(memory));
  }

  uint64_t available() override {
    enter();
    size_t left = 0, total = 0;
    return call_.mem_get_info(&left, &total) == cu::kSuccess ? left : 0;
  }

  // The source may change as soon as this returns.
  void copy_in(void* target, const void* source, size_t bytes) override {
    enter();
    check(call_.memcpy_htod_async(address(target), source, bytes, stream_), "copyIn", "the copy");
    check(call_.stream_synchronize(stream_), "copyIn", "the copy");
  }

  void copy_out(void* target, const void* source, size_t bytes) override {
    enter();
    check(call_.memcpy_dtoh_async(target, address(source), bytes, stream_), "copyOut", "the copy");
    check(call_.stream_synchronize(stream_), "copyOut", "the copy");
  }

  void set_bytes(void* target, uint8_t value, size_t bytes) override {
    if (bytes == 0) return;
    enter();
    check(call_.memset_d8_async(address(target), value, bytes, stream_), "alloc", "filling memory");
  }

  std::vector<std::string> kernel_names() override {
    std::vector<std::string> names;
    for (size_t i = 0; i < fs_embedded_image_count; ++i) names.push_back(fs_embedded_images[i].kernel);
    return names;
  }

  std::unique_ptr<Kernel> load(const std::string& name, const std::string& kinds, Image image) override {
    enter();
    auto kernel = std::make_unique<CudaKernel>();
    kernel->name = name;
    kernel->kinds = kinds;
    kernel->module = load_module(name, image.data == nullptr ? embedded(name) : image);
    const cu::Result found = call_.module_get_function(&kernel->function, kernel->module, name.c_str());
    if (found != cu::kSuccess) call_.module_unload(kernel->module);
    check(found, "load", "finding " + name + " in its image");
    return kernel;
  }

  void launch(const Kernel& base, const LaunchShape& s, void** params) override {
    const auto& kernel = static_cast<const CudaKernel&>(base);
    enter();
    if (s.shared_bytes > kernel.shared_bytes) {
      const int bytes = static_cast<int>(s.shared_bytes);
      check(call_.func_set_attribute(kernel.function, cu::kMaxDynamicSharedBytes, bytes), "launch",
            "shared memory of " + kernel.name);
      kernel.shared_bytes = s.shared_bytes;
    }
    check(call_.launch_kernel(kernel.function, s.grid[0], s.grid[1], s.grid[2], s.block[0], s.block[1], s.block[2],
                              s.shared_bytes, stream_, params, nullptr),
          "launch", kernel.name);
  }

  void sync() override {
    enter();
    check(call_.stream_synchronize(stream_), "sync", "work on the device");
  }

  const char* label() const override { return label_.c_str(); }

 private:
  static cu::Pointer address(const void* memory) { return reinterpret_cast<uintptr_t>(memory); }

  // Workers call from their own threads.
  void enter() { check(call_.ctx_set_current(context_), "cuda", "entering the context of " + label_); }

  static Image embedded(const std::string& name) {
    for (size_t i = 0; i < fs_embedded_image_count; ++i) {
      if (name == fs_embedded_images[i].kernel) return {fs_embedded_images[i].data, fs_embedded_images[i].size};
    }
    throw Error("ERR_KERNEL_NOT_PREBUILT",
                "load: kernel must be compiled into the addon or come with an image, got " + name);
  }

  // PTX has to end with a zero byte, so the image is copied.
  cu::Module load_module(const std::string& name, Image image) {
    const std::string text(static_cast<const char*>(image.data), image.size);
    char log[2048] = "";
    cu::JitOption options[] = {cu::kJitErrorLog, cu::kJitErrorLogBytes};
    void* values[] = {log, reinterpret_cast<void*>(sizeof log)};
    cu::Module module = nullptr;
    const cu::Result result = call_.module_load_data_ex(&module, text.c_str(), 2, options, values);
    log[sizeof log - 1] = '\0';
    check(result, "load", "the image of " + name + (log[0] == '\0' ? "" : std::string(" (") + log + ")"));
    return module;
  }

  const cu::Entries& call_;
  const std::string label_;
  cu::DeviceId id_ = 0;
  cu::Context context_ = nullptr;
  cu::Stream stream_ = nullptr;
};

CudaDeviceInfo describe(const cu::Entries& call, int ordinal) {
  cu::DeviceId id = 0;
  check(call.device_get(&id, ordinal), "cuda", "opening the device");
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

std::unique_ptr<Device> make_cuda_device(int ordinal) {
  const CudaInfo& info = cuda_info();
  if (!info.available) {
    throw Error("ERR_DEVICE_UNAVAILABLE", "device: a CUDA device must be usable, got none: " + info.reason);
  }
  if (size_t(ordinal) >= info.devices.size()) {
    throw Error("ERR_DEVICE_UNAVAILABLE", "device: cuda:" + std::to_string(ordinal) + " must be one of " +
                                              std::to_string(info.devices.size()) + " CUDA devices, got none of them");
  }
  return std::make_unique<CudaDevice>(ordinal);
}

}  // namespace fracstride
