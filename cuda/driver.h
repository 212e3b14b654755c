// The CUDA driver library, opened at run time: our own declarations of the few entries that are used (checked against
// the toolkit's cuda.h by a test), and a table of their addresses. Nothing here needs a toolkit to build.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

// The driver's opaque types, with its own tags, so that signatures can be compared with cuda.h.
struct CUctx_st;
struct CUmod_st;
struct CUfunc_st;
struct CUstream_st;
struct CUevent_st;
struct CUgraph_st;
struct CUgraphExec_st;

namespace fracstride {

#ifdef _WIN32
#define FS_CUDA_API __stdcall
#else
#define FS_CUDA_API
#endif

namespace cu {

using Result = int;
using DeviceId = int;
using Context = CUctx_st*;
using Module = CUmod_st*;
using Function = CUfunc_st*;
using Stream = CUstream_st*;
using Event = CUevent_st*;
using Graph = CUgraph_st*;
using GraphExec = CUgraphExec_st*;
using Pointer = unsigned long long;
using Attribute = int;
using FunctionAttribute = int;
using JitOption = int;
using CaptureMode = int;

constexpr Result kSuccess = 0;
constexpr Result kOutOfMemory = 2;
constexpr Result kNoDevice = 100;
constexpr Result kInvalidDevice = 101;
constexpr Result kInvalidImage = 200;
constexpr Result kInvalidContext = 201;
constexpr Result kNoBinaryForGpu = 209;
constexpr Result kEccUncorrectable = 214;
constexpr Result kInvalidPtx = 218;
constexpr Result kNvlinkUncorrectable = 220;
constexpr Result kJitCompilerNotFound = 221;
constexpr Result kUnsupportedPtxVersion = 222;
constexpr Result kJitCompilationDisabled = 223;
constexpr Result kInvalidSource = 300;
constexpr Result kInvalidHandle = 400;
constexpr Result kNotReady = 600;
constexpr Result kIllegalAddress = 700;
constexpr Result kLaunchTimeout = 702;
constexpr Result kContextIsDestroyed = 709;
constexpr Result kAssert = 710;
constexpr Result kHardwareStackError = 714;
constexpr Result kLaunchFailed = 719;
constexpr Result kUnknown = 999;
constexpr unsigned kStreamNonBlocking = 1;
constexpr unsigned kEventBlockingSync = 1;
constexpr unsigned kEventDisableTiming = 2;
constexpr CaptureMode kCaptureRelaxed = 2;
constexpr FunctionAttribute kMaxDynamicSharedBytes = 8;
constexpr JitOption kJitErrorLog = 5;
constexpr JitOption kJitErrorLogBytes = 6;

constexpr Attribute kClockRate = 13;
constexpr Attribute kMultiprocessors = 16;
constexpr Attribute kMemoryClockRate = 36;
constexpr Attribute kMemoryBusWidth = 37;
constexpr Attribute kL2CacheBytes = 38;
constexpr Attribute kCapabilityMajor = 75;
constexpr Attribute kCapabilityMinor = 76;

// Name as cuGetProcAddress takes it, name as the library exports the same ABI, field, parameters.
#define FS_DRIVER_ENTRIES(ENTRY)                                                                                  \
  ENTRY(cuInit, cuInit, init, (unsigned))                                                                         \
  ENTRY(cuDriverGetVersion, cuDriverGetVersion, driver_get_version, (int*))                                       \
  ENTRY(cuGetErrorName, cuGetErrorName, get_error_name, (Result, const char**))                                   \
  ENTRY(cuGetErrorString, cuGetErrorString, get_error_string, (Result, const char**))                             \
  ENTRY(cuDeviceGetCount, cuDeviceGetCount, device_get_count, (int*))                                             \
  ENTRY(cuDeviceGet, cuDeviceGet, device_get, (DeviceId*, int))                                                   \
  ENTRY(cuDeviceGetName, cuDeviceGetName, device_get_name, (char*, int, DeviceId))                                \
  ENTRY(cuDeviceGetAttribute, cuDeviceGetAttribute, device_get_attribute, (int*, Attribute, DeviceId))            \
  ENTRY(cuDeviceTotalMem, cuDeviceTotalMem_v2, device_total_mem, (size_t*, DeviceId))                             \
  ENTRY(cuDevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain, device_primary_ctx_retain, (Context*, DeviceId))      \
  ENTRY(cuCtxSetCurrent, cuCtxSetCurrent, ctx_set_current, (Context))                                             \
  ENTRY(cuModuleLoadDataEx, cuModuleLoadDataEx, module_load_data_ex,                                              \
        (Module*, const void*, unsigned, JitOption*, void**))                                                     \
  ENTRY(cuModuleUnload, cuModuleUnload, module_unload, (Module))                                                  \
  ENTRY(cuModuleGetFunction, cuModuleGetFunction, module_get_function, (Function*, Module, const char*))          \
  ENTRY(cuFuncSetAttribute, cuFuncSetAttribute, func_set_attribute, (Function, FunctionAttribute, int))           \
  ENTRY(cuLaunchKernel, cuLaunchKernel, launch_kernel,                                                            \
        (Function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, Stream, void**, void**)) \
  ENTRY(cuMemAlloc, cuMemAlloc_v2, mem_alloc, (Pointer*, size_t))                                                 \
  ENTRY(cuMemFree, cuMemFree_v2, mem_free, (Pointer))                                                             \
  ENTRY(cuMemGetInfo, cuMemGetInfo_v2, mem_get_info, (size_t*, size_t*))                                          \
  ENTRY(cuMemcpyHtoDAsync, cuMemcpyHtoDAsync_v2, memcpy_htod_async, (Pointer, const void*, size_t, Stream))       \
  ENTRY(cuMemcpyDtoHAsync, cuMemcpyDtoHAsync_v2, memcpy_dtoh_async, (void*, Pointer, size_t, Stream))             \
  ENTRY(cuMemsetD8Async, cuMemsetD8Async, memset_d8_async, (Pointer, unsigned char, size_t, Stream))              \
  ENTRY(cuStreamCreate, cuStreamCreate, stream_create, (Stream*, unsigned))                                       \
  ENTRY(cuMemHostAlloc, cuMemHostAlloc, mem_host_alloc, (void**, size_t, unsigned))                               \
  ENTRY(cuStreamSynchronize, cuStreamSynchronize, stream_synchronize, (Stream))                                   \
  ENTRY(cuStreamQuery, cuStreamQuery, stream_query, (Stream))                                                     \
  ENTRY(cuEventCreate, cuEventCreate, event_create, (Event*, unsigned))                                           \
  ENTRY(cuEventRecord, cuEventRecord, event_record, (Event, Stream))                                              \
  ENTRY(cuEventQuery, cuEventQuery, event_query, (Event))                                                         \
  ENTRY(cuEventSynchronize, cuEventSynchronize, event_synchronize, (Event))

// Entries that a driver may lack: null then, and what needs them refuses.
#define FS_DRIVER_OPTIONAL_ENTRIES(ENTRY)                                                           \
  ENTRY(cuStreamDestroy, cuStreamDestroy_v2, stream_destroy, (Stream))                              \
  ENTRY(cuStreamBeginCapture, cuStreamBeginCapture_v2, stream_begin_capture, (Stream, CaptureMode)) \
  ENTRY(cuStreamEndCapture, cuStreamEndCapture, stream_end_capture, (Stream, Graph*))               \
  ENTRY(cuGraphInstantiateWithFlags, cuGraphInstantiateWithFlags, graph_instantiate,                \
        (GraphExec*, Graph, unsigned long long))                                                    \
  ENTRY(cuGraphLaunch, cuGraphLaunch, graph_launch, (GraphExec, Stream))                            \
  ENTRY(cuGraphExecDestroy, cuGraphExecDestroy, graph_exec_destroy, (GraphExec))                    \
  ENTRY(cuGraphDestroy, cuGraphDestroy, graph_destroy, (Graph))

struct Entries {
#define FS_FIELD(query, symbol, field, parameters) Result(FS_CUDA_API* field) parameters = nullptr;
  FS_DRIVER_ENTRIES(FS_FIELD)
  FS_DRIVER_OPTIONAL_ENTRIES(FS_FIELD)
#undef FS_FIELD
};

// The version whose ABI is asked for: entries then need no care about _v2 suffixes.
constexpr int kApiVersion = 12000;

}  // namespace cu

struct Driver {
  // Why there is no driver: one sentence that ends with what to do; empty when there is one.
  std::string reason;
  cu::Entries call;
  int version = 0;
  int devices = 0;
};

// Opens the library (FRACSTRIDE_LIBCUDA, else the platform's name), finds the entries and initialises the driver. Once.
const Driver& driver();

// `CUDA_ERROR_INVALID_VALUE (invalid argument)`.
std::string driver_error(const cu::Entries& call, cu::Result result);

}  // namespace fracstride
