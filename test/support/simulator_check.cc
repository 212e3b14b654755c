// Drives a CUDA driver library as a program does, one scenario a run: simulator_check LIBRARY SCENARIO, or all of them
// without SCENARIO. Prints what was not as expected, and "ok" when nothing was. Uses CUDA's entries only, beside
// simulatorControl.
#include <dlfcn.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#define SIMULATOR_TYPES_ONLY
#include "simulator/api.h"

using namespace simulator::driver;

namespace {

struct Calls {
#define FIELD(query, symbol, since, parameters) Result(*query) parameters = nullptr;
  SIM_ENTRIES(FIELD)
#undef FIELD
} cuda;

void* library = nullptr;
const char* (*control_entry)(const char*, const char*) = nullptr;
std::atomic<int> failures{0};

std::string shown(long long value) {
  return std::to_string(value);
}

template <class A, class B>
void expect(int line, const char* what, const A& got, const B& wanted) {
  if (got == A(wanted)) return;
  failures += 1;
  std::printf("line %d: %s must be %s, got %s\n", line, what, shown((long long)wanted).c_str(),
              shown((long long)got).c_str());
}

#define IS(call, wanted) expect(__LINE__, #call, call, wanted)
#define OK(call) expect(__LINE__, #call, call, 0)
#define HOLDS(condition) expect(__LINE__, #condition, bool(condition), true)

std::string ask(const char* verb, const std::string& argument = "") {
  return control_entry(verb, argument.c_str());
}

double now() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

const char* const kHead = ".version 7.0\n.target sm_75\n.address_size 64\n";

// out[i] = value for i < n
const char* const kFill = R"(
.visible .entry fill(.param .u64 out, .param .u32 value, .param .u32 n) {
  .reg .pred %p<2>;
  .reg .b32 %r<7>;
  .reg .b64 %rd<4>;
  ld.param.u64 %rd1, [out];
  ld.param.u32 %r1, [value];
  ld.param.u32 %r2, [n];
  mov.u32 %r3, %ctaid.x;
  mov.u32 %r4, %ntid.x;
  mov.u32 %r5, %tid.x;
  mad.lo.s32 %r6, %r3, %r4, %r5;
  setp.ge.u32 %p1, %r6, %r2;
  @%p1 bra DONE;
  mul.wide.u32 %rd2, %r6, 4;
  add.s64 %rd3, %rd1, %rd2;
  st.global.u32 [%rd3], %r1;
DONE:
  ret;
}
)";

// *out += 1 by one thread
const char* const kCount = R"(
.visible .entry count(.param .u64 out) {
  .reg .b32 %r<3>;
  .reg .b64 %rd<2>;
  ld.param.u64 %rd1, [out];
  ld.global.u32 %r1, [%rd1];
  add.s32 %r2, %r1, 1;
  st.global.u32 [%rd1], %r2;
  ret;
}
)";

const char* const kEndless = R"(
.visible .entry endless() {
AGAIN:
  bra AGAIN;
}
)";

// At most 64 threads a block, and 1024 bytes of static shared memory.
const char* const kBounded = R"(
.global .align 4 .u32 seen = 17;
.visible .entry bounded(.param .u64 out)
.maxntid 64, 1, 1
{
  .shared .align 4 .b8 tile[1024];
  .reg .b32 %r<4>;
  .reg .b64 %rd<2>;
  mov.u32 %r1, tile;
  mov.u32 %r2, 5;
  st.shared.u32 [%r1], %r2;
  ld.shared.u32 %r3, [%r1];
  ld.param.u64 %rd1, [out];
  st.global.u32 [%rd1], %r3;
  ret;
}
)";

std::string program() {
  return std::string(kHead) + kFill + kCount + kEndless + kBounded;
}

// A device with its stream and the kernels above.
struct Bench {
  DeviceId device = 0;
  ContextHandle context = nullptr;
  StreamHandle stream = nullptr;
  ModuleHandle module = nullptr;
  FunctionHandle fill = nullptr, count = nullptr, endless = nullptr, bounded = nullptr;

  explicit Bench(int ordinal = 0) : device(ordinal) { open(); }

  void open() {
    OK(cuda.cuInit(0));
    OK(cuda.cuDevicePrimaryCtxRetain(&context, device));
    OK(cuda.cuCtxSetCurrent(context));
    OK(cuda.cuStreamCreate(&stream, 1));
    OK(cuda.cuModuleLoadData(&module, program().c_str()));
    OK(cuda.cuModuleGetFunction(&fill, module, "fill"));
    OK(cuda.cuModuleGetFunction(&count, module, "count"));
    OK(cuda.cuModuleGetFunction(&endless, module, "endless"));
    OK(cuda.cuModuleGetFunction(&bounded, module, "bounded"));
    if (failures != 0) std::exit(1);
  }

  Pointer alloc(size_t bytes) const {
    Pointer pointer = 0;
    OK(cuda.cuMemAlloc(&pointer, bytes));
    return pointer;
  }

  Result run_fill(Pointer out, unsigned value, unsigned n, StreamHandle on, unsigned threads = 64) const {
    void* params[] = {&out, &value, &n};
    return cuda.cuLaunchKernel(fill, (n + threads - 1) / threads, 1, 1, threads, 1, 1, 0, on, params, nullptr);
  }
  Result run_fill(Pointer out, unsigned value, unsigned n) const { return run_fill(out, value, n, stream); }

  Result run_count(Pointer out, StreamHandle on) const {
    void* params[] = {&out};
    return cuda.cuLaunchKernel(count, 1, 1, 1, 1, 1, 1, 0, on, params, nullptr);
  }

  unsigned read(Pointer from, size_t index = 0) const {
    unsigned value = 0;
    OK(cuda.cuMemcpyDtoHAsync(&value, from + 4 * index, 4, stream));
    OK(cuda.cuStreamSynchronize(stream));
    return value;
  }
};

// Holds a stream until it is opened, so that what is asked for behind it has certainly not run.
class Gate {
 public:
  void hold(StreamHandle stream) {
    open_ = false;
    OK(cuda.cuLaunchHostFunc(
        stream,
        [](void* data) {
          while (!static_cast<Gate*>(data)->open_) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        },
        this));
  }
  void open() { open_ = true; }
  void open_later() {
    std::thread([this] {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      open_ = true;
    }).detach();
  }

 private:
  std::atomic<bool> open_{false};
};

void before_init() {
  int count = 0;
  ContextHandle context = nullptr;
  IS(cuda.cuDeviceGetCount(&count), 3);
  IS(cuda.cuDevicePrimaryCtxRetain(&context, 0), 3);
  IS(cuda.cuCtxSynchronize(), 3);
  IS(cuda.cuInit(1), 1);
  OK(cuda.cuInit(0));
  OK(cuda.cuDeviceGetCount(&count));
  IS(count, 1);
  DeviceId id = -1;
  IS(cuda.cuDeviceGet(&id, 1), 101);
  IS(cuda.cuDeviceGet(&id, -1), 101);
  OK(cuda.cuDeviceGet(&id, 0));
  IS(cuda.cuDeviceGet(nullptr, 0), 1);
  const char* text = nullptr;
  OK(cuda.cuGetErrorName(700, &text));
  HOLDS(std::string(text) == "CUDA_ERROR_ILLEGAL_ADDRESS");
  OK(cuda.cuGetErrorString(2, &text));
  HOLDS(std::string(text) == "out of memory");
  IS(cuda.cuGetErrorName(12345, &text), 1);
  HOLDS(text == nullptr);
}

