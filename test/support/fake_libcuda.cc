// A stand-in for the CUDA driver library with one device whose memory is the host's and whose only kernel fills bytes:
// enough to run every driver call of cuda/device_cuda.cc. FAKE_DEVICES and FAKE_INIT are read from the environment;
// -DWITHOUT_PROC_ADDRESS leaves out cuGetProcAddress_v2, as old drivers do.
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "cuda/driver.h"

using namespace fracstride::cu;

namespace {

constexpr size_t kMemory = 1 << 30;
constexpr Result kNotFound = 500, kInvalidImage = 200, kNotInitialised = 3;
size_t used = 0;
Context current = nullptr;
bool initialised = false;

int number(const char* name, int otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoi(text);
}

template <class T>
T token(uintptr_t value) {
  return reinterpret_cast<T>(value);
}

Result when_current(bool ok = true) {
  return current == nullptr ? 201 : ok ? kSuccess : 1;
}

}  // namespace

extern "C" {

Result cuInit(unsigned flags) {
  initialised = true;
  return flags == 0 ? number("FAKE_INIT", kSuccess) : 1;
}
Result cuDriverGetVersion(int* version) {
  return *version = 12040, kSuccess;
}
Result cuGetErrorName(Result result, const char** name) {
  *name = result == kNotFound       ? "CUDA_ERROR_NOT_FOUND"
          : result == kInvalidImage ? "CUDA_ERROR_INVALID_IMAGE"
                                    : "CUDA_ERROR_OTHER";
  return kSuccess;
}
Result cuGetErrorString(Result, const char** text) {
  return *text = "said by the stand-in", kSuccess;
}
Result cuDeviceGetCount(int* count) {
  return *count = number("FAKE_DEVICES", 1), initialised ? kSuccess : kNotInitialised;
}
Result cuDeviceGet(DeviceId* id, int ordinal) {
  return *id = 40 + ordinal, kSuccess;
}
Result cuDeviceGetName(char* name, int size, DeviceId) {
  return std::strncpy(name, "Stand-in", size), kSuccess;
}
Result cuDeviceGetAttribute(int* value, Attribute which, DeviceId) {
  *value = which == kCapabilityMajor   ? 9
           : which == kCapabilityMinor ? 0
           : which == kMultiprocessors ? 132
                                       : 1000 + which;
  return kSuccess;
}
Result cuDeviceTotalMem_v2(size_t* bytes, DeviceId) {
  return *bytes = kMemory, kSuccess;
}
Result cuDevicePrimaryCtxRetain(Context* context, DeviceId id) {
  return *context = token<Context>(id), kSuccess;
}
Result cuCtxSetCurrent(Context context) {
  return current = context, kSuccess;
}
Result cuModuleLoadDataEx(Module* module, const void* image, unsigned, JitOption*, void** values) {
  const bool known = std::strcmp(static_cast<const char*>(image), "fill_bytes") == 0;
  if (!known) std::strcpy(static_cast<char*>(values[0]), "no such instruction");
  return *module = token<Module>(7), known ? when_current() : kInvalidImage;
}
Result cuModuleUnload(Module) {
  return kSuccess;
}
Result cuModuleGetFunction(Function* function, Module, const char* name) {
  *function = token<Function>(8);
  return std::strcmp(name, "fill_bytes") == 0 ? kSuccess : kNotFound;
}
Result cuFuncSetAttribute(Function, FunctionAttribute which, int bytes) {
  return which == kMaxDynamicSharedBytes && bytes <= 227 * 1024 ? kSuccess : 1;
}
Result cuLaunchKernel(Function, unsigned gx, unsigned, unsigned, unsigned bx, unsigned, unsigned, unsigned,
                      Stream stream, void** params, void** extra) {
  if (stream == nullptr || extra != nullptr) return 1;
  const Pointer out = *static_cast<Pointer*>(params[0]);
  std::memset(reinterpret_cast<void*>(out), *static_cast<int32_t*>(params[1]), size_t(gx) * bx);
  return when_current();
}
Result cuMemAlloc_v2(Pointer* pointer, size_t bytes) {
  if (bytes > kMemory - used) return kOutOfMemory;
  void* memory = std::malloc(bytes + sizeof(size_t) + 64);
  *static_cast<size_t*>(memory) = bytes;
  used += bytes;
  *pointer = reinterpret_cast<uintptr_t>(memory) + 64;
  return when_current();
}
Result cuMemFree_v2(Pointer pointer) {
  void* memory = reinterpret_cast<void*>(pointer - 64);
  used -= *static_cast<size_t*>(memory);
  std::free(memory);
  return when_current();
}
Result cuMemGetInfo_v2(size_t* left, size_t* total) {
  return *left = kMemory - used, *total = kMemory, kSuccess;
}
Result cuMemcpyHtoDAsync_v2(Pointer to, const void* from, size_t bytes, Stream stream) {
  return std::memcpy(reinterpret_cast<void*>(to), from, bytes), when_current(stream != nullptr);
}
Result cuMemcpyDtoHAsync_v2(void* to, Pointer from, size_t bytes, Stream stream) {
  return std::memcpy(to, reinterpret_cast<void*>(from), bytes), when_current(stream != nullptr);
}
Result cuMemsetD8Async(Pointer to, unsigned char value, size_t bytes, Stream stream) {
  return std::memset(reinterpret_cast<void*>(to), value, bytes), when_current(stream != nullptr);
}
Result cuStreamCreate(Stream* stream, unsigned flags) {
  return *stream = token<Stream>(9), when_current(flags == kStreamNonBlocking);
}
Result cuStreamSynchronize(Stream stream) {
  return when_current(stream != nullptr);
}

#ifndef WITHOUT_PROC_ADDRESS
Result cuGetProcAddress_v2(const char* name, void** entry, int version, uint64_t flags, int* status) {
  *entry = nullptr;
  if (version != 12000 || flags != 0) return 1;
#define FIND(query, symbol, field, parameters) \
  if (std::strcmp(name, #query) == 0) *entry = reinterpret_cast<void*>(&symbol);
  FS_DRIVER_ENTRIES(FIND)
  *status = *entry == nullptr ? 1 : 0;
  return *entry == nullptr ? kNotFound : kSuccess;
}
#endif
}
