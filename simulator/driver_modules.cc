// Modules, functions and launches.
#include <algorithm>
#include <cstring>

#include "image.h"
#include "state.h"

namespace simulator::driver {

namespace {

constexpr uint32_t kPlainSharedBytes = 48 * 1024;
constexpr unsigned kMostBlock[] = {1024, 1024, 64};
constexpr unsigned kMostGrid[] = {2147483647, 65535, 65535};
constexpr unsigned kMostThreads = 1024;

// Where the caller of cuModuleLoadDataEx wants to read what was wrong.
struct Log {
  char* error = nullptr;
  char* info = nullptr;
  size_t error_bytes = 0, info_bytes = 0;
};

Log log_of(unsigned count, const Enum* options, void** values) {
  Log log;
  for (unsigned i = 0; i < count; ++i) {
    // Sizes stand in the pointer itself, as an unsigned int.
    const size_t number = uint32_t(reinterpret_cast<uintptr_t>(values[i]));
    if (options[i] == kJitErrorLog) log.error = static_cast<char*>(values[i]);
    if (options[i] == kJitErrorLogBytes) log.error_bytes = number;
    if (options[i] == kJitInfoLog) log.info = static_cast<char*>(values[i]);
    if (options[i] == kJitInfoLogBytes) log.info_bytes = number;
  }
  return log;
}

void write(char* buffer, size_t bytes, const std::string& text) {
  if (buffer == nullptr || bytes == 0) return;
  const size_t length = text.size() < bytes - 1 ? text.size() : bytes - 1;
  std::memcpy(buffer, text.data(), length);
  buffer[length] = '\0';
}

template <class Body>
Result with_module(const char* entry, ModuleHandle handle, Body body) {
  return with_context(entry, [&](State& s, Lock& lock, Context& context) -> Result {
    const std::shared_ptr<LoadedModule> module = s.modules.find(handle);
    if (module == nullptr || module->context != &context) return kERROR_INVALID_HANDLE;
    return body(s, lock, context, module);
  });
}

template <class Body>
Result with_function(const char* entry, FunctionHandle handle, Body body) {
  return with_context(entry, [&](State& s, Lock& lock, Context& context) -> Result {
    const std::shared_ptr<LoadedFunction> function = s.functions.find(handle);
    if (function == nullptr || function->context != &context) return kERROR_INVALID_HANDLE;
    return body(s, lock, context, *function);
  });
}

// The block of parameters of a launch, from either form that cuLaunchKernel takes.
Result gather(const Function& function, void** params, void** extra, std::vector<uint8_t>& block) {
  block.assign(function.parameter_bytes, 0);
  if (params != nullptr && extra != nullptr) return kERROR_INVALID_VALUE;
  if (extra != nullptr) {
    const void* buffer = nullptr;
    const size_t* bytes = nullptr;
    for (; *extra != kExtraEnd; extra += 2) {
      if (extra[0] == kExtraBuffer) buffer = extra[1];
      if (extra[0] == kExtraBytes) bytes = static_cast<const size_t*>(extra[1]);
    }
    if (buffer == nullptr || bytes == nullptr || *bytes < block.size()) return kERROR_INVALID_VALUE;
    if (!block.empty()) std::memcpy(block.data(), buffer, block.size());
    return kSUCCESS;
  }
  if (params == nullptr) return function.parameters.empty() ? kSUCCESS : kERROR_INVALID_VALUE;
  for (size_t i = 0; i < function.parameters.size(); ++i) {
    const Parameter& parameter = function.parameters[i];
    if (params[i] == nullptr) return kERROR_INVALID_VALUE;
    std::memcpy(block.data() + parameter.offset, params[i], parameter.bytes);
  }
  return kSUCCESS;
}

// Whether the device takes a launch of this shape.
Result check_shape(const LoadedFunction& loaded, const Launch& launch) {
  const Function& function = *loaded.machine;
  uint64_t threads = 1;
  for (int i = 0; i < 3; ++i) {
    if (launch.grid[i] == 0 || launch.block[i] == 0) return kERROR_INVALID_VALUE;
    if (launch.grid[i] > kMostGrid[i] || launch.block[i] > kMostBlock[i]) return kERROR_INVALID_VALUE;
    threads *= launch.block[i];
  }
  if (threads > kMostThreads || threads > function.max_threads) return kERROR_INVALID_VALUE;
  for (int i = 0; i < 3; ++i) {
    if (function.required_block[i] != 0 && function.required_block[i] != launch.block[i]) return kERROR_INVALID_VALUE;
  }
  return launch.dynamic_shared_bytes > loaded.dynamic_shared_bytes ? kERROR_INVALID_VALUE : kSUCCESS;
}

Work launch_work(State& s, Context& context, const LoadedFunction& loaded, const Launch& shape,
                 std::vector<uint8_t> block) {
  auto parameters = std::make_shared<const std::vector<uint8_t>>(std::move(block));
  const std::shared_ptr<LoadedModule> module = loaded.module;
  const Function* function = loaded.machine;
  return [&s, &context, module, function, shape, parameters]() -> Ended {
    Launch launch = shape;
    double slow = 0;
    bool failing = false;
    {
      const Lock lock(s.mutex);
      launch.order = s.config.order;
      launch.count_memory = s.config.count;
      if (s.config.steps != 0) launch.step_limit = s.config.steps;
      const unsigned threads = std::thread::hardware_concurrency();
      launch.host_threads = s.config.threads != 0 ? s.config.threads : threads == 0 ? 1 : threads > 4 ? 4 : threads;
      slow = s.config.slow_launch_ms;
      failing = s.faults.launch.due();
    }
    if (slow > 0) std::this_thread::sleep_for(std::chrono::duration<double, std::milli>(slow));
    if (failing) return injected("the launch of " + function->name);
    launch.parameters = parameters->data();
    launch.cancel = &context.cancel;
    const Outcome outcome = simulator::launch(*function, launch, *context.memory);
    const Lock lock(s.mutex);
    Tally& tally = s.tallies[function->name];
    tally.launches += 1;
    tally.counters.add(outcome.counters);
    return {outcome.result, outcome.sentence};
  };
}

}  // namespace

extern "C" {

Result cuModuleLoadData(ModuleHandle* module, const void* image) {
  return cuModuleLoadDataEx(module, image, 0, nullptr, nullptr);
}

Result cuModuleLoadDataEx(ModuleHandle* out, const void* image, unsigned count, Enum* options, void** values) {
  return with_context("cuModuleLoadData", [&](State& s, Lock&, Context& context) -> Result {
    if (out == nullptr || image == nullptr) return kERROR_INVALID_VALUE;
    if (count != 0 && (options == nullptr || values == nullptr)) return kERROR_INVALID_VALUE;
    if (const Result unsafe = check_safe(s)) return unsafe;
    if (s.faults.load.due()) return kERROR_OUT_OF_MEMORY;
    const Log log = log_of(count, options, values);
    write(log.error, log.error_bytes, "");
    write(log.info, log.info_bytes, "");
    Loaded loaded = load_image(image, *context.memory, s.config.arch, newest_ptx(s.config.driver));
    if (loaded.module == nullptr) {
      write(log.error, log.error_bytes, loaded.log);
      // A driver of another version or device takes the others; this one nothing here can run.
      if (loaded.result == kERROR_INVALID_PTX) record_fault(s, {loaded.result, "loading PTX: " + loaded.log});
      return loaded.result;
    }
    auto module = std::make_shared<LoadedModule>();
    module->context = &context;
    module->machine = std::move(loaded.module);
    *out = s.modules.add(module);
    return kSUCCESS;
  });
}

Result cuModuleUnload(ModuleHandle handle) {
  return with_module(
      "cuModuleUnload", handle,
      [&](State& s, Lock& lock, Context& context, const std::shared_ptr<LoadedModule>& module) -> Result {
        if (const Result unsafe = check_safe(s)) return unsafe;
        // What was launched may still run.
        wait_for_all(s, lock, context);
        for (const auto& [_, function] : module->functions) s.functions.remove(function);
        s.modules.remove(handle);
        return kSUCCESS;
      });
}

Result cuModuleGetFunction(FunctionHandle* out, ModuleHandle handle, const char* name) {
  return with_module("cuModuleGetFunction", handle,
                     [&](State& s, Lock&, Context& context, const std::shared_ptr<LoadedModule>& module) -> Result {
                       if (out == nullptr || name == nullptr) return kERROR_INVALID_VALUE;
                       const Function* found = module->machine->function(name);
                       if (found == nullptr) return kERROR_NOT_FOUND;
                       FunctionHandle& known = module->functions[name];
                       if (known == nullptr) {
                         auto function = std::make_shared<LoadedFunction>();
                         function->context = &context;
                         function->module = module;
                         function->machine = found;
                         function->dynamic_shared_bytes = found->static_shared_bytes > kPlainSharedBytes
                                                              ? 0
                                                              : kPlainSharedBytes - found->static_shared_bytes;
                         known = s.functions.add(function);
                       }
                       *out = known;
                       return kSUCCESS;
                     });
}

Result cuModuleGetGlobal_v2(Pointer* pointer, size_t* bytes, ModuleHandle handle, const char* name) {
  return with_module("cuModuleGetGlobal", handle,
                     [&](State&, Lock&, Context&, const std::shared_ptr<LoadedModule>& module) -> Result {
                       if (name == nullptr) return kERROR_INVALID_VALUE;
                       const Range range = module->machine->global(name);
                       if (range.begin == range.end) return kERROR_NOT_FOUND;
                       if (pointer != nullptr) *pointer = range.begin;
                       if (bytes != nullptr) *bytes = size_t(range.end - range.begin);
                       return kSUCCESS;
                     });
}

Result cuFuncGetAttribute(int* value, Enum which, FunctionHandle handle) {
  return with_function("cuFuncGetAttribute", handle, [&](State& s, Lock&, Context&, LoadedFunction& loaded) -> Result {
    if (value == nullptr) return kERROR_INVALID_VALUE;
    const Function& function = *loaded.machine;
    switch (which) {
      case kFunction_MAX_THREADS_PER_BLOCK:
        *value = int(function.max_threads);
        return kSUCCESS;
      case kFunction_SHARED_SIZE_BYTES:
        *value = int(function.static_shared_bytes);
        return kSUCCESS;
      case kFunction_CONST_SIZE_BYTES:
        *value = int(function.constant_bytes);
        return kSUCCESS;
      case kFunction_LOCAL_SIZE_BYTES:
        *value = int(function.local_bytes);
        return kSUCCESS;
      case kFunction_NUM_REGS:
        *value = int(function.registers);
        return kSUCCESS;
      case kFunction_PTX_VERSION:
        *value = int(loaded.module->machine->target());
        return kSUCCESS;
      case kFunction_BINARY_VERSION:
        *value = s.config.arch;
        return kSUCCESS;
      case kFunction_CACHE_MODE_CA:
        *value = 0;
        return kSUCCESS;
      case kFunction_MAX_DYNAMIC_SHARED_SIZE_BYTES:
        *value = int(loaded.dynamic_shared_bytes);
        return kSUCCESS;
      case kFunction_PREFERRED_SHARED_MEMORY_CARVEOUT:
        *value = loaded.carveout;
        return kSUCCESS;
    }
    return kERROR_INVALID_VALUE;
  });
}

Result cuFuncSetAttribute(FunctionHandle handle, Enum which, int value) {
  return with_function("cuFuncSetAttribute", handle, [&](State& s, Lock&, Context&, LoadedFunction& loaded) -> Result {
    if (which == kFunction_PREFERRED_SHARED_MEMORY_CARVEOUT) {
      if (value < -1 || value > 100) return kERROR_INVALID_VALUE;
      loaded.carveout = value;
      return kSUCCESS;
    }
    if (which != kFunction_MAX_DYNAMIC_SHARED_SIZE_BYTES) return kERROR_INVALID_VALUE;
    const int most = most_shared_bytes(s) - int(loaded.machine->static_shared_bytes);
    if (value < 0 || value > most) return kERROR_INVALID_VALUE;
    loaded.dynamic_shared_bytes = uint32_t(value);
    return kSUCCESS;
  });
}

Result cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, FunctionHandle handle, int threads, size_t dynamic) {
  return with_function("cuOccupancyMaxActiveBlocksPerMultiprocessor", handle,
                       [&](State& s, Lock&, Context&, LoadedFunction& loaded) -> Result {
                         if (blocks == nullptr || threads <= 0) return kERROR_INVALID_VALUE;
                         *blocks = resident_blocks(s, *loaded.machine, threads, dynamic);
                         return kSUCCESS;
                       });
}

Result cuLaunchKernel(FunctionHandle handle, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                      unsigned bz, unsigned shared, StreamHandle stream_handle, void** params, void** extra) {
  return with_function(
      "cuLaunchKernel", handle, [&](State& s, Lock& lock, Context& context, LoadedFunction& loaded) -> Result {
        const std::shared_ptr<Stream> stream = stream_of(s, context, stream_handle);
        if (stream == nullptr) return kERROR_INVALID_HANDLE;
        Launch launch;
        const unsigned grid[] = {gx, gy, gz}, block[] = {bx, by, bz};
        std::copy(grid, grid + 3, launch.grid);
        std::copy(block, block + 3, launch.block);
        launch.dynamic_shared_bytes = shared;
        const Result refused = check_shape(loaded, launch);
        if (refused != kSUCCESS) return refused;
        std::vector<uint8_t> parameters;
        const Result gathered = gather(*loaded.machine, params, extra, parameters);
        if (gathered != kSUCCESS) return gathered;
        if (s.faults.launch_error.due()) return kERROR_LAUNCH_OUT_OF_RESOURCES;
        return enqueue(s, lock, stream, launch_work(s, context, loaded, launch, std::move(parameters)));
      });
}

}  // extern "C"

}  // namespace simulator::driver