void no_context() {
  OK(cuda.cuInit(0));
  Pointer pointer = 0;
  StreamHandle stream = nullptr;
  ModuleHandle module = nullptr;
  IS(cuda.cuMemAlloc(&pointer, 16), 201);
  IS(cuda.cuStreamCreate(&stream, 0), 201);
  IS(cuda.cuModuleLoadData(&module, program().c_str()), 201);
  IS(cuda.cuCtxSynchronize(), 201);
  IS(cuda.cuCtxSetCurrent(reinterpret_cast<ContextHandle>(0x1234)), 201);
  ContextHandle context = nullptr, got = nullptr;
  OK(cuda.cuDevicePrimaryCtxRetain(&context, 0));
  OK(cuda.cuCtxPushCurrent(context));
  OK(cuda.cuMemAlloc(&pointer, 16));
  OK(cuda.cuCtxPopCurrent(&got));
  HOLDS(got == context);
  IS(cuda.cuMemAlloc(&pointer, 16), 201);
  IS(cuda.cuCtxPopCurrent(&got), 201);
  OK(cuda.cuCtxSetCurrent(context));
  OK(cuda.cuCtxGetCurrent(&got));
  HOLDS(got == context);
  Result elsewhere = 0;
  std::thread([&] { elsewhere = cuda.cuCtxSynchronize(); }).join();
  IS(elsewhere, 201);
  OK(cuda.cuDevicePrimaryCtxRelease(0));
  IS(cuda.cuMemAlloc(&pointer, 16), 709);
  IS(cuda.cuDevicePrimaryCtxRelease(0), 201);
  OK(cuda.cuDevicePrimaryCtxRetain(&context, 0));
  OK(cuda.cuCtxSetCurrent(context));
  OK(cuda.cuMemAlloc(&pointer, 16));
}

void handles() {
  Bench b;
  const auto bad = reinterpret_cast<StreamHandle>(0x77);
  Pointer out = b.alloc(256);
  IS(b.run_fill(out, 1, 4, bad), 400);
  IS(cuda.cuStreamSynchronize(bad), 400);
  IS(cuda.cuStreamQuery(bad), 400);
  IS(cuda.cuMemsetD8Async(out, 0, 4, bad), 400);
  void* params[] = {&out};
  IS(cuda.cuLaunchKernel(nullptr, 1, 1, 1, 1, 1, 1, 0, b.stream, params, nullptr), 400);
  StreamHandle gone = nullptr;
  OK(cuda.cuStreamCreate(&gone, 0));
  OK(cuda.cuStreamDestroy(gone));
  IS(cuda.cuStreamDestroy(gone), 400);
  IS(cuda.cuStreamSynchronize(gone), 400);
  IS(cuda.cuStreamCreate(&gone, 8), 1);
  EventHandle event = nullptr;
  IS(cuda.cuEventQuery(event), 400);
  OK(cuda.cuEventCreate(&event, 0));
  OK(cuda.cuEventDestroy(event));
  IS(cuda.cuEventRecord(event, b.stream), 400);
  IS(cuda.cuStreamWaitEvent(b.stream, event, 0), 400);
  FunctionHandle function = nullptr;
  IS(cuda.cuModuleGetFunction(&function, b.module, "absent"), 500);
  ModuleHandle module = nullptr;
  OK(cuda.cuModuleLoadData(&module, program().c_str()));
  OK(cuda.cuModuleGetFunction(&function, module, "count"));
  OK(cuda.cuModuleUnload(module));
  IS(cuda.cuModuleUnload(module), 400);
  IS(cuda.cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, b.stream, params, nullptr), 400);
  Pointer global = 0;
  size_t bytes = 0;
  OK(cuda.cuModuleGetGlobal(&global, &bytes, b.module, "seen"));
  IS(bytes, 4);
  IS(b.read(global), 17);
  IS(cuda.cuModuleGetGlobal(&global, &bytes, b.module, "unseen"), 500);
}

void shapes() {
  Bench b;
  Pointer out = b.alloc(4096);
  unsigned value = 7, n = 0;
  void* params[] = {&out, &value, &n};
  const auto launch = [&](FunctionHandle f, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                          unsigned bz, unsigned shared) {
    return cuda.cuLaunchKernel(f, gx, gy, gz, bx, by, bz, shared, b.stream, params, nullptr);
  };
  IS(launch(b.fill, 0, 1, 1, 1, 1, 1, 0), 1);
  IS(launch(b.fill, 1, 1, 1, 0, 1, 1, 0), 1);
  IS(launch(b.fill, 1, 65536, 1, 1, 1, 1, 0), 1);
  IS(launch(b.fill, 1, 1, 65536, 1, 1, 1, 0), 1);
  IS(launch(b.fill, 2147483648u, 1, 1, 1, 1, 1, 0), 1);
  OK(launch(b.fill, 1, 65535, 1, 1, 1, 1, 0));
  OK(launch(b.fill, 1, 1, 1, 1024, 1, 1, 0));
  IS(launch(b.fill, 1, 1, 1, 1025, 1, 1, 0), 1);
  IS(launch(b.fill, 1, 1, 1, 512, 2, 2, 0), 1);
  IS(launch(b.fill, 1, 1, 1, 1, 1, 65, 0), 1);
  OK(launch(b.fill, 1, 1, 1, 4, 4, 64, 0));
  OK(launch(b.bounded, 1, 1, 1, 64, 1, 1, 0));
  IS(launch(b.bounded, 1, 1, 1, 65, 1, 1, 0), 1);
  // 48 KiB with the static part, more only for those that ask, never more than the device has.
  OK(launch(b.fill, 1, 1, 1, 1, 1, 1, 48 * 1024));
  IS(launch(b.fill, 1, 1, 1, 1, 1, 1, 48 * 1024 + 1), 1);
  OK(launch(b.bounded, 1, 1, 1, 1, 1, 1, 47 * 1024));
  IS(launch(b.bounded, 1, 1, 1, 1, 1, 1, 47 * 1024 + 1), 1);
  IS(cuda.cuFuncSetAttribute(b.fill, 8, 227 * 1024 + 1), 1);
  IS(cuda.cuFuncSetAttribute(b.fill, 8, -1), 1);
  OK(cuda.cuFuncSetAttribute(b.fill, 8, 227 * 1024));
  OK(launch(b.fill, 1, 1, 1, 1, 1, 1, 227 * 1024));
  IS(cuda.cuFuncSetAttribute(b.bounded, 8, 226 * 1024 + 1), 1);
  IS(cuda.cuFuncSetAttribute(b.fill, 4, 1), 1);
  int attribute = 0;
  OK(cuda.cuFuncGetAttribute(&attribute, 8, b.fill));
  IS(attribute, 227 * 1024);
  OK(cuda.cuFuncGetAttribute(&attribute, 0, b.bounded));
  IS(attribute, 64);
  OK(cuda.cuFuncGetAttribute(&attribute, 1, b.bounded));
  IS(attribute, 1024);
  IS(cuda.cuFuncGetAttribute(&attribute, 99, b.fill), 1);
  int blocks = 0;
  OK(cuda.cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, b.fill, 1024, 0));
  IS(blocks, 2);
  OK(cuda.cuOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, b.fill, 32, 100 * 1024));
  IS(blocks, 2);
  IS(cuda.cuLaunchKernel(b.fill, 1, 1, 1, 1, 1, 1, 0, b.stream, nullptr, nullptr), 1);
  // The other way to hand over parameters: one block of them.
  struct {
    Pointer out;
    unsigned value, n;
  } packed = {out, 99, 4};
  size_t bytes = sizeof packed;
  void* extra[] = {kExtraBuffer, &packed, kExtraBytes, &bytes, kExtraEnd};
  OK(cuda.cuLaunchKernel(b.fill, 1, 1, 1, 32, 1, 1, 0, b.stream, nullptr, extra));
  IS(b.read(out, 3), 99);
  IS(cuda.cuLaunchKernel(b.fill, 1, 1, 1, 32, 1, 1, 0, b.stream, params, extra), 1);
}

