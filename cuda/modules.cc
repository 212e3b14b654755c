// Loads kernel images; see modules.h.

#include "modules.h"

#include <vector>

#include "embedded_images.h"
#include "error.h"
#include "ptx_version.h"

namespace fracstride {

namespace {

// FNV-1a.
uint64_t hash(Image image) {
  uint64_t value = 14695981039346656037ull;
  const auto* bytes = static_cast<const unsigned char*>(image.data);
  for (size_t i = 0; i < image.size; ++i) value = (value ^ bytes[i]) * 1099511628211ull;
  return value;
}

Image embedded(const std::string& name) {
  for (size_t i = 0; i < fs_embedded_image_count; ++i) {
    if (name == fs_embedded_images[i].kernel) return {fs_embedded_images[i].data, fs_embedded_images[i].size};
  }
  throw Error("ERR_KERNEL_NOT_PREBUILT",
              "load: kernel must be compiled into the addon or come with an image, got " + name);
}

// Answers that concern the image, and not the device or the call.
bool refused(cu::Result result) {
  return result == cu::kNoBinaryForGpu || result == cu::kInvalidImage || result == cu::kInvalidPtx ||
         result == cu::kUnsupportedPtxVersion || result == cu::kInvalidSource || result == cu::kJitCompilerNotFound ||
         result == cu::kJitCompilationDisabled;
}

}  // namespace

CudaFunction& Modules::find(const std::string& name, Image image) {
  if (image.data == nullptr) image = embedded(name);
  const Key key(name, image.size, hash(image));
  std::lock_guard<std::mutex> lock(mutex_);
  const auto known = kernels_.find(key);
  if (known != kernels_.end()) return *known->second;
  return *(kernels_[key] = load(name, image));
}

std::unique_ptr<CudaFunction> Modules::load(const std::string& name, Image image) {
  queue_.enter_surely("load");
  // Text has to end with a zero byte, and machine code to be aligned.
  std::string copy(static_cast<const char*>(image.data), image.size);
  if (is_ptx(copy.data(), copy.size())) copy = ptx_for_driver(std::move(copy), driver().version);
  char log[2048] = "";
  cu::JitOption options[] = {cu::kJitErrorLog, cu::kJitErrorLogBytes};
  void* values[] = {log, reinterpret_cast<void*>(sizeof log)};
  cu::Module module = nullptr;
  const cu::Result result = queue_.call.module_load_data_ex(&module, copy.c_str(), 2, options, values);
  log[sizeof log - 1] = '\0';
  if (refused(result)) {
    throw Error("ERR_KERNEL_COMPILE", "load: image of " + name + " must be one the driver takes, got " +
                                          driver_error(queue_.call, result) +
                                          (log[0] == '\0' ? "" : std::string(": ") + log));
  }
  queue_.check(result, "load", "loading the image of", name.c_str());
  auto kernel = std::make_unique<CudaFunction>();
  kernel->name = name;
  const cu::Result found = queue_.call.module_get_function(&kernel->function, module, name.c_str());
  if (found != cu::kSuccess) queue_.call.module_unload(module);
  queue_.check(found, "load", "finding the kernel in the image of", name.c_str());
  return kernel;
}

void Modules::allow_shared(CudaFunction& kernel, uint32_t bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (bytes <= kernel.shared_bytes) return;
  queue_.check(queue_.call.func_set_attribute(kernel.function, cu::kMaxDynamicSharedBytes, int(bytes)), "launch",
               "setting the shared memory of", kernel.name.c_str());
  kernel.shared_bytes = bytes;
}

}  // namespace fracstride
