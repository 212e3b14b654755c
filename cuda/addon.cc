// The addon's surface (src/native.ts) and the only file that knows Node-API: it checks every argument's type and range,
// unpacks, calls a device verb, and turns an Error into a JavaScript Error with a `code`.
//
// All state of a JavaScript environment (the main thread's or a worker's) hangs on its instance data; buffers of an
// environment are released when it ends.

#include <napi.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <condition_variable>
#include <cstring>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <dlfcn.h>
#endif

#include "../cpu/device_cpu.h"
#include "arguments.h"
#include "cudnn.h"
#include "device_cuda.h"
#include "error.h"
#include "nvrtc.h"
#include "registry.h"

namespace fracstride {

namespace {

constexpr size_t kStaging = 4096;
constexpr size_t kGrid = 7;  // grid, block, bytes of shared memory
constexpr size_t kStagingBytes = kStaging * sizeof(double) + kGrid * sizeof(uint32_t);
constexpr double kSafe = 9007199254740991.0;

struct Loaded {
  double device;
  Place* place;
  std::unique_ptr<Kernel> kernel;
  std::vector<Parameter> parameters;
};

struct Recorded {
  double device;
  Place* place;
  std::unique_ptr<Graph> graph;  // null once it was freed
  uint64_t arena;
};

struct Planned {
  double device;
  Place* place;
  std::unique_ptr<CudnnPlan> plan;
};

struct Read;

// The asynchronous reads of one environment: the device's thread says how one ended, the environment's own thread tells
// JavaScript. While one is pending the process stays alive.
struct Reads {
  napi_threadsafe_function teller = nullptr;
  bool keeps_alive = false;
  std::mutex mutex;
  std::condition_variable one_ended;
  std::unordered_set<Read*> pending;
  std::vector<Read*> ended;
  bool gone = false;
};

struct Read {
  std::shared_ptr<Reads> reads;
  Device* device;
  napi_deferred deferred;
  napi_ref target;
  Outcome outcome;
};

struct Environment {
  uint64_t owner;
  napi_env env;
  std::shared_ptr<Reads> reads = std::make_shared<Reads>();
  std::vector<Recorded> graphs;  // a graph's handle is its index here plus one
  Place* capturing = nullptr;
  uint64_t arena = 0;
  Napi::Reference<Napi::ArrayBuffer> staging;
  int64_t external_bytes = 0;   // as V8 has been told
  int64_t unsaid_bytes = 0;     // what has come or gone since
  std::vector<Loaded> kernels;  // a kernel's handle is its index here plus one
  std::unordered_map<std::string, uint32_t> by_name;
  std::unordered_map<uint64_t, Planned> plans;
  uint64_t last_plan = 0;
};

// One call from JavaScript; the accessors throw ERR_ARGUMENT.
struct Call {
  const Napi::CallbackInfo& info;
  Environment& self;
  const char* where;

  Napi::Env env() const { return info.Env(); }

  std::string type_name(size_t i) const {
    static const char* const names[] = {"undefined", "null",      "a boolean",  "a number",          "a string",
                                        "a symbol",  "an object", "a function", "an external value", "a bigint"};
    return names[info[i].Type()];
  }

  [[noreturn]] void refuse(const char* what, const char* rule, const std::string& got) const {
    throw Error("ERR_ARGUMENT", std::string(where) + ": " + what + " must be " + rule + ", got " + got);
  }

  double number(size_t i, const char* what) const {
    double value = 0;
    if (napi_get_value_double(env(), info[i], &value) != napi_ok) refuse(what, "a number", type_name(i));
    return value;
  }

  double integer(size_t i, const char* what, double low, double high) const {
    const double value = number(i, what);
    if (!(value >= low && value <= high) || value != std::floor(value)) {
      refuse(what, ("an integer from " + show(low) + " to " + show(high)).c_str(), show(value));
    }
    return value;
  }

  bool boolean(size_t i, const char* what) const {
    if (!info[i].IsBoolean()) refuse(what, "true or false", type_name(i));
    return info[i].As<Napi::Boolean>().Value();
  }

  std::string text(size_t i, const char* what, size_t longest) const {
    if (!info[i].IsString()) refuse(what, "a string", type_name(i));
    size_t length = 0;
    napi_get_value_string_utf8(env(), info[i], nullptr, 0, &length);
    if (length > longest) refuse(what, ("at most " + show(double(longest)) + " bytes").c_str(), show(double(length)));
    return info[i].As<Napi::String>().Utf8Value();
  }