void memory() {
  Bench b;
  size_t left = 0, total = 0, after = 0;
  OK(cuda.cuMemGetInfo(&left, &total));
  IS(total, size_t(64) << 20);
  Pointer one = 0, two = 0, three = 0;
  IS(cuda.cuMemAlloc(&one, 0), 1);
  IS(cuda.cuMemAlloc(nullptr, 16), 1);
  IS(cuda.cuMemAlloc(&one, total + 1), 2);
  OK(cuda.cuMemAlloc(&one, 1000));
  IS(one % 256, 0);
  OK(cuda.cuMemGetInfo(&after, &total));
  HOLDS(after <= left - 1000);
  IS(cuda.cuMemFree(one + 4), 1);
  OK(cuda.cuMemFree(one));
  IS(cuda.cuMemFree(one), 1);
  OK(cuda.cuMemFree(0));
  OK(cuda.cuMemGetInfo(&after, &total));
  IS(after, left);
  // Freed in the order of the stream; memory that is on its way back counts as free for who asks for it.
  OK(cuda.cuMemAllocAsync(&two, size_t(40) << 20, b.stream));
  Gate gate;
  gate.hold(b.stream);
  OK(b.run_fill(two, 3, 1024));
  OK(cuda.cuMemFreeAsync(two, b.stream));
  IS(cuda.cuMemFreeAsync(two, b.stream), 1);
  gate.open_later();
  OK(cuda.cuMemAllocAsync(&three, size_t(40) << 20, b.stream));
  OK(cuda.cuMemFreeAsync(three, b.stream));
  OK(cuda.cuStreamSynchronize(b.stream));
  OK(cuda.cuMemGetInfo(&after, &total));
  IS(after, left);
  // What is asked of memory that is no one's.
  unsigned char bytes[64] = {};
  one = b.alloc(64);
  IS(cuda.cuMemcpyHtoDAsync(one + 1, bytes, 64, b.stream), 1);
  IS(cuda.cuMemcpyDtoHAsync(bytes, one, 65, b.stream), 1);
  IS(cuda.cuMemcpyHtoDAsync(one, nullptr, 4, b.stream), 1);
  OK(cuda.cuMemcpyHtoDAsync(one, nullptr, 0, b.stream));
  IS(cuda.cuMemsetD8Async(one, 1, 65, b.stream), 1);
  IS(cuda.cuMemsetD32Async(one + 2, 1, 2, b.stream), 1);
  IS(cuda.cuMemsetD32Async(one, 1, 17, b.stream), 1);
  OK(cuda.cuMemsetD32Async(one, 0x01020304, 16, b.stream));
  OK(cuda.cuMemsetD8Async(one + 1, 9, 1, b.stream));
  IS(b.read(one), 0x01020904);
  Pointer copy = b.alloc(64);
  OK(cuda.cuMemcpyDtoDAsync(copy, one, 64, b.stream));
  IS(b.read(copy, 15), 0x01020304);
  IS(cuda.cuMemcpyDtoDAsync(copy, one, 65, b.stream), 1);
  void* pinned = nullptr;
  IS(cuda.cuMemHostAlloc(&pinned, 0, 0), 1);
  OK(cuda.cuMemHostAlloc(&pinned, 100, 0));
  HOLDS(ask("memory").find("\"pinned\":{\"bytes\":100,\"blocks\":1}") != std::string::npos);
  HOLDS(ask("memory").find("\"device\":{\"bytes\":128,\"blocks\":2}") != std::string::npos);
  unsigned type = 0;
  OK(cuda.cuPointerGetAttribute(&type, 2, one + 63));
  IS(type, 2);
  OK(cuda.cuPointerGetAttribute(&type, 2, Pointer(reinterpret_cast<uintptr_t>(pinned))));
  IS(type, 1);
  IS(cuda.cuPointerGetAttribute(&type, 2, one + 64), 1);
  OK(cuda.cuMemFreeHost(pinned));
  IS(cuda.cuMemFreeHost(pinned), 1);
  IS(cuda.cuMemFreeHost(bytes), 1);
  std::vector<char> own(8192);
  OK(cuda.cuMemHostRegister(own.data(), own.size(), 0));
  IS(cuda.cuMemHostRegister(own.data() + 8, 8, 0), 712);
  OK(cuda.cuMemHostUnregister(own.data()));
  IS(cuda.cuMemHostUnregister(own.data()), 713);
  PoolHandle pool = nullptr;
  uint64_t threshold = 1 << 20, read = 0;
  OK(cuda.cuDeviceGetDefaultMemPool(&pool, 0));
  OK(cuda.cuMemPoolSetAttribute(pool, 4, &threshold));
  OK(cuda.cuMemPoolGetAttribute(pool, 4, &read));
  IS(read, threshold);
  OK(cuda.cuMemPoolTrimTo(pool, 0));
  OK(cuda.cuMemAllocFromPoolAsync(&two, 256, pool, b.stream));
  OK(cuda.cuMemPoolGetAttribute(pool, 7, &read));
  IS(read, 256);
  OK(cuda.cuMemFreeAsync(two, b.stream));
}

