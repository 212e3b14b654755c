// The driver itself: its state, what every entry checks first, errors, devices and their primary contexts, and how
// entries are found.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "architecture.h"
#include "state.h"
#include "symbols.h"

namespace simulator::driver {

thread_local bool in_host_function = false;
thread_local Enum capture_mode = kCaptureGlobal;

namespace {

const Architecture& architecture(const State& s) {
  return driver::architecture(s.config.arch);
}

struct Symbol {
  const char* query;
  const char* symbol;
  int since;
  void* address;
};

const std::vector<Symbol>& symbols() {
  static const auto* const all = new std::vector<Symbol>{
#define SIM_SYMBOL(query, symbol, since, parameters) {#query, #symbol, since, reinterpret_cast<void*>(&symbol)},
      SIM_ENTRIES(SIM_SYMBOL)
#undef SIM_SYMBOL
#define SIM_SYMBOL(old, since, symbol, parameters) {#old, #old, since, reinterpret_cast<void*>(&old)},
          SIM_OLD_NAMES(SIM_SYMBOL)
#undef SIM_SYMBOL
              {"cuGetProcAddress", "cuGetProcAddress", 11030,
               reinterpret_cast<void*>(static_cast<Result (*)(const char*, void**, int, uint64_t)>(&cuGetProcAddress))},
  };
  return *all;
}

bool absent(const State& s, const Symbol& symbol) {
  return symbol.since > s.config.driver || s.config.without.count(symbol.query) != 0 ||
         s.config.without.count(symbol.symbol) != 0;
}

// Before anyone looks for an entry.
__attribute__((constructor)) void hide_absent_entries() {
  const State& s = state();
  for (const Symbol& symbol : symbols()) {
    if (absent(s, symbol)) hide_symbol(symbol.address);
  }
}

State* make_state() {
  auto* made = new State;
  if (const char* text = std::getenv("CUDA_SIMULATOR")) {
    const std::string wrong = configure(made->config, text);
    if (!wrong.empty()) {
      std::fprintf(stderr, "CUDA_SIMULATOR: %s\n", wrong.c_str());
      std::abort();
    }
  }
  for (int i = 0; i < made->config.devices; ++i) {
    made->contexts.push_back(std::make_unique<Context>());
    made->contexts.back()->device = i;
  }
  return made;
}

Context* device_context(State& s, DeviceId id) {
  return id >= 0 && size_t(id) < s.contexts.size() ? s.contexts[size_t(id)].get() : nullptr;
}

// As with_state, with a device.
template <class Body>
Result with_device(const char* entry, DeviceId id, Body body) {
  return with_state(entry, [&](State& s, Lock& lock) -> Result {
    Context* context = device_context(s, id);
    return context == nullptr ? kERROR_INVALID_DEVICE : body(s, lock, *context);
  });
}

Context* known_context(State& s, ContextHandle handle) {
  for (const auto& context : s.contexts) {
    if (context->handle() == handle) return context.get();
  }
  return nullptr;
}

Result find_entry(const char* name, void** address, int version, uint64_t flags, Enum* status) {
  State& s = state();
  const Lock lock(s.mutex);
  if (name == nullptr || address == nullptr || flags > 2) return kERROR_INVALID_VALUE;
  *address = nullptr;
  bool too_new = false;
  const Symbol* best = nullptr;
  for (const Symbol& symbol : symbols()) {
    if (std::strcmp(symbol.query, name) != 0 || absent(s, symbol)) continue;
    if (symbol.since > version) {
      too_new = true;
    } else if (best == nullptr || symbol.since > best->since) {
      best = &symbol;
    }
  }
  if (status != nullptr) *status = best != nullptr ? kProcFound : too_new ? kProcTooNew : kProcAbsent;
  if (best == nullptr) return status == nullptr ? kERROR_NOT_FOUND : kSUCCESS;
  *address = best->address;
  return kSUCCESS;
}

}  // namespace

State& state() {
  static State* const made = make_state();
  return *made;
}

std::vector<Context*>& current() {
  thread_local std::vector<Context*> stack;
  return stack;
}

Result check_initialised(State& s, const char* entry) {
  if (s.config.verbose > 1) std::fprintf(stderr, "simulator: %s\n", entry);
  if (in_host_function) return kERROR_NOT_PERMITTED;
  if (!s.initialised) return kERROR_NOT_INITIALIZED;
  return kSUCCESS;
}

Result check_context(State& s, const char* entry, Context*& context) {
  const Result result = check_initialised(s, entry);
  if (result != kSUCCESS) return result;
  if (current().empty() || current().back() == nullptr) return kERROR_INVALID_CONTEXT;
  context = current().back();
  if (!context->active) return kERROR_CONTEXT_IS_DESTROYED;
  return context->failed;
}

void record_fault(State& s, const Ended& ended) {
  s.last_fault = ended.sentence;
  s.faults_seen += 1;
  if (s.config.verbose > 0) std::fprintf(stderr, "simulator: %s\n", ended.sentence.c_str());
}

Ended injected(const std::string& what) {
  return {kERROR_LAUNCH_FAILED, what + " was made to fail"};
}

int most_shared_bytes(const State& s) {
  return architecture(s).most_shared_bytes();
}

int resident_blocks(const State& s, const Function& function, int threads, size_t dynamic_shared_bytes) {
  const Architecture& a = architecture(s);
  const uint64_t warps = (uint64_t(threads) + 31) / 32;
  const uint64_t shared = function.static_shared_bytes + dynamic_shared_bytes + uint64_t(a.reserved);
  const uint64_t registers = warps * 32 * ((uint64_t(function.registers) + 7) / 8 * 8);
  uint64_t blocks = uint64_t(a.blocks);
  if (threads > int(function.max_threads) || int64_t(shared) > a.shared_kib * 1024) return 0;
  blocks = std::min(blocks, uint64_t(a.threads) / (warps * 32));
  if (shared != 0) blocks = std::min(blocks, uint64_t(a.shared_kib) * 1024 / shared);
  if (registers != 0) blocks = std::min(blocks, uint64_t(65536) / registers);
  return int(blocks);
}

extern "C" {

Result cuInit(unsigned flags) {
  State& s = state();
  const Lock lock(s.mutex);
  if (flags != 0) return kERROR_INVALID_VALUE;
  if (s.faults.lost != 0) return s.faults.lost;
  if (s.contexts.empty()) return kERROR_NO_DEVICE;
  s.initialised = true;
  return kSUCCESS;
}

Result cuDriverGetVersion(int* version) {
  if (version == nullptr) return kERROR_INVALID_VALUE;
  State& s = state();
  const Lock lock(s.mutex);
  *version = s.config.driver;
  return kSUCCESS;
}

Result cuGetErrorName(Result result, const char** name) {
  if (name == nullptr) return kERROR_INVALID_VALUE;
  *name = nullptr;
  switch (result) {
#define SIM_CASE(which, value, text) \
  case value:                        \
    *name = "CUDA_" #which;          \
    return kSUCCESS;
    SIM_RESULTS(SIM_CASE)
#undef SIM_CASE
  }
  return kERROR_INVALID_VALUE;
}

Result cuGetErrorString(Result result, const char** text) {
  if (text == nullptr) return kERROR_INVALID_VALUE;
  *text = nullptr;
  switch (result) {
#define SIM_CASE(which, value, said) \
  case value:                        \
    *text = said;                    \
    return kSUCCESS;
    SIM_RESULTS(SIM_CASE)
#undef SIM_CASE
  }
  return kERROR_INVALID_VALUE;
}

Result cuGetProcAddress_v2(const char* name, void** address, int version, uint64_t flags, Enum* status) {
  return find_entry(name, address, version, flags, status);
}

Result cuGetProcAddress(const char* name, void** address, int version, uint64_t flags) {
  return find_entry(name, address, version, flags, nullptr);
}

Result cuDeviceGetCount(int* count) {
  return with_state("cuDeviceGetCount", [&](State& s, Lock&) -> Result {
    if (count == nullptr) return kERROR_INVALID_VALUE;
    *count = int(s.contexts.size());
    return kSUCCESS;
  });
}

Result cuDeviceGet(DeviceId* id, int ordinal) {
  return with_device("cuDeviceGet", ordinal, [&](State&, Lock&, Context&) -> Result {
    if (id == nullptr) return kERROR_INVALID_VALUE;
    *id = ordinal;
    return kSUCCESS;
  });
}

Result cuDeviceGetName(char* name, int size, DeviceId id) {
  return with_device("cuDeviceGetName", id, [&](State& s, Lock&, Context&) -> Result {
    if (name == nullptr || size <= 0) return kERROR_INVALID_VALUE;
    std::snprintf(name, size_t(size), "CUDA simulator (sm_%d)", s.config.arch);
    return kSUCCESS;
  });
}

Result cuDeviceGetAttribute(int* value, Enum which, DeviceId id) {
  return with_device("cuDeviceGetAttribute", id, [&](State& s, Lock&, Context&) -> Result {
    if (value == nullptr) return kERROR_INVALID_VALUE;
    if (which == kDevice_PCI_DEVICE_ID) {
      *value = id;
      return kSUCCESS;
    }
    return device_attribute(architecture(s), which, value) ? kSUCCESS : kERROR_INVALID_VALUE;
  });
}

Result cuDeviceTotalMem_v2(size_t* bytes, DeviceId id) {
  return with_device("cuDeviceTotalMem", id, [&](State& s, Lock&, Context&) -> Result {
    if (bytes == nullptr) return kERROR_INVALID_VALUE;
    *bytes = s.config.memory;
    return kSUCCESS;
  });
}

Result cuDevicePrimaryCtxRetain(ContextHandle* handle, DeviceId id) {
  return with_device("cuDevicePrimaryCtxRetain", id, [&](State& s, Lock&, Context& context) -> Result {
    if (handle == nullptr) return kERROR_INVALID_VALUE;
    if (s.faults.lost != 0) return s.faults.lost;
    if (!context.active) {
      context.memory = std::make_unique<Memory>(s.config.memory);
      context.active = true;
    }
    context.retained += 1;
    *handle = context.handle();
    return kSUCCESS;
  });
}

Result cuDevicePrimaryCtxRelease_v2(DeviceId id) {
  return with_device("cuDevicePrimaryCtxRelease", id, [](State& s, Lock& lock, Context& context) -> Result {
    if (context.retained == 0) return kERROR_INVALID_CONTEXT;
    context.retained -= 1;
    if (context.retained == 0) tear_down(s, lock, context);
    return kSUCCESS;
  });
}

Result cuDevicePrimaryCtxReset_v2(DeviceId id) {
  return with_device("cuDevicePrimaryCtxReset", id, [](State& s, Lock& lock, Context& context) -> Result {
    if (!context.active) return kSUCCESS;
    // Who retained it holds it still; it comes back empty with the next retain.
    tear_down(s, lock, context);
    return kSUCCESS;
  });
}

Result cuDevicePrimaryCtxSetFlags_v2(DeviceId id, unsigned flags) {
  return with_device("cuDevicePrimaryCtxSetFlags", id, [&](State&, Lock&, Context& context) -> Result {
    if ((flags & ~0xffu) != 0) return kERROR_INVALID_VALUE;
    context.flags = flags;
    return kSUCCESS;
  });
}

Result cuDevicePrimaryCtxGetState(DeviceId id, unsigned* flags, int* active) {
  return with_device("cuDevicePrimaryCtxGetState", id, [&](State&, Lock&, Context& context) -> Result {
    if (flags == nullptr || active == nullptr) return kERROR_INVALID_VALUE;
    *flags = context.flags;
    *active = context.active ? 1 : 0;
    return kSUCCESS;
  });
}

Result cuCtxSetCurrent(ContextHandle handle) {
  return with_state("cuCtxSetCurrent", [&](State& s, Lock&) -> Result {
    auto& stack = current();
    if (handle == nullptr) {
      if (!stack.empty()) stack.pop_back();
      return kSUCCESS;
    }
    Context* context = known_context(s, handle);
    if (context == nullptr) return kERROR_INVALID_CONTEXT;
    if (!context->active) return kERROR_CONTEXT_IS_DESTROYED;
    if (stack.empty()) stack.push_back(nullptr);
    stack.back() = context;
    return kSUCCESS;
  });
}

Result cuCtxGetCurrent(ContextHandle* handle) {
  return with_state("cuCtxGetCurrent", [&](State&, Lock&) -> Result {
    if (handle == nullptr) return kERROR_INVALID_VALUE;
    *handle = current().empty() ? nullptr : current().back()->handle();
    return kSUCCESS;
  });
}

Result cuCtxPushCurrent_v2(ContextHandle handle) {
  return with_state("cuCtxPushCurrent", [&](State& s, Lock&) -> Result {
    Context* context = known_context(s, handle);
    if (context == nullptr) return kERROR_INVALID_CONTEXT;
    if (!context->active) return kERROR_CONTEXT_IS_DESTROYED;
    current().push_back(context);
    return kSUCCESS;
  });
}

Result cuCtxPopCurrent_v2(ContextHandle* handle) {
  return with_state("cuCtxPopCurrent", [&](State&, Lock&) -> Result {
    if (current().empty()) return kERROR_INVALID_CONTEXT;
    if (handle != nullptr) *handle = current().back()->handle();
    current().pop_back();
    return kSUCCESS;
  });
}

Result cuCtxGetDevice(DeviceId* id) {
  return with_state("cuCtxGetDevice", [&](State&, Lock&) -> Result {
    if (id == nullptr) return kERROR_INVALID_VALUE;
    if (current().empty()) return kERROR_INVALID_CONTEXT;
    *id = current().back()->device;
    return kSUCCESS;
  });
}

Result cuCtxSynchronize() {
  return with_context("cuCtxSynchronize", [](State& s, Lock& lock, Context& context) -> Result {
    if (const Result refused = check_no_capture(context, false, kERROR_STREAM_CAPTURE_UNSUPPORTED)) return refused;
    return wait_for_all(s, lock, context);
  });
}

// The names of older versions.

Result cuDevicePrimaryCtxRelease(DeviceId id) {
  return cuDevicePrimaryCtxRelease_v2(id);
}

Result cuDevicePrimaryCtxReset(DeviceId id) {
  return cuDevicePrimaryCtxReset_v2(id);
}

Result cuEventElapsedTime(float* milliseconds, EventHandle from, EventHandle to) {
  return cuEventElapsedTime_v2(milliseconds, from, to);
}

}  // extern "C"

}  // namespace simulator::driver
