// Compiles only while every declaration of cuda/driver.h agrees with the toolkit's cuda.h. Enumerations count as int.
#include <cuda.h>

#include <type_traits>

#include "cuda/driver.h"

template <class T>
struct Plain {
  using Type = std::conditional_t<std::is_enum_v<T>, int, T>;
};
template <class T>
struct Plain<T*> {
  using Type = typename Plain<T>::Type*;
};
template <class R, class... P>
struct Plain<R(P...)> {
  using Type = typename Plain<R>::Type(typename Plain<P>::Type...);
};

namespace fracstride::cu {

#define CHECK(query, symbol, field, parameters)                                                                  \
  static_assert(std::is_same_v<Plain<decltype(::query)>::Type, Result parameters>, "parameters of " #symbol);    \
  static_assert(std::is_same_v<decltype(Entries::field), Result(FS_CUDA_API*) parameters>, "field of " #symbol); \
  static_assert(&::query == &::symbol, "the exported name of " #symbol);
FS_DRIVER_ENTRIES(CHECK)
#undef CHECK

static_assert(sizeof(Pointer) == sizeof(CUdeviceptr) && sizeof(Result) == sizeof(CUresult));
static_assert(kSuccess == CUDA_SUCCESS && kOutOfMemory == CUDA_ERROR_OUT_OF_MEMORY &&
              kNoDevice == CUDA_ERROR_NO_DEVICE);
static_assert(kStreamNonBlocking == CU_STREAM_NON_BLOCKING);
static_assert(kMaxDynamicSharedBytes == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
static_assert(kJitErrorLog == CU_JIT_ERROR_LOG_BUFFER && kJitErrorLogBytes == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES);
static_assert(kClockRate == CU_DEVICE_ATTRIBUTE_CLOCK_RATE &&
              kMemoryClockRate == CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE);
static_assert(kMultiprocessors == CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
static_assert(kMemoryBusWidth == CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH &&
              kL2CacheBytes == CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE);
static_assert(kCapabilityMajor == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
static_assert(kCapabilityMinor == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);

}  // namespace fracstride::cu