void asynchronous() {
  Bench b;
  Gate gate;
  const Pointer out = b.alloc(4096);
  unsigned* pinned = nullptr;
  OK(cuda.cuMemHostAlloc(reinterpret_cast<void**>(&pinned), 4096, 0));
  OK(cuda.cuMemsetD8Async(out, 0, 4096, b.stream));
  gate.hold(b.stream);
  OK(b.run_fill(out, 5, 1024));
  OK(cuda.cuMemcpyDtoHAsync(pinned + 16, out, 4, b.stream));
  IS(cuda.cuStreamQuery(b.stream), 600);
  HOLDS(pinned[16] != 5);
  gate.open();
  OK(cuda.cuStreamSynchronize(b.stream));
  OK(cuda.cuStreamQuery(b.stream));
  IS(pinned[16], 5);
  // Pageable memory is read when the call is made, pinned memory when the stream gets there.
  unsigned pageable = 11;
  pinned[0] = 21;
  gate.hold(b.stream);
  OK(cuda.cuMemcpyHtoDAsync(out, &pageable, 4, b.stream));
  OK(cuda.cuMemcpyHtoDAsync(out + 4, pinned, 4, b.stream));
  pageable = 12;
  pinned[0] = 22;
  gate.open();
  IS(b.read(out), 11);
  IS(b.read(out, 1), 22);
  // What goes to pageable memory is there when the call returns; what goes to pinned memory is not.
  gate.hold(b.stream);
  OK(b.run_fill(out, 6, 1024));
  OK(cuda.cuMemcpyDtoHAsync(pinned + 8, out, 4, b.stream));
  HOLDS(pinned[8] != 6);
  gate.open_later();
  OK(cuda.cuMemcpyDtoHAsync(&pageable, out, 4, b.stream));
  IS(pageable, 6);
  IS(pinned[8], 6);
  ask("configure", "slow_copy=100ms");
  double start = now();
  OK(cuda.cuMemcpyDtoHAsync(pinned, out, 4, b.stream));
  OK(cuda.cuStreamSynchronize(b.stream));
  HOLDS(now() - start >= 99);
  ask("configure", "slow_copy=0 slow_launch=100ms");
  start = now();
  OK(b.run_fill(out, 6, 1024));
  OK(cuda.cuStreamSynchronize(b.stream));
  HOLDS(now() - start >= 99);
  // Asked to, each call waits for what it asked for.
  ask("configure", "sync=1");
  OK(b.run_fill(out, 7, 1024));
  OK(cuda.cuStreamQuery(b.stream));
  OK(cuda.cuMemFreeHost(pinned));
}

void events() {
  Bench b;
  Gate gate;
  const Pointer out = b.alloc(4096);
  StreamHandle other = nullptr;
  OK(cuda.cuStreamCreate(&other, 1));
  EventHandle before = nullptr, after = nullptr, plain = nullptr;
  OK(cuda.cuEventCreate(&before, 0));
  OK(cuda.cuEventCreate(&after, 0));
  OK(cuda.cuEventCreate(&plain, 3));
  IS(cuda.cuEventCreate(&plain, 64), 1);
  OK(cuda.cuEventQuery(before));
  OK(cuda.cuEventSynchronize(before));
  float milliseconds = 0;
  IS(cuda.cuEventElapsedTime(&milliseconds, before, after), 400);
  ask("configure", "slow_launch=100ms");
  OK(cuda.cuEventRecord(before, b.stream));
  gate.hold(b.stream);
  OK(b.run_fill(out, 1, 1024));
  OK(cuda.cuEventRecord(after, b.stream));
  IS(cuda.cuEventQuery(after), 600);
  IS(cuda.cuEventElapsedTime(&milliseconds, before, after), 600);
  // The other stream's copy has to see what the first stream's kernel wrote.
  unsigned* pinned = nullptr;
  OK(cuda.cuMemHostAlloc(reinterpret_cast<void**>(&pinned), 64, 0));
  pinned[0] = 0;
  OK(cuda.cuStreamWaitEvent(other, after, 0));
  OK(cuda.cuMemcpyDtoHAsync(pinned, out, 4, other));
  IS(cuda.cuStreamQuery(other), 600);
  gate.open();
  OK(cuda.cuStreamSynchronize(other));
  IS(pinned[0], 1);
  OK(cuda.cuEventSynchronize(after));
  OK(cuda.cuEventQuery(after));
  OK(cuda.cuEventElapsedTime(&milliseconds, before, after));
  HOLDS(milliseconds >= 99);
  // An event that is recorded again means the later work.
  gate.hold(b.stream);
  OK(cuda.cuEventRecord(after, b.stream));
  IS(cuda.cuEventQuery(after), 600);
  gate.open_later();
  OK(cuda.cuEventSynchronize(after));
  OK(cuda.cuEventQuery(after));
  OK(cuda.cuEventRecord(plain, b.stream));
  OK(cuda.cuStreamSynchronize(b.stream));
  IS(cuda.cuEventElapsedTime(&milliseconds, before, plain), 400);
  OK(cuda.cuCtxSynchronize());
}

void legacy() {
  Bench b;
  Gate gate;
  const Pointer out = b.alloc(4096);
  StreamHandle blocking = nullptr;
  OK(cuda.cuStreamCreate(&blocking, 0));
  gate.hold(blocking);
  OK(b.run_fill(out, 1, 8, blocking));
  OK(b.run_fill(out, 2, 8, nullptr));  // after the blocking stream's work
  OK(b.run_count(out, blocking));      // after the legacy stream's
  IS(cuda.cuStreamQuery(nullptr), 600);
  // A stream that does not block waits for neither.
  OK(b.run_fill(out + 64, 9, 8));
  IS(b.read(out + 64), 9);
  gate.open_later();
  OK(cuda.cuStreamSynchronize(nullptr));
  unsigned value = 0;
  OK(cuda.cuMemcpyDtoH(&value, out, 4));
  IS(value, 3);
}

struct Heard {
  std::vector<int> order;
  Result inside = -1;
};

void host_functions() {
  Bench b;
  const Pointer out = b.alloc(64);
  Heard heard;
  ask("configure", "slow_launch=50ms");
  OK(b.run_fill(out, 1, 8));
  const auto first = [](void* data) {
    auto* h = static_cast<Heard*>(data);
    h->order.push_back(1);
    Pointer pointer = 0;
    h->inside = cuda.cuMemAlloc(&pointer, 16);
  };
  const auto second = [](void* data) { static_cast<Heard*>(data)->order.push_back(2); };
  OK(cuda.cuLaunchHostFunc(b.stream, first, &heard));
  OK(cuda.cuLaunchHostFunc(b.stream, second, &heard));
  IS(cuda.cuLaunchHostFunc(b.stream, nullptr, &heard), 1);
  OK(cuda.cuStreamSynchronize(b.stream));
  HOLDS((heard.order == std::vector<int>{1, 2}));
  IS(heard.inside, 800);
}

