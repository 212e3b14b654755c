// Compiles only while every declaration of cuda/driver.h and of simulator/api.h agrees with the toolkit's cuda.h.
// Enumerations count as int.
#include <cuda.h>

#include <type_traits>

#include "cuda/driver.h"
#include "test/support/plain_type.h"
#define SIMULATOR_TYPES_ONLY
#include "simulator/api.h"

namespace fracstride::cu {

#define CHECK(query, symbol, field, parameters)                                                                  \
  static_assert(std::is_same_v<Plain<decltype(::query)>::Type, Result parameters>, "parameters of " #symbol);    \
  static_assert(std::is_same_v<decltype(Entries::field), Result(FS_CUDA_API*) parameters>, "field of " #symbol); \
  static_assert(&::query == &::symbol, "the exported name of " #symbol);
FS_DRIVER_ENTRIES(CHECK)
FS_DRIVER_OPTIONAL_ENTRIES(CHECK)
#undef CHECK

static_assert(sizeof(Pointer) == sizeof(CUdeviceptr) && sizeof(DeviceId) == sizeof(CUdevice));
// What an enumeration of cuda.h is stored in.
static_assert(sizeof(Result) == sizeof(CUresult) && sizeof(Attribute) == sizeof(CUdevice_attribute) &&
              sizeof(FunctionAttribute) == sizeof(CUfunction_attribute) && sizeof(JitOption) == sizeof(CUjit_option) &&
              sizeof(CaptureMode) == sizeof(CUstreamCaptureMode));
#define SAME(ours, theirs) static_assert(static_cast<int>(ours) == static_cast<int>(theirs))
SAME(kSuccess, CUDA_SUCCESS);
SAME(kOutOfMemory, CUDA_ERROR_OUT_OF_MEMORY);
SAME(kNoDevice, CUDA_ERROR_NO_DEVICE);
SAME(kInvalidDevice, CUDA_ERROR_INVALID_DEVICE);
SAME(kInvalidImage, CUDA_ERROR_INVALID_IMAGE);
SAME(kInvalidContext, CUDA_ERROR_INVALID_CONTEXT);
SAME(kNoBinaryForGpu, CUDA_ERROR_NO_BINARY_FOR_GPU);
SAME(kEccUncorrectable, CUDA_ERROR_ECC_UNCORRECTABLE);
SAME(kInvalidPtx, CUDA_ERROR_INVALID_PTX);
SAME(kNvlinkUncorrectable, CUDA_ERROR_NVLINK_UNCORRECTABLE);
SAME(kJitCompilerNotFound, CUDA_ERROR_JIT_COMPILER_NOT_FOUND);
SAME(kUnsupportedPtxVersion, CUDA_ERROR_UNSUPPORTED_PTX_VERSION);
SAME(kJitCompilationDisabled, CUDA_ERROR_JIT_COMPILATION_DISABLED);
SAME(kInvalidSource, CUDA_ERROR_INVALID_SOURCE);
SAME(kInvalidHandle, CUDA_ERROR_INVALID_HANDLE);
SAME(kNotReady, CUDA_ERROR_NOT_READY);
SAME(kIllegalAddress, CUDA_ERROR_ILLEGAL_ADDRESS);
SAME(kLaunchTimeout, CUDA_ERROR_LAUNCH_TIMEOUT);
SAME(kContextIsDestroyed, CUDA_ERROR_CONTEXT_IS_DESTROYED);
SAME(kAssert, CUDA_ERROR_ASSERT);
SAME(kHardwareStackError, CUDA_ERROR_HARDWARE_STACK_ERROR);
SAME(kLaunchFailed, CUDA_ERROR_LAUNCH_FAILED);
SAME(kUnknown, CUDA_ERROR_UNKNOWN);
SAME(kStreamNonBlocking, CU_STREAM_NON_BLOCKING);
SAME(kEventBlockingSync, CU_EVENT_BLOCKING_SYNC);
SAME(kEventDisableTiming, CU_EVENT_DISABLE_TIMING);
SAME(kCaptureRelaxed, CU_STREAM_CAPTURE_MODE_RELAXED);
SAME(kMaxDynamicSharedBytes, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
SAME(kJitErrorLog, CU_JIT_ERROR_LOG_BUFFER);
SAME(kJitErrorLogBytes, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES);
SAME(kClockRate, CU_DEVICE_ATTRIBUTE_CLOCK_RATE);
SAME(kMultiprocessors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
SAME(kMemoryClockRate, CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE);
SAME(kMemoryBusWidth, CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH);
SAME(kL2CacheBytes, CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE);
SAME(kCapabilityMajor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
SAME(kCapabilityMinor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
#undef SAME

}  // namespace fracstride::cu

namespace simulator::driver {

#define CHECK(query, symbol, since, parameters)                                                               \
  static_assert(std::is_same_v<Plain<decltype(::query)>::Type, Result parameters>, "parameters of " #symbol); \
  static_assert(&::query == &::symbol, "the exported name of " #symbol);
SIM_ENTRIES(CHECK)
#undef CHECK
#define CHECK(name, value, text) static_assert(CUDA_##name == value, #name);
SIM_RESULTS(CHECK)
#undef CHECK
#define CHECK(name, number, value) static_assert(CU_DEVICE_ATTRIBUTE_##name == number, #name);
SIM_DEVICE_ATTRIBUTES(CHECK)
#undef CHECK
#define CHECK(name, number) static_assert(CU_FUNC_ATTRIBUTE_##name == number, #name);
SIM_FUNCTION_ATTRIBUTES(CHECK)
#undef CHECK
#define CHECK(name, theirs, value) static_assert(theirs == value && name == value, #name);
SIM_CONSTANTS(CHECK)
#undef CHECK
static_assert(std::is_same_v<HostFunction, CUhostFn> && std::is_same_v<Pointer, CUdeviceptr>);

// What the addon takes from a driver, the simulator exports.
constexpr bool exported(const char* name) {
  const char* const names[] = {
#define NAME(query, symbol, since, parameters) #symbol,
      SIM_ENTRIES(NAME)
#undef NAME
  };
  for (const char* each : names) {
    int i = 0;
    while (each[i] != '\0' && each[i] == name[i]) ++i;
    if (each[i] == name[i]) return true;
  }
  return false;
}
#define CHECK(query, symbol, field, parameters) static_assert(exported(#symbol), "the simulator's " #symbol);
FS_DRIVER_ENTRIES(CHECK)
FS_DRIVER_OPTIONAL_ENTRIES(CHECK)
#undef CHECK

}  // namespace simulator::driver