  Place& device(size_t i) const { return place(number(i, "device"), where); }

  // The bytes of a typed array or DataView; a detached one has none.
  Image bytes(size_t i, const char* what) const;
};

// By the C functions: node-addon-api's views want an ArrayBuffer behind them, and these may lie on a SharedArrayBuffer.
Image Call::bytes(size_t i, const char* what) const {
  Image image;
  void* data = nullptr;
  napi_status status = napi_ok;
  if (info[i].IsTypedArray()) {
    static const size_t sizes[] = {1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8, 2};
    napi_typedarray_type type;
    size_t length = 0;
    status = napi_get_typedarray_info(env(), info[i], &type, &length, &data, nullptr, nullptr);
    if (status == napi_ok && size_t(type) >= sizeof sizes / sizeof *sizes)
      refuse(what, "a typed array of a known type", "another");
    if (status == napi_ok) image = {data, length * sizes[type]};
  } else if (info[i].IsDataView()) {
    status = napi_get_dataview_info(env(), info[i], &image.size, &data, nullptr, nullptr);
    image.data = data;
  } else {
    refuse(what, "a typed array or a DataView", type_name(i));
  }
  if (status != napi_ok) refuse(what, "usable", "none");
  if (image.data == nullptr) image.size = 0;
  return image;
}

Napi::Array js(Napi::Env env, const std::vector<std::string>& values) {
  Napi::Array list = Napi::Array::New(env, values.size());
  for (size_t i = 0; i < values.size(); ++i) list.Set(uint32_t(i), values[i]);
  return list;
}

// V8 wants to know what its objects hold outside of its heap; it is told when that has changed by this much.
constexpr int64_t kWorthSaying = 1 << 20;

void account(Call& call, int64_t change) {
  Environment& self = call.self;
  self.unsaid_bytes += change;
  if (self.unsaid_bytes < kWorthSaying && self.unsaid_bytes > -kWorthSaying) return;
  Napi::MemoryManagement::AdjustExternalMemory(call.env(), self.unsaid_bytes);
  self.external_bytes += self.unsaid_bytes;
  self.unsaid_bytes = 0;
}

Napi::Value cpu_info_verb(Call& call) {
  const CpuInfo info = cpu_info();
  Napi::Object result = Napi::Object::New(call.env());
  result.Set("isas", js(call.env(), info.isas));
  result.Set("threads", double(info.threads));
  return result;
}

Napi::Value set_threads(Call& call) {
  set_cpu_threads(int(call.integer(0, "threads", 1, 1024)));
  return call.env().Undefined();
}

Napi::Object js(Napi::Env env, const CudaDeviceInfo& device) {
  Napi::Object result = Napi::Object::New(env);
  result.Set("name", device.name);
  result.Set("arch", double(device.arch));
  result.Set("multiprocessors", double(device.multiprocessors));
  result.Set("totalMemory", double(device.total_memory));
  result.Set("clockRateKhz", double(device.clock_rate_khz));
  result.Set("memoryClockRateKhz", double(device.memory_clock_rate_khz));
  result.Set("memoryBusWidthBits", double(device.memory_bus_width_bits));
  result.Set("l2CacheBytes", double(device.l2_cache_bytes));
  return result;
}

Napi::Value cuda_info_verb(Call& call) {
  const Napi::Env env = call.env();
  const CudaInfo& info = cuda_info();
  Napi::Array devices = Napi::Array::New(env, info.devices.size());
  for (size_t i = 0; i < info.devices.size(); ++i) devices.Set(uint32_t(i), js(env, info.devices[i]));
  Napi::Object result = Napi::Object::New(env);
  result.Set("available", info.available);
  result.Set("reason", info.available ? env.Null() : Napi::String::New(env, info.reason));
  result.Set("driverVersion", double(info.driver_version));
  result.Set("devices", devices);
  return result;
}

Napi::Value kernel_names(Call& call) {
  return js(call.env(), call.device(0).device.kernel_names());
}

Napi::Value alloc(Call& call) {
  Place& at = call.device(0);
  const double bytes = call.integer(1, "bytes", 0, kSafe);
  const uint64_t handle = at.pool.allocate(call.self.owner, uint64_t(bytes));
  account(call, int64_t(bytes));
  return Napi::Number::New(call.env(), double(handle));
}

Napi::Value free_buffer(Call& call) {
  Place& at = call.device(0);
  const double handle = call.number(1, "handle");
  if (handle >= 1 && handle <= kSafe) account(call, -int64_t(at.pool.release(call.self.owner, uint64_t(handle))));
  return call.env().Undefined();
}

// The device address for a copy of `bytes` bytes.
void* copy_target(Call& call, Place& at, size_t bytes) {
  const double handle = call.number(1, "handle");
  const double offset = call.number(2, "byte offset");
  return at.pool.at(call.self.owner, handle, offset, double(bytes), call.where, -1);
}

// Only work of the device itself can be recorded.
void refuse_in_capture(Call& call, Place& at, const char* what) {
  if (!at.device.capturing()) return;
  throw Error("ERR_ARGUMENT", std::string(call.where) + ": " + what +
                                  " must be done outside of cuda.graph, got it while a graph is recorded");
}

Napi::Value copy_in(Call& call) {
  Place& at = call.device(0);
  refuse_in_capture(call, at, "making a tensor from data of JavaScript");
  const Image source = call.bytes(3, "source");
  void* target = copy_target(call, at, source.size);
  if (source.size != 0) at.device.copy_in(target, source.data, source.size);
  return call.env().Undefined();
}

Napi::Value copy_out(Call& call) {
  Place& at = call.device(0);
  refuse_in_capture(call, at, "reading a tensor");
  const Image target = call.bytes(3, "target");
  const void* source = copy_target(call, at, target.size);
  if (target.size != 0) at.device.copy_out(const_cast<void*>(target.data), source, target.size);
  return call.env().Undefined();
}

Napi::Error with_code(Napi::Env env, const char* code, const std::string& sentence) {
  Napi::Error error = Napi::Error::New(env, sentence);
  error.Set("code", code);
  return error;
}

// On a thread of the device's.
void read_ended(void* context, const Outcome& outcome) {
  Read* const read = static_cast<Read*>(context);
  const std::shared_ptr<Reads> reads = read->reads;
  std::lock_guard<std::mutex> lock(reads->mutex);
  reads->pending.erase(read);
  if (reads->gone) {
    delete read;
    return;
  }
  read->outcome = outcome;
  reads->ended.push_back(read);
  reads->one_ended.notify_all();
  if (reads->ended.size() == 1) napi_call_threadsafe_function(reads->teller, nullptr, napi_tsfn_nonblocking);
}

// On the environment's thread.
void tell_reads(napi_env env, napi_value, void* context, void*) {
  if (env == nullptr) return;  // the environment has ended, and end_reads saw to them
  Reads& reads = *static_cast<Reads*>(context);
  std::vector<Read*> ended;
  bool all = false;
  {
    std::lock_guard<std::mutex> lock(reads.mutex);
    ended.swap(reads.ended);
    all = reads.pending.empty();
  }
  if (all && reads.keeps_alive) {
    napi_unref_threadsafe_function(env, reads.teller);
    reads.keeps_alive = false;
  }
  for (Read* read : ended) {
    const Outcome& outcome = read->outcome;
    if (outcome.code == nullptr) {
      napi_resolve_deferred(env, read->deferred, Napi::Env(env).Undefined());
    } else {
      napi_reject_deferred(env, read->deferred, with_code(env, outcome.code, outcome.sentence).Value());
    }
    napi_delete_reference(env, read->target);
    delete read;
  }
}

// Before the environment's memory goes, targets of reads included: waits until nothing will be written there.
void end_reads(void* data) {
  Environment& self = *static_cast<Environment*>(data);
  Reads& reads = *self.reads;
  std::unique_lock<std::mutex> lock(reads.mutex);
  const std::vector<Read*> pending(reads.pending.begin(), reads.pending.end());
  lock.unlock();  // until `gone`, reads are deleted on this thread only
  std::vector<Read*> writing;
  for (Read* read : pending) {
    if (!read->device->abandon(read)) writing.push_back(read);
  }
  lock.lock();
  reads.one_ended.wait(lock, [&] {
    return std::none_of(writing.begin(), writing.end(), [&](Read* read) { return reads.pending.count(read) != 0; });
  });
  reads.gone = true;
  for (Read* read : reads.pending) napi_delete_reference(self.env, read->target);
  for (Read* read : reads.ended) {
    napi_delete_reference(self.env, read->target);
    delete read;
  }
  reads.ended.clear();
}

void start_telling(Environment& self) {
  Reads& reads = *self.reads;
  if (reads.teller == nullptr) {
    const Napi::Env env(self.env);
    const napi_status status =
        napi_create_threadsafe_function(env, nullptr, nullptr, Napi::String::New(env, "fracstride"), 0, 1, nullptr,
                                        nullptr, &reads, tell_reads, &reads.teller);
    if (status != napi_ok) throw Error("ERR_BINDING", "copyOutAsync: the event loop must take messages, got a refusal");
    reads.keeps_alive = true;
    // Hooks run last first: this one before that of the function above.
    napi_add_env_cleanup_hook(env, end_reads, &self);
  }
  if (!reads.keeps_alive) napi_ref_threadsafe_function(self.env, reads.teller);
  reads.keeps_alive = true;
}

Napi::Value copy_out_async(Call& call) {
  Place& at = call.device(0);
  refuse_in_capture(call, at, "reading a tensor");
  const Image target = call.bytes(3, "target");
  const void* source = copy_target(call, at, target.size);
  start_telling(call.self);
  auto read = std::make_unique<Read>();
  Reads& reads = *call.self.reads;
  read->reads = call.self.reads;
  read->device = &at.device;
  napi_value promise = nullptr;
  const bool made = napi_create_promise(call.env(), &read->deferred, &promise) == napi_ok &&
                    napi_create_reference(call.env(), call.info[3], 1, &read->target) == napi_ok;
  if (!made) throw Error("ERR_BINDING", "copyOutAsync: a promise must be made, got none");
  {
    std::lock_guard<std::mutex> lock(reads.mutex);
    reads.pending.insert(read.get());
  }
  try {
    at.device.copy_out_async(const_cast<void*>(target.data), source, target.size, read_ended, read.get());
    read.release();
  } catch (const Error& error) {
    read_ended(read.release(), {error.code(), error.what()});
  }
  return Napi::Value(call.env(), promise);
}

Napi::Value memory(Call& call) {
  const MemoryCounts counts = call.device(0).pool.counts();
  Napi::Object result = Napi::Object::New(call.env());
  result.Set("live", double(counts.live));
  result.Set("cached", double(counts.cached));
  result.Set("peak", double(counts.peak));
  return result;
}

Napi::Value empty_cache(Call& call) {
  call.device(0).pool.empty_cache();
  return call.env().Undefined();
}

Napi::Value set_memory_limit(Call& call) {
  Place& at = call.device(0);
  at.pool.set_limit(uint64_t(call.integer(1, "bytes", 0, kSafe)));
  return call.env().Undefined();
}

Napi::Value debug_memory(Call& call) {
  struct Switch {
    static void visit(Place& at, void* on) { at.pool.set_debug(*static_cast<bool*>(on)); }
  };
  bool on = call.boolean(0, "debug mode");
  place(0, call.where);
  each_place(Switch::visit, &on);
  return call.env().Undefined();
}

Napi::Value check_guards(Call& call) {
  struct Sum {
    static void visit(Place& at, void* total) { *static_cast<uint64_t*>(total) += at.pool.damaged_guards(); }
  };
  uint64_t total = 0;
  each_place(Sum::visit, &total);
  return Napi::Number::New(call.env(), double(total));
}

Napi::Value load(Call& call) {
  const double number = call.number(0, "device");
  Place& at = place(number, call.where);
  const std::string name = call.text(1, "name", 512);
  const std::string kinds = call.text(2, "kinds", 8 * kMostParameters);
  std::vector<Parameter> parameters = read_kinds(kinds);
  const bool compiled_in = call.info[3].IsNull() || call.info[3].IsUndefined();
  const Image image = compiled_in ? Image{} : call.bytes(3, "image");
  const std::string key = show(number) + ' ' + kinds + ' ' + name;
  Environment& self = call.self;
  if (compiled_in) {
    const auto known = self.by_name.find(key);
    if (known != self.by_name.end()) return Napi::Number::New(call.env(), known->second);
  }
  self.kernels.push_back({number, &at, at.device.load(name, kinds, image), std::move(parameters)});
  const uint32_t handle = uint32_t(self.kernels.size());
  if (compiled_in) self.by_name[key] = handle;
  return Napi::Number::New(call.env(), handle);
}

LaunchShape read_shape(Call& call, const uint32_t* grid) {
  static const char* const names[] = {"grid x", "grid y", "grid z", "block x", "block y", "block z"};
  constexpr uint32_t most = 2147483647;
  LaunchShape shape;
  for (size_t i = 0; i < 6; ++i) {
    if (grid[i] < 1 || grid[i] > most) call.refuse(names[i], "an integer from 1 to 2147483647", show(grid[i]));
    (i < 3 ? shape.grid[i] : shape.block[i - 3]) = grid[i];
  }
  shape.shared_bytes = grid[6];
  if (grid[6] > most) call.refuse("shared bytes", "an integer from 0 to 2147483647", show(grid[6]));
  return shape;
}

// The staging area's numbers; detached it has no bytes.
const double* staged(Call& call) {
  void* area = nullptr;
  size_t bytes = 0;
  napi_get_arraybuffer_info(call.env(), call.self.staging.Value(), &area, &bytes);
  if (bytes != kStagingBytes) call.refuse("the staging area", "as the addon made it", show_bytes(double(bytes)));
  return static_cast<const double*>(area);
}

void refuse_in_other_capture(Call& call, const Place* at) {
  if (call.self.capturing == nullptr || call.self.capturing == at) return;
  call.refuse("kernels of a graph", "of the device that records it", "one of another");
}

Napi::Value launch(Call& call) {
  const double number = call.number(0, "device");
  Environment& self = call.self;
  const double handle = call.number(1, "kernel");
  const bool known = handle >= 1 && handle <= double(self.kernels.size()) && handle == std::floor(handle);
  if (!known || self.kernels[size_t(handle) - 1].device != number) {
    call.refuse("kernel", "a handle that load returned for this device", show(handle));
  }
  Loaded& loaded = self.kernels[size_t(handle) - 1];
  refuse_in_other_capture(call, loaded.place);
  const double* const slots = staged(call);
  Arguments arguments;
  read_arguments(*loaded.kernel, loaded.parameters, *loaded.place, self.owner, slots, kStaging, arguments);
  const LaunchShape shape = read_shape(call, reinterpret_cast<const uint32_t*>(slots + kStaging));
  loaded.place->device.launch(*loaded.kernel, shape, arguments.params);
  return call.env().Undefined();
}

Napi::Value sync(Call& call) {
  Place& at = call.device(0);
  refuse_in_capture(call, at, "waiting for the device");
  at.device.sync();
  return call.env().Undefined();
}

// Ends the environment's recording; the memory that was set aside for it goes back.
void drop_capture(Environment& self) {
  if (self.capturing == nullptr) return;
  Place& at = *self.capturing;
  self.capturing = nullptr;
  at.pool.end_capture(self.owner);
  at.device.abort_capture();
  at.pool.free_arena(self.arena);
}

Napi::Value begin_capture(Call& call) {
  Place& at = call.device(0);
  Environment& self = call.self;
  if (self.capturing != nullptr) {
    throw Error("ERR_ARGUMENT", "graph: a graph must be recorded by itself, got one inside another");
  }
  at.device.begin_capture();
  try {
    self.arena = at.pool.begin_capture(self.owner);
  } catch (...) {
    at.device.abort_capture();
    throw;
  }
  self.capturing = &at;
  return call.env().Undefined();
}

Napi::Value end_capture(Call& call) {
  const double number = call.number(0, "device");
  Place& at = place(number, call.where);
  Environment& self = call.self;
  if (self.capturing != &at) throw Error("ERR_ARGUMENT", "graph: recording must have begun, got none on this device");
  std::unique_ptr<Graph> graph;
  try {
    self.graphs.reserve(self.graphs.size() + 1);
    graph = at.device.end_capture();
    if (graph == nullptr) throw Error("ERR_CUDA", "graph: what was recorded must be a graph, got none");
  } catch (...) {
    drop_capture(self);
    throw;
  }
  self.capturing = nullptr;
  at.pool.end_capture(self.owner);
  self.graphs.push_back({number, &at, std::move(graph), self.arena});
  return Napi::Number::New(call.env(), double(self.graphs.size()));
}

Napi::Value abort_capture(Call& call) {
  if (call.self.capturing == &call.device(0)) drop_capture(call.self);
  return call.env().Undefined();
}

Recorded& recorded(Call& call) {
  const double number = call.number(0, "device");
  const double handle = call.number(1, "graph");
  std::vector<Recorded>& graphs = call.self.graphs;
  const bool known = handle >= 1 && handle <= double(graphs.size()) && handle == std::floor(handle);
  if (!known || graphs[size_t(handle) - 1].graph == nullptr || graphs[size_t(handle) - 1].device != number) {
    call.refuse("graph", "a handle that endCapture returned for this device", show(handle));
  }
  return graphs[size_t(handle) - 1];
}

Napi::Value replay_graph(Call& call) {
  Recorded& found = recorded(call);
  found.place->device.replay(*found.graph);
  return call.env().Undefined();
}

void drop_graph(Recorded& found) {
  if (found.graph == nullptr) return;
  found.graph.reset();
  found.place->pool.free_arena(found.arena);
}

Napi::Value free_graph(Call& call) {
  drop_graph(recorded(call));
  return call.env().Undefined();
}

Napi::Value nvrtc_info_verb(Call& call) {
  const NvrtcInfo& info = nvrtc_info();
  const Napi::Env env = call.env();
  Napi::Array architectures = Napi::Array::New(env, info.architectures.size());
  for (size_t i = 0; i < info.architectures.size(); ++i) architectures.Set(uint32_t(i), double(info.architectures[i]));
  Napi::Object result = Napi::Object::New(env);
  result.Set("available", info.available);
  result.Set("reason", info.available ? env.Null() : Napi::String::New(env, info.reason));
  result.Set("path", info.path);
  result.Set("major", double(info.major));
  result.Set("minor", double(info.minor));
  result.Set("architectures", architectures);
  return result;
}

constexpr size_t kLongestSource = 64 << 20;

Napi::Value nvrtc_compile_verb(Call& call) {
  const Napi::Env env = call.env();
  const std::string name = call.text(0, "name", 512);
  const std::string source = call.text(1, "source", kLongestSource);
  if (!call.info[2].IsArray()) call.refuse("options", "an array of strings", call.type_name(2));
  const Napi::Array list = call.info[2].As<Napi::Array>();
  std::vector<std::string> options;
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const Napi::Value option = list.Get(i);
    if (!option.IsString()) call.refuse("options", "an array of strings", "another entry");
    options.push_back(option.As<Napi::String>().Utf8Value());
  }
  const NvrtcImage image = nvrtc_compile(name, source, options, call.boolean(3, "cubin"));
  Napi::Uint8Array bytes = Napi::Uint8Array::New(env, image.bytes.size());
  if (!image.bytes.empty()) std::memcpy(bytes.Data(), image.bytes.data(), image.bytes.size());
  Napi::Object result = Napi::Object::New(env);
  result.Set("image", bytes);
  result.Set("log", image.log);
  return result;
}

Napi::Value cudnn_info_verb(Call& call) {
  const CudnnInfo info = cudnn_info();
  const Napi::Env env = call.env();
  Napi::Object result = Napi::Object::New(env);
  result.Set("available", info.available);
  result.Set("reason", info.available ? env.Null() : Napi::String::New(env, info.reason));
  result.Set("version", double(info.version));
  result.Set("path", info.path);
  return result;
}

CudnnProblem read_problem(Call& call) {
  CudnnProblem problem;
  problem.form = CudnnProblem::Form(call.integer(1, "form", 0, 3));
  int32_t* const sizes[] = {&problem.n,  &problem.cs, &problem.hs, &problem.ws,    &problem.cl, &problem.hl,
                            &problem.wl, &problem.r,  &problem.s,  &problem.sh,    &problem.sw, &problem.ph,
                            &problem.pw, &problem.dh, &problem.dw, &problem.groups};
  const bool whole =
      call.info[2].IsTypedArray() && call.info[2].As<Napi::TypedArray>().TypedArrayType() == napi_int32_array;
  const Image given = whole ? call.bytes(2, "problem") : Image{};
  if (given.size != sizeof(int32_t) * (sizeof sizes / sizeof *sizes)) {
    call.refuse("problem", "an Int32Array of 16 sizes", whole ? show_bytes(double(given.size)) : call.type_name(2));
  }
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
    std::memcpy(sizes[i], static_cast<const int32_t*>(given.data) + i, sizeof(int32_t));
  }
  problem.dtype = CudnnProblem::Dtype(call.integer(3, "dtype", 0, 3));
  problem.nhwc = call.integer(4, "layout", 0, 1) == 1;
  problem.flags = uint32_t(call.integer(5, "flags", 0, 7));
  return problem;
}