void capture() {
  Bench b;
  const Pointer out = b.alloc(256);
  unsigned* pinned = nullptr;
  OK(cuda.cuMemHostAlloc(reinterpret_cast<void**>(&pinned), 64, 0));
  OK(cuda.cuMemsetD8Async(out, 0, 256, b.stream));
  GraphHandle graph = nullptr;
  GraphExecHandle exec = nullptr;
  Enum status = -1;
  IS(cuda.cuStreamEndCapture(b.stream, &graph), 401);
  IS(cuda.cuStreamBeginCapture(nullptr, 1), 900);
  IS(cuda.cuStreamBeginCapture(b.stream, 3), 1);
  OK(cuda.cuStreamBeginCapture(b.stream, 1));
  IS(cuda.cuStreamBeginCapture(b.stream, 1), 401);
  OK(cuda.cuStreamIsCapturing(b.stream, &status));
  IS(status, 1);
  pinned[0] = 100;
  OK(cuda.cuMemcpyHtoDAsync(out + 4, pinned, 4, b.stream));
  OK(b.run_count(out, b.stream));
  OK(b.run_count(out + 4, b.stream));
  OK(cuda.cuMemcpyDtoHAsync(pinned + 1, out + 4, 4, b.stream));
  OK(cuda.cuStreamEndCapture(b.stream, &graph));
  HOLDS(graph != nullptr);
  size_t nodes = 0;
  OK(cuda.cuGraphGetNodes(graph, nullptr, &nodes));
  IS(nodes, 4);
  OK(cuda.cuStreamIsCapturing(b.stream, &status));
  IS(status, 0);
  IS(b.read(out), 0);
  OK(cuda.cuGraphInstantiateWithFlags(&exec, graph, 0));
  OK(cuda.cuGraphDestroy(graph));
  IS(cuda.cuGraphDestroy(graph), 1);
  IS(cuda.cuGraphInstantiateWithFlags(&exec, graph, 0), 1);
  OK(cuda.cuGraphLaunch(exec, b.stream));
  OK(cuda.cuStreamSynchronize(b.stream));
  IS(pinned[1], 101);
  pinned[0] = 200;
  OK(cuda.cuGraphLaunch(exec, b.stream));
  OK(cuda.cuGraphLaunch(exec, b.stream));
  OK(cuda.cuStreamSynchronize(b.stream));
  IS(pinned[1], 201);
  IS(b.read(out), 3);
  OK(cuda.cuGraphExecDestroy(exec));
  IS(cuda.cuGraphLaunch(exec, b.stream), 1);
  OK(cuda.cuMemFreeHost(pinned));
}

