// A stand-in for the CUDA driver library with devices whose memory is the host's: streams run on threads of their own,
// so that what is asynchronous on a GPU is so here, and what goes wrong there can be made to go wrong (fake_set).
//
// Kernels: fill_bytes(pointer, int) fills, gate() waits until fake_set("gate", 1), fault() reads where nothing is.
// FAKE_DEVICES and FAKE_INIT are read from the environment. -DWITHOUT_PROC_ADDRESS leaves out cuGetProcAddress_v2, as
// drivers before CUDA 12 do; -DOLD_PROC_ADDRESS gives those of 11.3 to 11.8; -DWITHOUT_GRAPHS has no optional entries.
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "cuda/driver.h"

using namespace fracstride::cu;

namespace {

constexpr Result kNotFound = 500, kNotInitialised = 3, kInvalidValue = 1, kCaptureUnsupported = 900, kRefused = 901;
using Work = std::function<Result()>;

std::atomic<bool> initialised{false};
std::atomic<Result> sticky{kSuccess};
thread_local Context current = nullptr;

std::mutex settings_mutex;
std::map<std::string, long long> settings;  // see fake_set

int number(const char* name, int otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoi(text);
}

// Counts a setting down; true when it was 1.
bool due(const char* name) {
  std::lock_guard<std::mutex> lock(settings_mutex);
  const auto found = settings.find(name);
  return found != settings.end() && found->second > 0 && --found->second == 0;
}
long long setting(const char* name, long long otherwise) {
  std::lock_guard<std::mutex> lock(settings_mutex);
  const auto found = settings.find(name);
  return found == settings.end() ? otherwise : found->second;
}
void count(const char* name, long long by) {
  std::lock_guard<std::mutex> lock(settings_mutex);
  settings[name] += by;
}

template <class T>
T token(uintptr_t value) {
  return reinterpret_cast<T>(value);
}

class Queue {
 public:
  Queue() : thread_([this] { run(); }) {}
  ~Queue() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      ending_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  void add(Work work) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (capturing) return captured.push_back(std::move(work));
    work_.push_back(std::move(work));
    changed_.notify_all();
  }
  void wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return work_.empty() && !busy_; });
  }
  bool idle() {
    std::lock_guard<std::mutex> lock(mutex_);
    return work_.empty() && !busy_;
  }

  bool capturing = false;
  std::vector<Work> captured;

 private:
  void run() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return ending_ || !work_.empty(); });
      if (work_.empty()) return;
      Work work = std::move(work_.front());
      work_.pop_front();
      busy_ = true;
      lock.unlock();
      if (sticky == kSuccess) {
        const Result result = work();
        if (result != kSuccess) sticky = result;
      }
      lock.lock();
      busy_ = false;
      changed_.notify_all();
    }
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Work> work_;
  bool busy_ = false, ending_ = false;
  std::thread thread_;
};

struct EventState {
  std::mutex mutex;
  std::condition_variable changed;
  uint64_t asked = 0, passed = 0;
};

Queue* queue(Stream stream) {
  return reinterpret_cast<Queue*>(stream);
}
EventState* state(Event event) {
  return reinterpret_cast<EventState*>(event);
}

Result when_current(bool ok = true) {
  if (sticky != kSuccess) return sticky;
  return current == nullptr ? kInvalidContext : ok ? kSuccess : kInvalidValue;
}

std::mutex memory_mutex;
std::map<uintptr_t, size_t> pinned;
std::map<uintptr_t, size_t> device_memory;

bool is_pinned(const void* memory) {
  std::lock_guard<std::mutex> lock(memory_mutex);
  auto found = pinned.upper_bound(reinterpret_cast<uintptr_t>(memory));
  return found != pinned.begin() && reinterpret_cast<uintptr_t>(memory) < (--found)->first + found->second;
}

size_t used() {
  std::lock_guard<std::mutex> lock(memory_mutex);
  size_t sum = 0;
  for (const auto& [at, bytes] : device_memory) sum += bytes;
  return sum;
}