Napi::Value cudnn_plan(Call& call) {
  Place& at = call.device(0);
  Environment& self = call.self;
  std::unique_ptr<CudnnPlan> plan = make_cudnn_plan(at.device, read_problem(call));
  self.plans[++self.last_plan] = {call.number(0, "device"), &at, std::move(plan)};
  return Napi::Number::New(call.env(), double(self.last_plan));
}

Planned& planned(Call& call) {
  const double number = call.number(0, "device");
  const double handle = call.number(1, "plan");
  auto& plans = call.self.plans;
  const bool possible = handle >= 1 && handle <= kSafe && handle == std::floor(handle);
  const auto found = possible ? plans.find(uint64_t(handle)) : plans.end();
  if (found == plans.end() || found->second.device != number) {
    call.refuse("plan", "a handle that cudnnPlan returned for this device", show(handle));
  }
  return found->second;
}

// The operands of a plan, then its workspace.
CudnnOperands read_operands(Call& call, const Planned& planned) {
  const double* const slots = staged(call);
  const auto read = [&](size_t i, void*& pointer, uint64_t& bytes) {
    const double* const slot = slots + 3 * i;
    if (slot[0] == 0) return;
    pointer = planned.place->pool.at(call.self.owner, slot[0], slot[1], slot[2], call.where, int(i));
    bytes = uint64_t(slot[2]);
  };
  CudnnOperands operands;
  const size_t count = planned.plan->operands();
  for (size_t i = 0; i < count; ++i) read(i, operands.pointers[i], operands.bytes[i]);
  read(count, operands.workspace, operands.workspace_bytes);
  return operands;
}

