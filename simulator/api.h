// The part of the CUDA driver library that the stand-ins export: our own declarations, compared with the toolkit's
// cuda.h by test/support/cuda_declarations.cc where that is installed.
#pragma once

#include <cstddef>
#include <cstdint>

// The driver's opaque types, with its own tags, so that signatures can be compared with cuda.h.
struct CUctx_st;
struct CUmod_st;
struct CUfunc_st;
struct CUstream_st;
struct CUevent_st;
struct CUgraph_st;
struct CUgraphExec_st;
struct CUgraphNode_st;
struct CUmemPoolHandle_st;

namespace simulator::driver {

using Result = int;
using DeviceId = int;
using ContextHandle = CUctx_st*;
using ModuleHandle = CUmod_st*;
using FunctionHandle = CUfunc_st*;
using StreamHandle = CUstream_st*;
using EventHandle = CUevent_st*;
using GraphHandle = CUgraph_st*;
using GraphExecHandle = CUgraphExec_st*;
using NodeHandle = CUgraphNode_st*;
using PoolHandle = CUmemPoolHandle_st*;
using Pointer = unsigned long long;
using HostFunction = void (*)(void*);
using Enum = int;

// Results: name, value, what cuGetErrorString says.
#define SIM_RESULTS(RESULT)                                                                                        \
  RESULT(SUCCESS, 0, "no error")                                                                                   \
  RESULT(ERROR_INVALID_VALUE, 1, "invalid argument")                                                               \
  RESULT(ERROR_OUT_OF_MEMORY, 2, "out of memory")                                                                  \
  RESULT(ERROR_NOT_INITIALIZED, 3, "initialization error")                                                         \
  RESULT(ERROR_DEINITIALIZED, 4, "driver shutting down")                                                           \
  RESULT(ERROR_DEVICE_UNAVAILABLE, 46, "CUDA-capable device(s) is/are busy or unavailable")                        \
  RESULT(ERROR_NO_DEVICE, 100, "no CUDA-capable device is detected")                                               \
  RESULT(ERROR_INVALID_DEVICE, 101, "invalid device ordinal")                                                      \
  RESULT(ERROR_INVALID_IMAGE, 200, "device kernel image is invalid")                                               \
  RESULT(ERROR_INVALID_CONTEXT, 201, "invalid device context")                                                     \
  RESULT(ERROR_NO_BINARY_FOR_GPU, 209, "no kernel image is available for execution on the device")                 \
  RESULT(ERROR_ECC_UNCORRECTABLE, 214, "uncorrectable ECC error encountered")                                      \
  RESULT(ERROR_INVALID_PTX, 218, "a PTX JIT compilation failed")                                                   \
  RESULT(ERROR_NVLINK_UNCORRECTABLE, 220, "uncorrectable NVLink error detected during the execution")              \
  RESULT(ERROR_JIT_COMPILER_NOT_FOUND, 221, "PTX JIT compiler library not found")                                  \
  RESULT(ERROR_UNSUPPORTED_PTX_VERSION, 222, "the provided PTX was compiled with an unsupported toolchain.")       \
  RESULT(ERROR_JIT_COMPILATION_DISABLED, 223, "PTX JIT compilation was disabled")                                  \
  RESULT(ERROR_INVALID_SOURCE, 300, "device kernel image is invalid")                                              \
  RESULT(ERROR_INVALID_HANDLE, 400, "invalid resource handle")                                                     \
  RESULT(ERROR_ILLEGAL_STATE, 401, "the operation cannot be performed in the present state")                       \
  RESULT(ERROR_NOT_FOUND, 500, "named symbol not found")                                                           \
  RESULT(ERROR_NOT_READY, 600, "device not ready")                                                                 \
  RESULT(ERROR_ILLEGAL_ADDRESS, 700, "an illegal memory access was encountered")                                   \
  RESULT(ERROR_LAUNCH_OUT_OF_RESOURCES, 701, "too many resources requested for launch")                            \
  RESULT(ERROR_LAUNCH_TIMEOUT, 702, "the launch timed out and was terminated")                                     \
  RESULT(ERROR_CONTEXT_IS_DESTROYED, 709, "context is destroyed")                                                  \
  RESULT(ERROR_ASSERT, 710, "device-side assert triggered")                                                        \
  RESULT(ERROR_HOST_MEMORY_ALREADY_REGISTERED, 712, "part or all of the requested memory range is already mapped") \
  RESULT(ERROR_HOST_MEMORY_NOT_REGISTERED, 713, "pointer does not correspond to a registered memory region")       \
  RESULT(ERROR_HARDWARE_STACK_ERROR, 714, "hardware stack error")                                                  \
  RESULT(ERROR_ILLEGAL_INSTRUCTION, 715, "an illegal instruction was encountered")                                 \
  RESULT(ERROR_MISALIGNED_ADDRESS, 716, "misaligned address")                                                      \
  RESULT(ERROR_INVALID_ADDRESS_SPACE, 717, "operation not supported on global/shared address space")               \
  RESULT(ERROR_INVALID_PC, 718, "invalid program counter")                                                         \
  RESULT(ERROR_LAUNCH_FAILED, 719, "unspecified launch failure")                                                   \
  RESULT(ERROR_NOT_PERMITTED, 800, "operation not permitted")                                                      \
  RESULT(ERROR_NOT_SUPPORTED, 801, "operation not supported")                                                      \
  RESULT(ERROR_STREAM_CAPTURE_UNSUPPORTED, 900, "operation not permitted when stream is capturing")                \
  RESULT(ERROR_STREAM_CAPTURE_INVALIDATED, 901, "operation failed due to a previous error during capture")         \
  RESULT(ERROR_STREAM_CAPTURE_MERGE, 902, "operation would result in a merge of separate capture sequences")       \
  RESULT(ERROR_STREAM_CAPTURE_UNMATCHED, 903, "capture was not ended in the same stream as it began")              \
  RESULT(ERROR_STREAM_CAPTURE_UNJOINED, 904, "capturing stream has unjoined work")                                 \
  RESULT(ERROR_STREAM_CAPTURE_ISOLATION, 905, "dependency created on uncaptured work in another stream")           \
  RESULT(ERROR_STREAM_CAPTURE_IMPLICIT, 906,                                                                       \
         "operation would make the legacy stream depend on a capturing blocking stream")                           \
  RESULT(ERROR_CAPTURED_EVENT, 907, "operation not permitted on an event last recorded in a capturing stream")     \
  RESULT(ERROR_STREAM_CAPTURE_WRONG_THREAD, 908,                                                                   \
         "attempt to terminate a thread-local capture sequence from another thread")                               \
  RESULT(ERROR_UNKNOWN, 999, "unknown error")

#define SIM_NAME(name, value, text) constexpr Result k##name = value;
SIM_RESULTS(SIM_NAME)
#undef SIM_NAME

// Device attributes: name, number, value on the simulated device (those of an H100 where they do not depend on the
// configured architecture; those that do are given by driver.cc).
#define SIM_DEVICE_ATTRIBUTES(ATTRIBUTE)                 \
  ATTRIBUTE(MAX_THREADS_PER_BLOCK, 1, 1024)              \
  ATTRIBUTE(MAX_BLOCK_DIM_X, 2, 1024)                    \
  ATTRIBUTE(MAX_BLOCK_DIM_Y, 3, 1024)                    \
  ATTRIBUTE(MAX_BLOCK_DIM_Z, 4, 64)                      \
  ATTRIBUTE(MAX_GRID_DIM_X, 5, 2147483647)               \
  ATTRIBUTE(MAX_GRID_DIM_Y, 6, 65535)                    \
  ATTRIBUTE(MAX_GRID_DIM_Z, 7, 65535)                    \
  ATTRIBUTE(MAX_SHARED_MEMORY_PER_BLOCK, 8, 49152)       \
  ATTRIBUTE(TOTAL_CONSTANT_MEMORY, 9, 65536)             \
  ATTRIBUTE(WARP_SIZE, 10, 32)                           \
  ATTRIBUTE(MAX_PITCH, 11, 2147483647)                   \
  ATTRIBUTE(MAX_REGISTERS_PER_BLOCK, 12, 65536)          \
  ATTRIBUTE(CLOCK_RATE, 13, 1980000)                     \
  ATTRIBUTE(TEXTURE_ALIGNMENT, 14, 512)                  \
  ATTRIBUTE(MULTIPROCESSOR_COUNT, 16, 0)                 \
  ATTRIBUTE(KERNEL_EXEC_TIMEOUT, 17, 0)                  \
  ATTRIBUTE(INTEGRATED, 18, 0)                           \
  ATTRIBUTE(CAN_MAP_HOST_MEMORY, 19, 1)                  \
  ATTRIBUTE(COMPUTE_MODE, 20, 0)                         \
  ATTRIBUTE(CONCURRENT_KERNELS, 31, 1)                   \
  ATTRIBUTE(ECC_ENABLED, 32, 1)                          \
  ATTRIBUTE(PCI_BUS_ID, 33, 1)                           \
  ATTRIBUTE(PCI_DEVICE_ID, 34, 0)                        \
  ATTRIBUTE(MEMORY_CLOCK_RATE, 36, 2619000)              \
  ATTRIBUTE(GLOBAL_MEMORY_BUS_WIDTH, 37, 5120)           \
  ATTRIBUTE(L2_CACHE_SIZE, 38, 52428800)                 \
  ATTRIBUTE(MAX_THREADS_PER_MULTIPROCESSOR, 39, 0)       \
  ATTRIBUTE(ASYNC_ENGINE_COUNT, 40, 3)                   \
  ATTRIBUTE(UNIFIED_ADDRESSING, 41, 1)                   \
  ATTRIBUTE(COMPUTE_CAPABILITY_MAJOR, 75, 0)             \
  ATTRIBUTE(COMPUTE_CAPABILITY_MINOR, 76, 0)             \
  ATTRIBUTE(STREAM_PRIORITIES_SUPPORTED, 78, 1)          \
  ATTRIBUTE(MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, 81, 0) \
  ATTRIBUTE(MAX_REGISTERS_PER_MULTIPROCESSOR, 82, 65536) \
  ATTRIBUTE(MANAGED_MEMORY, 83, 0)                       \
  ATTRIBUTE(COOPERATIVE_LAUNCH, 95, 0)                   \
  ATTRIBUTE(MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 97, 0)    \
  ATTRIBUTE(MAX_BLOCKS_PER_MULTIPROCESSOR, 106, 0)       \
  ATTRIBUTE(RESERVED_SHARED_MEMORY_PER_BLOCK, 111, 0)    \
  ATTRIBUTE(MEMORY_POOLS_SUPPORTED, 115, 1)

#define SIM_NAME(name, number, value) constexpr Enum kDevice_##name = number;
SIM_DEVICE_ATTRIBUTES(SIM_NAME)
#undef SIM_NAME

#define SIM_FUNCTION_ATTRIBUTES(ATTRIBUTE)    \
  ATTRIBUTE(MAX_THREADS_PER_BLOCK, 0)         \
  ATTRIBUTE(SHARED_SIZE_BYTES, 1)             \
  ATTRIBUTE(CONST_SIZE_BYTES, 2)              \
  ATTRIBUTE(LOCAL_SIZE_BYTES, 3)              \
  ATTRIBUTE(NUM_REGS, 4)                      \
  ATTRIBUTE(PTX_VERSION, 5)                   \
  ATTRIBUTE(BINARY_VERSION, 6)                \
  ATTRIBUTE(CACHE_MODE_CA, 7)                 \
  ATTRIBUTE(MAX_DYNAMIC_SHARED_SIZE_BYTES, 8) \
  ATTRIBUTE(PREFERRED_SHARED_MEMORY_CARVEOUT, 9)

#define SIM_NAME(name, number) constexpr Enum kFunction_##name = number;
SIM_FUNCTION_ATTRIBUTES(SIM_NAME)
#undef SIM_NAME

// Everything else that has a number: our name, cuda.h's, value.
#define SIM_CONSTANTS(CONSTANT)                                           \
  CONSTANT(kJitInfoLog, CU_JIT_INFO_LOG_BUFFER, 3)                        \
  CONSTANT(kJitInfoLogBytes, CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES, 4)        \
  CONSTANT(kJitErrorLog, CU_JIT_ERROR_LOG_BUFFER, 5)                      \
  CONSTANT(kJitErrorLogBytes, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES, 6)      \
  CONSTANT(kStreamNonBlocking, CU_STREAM_NON_BLOCKING, 1)                 \
  CONSTANT(kEventBlockingSync, CU_EVENT_BLOCKING_SYNC, 1)                 \
  CONSTANT(kEventDisableTiming, CU_EVENT_DISABLE_TIMING, 2)               \
  CONSTANT(kCaptureGlobal, CU_STREAM_CAPTURE_MODE_GLOBAL, 0)              \
  CONSTANT(kCaptureThreadLocal, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL, 1)   \
  CONSTANT(kCaptureRelaxed, CU_STREAM_CAPTURE_MODE_RELAXED, 2)            \
  CONSTANT(kCaptureNone, CU_STREAM_CAPTURE_STATUS_NONE, 0)                \
  CONSTANT(kCaptureActive, CU_STREAM_CAPTURE_STATUS_ACTIVE, 1)            \
  CONSTANT(kCaptureInvalidated, CU_STREAM_CAPTURE_STATUS_INVALIDATED, 2)  \
  CONSTANT(kProcFound, CU_GET_PROC_ADDRESS_SUCCESS, 0)                    \
  CONSTANT(kProcAbsent, CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND, 1)          \
  CONSTANT(kProcTooNew, CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT, 2)    \
  CONSTANT(kPoolReleaseThreshold, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, 4)   \
  CONSTANT(kPoolReservedCurrent, CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT, 5) \
  CONSTANT(kPoolReservedHigh, CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH, 6)       \
  CONSTANT(kPoolUsedCurrent, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, 7)         \
  CONSTANT(kPoolUsedHigh, CU_MEMPOOL_ATTR_USED_MEM_HIGH, 8)               \
  CONSTANT(kPointerContext, CU_POINTER_ATTRIBUTE_CONTEXT, 1)              \
  CONSTANT(kPointerMemoryType, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, 2)       \
  CONSTANT(kPointerDeviceOrdinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, 9) \
  CONSTANT(kMemoryHost, CU_MEMORYTYPE_HOST, 1)                            \
  CONSTANT(kMemoryDevice, CU_MEMORYTYPE_DEVICE, 2)

#define SIM_NAME(name, theirs, value) constexpr Enum name = value;
SIM_CONSTANTS(SIM_NAME)
#undef SIM_NAME

// cuLaunchKernel's `extra`: these markers are pointers in cuda.h.
inline void* const kExtraEnd = nullptr;
inline void* const kExtraBuffer = reinterpret_cast<void*>(1);
inline void* const kExtraBytes = reinterpret_cast<void*>(2);

// Name as cuGetProcAddress takes it, name as the library exports the same ABI, driver version that brought it,
// parameters.
#define SIM_ENTRIES(ENTRY)                                                                                           \
  ENTRY(cuInit, cuInit, 2000, (unsigned))                                                                            \
  ENTRY(cuDriverGetVersion, cuDriverGetVersion, 2020, (int*))                                                        \
  ENTRY(cuGetErrorName, cuGetErrorName, 6000, (Result, const char**))                                                \
  ENTRY(cuGetErrorString, cuGetErrorString, 6000, (Result, const char**))                                            \
  ENTRY(cuGetProcAddress, cuGetProcAddress_v2, 12000, (const char*, void**, int, uint64_t, Enum*))                   \
  ENTRY(cuDeviceGetCount, cuDeviceGetCount, 2000, (int*))                                                            \
  ENTRY(cuDeviceGet, cuDeviceGet, 2000, (DeviceId*, int))                                                            \
  ENTRY(cuDeviceGetName, cuDeviceGetName, 2000, (char*, int, DeviceId))                                              \
  ENTRY(cuDeviceGetAttribute, cuDeviceGetAttribute, 2000, (int*, Enum, DeviceId))                                    \
  ENTRY(cuDeviceTotalMem, cuDeviceTotalMem_v2, 3020, (size_t*, DeviceId))                                            \
  ENTRY(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain, 7000, (ContextHandle*, DeviceId))                        \
  ENTRY(cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2, 11000, (DeviceId))                                  \
  ENTRY(cuDevicePrimaryCtxReset, cuDevicePrimaryCtxReset_v2, 11000, (DeviceId))                                      \
  ENTRY(cuDevicePrimaryCtxSetFlags, cuDevicePrimaryCtxSetFlags_v2, 11000, (DeviceId, unsigned))                      \
  ENTRY(cuDevicePrimaryCtxGetState, cuDevicePrimaryCtxGetState, 7000, (DeviceId, unsigned*, int*))                   \
  ENTRY(cuCtxSetCurrent, cuCtxSetCurrent, 4000, (ContextHandle))                                                     \
  ENTRY(cuCtxGetCurrent, cuCtxGetCurrent, 4000, (ContextHandle*))                                                    \
  ENTRY(cuCtxPushCurrent, cuCtxPushCurrent_v2, 4000, (ContextHandle))                                                \
  ENTRY(cuCtxPopCurrent, cuCtxPopCurrent_v2, 4000, (ContextHandle*))                                                 \
  ENTRY(cuCtxGetDevice, cuCtxGetDevice, 2000, (DeviceId*))                                                           \
  ENTRY(cuCtxSynchronize, cuCtxSynchronize, 2000, (void))                                                            \
  ENTRY(cuModuleLoadData, cuModuleLoadData, 2000, (ModuleHandle*, const void*))                                      \
  ENTRY(cuModuleLoadDataEx, cuModuleLoadDataEx, 2010, (ModuleHandle*, const void*, unsigned, Enum*, void**))         \
  ENTRY(cuModuleUnload, cuModuleUnload, 2000, (ModuleHandle))                                                        \
  ENTRY(cuModuleGetFunction, cuModuleGetFunction, 2000, (FunctionHandle*, ModuleHandle, const char*))                \
  ENTRY(cuModuleGetGlobal, cuModuleGetGlobal_v2, 3020, (Pointer*, size_t*, ModuleHandle, const char*))               \
  ENTRY(cuFuncGetAttribute, cuFuncGetAttribute, 2020, (int*, Enum, FunctionHandle))                                  \
  ENTRY(cuFuncSetAttribute, cuFuncSetAttribute, 9000, (FunctionHandle, Enum, int))                                   \
  ENTRY(cuOccupancyMaxActiveBlocksPerMultiprocessor, cuOccupancyMaxActiveBlocksPerMultiprocessor, 6050,              \
        (int*, FunctionHandle, int, size_t))                                                                         \
  ENTRY(cuLaunchKernel, cuLaunchKernel, 4000,                                                                        \
        (FunctionHandle, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, StreamHandle, void**, \
         void**))                                                                                                    \
  ENTRY(cuLaunchHostFunc, cuLaunchHostFunc, 10000, (StreamHandle, HostFunction, void*))                              \
  ENTRY(cuMemGetInfo, cuMemGetInfo_v2, 3020, (size_t*, size_t*))                                                     \
  ENTRY(cuMemAlloc, cuMemAlloc_v2, 3020, (Pointer*, size_t))                                                         \
  ENTRY(cuMemFree, cuMemFree_v2, 3020, (Pointer))                                                                    \
  ENTRY(cuMemAllocAsync, cuMemAllocAsync, 11020, (Pointer*, size_t, StreamHandle))                                   \
  ENTRY(cuMemFreeAsync, cuMemFreeAsync, 11020, (Pointer, StreamHandle))                                              \
  ENTRY(cuMemAllocFromPoolAsync, cuMemAllocFromPoolAsync, 11020, (Pointer*, size_t, PoolHandle, StreamHandle))       \
  ENTRY(cuDeviceGetDefaultMemPool, cuDeviceGetDefaultMemPool, 11020, (PoolHandle*, DeviceId))                        \
  ENTRY(cuMemPoolSetAttribute, cuMemPoolSetAttribute, 11020, (PoolHandle, Enum, void*))                              \
  ENTRY(cuMemPoolGetAttribute, cuMemPoolGetAttribute, 11020, (PoolHandle, Enum, void*))                              \
  ENTRY(cuMemPoolTrimTo, cuMemPoolTrimTo, 11020, (PoolHandle, size_t))                                               \
  ENTRY(cuMemHostAlloc, cuMemHostAlloc, 2020, (void**, size_t, unsigned))                                            \
  ENTRY(cuMemAllocHost, cuMemAllocHost_v2, 3020, (void**, size_t))                                                   \
  ENTRY(cuMemFreeHost, cuMemFreeHost, 2000, (void*))                                                                 \
  ENTRY(cuMemHostRegister, cuMemHostRegister_v2, 6050, (void*, size_t, unsigned))                                    \
  ENTRY(cuMemHostUnregister, cuMemHostUnregister, 4000, (void*))                                                     \
  ENTRY(cuPointerGetAttribute, cuPointerGetAttribute, 4000, (void*, Enum, Pointer))                                  \
  ENTRY(cuMemcpyHtoD, cuMemcpyHtoD_v2, 3020, (Pointer, const void*, size_t))                                         \
  ENTRY(cuMemcpyDtoH, cuMemcpyDtoH_v2, 3020, (void*, Pointer, size_t))                                               \
  ENTRY(cuMemcpyDtoD, cuMemcpyDtoD_v2, 3020, (Pointer, Pointer, size_t))                                             \
  ENTRY(cuMemcpyHtoDAsync, cuMemcpyHtoDAsync_v2, 3020, (Pointer, const void*, size_t, StreamHandle))                 \
  ENTRY(cuMemcpyDtoHAsync, cuMemcpyDtoHAsync_v2, 3020, (void*, Pointer, size_t, StreamHandle))                       \
  ENTRY(cuMemcpyDtoDAsync, cuMemcpyDtoDAsync_v2, 3020, (Pointer, Pointer, size_t, StreamHandle))                     \
  ENTRY(cuMemsetD8, cuMemsetD8_v2, 3020, (Pointer, unsigned char, size_t))                                           \
  ENTRY(cuMemsetD32, cuMemsetD32_v2, 3020, (Pointer, unsigned, size_t))                                              \
  ENTRY(cuMemsetD8Async, cuMemsetD8Async, 3020, (Pointer, unsigned char, size_t, StreamHandle))                      \
  ENTRY(cuMemsetD16Async, cuMemsetD16Async, 3020, (Pointer, unsigned short, size_t, StreamHandle))                   \
  ENTRY(cuMemsetD32Async, cuMemsetD32Async, 3020, (Pointer, unsigned, size_t, StreamHandle))                         \
  ENTRY(cuStreamCreate, cuStreamCreate, 2000, (StreamHandle*, unsigned))                                             \
  ENTRY(cuStreamCreateWithPriority, cuStreamCreateWithPriority, 5050, (StreamHandle*, unsigned, int))                \
  ENTRY(cuStreamDestroy, cuStreamDestroy_v2, 4000, (StreamHandle))                                                   \
  ENTRY(cuStreamSynchronize, cuStreamSynchronize, 2000, (StreamHandle))                                              \
  ENTRY(cuStreamQuery, cuStreamQuery, 2000, (StreamHandle))                                                          \
  ENTRY(cuStreamWaitEvent, cuStreamWaitEvent, 3020, (StreamHandle, EventHandle, unsigned))                           \
  ENTRY(cuEventCreate, cuEventCreate, 2000, (EventHandle*, unsigned))                                                \
  ENTRY(cuEventRecord, cuEventRecord, 2000, (EventHandle, StreamHandle))                                             \
  ENTRY(cuEventQuery, cuEventQuery, 2000, (EventHandle))                                                             \
  ENTRY(cuEventSynchronize, cuEventSynchronize, 2000, (EventHandle))                                                 \
  ENTRY(cuEventElapsedTime, cuEventElapsedTime_v2, 2000, (float*, EventHandle, EventHandle))                         \
  ENTRY(cuEventDestroy, cuEventDestroy_v2, 4000, (EventHandle))                                                      \
  ENTRY(cuStreamBeginCapture, cuStreamBeginCapture_v2, 10010, (StreamHandle, Enum))                                  \
  ENTRY(cuStreamEndCapture, cuStreamEndCapture, 10000, (StreamHandle, GraphHandle*))                                 \
  ENTRY(cuStreamIsCapturing, cuStreamIsCapturing, 10000, (StreamHandle, Enum*))                                      \
  ENTRY(cuThreadExchangeStreamCaptureMode, cuThreadExchangeStreamCaptureMode, 10010, (Enum*))                        \
  ENTRY(cuGraphInstantiateWithFlags, cuGraphInstantiateWithFlags, 11040,                                             \
        (GraphExecHandle*, GraphHandle, unsigned long long))                                                         \
  ENTRY(cuGraphGetNodes, cuGraphGetNodes, 10000, (GraphHandle, NodeHandle*, size_t*))                                \
  ENTRY(cuGraphUpload, cuGraphUpload, 11010, (GraphExecHandle, StreamHandle))                                        \
  ENTRY(cuGraphLaunch, cuGraphLaunch, 10000, (GraphExecHandle, StreamHandle))                                        \
  ENTRY(cuGraphExecDestroy, cuGraphExecDestroy, 10000, (GraphExecHandle))                                            \
  ENTRY(cuGraphDestroy, cuGraphDestroy, 10000, (GraphHandle))

// Names the library keeps for callers of older versions: old name, driver version, entry that it is now.
#define SIM_OLD_NAMES(OLD)                                                       \
  OLD(cuDevicePrimaryCtxRelease, 7000, cuDevicePrimaryCtxRelease_v2, (DeviceId)) \
  OLD(cuDevicePrimaryCtxReset, 7000, cuDevicePrimaryCtxReset_v2, (DeviceId))     \
  OLD(cuEventElapsedTime, 2000, cuEventElapsedTime_v2, (float*, EventHandle, EventHandle))

#ifndef SIMULATOR_TYPES_ONLY  // beside cuda.h, which declares the same names

#define SIM_EXPORT extern "C" __attribute__((visibility("default")))

#define SIM_DECLARE(query, symbol, since, parameters) SIM_EXPORT Result symbol parameters;
SIM_ENTRIES(SIM_DECLARE)
#undef SIM_DECLARE

#define SIM_DECLARE(old, since, symbol, parameters) SIM_EXPORT Result old parameters;
SIM_OLD_NAMES(SIM_DECLARE)
#undef SIM_DECLARE

// cuGetProcAddress of CUDA 11.3 to 11.8: no status.
SIM_EXPORT Result cuGetProcAddress(const char*, void**, int, uint64_t);

// What the control addon calls: a verb with its argument, answered by JSON that lives until this thread's next call.
SIM_EXPORT const char* simulatorControl(const char* verb, const char* argument);

#endif

}  // namespace simulator::driver