size_t total() {
  return size_t(setting("memory", 1 << 30));
}

// What a driver does with ordinary memory of the host: it returns when the copy was made.
Result copy(void* to, const void* from, size_t bytes, Stream stream, const void* host) {
  if (when_current(stream != nullptr) != kSuccess) return when_current(stream != nullptr);
  if (queue(stream)->capturing) return kCaptureUnsupported;
  if (due("fail_copy")) return kInvalidValue;
  queue(stream)->add([=] {
    std::this_thread::sleep_for(std::chrono::milliseconds(setting("copy_ms", 0)));
    std::memcpy(to, from, bytes);
    return kSuccess;
  });
  count(is_pinned(host) ? "pinned_copies" : "pageable_copies", 1);
  if (!is_pinned(host)) queue(stream)->wait();
  return sticky;
}

}  // namespace

extern "C" {

// Settings that count calls down to a failure: fail_alloc, fail_copy, fail_launch. Others: memory (bytes of a device),
// no_pinned, copy_ms, sticky (an error from now on), refuse_capture.
void fake_set(const char* name, long long value) {
  if (std::strcmp(name, "sticky") == 0) sticky = Result(value);
  std::lock_guard<std::mutex> lock(settings_mutex);
  settings[name] = value;
}
// pinned_copies, pageable_copies, pinned, allocations, modules, contexts_set, graphs.
long long fake_get(const char* name) {
  if (std::strcmp(name, "allocations") == 0) {
    std::lock_guard<std::mutex> lock(memory_mutex);
    return (long long)device_memory.size();
  }
  return setting(name, 0);
}

Result cuInit(unsigned flags) {
  initialised = true;
  return flags == 0 ? number("FAKE_INIT", kSuccess) : kInvalidValue;
}
Result cuDriverGetVersion(int* version) {
  return *version = number("FAKE_VERSION", 12040), kSuccess;
}
Result cuGetErrorName(Result result, const char** name) {
  *name = result == kNotFound         ? "CUDA_ERROR_NOT_FOUND"
          : result == kInvalidImage   ? "CUDA_ERROR_INVALID_IMAGE"
          : result == kInvalidValue   ? "CUDA_ERROR_INVALID_VALUE"
          : result == kIllegalAddress ? "CUDA_ERROR_ILLEGAL_ADDRESS"
          : result == kInvalidPtx     ? "CUDA_ERROR_INVALID_PTX"
          : result == kOutOfMemory    ? "CUDA_ERROR_OUT_OF_MEMORY"
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
  return *bytes = total(), kSuccess;
}
Result cuDevicePrimaryCtxRetain(Context* context, DeviceId id) {
  return *context = token<Context>(id), kSuccess;
}
Result cuCtxSetCurrent(Context context) {
  count("contexts_set", 1);
  return current = context, sticky;
}
Result cuModuleLoadDataEx(Module* module, const void* image, unsigned, JitOption*, void** values) {
  const char* text = static_cast<const char*>(image);
  if (std::strncmp(text, ".version 9", 10) == 0) return kInvalidPtx;
  const bool known = std::strstr(text, "fill_bytes") != nullptr;
  if (!known) std::strcpy(static_cast<char*>(values[0]), "no such instruction");
  if (known) count("modules", 1);
  return *module = token<Module>(7), known ? when_current() : kInvalidImage;
}
Result cuModuleUnload(Module) {
  return kSuccess;
}
Result cuModuleGetFunction(Function* function, Module, const char* name) {
  static const char* const names[] = {"fill_bytes", "gate", "fault"};
  for (uintptr_t i = 0; i < 3; ++i) {
    if (std::strcmp(name, names[i]) == 0) return *function = token<Function>(i + 1), kSuccess;
  }
  return kNotFound;
}
Result cuFuncSetAttribute(Function, FunctionAttribute which, int bytes) {
  return which == kMaxDynamicSharedBytes && bytes <= 227 * 1024 ? kSuccess : kInvalidValue;
}
Result cuLaunchKernel(Function function, unsigned gx, unsigned, unsigned, unsigned bx, unsigned, unsigned, unsigned,
                      Stream stream, void** params, void** extra) {
  if (stream == nullptr || extra != nullptr || due("fail_launch")) return kInvalidValue;
  if (when_current() != kSuccess) return when_current();
  if (function == token<Function>(1)) {
    void* out = reinterpret_cast<void*>(*static_cast<Pointer*>(params[0]));
    const int value = *static_cast<int32_t*>(params[1]);
    queue(stream)->add([=] { return std::memset(out, value, size_t(gx) * bx), kSuccess; });
  } else if (function == token<Function>(2)) {
    queue(stream)->add([] {
      while (setting("gate", 0) == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      return kSuccess;
    });
  } else {
    queue(stream)->add([] { return kIllegalAddress; });
  }
  return kSuccess;
}
Result cuMemAlloc_v2(Pointer* pointer, size_t bytes) {
  if (when_current() != kSuccess) return when_current();
  if (due("fail_alloc") || used() + bytes > total()) return kOutOfMemory;
  void* memory = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
  std::lock_guard<std::mutex> lock(memory_mutex);
  device_memory[reinterpret_cast<uintptr_t>(memory)] = bytes;
  return *pointer = reinterpret_cast<uintptr_t>(memory), kSuccess;
}
// Unlike the driver it does not wait, so that a free which comes too early is seen by AddressSanitizer.
Result cuMemFree_v2(Pointer pointer) {
  if (when_current() != kSuccess) return when_current();
  std::lock_guard<std::mutex> lock(memory_mutex);
  if (device_memory.erase(pointer) == 0) return kInvalidValue;
  return std::free(reinterpret_cast<void*>(pointer)), kSuccess;
}
Result cuMemGetInfo_v2(size_t* left, size_t* all) {
  return *left = total() - used(), *all = total(), when_current();
}
Result cuMemHostAlloc(void** memory, size_t bytes, unsigned) {
  if (setting("no_pinned", 0) != 0) return kOutOfMemory;
  *memory = std::malloc(bytes);
  count("pinned", (long long)bytes);
  std::lock_guard<std::mutex> lock(memory_mutex);
  return pinned[reinterpret_cast<uintptr_t>(*memory)] = bytes, when_current();
}
Result cuMemcpyHtoDAsync_v2(Pointer to, const void* from, size_t bytes, Stream stream) {
  return copy(reinterpret_cast<void*>(to), from, bytes, stream, from);
}
Result cuMemcpyDtoHAsync_v2(void* to, Pointer from, size_t bytes, Stream stream) {
  return copy(to, reinterpret_cast<void*>(from), bytes, stream, to);
}
Result cuMemsetD8Async(Pointer to, unsigned char value, size_t bytes, Stream stream) {
  if (when_current(stream != nullptr) != kSuccess) return when_current(stream != nullptr);
  queue(stream)->add([=] { return std::memset(reinterpret_cast<void*>(to), value, bytes), kSuccess; });
  return kSuccess;
}
Result cuStreamCreate(Stream* stream, unsigned flags) {
  return *stream = reinterpret_cast<Stream>(new Queue), when_current(flags == kStreamNonBlocking);
}
Result cuStreamSynchronize(Stream stream) {
  if (when_current(stream != nullptr) != kSuccess) return when_current(stream != nullptr);
  queue(stream)->wait();
  return sticky;
}
Result cuStreamQuery(Stream stream) {
  return sticky != kSuccess ? sticky.load() : queue(stream)->idle() ? kSuccess : kNotReady;
}
Result cuEventCreate(Event* event, unsigned) {
  return *event = reinterpret_cast<Event>(new EventState), when_current();
}
Result cuEventRecord(Event event, Stream stream) {
  if (when_current(stream != nullptr) != kSuccess) return when_current(stream != nullptr);
  EventState* at = state(event);
  std::unique_lock<std::mutex> lock(at->mutex);
  const uint64_t asked = ++at->asked;
  lock.unlock();
  queue(stream)->add([=] {
    std::lock_guard<std::mutex> inside(at->mutex);
    at->passed = asked;
    at->changed.notify_all();
    return kSuccess;
  });
  return kSuccess;
}
Result cuEventQuery(Event event) {
  if (sticky != kSuccess) return sticky;
  std::lock_guard<std::mutex> lock(state(event)->mutex);
  return state(event)->passed == state(event)->asked ? kSuccess : kNotReady;
}
Result cuEventSynchronize(Event event) {
  EventState* at = state(event);
  std::unique_lock<std::mutex> lock(at->mutex);
  while (at->passed != at->asked && sticky == kSuccess) at->changed.wait_for(lock, std::chrono::milliseconds(1));
  return sticky;
}

#ifndef WITHOUT_GRAPHS
struct FakeGraph {
  std::vector<Work> work;
};
Result cuStreamDestroy_v2(Stream stream) {
  return delete queue(stream), kSuccess;
}
Result cuStreamBeginCapture_v2(Stream stream, CaptureMode mode) {
  if (mode != kCaptureRelaxed) return kInvalidValue;
  queue(stream)->captured.clear();
  return queue(stream)->capturing = true, when_current();
}
Result cuStreamEndCapture(Stream stream, Graph* graph) {
  if (!queue(stream)->capturing) return kInvalidValue;
  queue(stream)->capturing = false;
  if (setting("refuse_capture", 0) != 0) return *graph = nullptr, kRefused;
  count("graphs", 1);
  return *graph = reinterpret_cast<Graph>(new FakeGraph{queue(stream)->captured}), when_current();
}
Result cuGraphInstantiateWithFlags(GraphExec* exec, Graph graph, unsigned long long) {
  count("graphs", 1);
  return *exec = reinterpret_cast<GraphExec>(new FakeGraph(*reinterpret_cast<FakeGraph*>(graph))), when_current();
}
Result cuGraphLaunch(GraphExec exec, Stream stream) {
  if (when_current(stream != nullptr) != kSuccess) return when_current(stream != nullptr);
  for (const Work& work : reinterpret_cast<FakeGraph*>(exec)->work) queue(stream)->add(work);
  return kSuccess;
}
Result cuGraphExecDestroy(GraphExec exec) {
  count("graphs", -1);
  return delete reinterpret_cast<FakeGraph*>(exec), kSuccess;
}
Result cuGraphDestroy(Graph graph) {
  count("graphs", -1);
  return delete reinterpret_cast<FakeGraph*>(graph), kSuccess;
}
#endif

#ifdef WITHOUT_GRAPHS
#define OPTIONAL_ENTRIES(ENTRY)
#else
#define OPTIONAL_ENTRIES(ENTRY) FS_DRIVER_OPTIONAL_ENTRIES(ENTRY)
#endif
#define FIND(query, symbol, field, parameters) \
  if (std::strcmp(name, #query) == 0) *entry = reinterpret_cast<void*>(&symbol);

#if defined(OLD_PROC_ADDRESS)
Result cuGetProcAddress(const char* name, void** entry, int version, uint64_t flags) {
  *entry = nullptr;
  if (version != 11040 || flags != 0) return kInvalidValue;
  FS_DRIVER_ENTRIES(FIND)
  OPTIONAL_ENTRIES(FIND)
  return *entry == nullptr ? kNotFound : kSuccess;
}
#elif !defined(WITHOUT_PROC_ADDRESS)
Result cuGetProcAddress_v2(const char* name, void** entry, int version, uint64_t flags, int* status) {
  *entry = nullptr;
  if (version != 12000 || flags != 0) return kInvalidValue;
  FS_DRIVER_ENTRIES(FIND)
  OPTIONAL_ENTRIES(FIND)
  *status = *entry == nullptr ? 1 : 0;
  return *entry == nullptr ? kNotFound : kSuccess;
}
#endif
}