Napi::Value js(Napi::Env env, const std::vector<CudnnAlgorithm>& algorithms) {
  Napi::Array list = Napi::Array::New(env, algorithms.size());
  for (size_t i = 0; i < algorithms.size(); ++i) {
    const CudnnAlgorithm& algorithm = algorithms[i];
    Napi::Object entry = Napi::Object::New(env);
    entry.Set("algo", double(algorithm.algo));
    entry.Set("status", double(algorithm.status));
    entry.Set("time", double(algorithm.time));
    entry.Set("memory", double(algorithm.memory));
    entry.Set("deterministic", algorithm.deterministic);
    entry.Set("mathType", double(algorithm.math_type));
    list.Set(uint32_t(i), entry);
  }
  return list;
}

Napi::Value cudnn_algorithms(Call& call) {
  return js(call.env(), planned(call).plan->algorithms());
}

Napi::Value cudnn_find(Call& call) {
  Planned& found = planned(call);
  refuse_in_capture(call, *found.place, "measuring algorithms");
  return js(call.env(), found.plan->find(read_operands(call, found)));
}

Napi::Value cudnn_choose(Call& call) {
  CudnnPlan& plan = *planned(call).plan;
  const int algo = int(call.integer(2, "algorithm", 0, 255));
  const int math_type = int(call.integer(3, "math type", 0, 3));
  return Napi::Number::New(call.env(), double(plan.choose(algo, math_type, call.text(4, "name", 512))));
}

