// A driver that does nothing, to measure what a launch costs above it: launches are counted, allocations are addresses
// from a counter, copies leave their target alone. One device that calls itself sm_90.
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "api.h"
#include "architecture.h"

namespace simulator::driver {

namespace {

constexpr size_t kMemory = size_t(80) << 30;
std::atomic<uint64_t> launches{0}, tokens{0x1000};
std::atomic<Pointer> next{0x700000000000};
std::atomic<bool> capturing{false};

template <class Handle>
Result token(Handle* handle) {
  *handle = reinterpret_cast<Handle>(uintptr_t(tokens += 16));
  return kSUCCESS;
}

Result allocate(Pointer* pointer, size_t bytes) {
  if (pointer == nullptr || bytes == 0) return kERROR_INVALID_VALUE;
  *pointer = next.fetch_add((bytes + 511) & ~size_t(511));
  return kSUCCESS;
}

struct Symbol {
  const char* query;
  void* address;
};
const Symbol kSymbols[] = {
#define SIM_SYMBOL(query, symbol, since, parameters) {#query, reinterpret_cast<void*>(&symbol)},
    SIM_ENTRIES(SIM_SYMBOL)
#undef SIM_SYMBOL
};

}  // namespace

extern "C" {

Result cuDriverGetVersion(int* version) {
  *version = 13000;
  return kSUCCESS;
}
Result cuGetErrorName(Result, const char** name) {
  *name = "CUDA_SUCCESS";
  return kSUCCESS;
}
Result cuGetErrorString(Result, const char** text) {
  *text = "no error";
  return kSUCCESS;
}
Result cuGetProcAddress_v2(const char* name, void** address, int, uint64_t, Enum* status) {
  *address = nullptr;
  for (const Symbol& symbol : kSymbols) {
    if (std::strcmp(symbol.query, name) == 0) *address = symbol.address;
  }
  if (status != nullptr) *status = *address == nullptr ? kProcAbsent : kProcFound;
  return *address == nullptr && status == nullptr ? kERROR_NOT_FOUND : kSUCCESS;
}
Result cuDeviceGetCount(int* count) {
  *count = 1;
  return kSUCCESS;
}
Result cuDeviceGet(DeviceId* id, int) {
  *id = 0;
  return kSUCCESS;
}
Result cuDeviceGetName(char* name, int size, DeviceId) {
  std::snprintf(name, size_t(size), "CUDA driver that does nothing (sm_90)");
  return kSUCCESS;
}
Result cuDeviceGetAttribute(int* value, Enum which, DeviceId) {
  return device_attribute(architecture(90), which, value) ? kSUCCESS : kERROR_INVALID_VALUE;
}
Result cuDeviceTotalMem_v2(size_t* bytes, DeviceId) {
  *bytes = kMemory;
  return kSUCCESS;
}
Result cuDevicePrimaryCtxRetain(ContextHandle* context, DeviceId) {
  *context = reinterpret_cast<ContextHandle>(uintptr_t(0x100));
  return kSUCCESS;
}
Result cuCtxGetCurrent(ContextHandle* context) {
  *context = reinterpret_cast<ContextHandle>(uintptr_t(0x100));
  return kSUCCESS;
}
Result cuCtxGetDevice(DeviceId* id) {
  *id = 0;
  return kSUCCESS;
}
Result cuModuleLoadData(ModuleHandle* module, const void*) {
  return token(module);
}
Result cuModuleLoadDataEx(ModuleHandle* module, const void*, unsigned, Enum*, void**) {
  return token(module);
}
Result cuModuleGetFunction(FunctionHandle* function, ModuleHandle, const char*) {
  return token(function);
}
Result cuModuleGetGlobal_v2(Pointer* pointer, size_t* bytes, ModuleHandle, const char*) {
  if (bytes != nullptr) *bytes = 512;
  return allocate(pointer, 512);
}
Result cuFuncGetAttribute(int* value, Enum which, FunctionHandle) {
  *value = which == kFunction_MAX_THREADS_PER_BLOCK ? 1024 : 0;
  return kSUCCESS;
}
Result cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, FunctionHandle, int, size_t) {
  *blocks = 1;
  return kSUCCESS;
}
Result cuLaunchKernel(FunctionHandle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned,
                      StreamHandle, void**, void**) {
  launches.fetch_add(1, std::memory_order_relaxed);
  return kSUCCESS;
}
Result cuLaunchHostFunc(StreamHandle, HostFunction function, void* data) {
  function(data);
  return kSUCCESS;
}
Result cuMemGetInfo_v2(size_t* left, size_t* total) {
  *left = *total = kMemory;
  return kSUCCESS;
}
Result cuMemAlloc_v2(Pointer* pointer, size_t bytes) {
  return allocate(pointer, bytes);
}
Result cuMemAllocAsync(Pointer* pointer, size_t bytes, StreamHandle) {
  return allocate(pointer, bytes);
}
Result cuMemAllocFromPoolAsync(Pointer* pointer, size_t bytes, PoolHandle, StreamHandle) {
  return allocate(pointer, bytes);
}
Result cuDeviceGetDefaultMemPool(PoolHandle* pool, DeviceId) {
  return token(pool);
}
Result cuMemHostAlloc(void** memory, size_t bytes, unsigned) {
  *memory = std::calloc(1, bytes);
  return *memory == nullptr ? kERROR_OUT_OF_MEMORY : kSUCCESS;
}
Result cuMemAllocHost_v2(void** memory, size_t bytes) {
  return cuMemHostAlloc(memory, bytes, 0);
}
Result cuMemFreeHost(void* memory) {
  std::free(memory);
  return kSUCCESS;
}
Result cuStreamCreate(StreamHandle* stream, unsigned) {
  return token(stream);
}
Result cuStreamCreateWithPriority(StreamHandle* stream, unsigned, int) {
  return token(stream);
}
Result cuEventCreate(EventHandle* event, unsigned) {
  return token(event);
}
Result cuEventElapsedTime_v2(float* milliseconds, EventHandle, EventHandle) {
  *milliseconds = 0;
  return kSUCCESS;
}
Result cuStreamBeginCapture_v2(StreamHandle, Enum) {
  capturing = true;
  return kSUCCESS;
}
Result cuStreamEndCapture(StreamHandle, GraphHandle* graph) {
  capturing = false;
  return token(graph);
}
Result cuStreamIsCapturing(StreamHandle, Enum* status) {
  *status = capturing ? kCaptureActive : kCaptureNone;
  return kSUCCESS;
}
Result cuGraphInstantiateWithFlags(GraphExecHandle* exec, GraphHandle, unsigned long long) {
  return token(exec);
}
Result cuGraphGetNodes(GraphHandle, NodeHandle*, size_t* count) {
  *count = 1;
  return kSUCCESS;
}

// "counters": how many launches there were; nothing else is known.
const char* simulatorControl(const char* verb, const char* argument) {
  thread_local char said[64];
  if (std::strcmp(verb, "counters") != 0) return "null";
  const uint64_t count =
      argument != nullptr && std::strcmp(argument, "reset") == 0 ? launches.exchange(0) : launches.load();
  std::snprintf(said, sizeof said, "{\"launches\":%llu}", static_cast<unsigned long long>(count));
  return said;
}

}  // extern "C"

}  // namespace simulator::driver