// What may not be done while a stream captures, each in a capture of its own, which is lost by it.
void capture_refusals() {
  Bench b;
  const Pointer out = b.alloc(256);
  EventHandle event = nullptr;
  OK(cuda.cuEventCreate(&event, 0));
  unsigned value = 1;
  Pointer pointer = 0;
  const auto broken = [&](int line, const char* what, const std::function<Result()>& call, Result wanted) {
    GraphHandle graph = reinterpret_cast<GraphHandle>(1);
    OK(cuda.cuStreamBeginCapture(b.stream, 0));
    OK(b.run_count(out, b.stream));
    expect(line, what, call(), wanted);
    Enum status = 0;
    OK(cuda.cuStreamIsCapturing(b.stream, &status));
    expect(line, what, status, 2);
    expect(line, what, b.run_count(out, b.stream), 901);
    expect(line, what, cuda.cuStreamEndCapture(b.stream, &graph), 901);
    HOLDS(graph == nullptr);
  };
#define BREAKS(call, wanted) \
  broken(                    \
      __LINE__, #call, [&]() -> Result { return call; }, wanted)
  BREAKS(cuda.cuStreamSynchronize(b.stream), 900);
  BREAKS(cuda.cuStreamQuery(b.stream), 900);
  BREAKS(cuda.cuCtxSynchronize(), 900);
  BREAKS(cuda.cuMemAlloc(&pointer, 16), 900);
  BREAKS(cuda.cuMemFree(out), 900);
  BREAKS(cuda.cuMemcpyDtoHAsync(&value, out, 4, b.stream), 900);
  BREAKS(cuda.cuMemcpyHtoDAsync(out, &value, 4, b.stream), 900);
  BREAKS(cuda.cuMemcpyDtoH(&value, out, 4), 900);
  BREAKS(cuda.cuEventSynchronize(event), 900);
  BREAKS(cuda.cuMemAllocAsync(&pointer, 16, b.stream), 900);
  // Another thread breaks a global capture, not one of this thread alone.
  Result elsewhere = -1;
  const auto from_other_thread = [&] {
    std::thread([&] {
      OK(cuda.cuCtxSetCurrent(b.context));
      elsewhere = cuda.cuMemAlloc(&pointer, 16);
    }).join();
    return elsewhere;
  };
  BREAKS(from_other_thread(), 900);
  GraphHandle graph = nullptr;
  OK(cuda.cuStreamBeginCapture(b.stream, 1));
  OK(from_other_thread());
  std::thread([&] {
    OK(cuda.cuCtxSetCurrent(b.context));
    elsewhere = cuda.cuStreamEndCapture(b.stream, &graph);
  }).join();
  IS(elsewhere, 908);
  // A thread may say that it knows what it does.
  Enum mode = 2;
  OK(cuda.cuThreadExchangeStreamCaptureMode(&mode));
  IS(mode, 0);
  OK(cuda.cuMemAlloc(&pointer, 16));
  OK(cuda.cuThreadExchangeStreamCaptureMode(&mode));
  OK(cuda.cuEventRecord(event, b.stream));
  IS(cuda.cuEventQuery(event), 907);
  OK(cuda.cuStreamEndCapture(b.stream, &graph));
  // The legacy stream would wait for a capturing stream that blocks.
  StreamHandle blocking = nullptr;
  OK(cuda.cuStreamCreate(&blocking, 0));
  OK(cuda.cuStreamBeginCapture(blocking, 2));
  IS(b.run_count(out, nullptr), 906);
  IS(cuda.cuStreamEndCapture(blocking, &graph), 901);
  // Work from outside the capture.
  EventHandle outside = nullptr;
  OK(cuda.cuEventCreate(&outside, 0));
  OK(cuda.cuEventRecord(outside, b.stream));
  OK(cuda.cuStreamBeginCapture(blocking, 1));
  IS(cuda.cuStreamWaitEvent(blocking, outside, 0), 905);
  IS(cuda.cuStreamEndCapture(blocking, &graph), 901);
  IS(b.read(out), 0xcdcdcdcd);
}

void sticky() {
  Bench b;
  Pointer out = b.alloc(256);
  HOLDS(ask("lastFault") == "null");
  OK(b.run_fill(out, 1, 65));  // one element past the end
  IS(cuda.cuStreamSynchronize(b.stream), 700);
  const std::string fault = ask("lastFault");
  HOLDS(fault.find("fill") != std::string::npos);
  Pointer pointer = 0;
  unsigned value = 0;
  IS(cuda.cuStreamSynchronize(b.stream), 700);
  IS(cuda.cuMemAlloc(&pointer, 16), 700);
  IS(b.run_fill(out, 1, 4), 700);
  IS(cuda.cuMemcpyDtoHAsync(&value, out, 4, b.stream), 700);
  IS(cuda.cuCtxSynchronize(), 700);
  IS(cuda.cuStreamQuery(b.stream), 700);
  IS(cuda.cuMemFree(out), 700);
  int major = 0;
  OK(cuda.cuDeviceGetAttribute(&major, 75, 0));
  IS(major, 9);
  // A reset gives the device back, empty.
  OK(cuda.cuDevicePrimaryCtxReset(0));
  HOLDS(ask("memory").find("\"used\":0") != std::string::npos);
  IS(cuda.cuMemAlloc(&pointer, 16), 709);
  b.open();
  out = b.alloc(256);
  OK(b.run_fill(out + 2, 1, 4));
  IS(cuda.cuCtxSynchronize(), 716);
  OK(cuda.cuDevicePrimaryCtxReset(0));
  b.open();
  ask("configure", "steps=100000");
  OK(cuda.cuLaunchKernel(b.endless, 1, 1, 1, 32, 1, 1, 0, b.stream, nullptr, nullptr));
  IS(cuda.cuStreamSynchronize(b.stream), 702);
  // Work behind the failure never runs.
  OK(cuda.cuDevicePrimaryCtxReset(0));
  b.open();
  out = b.alloc(256);
  Heard heard;
  ask("configure", "slow_launch=50ms");
  OK(b.run_fill(out, 1, 65));
  OK(cuda.cuLaunchHostFunc(
      b.stream, [](void* data) { static_cast<Heard*>(data)->order.push_back(1); }, &heard));
  IS(cuda.cuStreamSynchronize(b.stream), 700);
  HOLDS(heard.order.empty());
}

void faults() {
  Bench b;
  Pointer pointer = 0, other = 0;
  const Pointer out = b.alloc(4096);
  HOLDS(ask("fault", "oom@2") == "null");
  OK(cuda.cuMemAlloc(&pointer, 16));
  IS(cuda.cuMemAlloc(&other, 16), 2);
  OK(cuda.cuMemAlloc(&other, 16));
  ask("fault", "oom@1");
  IS(cuda.cuMemAllocAsync(&other, 16, b.stream), 2);
  OK(cuda.cuMemAllocAsync(&other, 16, b.stream));
  ask("fault", "host_oom@1");
  void* pinned = nullptr;
  IS(cuda.cuMemHostAlloc(&pinned, 64, 0), 2);
  OK(cuda.cuMemHostAlloc(&pinned, 64, 0));
  ask("fault", "launch_error@2");
  OK(b.run_fill(out, 1, 4));
  IS(b.run_fill(out, 1, 4), 701);
  OK(b.run_fill(out, 1, 4));
  OK(cuda.cuStreamSynchronize(b.stream));
  ask("fault", "load@1");
  ModuleHandle module = nullptr;
  IS(cuda.cuModuleLoadData(&module, program().c_str()), 2);
  OK(cuda.cuModuleLoadData(&module, program().c_str()));
  ask("fault", "launch@3");
  ask("fault", "clear");
  for (int i = 0; i < 4; ++i) OK(b.run_fill(out, 1, 4));
  OK(cuda.cuStreamSynchronize(b.stream));
  ask("fault", "launch@2");
  OK(b.run_fill(out, 1, 4));
  OK(cuda.cuStreamSynchronize(b.stream));
  OK(b.run_fill(out, 1, 4));
  IS(cuda.cuStreamSynchronize(b.stream), 719);
  IS(cuda.cuMemAlloc(&pointer, 16), 719);
  HOLDS(ask("lastFault").find("the launch of fill was made to fail") != std::string::npos);
  OK(cuda.cuDevicePrimaryCtxReset(0));
  b.open();
  pointer = b.alloc(64);
  ask("fault", "copy@1");
  OK(cuda.cuMemsetD8Async(pointer, 1, 64, b.stream));
  IS(cuda.cuStreamSynchronize(b.stream), 719);
  OK(cuda.cuDevicePrimaryCtxReset(0));
  b.open();
  ask("fault", "lost");
  IS(cuda.cuStreamSynchronize(b.stream), 46);
  IS(cuda.cuMemAlloc(&pointer, 16), 46);
  ContextHandle context = nullptr;
  IS(cuda.cuDevicePrimaryCtxRetain(&context, 0), 46);
  ask("fault", "clear");
  IS(cuda.cuStreamSynchronize(b.stream), 46);
  OK(cuda.cuDevicePrimaryCtxReset(0));
  b.open();
  ask("fault", "lost=999");
  IS(cuda.cuCtxSynchronize(), 999);
  HOLDS(ask("fault", "nonsense@1")[0] == '!');
  HOLDS(ask("fault", "oom@0")[0] == '!');
  HOLDS(ask("configure", "arch=12")[0] == '!');
  HOLDS(ask("configure", "memory")[0] == '!');
  HOLDS(ask("dance")[0] == '!');
}

// A reset while another thread waits for memory, and one while a kernel runs that would never end.
void reset() {
  Bench b;
  Gate gate;
  Result elsewhere = -1;
  std::atomic<bool> asked{false};
  gate.hold(b.stream);
  std::thread waiting([&] {
    OK(cuda.cuCtxSetCurrent(b.context));
    Pointer pointer = 0;
    asked = true;
    elsewhere = cuda.cuMemAlloc(&pointer, size_t(1) << 60);
  });
  while (!asked) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  gate.open_later();
  OK(cuda.cuDevicePrimaryCtxReset(0));
  waiting.join();
  HOLDS(elsewhere == 709 || elsewhere == 2);
  b.open();
  OK(cuda.cuLaunchKernel(b.endless, 1, 1, 1, 32, 1, 1, 0, b.stream, nullptr, nullptr));
  const Pointer out = b.alloc(64);
  OK(b.run_fill(out, 1, 16));
  OK(cuda.cuDevicePrimaryCtxReset(0));
  HOLDS(ask("memory").find("\"contexts\":0,\"streams\":0,\"events\":0,\"modules\":0") != std::string::npos);
}

struct Part {
  unsigned short kind;
  unsigned arch;
  unsigned long long flags;
  std::string payload;
};

std::string fatbin(const std::vector<Part>& parts, unsigned long long cut = 0) {
  std::string body;
  const auto put = [&](unsigned long long value, int bytes) {
    for (int i = 0; i < bytes; ++i) body += char(value >> (8 * i) & 0xff);
  };
  for (const Part& part : parts) {
    std::string payload = part.payload + '\0';
    while (payload.size() % 8 != 0) payload += '\0';
    put(part.kind, 2), put(0x101, 2), put(64, 4), put(payload.size() + cut, 8);
    put(0, 8), put(0, 2), put(9, 2), put(part.arch, 4), put(0, 8);
    put(0x11 | part.flags, 8), put(0, 8), put(0, 8);
    body += payload;
  }
  std::string whole = body;
  body.clear();
  put(0xBA55ED50, 4), put(1, 2), put(16, 2), put(whole.size(), 8);
  return body + whole;
}

void images() {
  Bench b;
  ModuleHandle module = nullptr;
  FunctionHandle function = nullptr;
  char log[512] = "x";
  const auto load = [&](const std::string& image) {
    Enum options[] = {5, 6};
    void* values[] = {log, reinterpret_cast<void*>(sizeof log)};
    module = nullptr;
    return cuda.cuModuleLoadDataEx(&module, image.c_str(), 2, options, values);
  };
  const auto at = [](const char* version, const char* target, const char* body) {
    return std::string(".version ") + version + "\n.target " + target + "\n.address_size 64\n" + body;
  };
  OK(load(program()));
  HOLDS(log[0] == '\0');
  IS(load(""), 200);
  IS(load("hello"), 200);
  IS(load(std::string("\x7f") + "ELF\x02\x01\x01"), 209);
  IS(load(at("9.1", "sm_75", kFill)), 222);
  HOLDS(std::strstr(log, "Unsupported .version 9.1; current version is '9.0'") != nullptr);
  OK(load(at("9.0", "sm_90", kFill)));
  OK(load(at("9.0", "sm_90a", kFill)));
  IS(load(at("9.0", "sm_100", kFill)), 209);
  IS(load(at("9.0", "sm_80a", kFill)), 209);
  IS(load(at("9.0", "sm_90", ".visible .entry wrong() { frobnicate.u32; ret; }")), 218);
  HOLDS(std::strstr(log, "frobnicate") != nullptr);
  HOLDS(ask("lastFault").find("frobnicate") != std::string::npos);
  ask("forgetFault");
  IS(load("\x7f"
          "ELF"),
     209);
  HOLDS(ask("lastFault") == "null");
  const std::string fill = std::string(kHead) + kFill, count = at("8.0", "sm_80", kCount);
  OK(load(fatbin({{1, 75, 0, fill}})));
  OK(cuda.cuModuleGetFunction(&function, module, "fill"));
  // The newest that fits, whatever stands first; a cubin never does.
  OK(load(fatbin({{2, 90, 0,
                   "\x7f"
                   "ELF"},
                  {1, 75, 0, fill},
                  {1, 80, 0, count},
                  {1, 100, 0, fill}})));
  OK(cuda.cuModuleGetFunction(&function, module, "count"));
  IS(cuda.cuModuleGetFunction(&function, module, "fill"), 500);
  IS(load(fatbin({{2, 90, 0,
                   "\x7f"
                   "ELF"}})),
     209);
  IS(load(fatbin({{1, 100, 0, fill}})), 209);
  IS(load(fatbin({{1, 75, 0x8000, fill}})), 209);
  HOLDS(std::strstr(log, "compressed") != nullptr);
  IS(load(fatbin({{1, 75, 0x2000, fill}})), 209);
  IS(load(fatbin({{1, 75, 0, fill}}, 1 << 20)), 200);
  OK(load(fatbin({{1, 75, 0x8000, fill}, {1, 75, 0, fill}})));
  // A log that is too small for the sentence still ends.
  char small[8];
  Enum options[] = {6, 5};
  void* values[] = {reinterpret_cast<void*>(sizeof small), small};
  IS(cuda.cuModuleLoadDataEx(&module, at("9.9", "sm_75", kFill).c_str(), 2, options, values), 222);
  IS(std::strlen(small), 7);
  ask("configure", "driver=12000 arch=75");
  IS(load(at("8.1", "sm_75", kFill)), 222);
  OK(load(at("8.0", "sm_75", kFill)));
  IS(load(at("8.0", "sm_80", kFill)), 209);
  ask("configure", "arch=100 driver=13010");
  IS(load(at("9.0", "sm_90a", kFill)), 209);
  OK(load(at("9.1", "sm_90", kFill)));
}

void two_devices() {
  Bench a(0), b(1);
  int count = 0;
  OK(cuda.cuDeviceGetCount(&count));
  IS(count, 2);
  OK(cuda.cuCtxSetCurrent(a.context));
  const Pointer on_a = a.alloc(256);
  OK(cuda.cuCtxSetCurrent(b.context));
  const Pointer on_b = b.alloc(256);
  HOLDS(on_a != on_b);
  IS(b.run_fill(on_b, 1, 4, a.stream), 400);
  IS(a.run_fill(on_b, 1, 4, b.stream), 400);
  IS(cuda.cuMemFree(on_a), 1);
  OK(b.run_fill(on_b, 9, 64));
  IS(b.read(on_b, 63), 9);
  // The memory of one is none of the other's.
  OK(cuda.cuCtxSetCurrent(a.context));
  OK(a.run_fill(on_b, 1, 4));
  IS(cuda.cuCtxSynchronize(), 700);
  OK(cuda.cuCtxSetCurrent(b.context));
  OK(b.run_fill(on_b, 10, 64));
  IS(b.read(on_b), 10);
  int ordinal = -1;
  OK(cuda.cuPointerGetAttribute(&ordinal, 9, on_b));
  IS(ordinal, 1);
}

void two_threads() {
  const Bench shared;
  const auto work = [&](unsigned seed) {
    OK(cuda.cuCtxSetCurrent(shared.context));
    StreamHandle stream = nullptr;
    OK(cuda.cuStreamCreate(&stream, 1));
    for (unsigned i = 0; i < 300; ++i) {
      Pointer pointer = 0;
      OK(i % 2 == 0 ? cuda.cuMemAlloc(&pointer, 1024) : cuda.cuMemAllocAsync(&pointer, 1024, stream));
      OK(shared.run_fill(pointer, seed + i, 256, stream));
      OK(shared.run_count(pointer + 4 * (i % 256), stream));
      std::vector<unsigned> values(256);
      OK(cuda.cuMemcpyDtoHAsync(values.data(), pointer, 1024, stream));
      for (unsigned j = 0; j < 256; ++j) IS(values[j], seed + i + (j == i % 256 ? 1 : 0));
      OK(i % 2 == 0 ? cuda.cuMemFree(pointer) : cuda.cuMemFreeAsync(pointer, stream));
    }
    OK(cuda.cuStreamSynchronize(stream));
    OK(cuda.cuStreamDestroy(stream));
  };
  std::thread one(work, 1000u), two(work, 500000u);
  one.join();
  two.join();
  HOLDS(ask("memory").find("\"device\":{\"bytes\":0,\"blocks\":0},\"pool\":{\"bytes\":0,\"blocks\":0}") !=
        std::string::npos);
  const std::string counters = ask("counters", "reset");
  HOLDS(counters.find("\"fill\":{\"launches\":600,") != std::string::npos);
  HOLDS(ask("counters") == "{}");
}

// 16 blocks of 64 threads, of which 1000 store 4 bytes each: 32 warps, the last with 8 threads that do.
void counters() {
  Bench b;
  const Pointer out = b.alloc(4096);
  OK(b.run_fill(out, 1, 1000));
  OK(cuda.cuCtxSynchronize());
  const std::string plain = ask("counters", "reset");
  HOLDS(plain.find("\"fill\":{\"launches\":1,\"blocks\":16,\"threads\":1024,") != std::string::npos);
  HOLDS(plain.find("\"globalStores\":{\"requests\":0,\"sectors\":0,\"leastSectors\":0}") != std::string::npos);
  ask("configure", "count=1");
  OK(b.run_fill(out, 1, 1000));
  void* params[] = {const_cast<Pointer*>(&out)};
  OK(cuda.cuLaunchKernel(b.bounded, 1, 1, 1, 32, 1, 1, 0, b.stream, params, nullptr));
  OK(cuda.cuCtxSynchronize());
  const std::string counted = ask("counters");
  HOLDS(counted.find("\"globalStores\":{\"requests\":32,\"sectors\":125,\"leastSectors\":125}") != std::string::npos);
  // All lanes store to, and load from, one word of shared memory.
  HOLDS(counted.find("\"sharedStores\":{\"requests\":1,\"wavefronts\":1,\"leastWavefronts\":1}") != std::string::npos);
  if (failures != 0) std::printf("%s\n%s\n", plain.c_str(), counted.c_str());
}

// With driver=11000 without=cuEventQuery: names that are not there, by either way of looking.
void old_driver() {
  int version = 0;
  OK(reinterpret_cast<Result (*)(int*)>(dlsym(library, "cuDriverGetVersion"))(&version));
  IS(version, 11000);
  for (const char* name : {"cuMemAllocAsync", "cuMemFreeAsync", "cuGetProcAddress_v2", "cuGetProcAddress",
                           "cuGraphInstantiateWithFlags", "cuEventQuery"}) {
    if (dlsym(library, name) == nullptr) continue;
    failures += 1;
    std::printf("%s must not be there\n", name);
  }
  for (const char* name : {"cuMemAlloc_v2", "cuInit", "cuLaunchKernel", "cuStreamBeginCapture_v2", "cuEventRecord"}) {
    if (dlsym(library, name) != nullptr) continue;
    failures += 1;
    std::printf("%s must be there\n", name);
  }
}

void everything_is_exported() {
#define EXPORTED(query, symbol, since, parameters) HOLDS(dlsym(library, #symbol) != nullptr);
  SIM_ENTRIES(EXPORTED)
#undef EXPORTED
}

void entries() {
  const auto find =
      reinterpret_cast<Result (*)(const char*, void**, int, uint64_t, Enum*)>(dlsym(library, "cuGetProcAddress_v2"));
  const auto old = reinterpret_cast<Result (*)(const char*, void**, int, uint64_t)>(dlsym(library, "cuGetProcAddress"));
  void* address = nullptr;
  Enum status = -1;
  OK(find("cuMemAlloc", &address, 12000, 0, &status));
  IS(status, 0);
  HOLDS(address == dlsym(library, "cuMemAlloc_v2"));
  OK(find("cuMemAllocAsync", &address, 11000, 0, &status));
  IS(status, 2);
  HOLDS(address == nullptr);
  OK(find("cuDance", &address, 12000, 0, &status));
  IS(status, 1);
  HOLDS(address == nullptr);
  IS(find("cuDance", &address, 12000, 0, nullptr), 500);
  IS(find(nullptr, &address, 12000, 0, &status), 1);
  IS(old("cuDance", &address, 11030, 0), 500);
  OK(old("cuStreamCreate", &address, 11030, 0));
  HOLDS(address == dlsym(library, "cuStreamCreate"));
  OK(old("cuGetProcAddress", &address, 11030, 0));
  HOLDS(address == dlsym(library, "cuGetProcAddress"));
  OK(find("cuGetProcAddress", &address, 12000, 0, &status));
  HOLDS(address == dlsym(library, "cuGetProcAddress_v2"));
  everything_is_exported();
}

// Against the driver that does nothing.
void nothing() {
  everything_is_exported();
  OK(cuda.cuInit(0));
  ContextHandle context = nullptr;
  OK(cuda.cuDevicePrimaryCtxRetain(&context, 0));
  OK(cuda.cuCtxSetCurrent(context));
  Pointer one = 0, two = 0;
  OK(cuda.cuMemAlloc(&one, 1000));
  OK(cuda.cuMemAlloc(&two, 1000));
  HOLDS(two >= one + 1000 && one % 256 == 0);
  unsigned value = 41;
  OK(cuda.cuMemcpyDtoHAsync(&value, one, 4, nullptr));
  IS(value, 41);
  for (int i = 0; i < 5; ++i) OK(cuda.cuLaunchKernel(nullptr, 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, nullptr));
  HOLDS(ask("counters", "reset") == "{\"launches\":5}");
  HOLDS(ask("counters") == "{\"launches\":0}");
  int major = 0;
  OK(cuda.cuDeviceGetAttribute(&major, 75, 0));
  IS(major, 9);
}

struct Scenario {
  void (*run)();
  const char* configuration;  // where the environment has none
};

const std::map<std::string, Scenario> kScenarios = {
    {"before_init", {before_init, ""}},
    {"no_context", {no_context, ""}},
    {"handles", {handles, ""}},
    {"shapes", {shapes, ""}},
    {"memory", {memory, "memory=64M"}},
    {"asynchronous", {asynchronous, ""}},
    {"events", {events, ""}},
    {"legacy", {legacy, ""}},
    {"host_functions", {host_functions, ""}},
    {"capture", {capture, ""}},
    {"capture_refusals", {capture_refusals, ""}},
    {"sticky", {sticky, ""}},
    {"faults", {faults, ""}},
    {"images", {images, ""}},
    {"reset", {reset, ""}},
    {"counters", {counters, ""}},
    {"two_devices", {two_devices, "devices=2"}},
    {"two_threads", {two_threads, ""}},
    {"old_driver", {old_driver, "driver=11000 without=cuEventQuery"}},
    {"entries", {entries, ""}},
    {"nothing", {nothing, ""}},
};

// Every scenario in a process of its own; how many were not as expected.
int run_all(const char* self, const char* path) {
  int failed = 0;
  for (const auto& [name, _] : kScenarios) {
    if (name == "nothing") continue;
    std::printf("%s: ", name.c_str());
    std::fflush(stdout);
    const std::string command = std::string("'") + self + "' '" + path + "' " + name;
    if (std::system(command.c_str()) != 0) failed += 1;
  }
  return failed;
}

}  // namespace

int main(int count, char** words) {
  if (count == 2) return run_all(words[0], words[1]) == 0 ? 0 : 1;
  if (count != 3 || kScenarios.count(words[2]) == 0) return 2;
  const Scenario& scenario = kScenarios.at(words[2]);
  setenv("CUDA_SIMULATOR", scenario.configuration, 0);
  library = dlopen(words[1], RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    std::printf("%s\n", dlerror());
    return 2;
  }
#define FIND(query, symbol, since, parameters) \
  cuda.query = reinterpret_cast<decltype(cuda.query)>(dlsym(library, #symbol));
  SIM_ENTRIES(FIND)
#undef FIND
  control_entry = reinterpret_cast<decltype(control_entry)>(dlsym(library, "simulatorControl"));
  scenario.run();
  if (failures == 0) std::printf("ok\n");
  return failures == 0 ? 0 : 1;
}