Napi::Value cudnn_run(Call& call) {
  Planned& found = planned(call);
  refuse_in_other_capture(call, found.place);
  found.plan->run(read_operands(call, found));
  return call.env().Undefined();
}

Napi::Value cudnn_free(Call& call) {
  const double handle = call.number(0, "plan");
  if (handle >= 1 && handle <= kSafe) call.self.plans.erase(uint64_t(handle));
  return call.env().Undefined();
}

struct Verb {
  const char* name;
  Napi::Value (*body)(Call&);
};

const Verb kVerbs[] = {
    {"cpuInfo", cpu_info_verb},
    {"setThreads", set_threads},
    {"cudaInfo", cuda_info_verb},
    {"kernelNames", kernel_names},
    {"alloc", alloc},
    {"free", free_buffer},
    {"copyIn", copy_in},
    {"copyOut", copy_out},
    {"memory", memory},
    {"emptyCache", empty_cache},
    {"setMemoryLimit", set_memory_limit},
    {"debugMemory", debug_memory},
    {"checkGuards", check_guards},
    {"load", load},
    {"launch", launch},
    {"sync", sync},
    {"copyOutAsync", copy_out_async},
    {"beginCapture", begin_capture},
    {"endCapture", end_capture},
    {"abortCapture", abort_capture},
    {"replayGraph", replay_graph},
    {"freeGraph", free_graph},
    {"nvrtcInfo", nvrtc_info_verb},
    {"nvrtcCompile", nvrtc_compile_verb},
    {"cudnnInfo", cudnn_info_verb},
    {"cudnnPlan", cudnn_plan},
    {"cudnnAlgorithms", cudnn_algorithms},
    {"cudnnFind", cudnn_find},
    {"cudnnChoose", cudnn_choose},
    {"cudnnRun", cudnn_run},
    {"cudnnFree", cudnn_free},
};

Napi::Value dispatch(const Napi::CallbackInfo& info) {
  const Verb& verb = *static_cast<const Verb*>(info.Data());
  Environment* self = info.Env().GetInstanceData<Environment>();
  if (self == nullptr) return info.Env().Undefined();
  Call call{info, *self, verb.name};
  try {
    return verb.body(call);
  } catch (const Napi::Error&) {
    throw;
  } catch (const Error& error) {
    throw with_code(info.Env(), error.code(), error.what());
  } catch (const std::invalid_argument& error) {
    throw with_code(info.Env(), "ERR_ARGUMENT", verb.name + std::string(": ") + error.what());
  } catch (const std::bad_alloc&) {
    throw with_code(info.Env(), "ERR_OUT_OF_MEMORY",
                    std::string(verb.name) + ": memory for the call must be left, got none");
  } catch (const std::exception& error) {
    throw with_code(info.Env(), "ERR_BINDING",
                    std::string(verb.name) + ": the call must end normally, got " + error.what());
  }
}

void end_environment(Napi::Env env, Environment* data) {
  std::unique_ptr<Environment> self(data);
  drop_capture(*self);
  for (Recorded& found : self->graphs) drop_graph(found);
  struct Release {
    static void visit(Place& at, void* owner) { at.pool.release_all(*static_cast<uint64_t*>(owner)); }
  };
  each_place(Release::visit, &self->owner);  // waits, so that no run of a plan is left
  self->plans.clear();
  if (self->external_bytes != 0) Napi::MemoryManagement::AdjustExternalMemory(env, -self->external_bytes);
}

// Keeps this library mapped: a worker that ends closes it, and threads of the devices run for as long as the process.
void stay_loaded() {
#if (defined(__unix__) || defined(__APPLE__)) && defined(RTLD_NODELETE)
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&stay_loaded), &info) != 0 && info.dli_fname != nullptr) {
    dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
  }
#endif
}

Napi::Object start(Napi::Env env, Napi::Object exports) {
  stay_loaded();
  static std::atomic<uint64_t> owners{0};
  auto* self = new Environment;
  self->owner = ++owners;
  self->env = env;
  env.SetInstanceData<Environment, end_environment>(self);
  Napi::ArrayBuffer staging = Napi::ArrayBuffer::New(env, kStagingBytes);
  self->staging = Napi::Persistent(staging);
  exports.Set("args", Napi::Float64Array::New(env, kStaging, staging, 0));
  Napi::Uint32Array grid = Napi::Uint32Array::New(env, kGrid, staging, kStaging * sizeof(double));
  for (uint32_t i = 0; i < kGrid; ++i) grid[i] = i < 6 ? 1 : 0;
  exports.Set("grid", grid);
  for (const Verb& verb : kVerbs)
    exports.Set(verb.name, Napi::Function::New(env, dispatch, verb.name, const_cast<Verb*>(&verb)));
  return exports;
}

}  // namespace

}  // namespace fracstride

static Napi::Object start_addon(Napi::Env env, Napi::Object exports) {
  return fracstride::start(env, exports);
}
NODE_API_MODULE(fracstride, start_addon)
