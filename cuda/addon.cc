// The addon's surface (src/native.ts) and the only file that knows Node-API: it checks every argument's type and range,
// unpacks, calls a device verb, and turns an Error into a JavaScript Error with a `code`.
//
// All state of a JavaScript environment (the main thread's or a worker's) hangs on its instance data; buffers of an
// environment are released when it ends.

#include <napi.h>

#include <atomic>
#include <cmath>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include "../cpu/device_cpu.h"
#include "arguments.h"
#include "device_cuda.h"
#include "error.h"
#include "registry.h"

namespace fracstride {

namespace {

constexpr size_t kStaging = 512;
constexpr double kSafe = 9007199254740991.0;

struct Loaded {
  double device;
  Place* place;
  std::unique_ptr<Kernel> kernel;
};

struct Environment {
  uint64_t owner;
  Napi::Reference<Napi::ArrayBuffer> staging;
  int64_t external_bytes = 0;
  std::vector<Loaded> kernels;  // a kernel's handle is its index here plus one
  std::unordered_map<std::string, uint32_t> by_name;
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
    if (!info[i].IsNumber()) refuse(what, "a number", type_name(i));
    return info[i].As<Napi::Number>().DoubleValue();
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

void account(Call& call, int64_t change) {
  if (change == 0) return;
  Napi::MemoryManagement::AdjustExternalMemory(call.env(), change);
  call.self.external_bytes += change;
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

Napi::Value copy_in(Call& call) {
  Place& at = call.device(0);
  const Image source = call.bytes(3, "source");
  void* target = copy_target(call, at, source.size);
  if (source.size != 0) at.device.copy_in(target, source.data, source.size);
  return call.env().Undefined();
}

Napi::Value copy_out(Call& call) {
  Place& at = call.device(0);
  const Image target = call.bytes(3, "target");
  const void* source = copy_target(call, at, target.size);
  if (target.size != 0) at.device.copy_out(const_cast<void*>(target.data), source, target.size);
  return call.env().Undefined();
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
  const std::string kinds = call.text(2, "kinds", kMostParameters);
  if (kinds.find_first_not_of("pilfd") != std::string::npos)
    call.refuse("kinds", "letters of p i l f d", '"' + kinds + '"');
  const bool compiled_in = call.info[3].IsNull() || call.info[3].IsUndefined();
  const Image image = compiled_in ? Image{} : call.bytes(3, "image");
  const std::string key = show(number) + ' ' + kinds + ' ' + name;
  Environment& self = call.self;
  if (compiled_in) {
    const auto known = self.by_name.find(key);
    if (known != self.by_name.end()) return Napi::Number::New(call.env(), known->second);
  }
  self.kernels.push_back({number, &at, at.device.load(name, kinds, image)});
  const uint32_t handle = uint32_t(self.kernels.size());
  if (compiled_in) self.by_name[key] = handle;
  return Napi::Number::New(call.env(), handle);
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
  LaunchShape shape;
  static const char* const names[] = {"grid x", "grid y", "grid z", "block x", "block y", "block z"};
  for (size_t i = 0; i < 6; ++i)
    (i < 3 ? shape.grid[i] : shape.block[i - 3]) = uint32_t(call.integer(2 + i, names[i], 1, 2147483647.0));
  shape.shared_bytes = uint32_t(call.integer(8, "shared bytes", 0, 2147483647.0));

  // Detached, the staging area has no bytes.
  Napi::ArrayBuffer staging = self.staging.Value();
  const double* const slots = static_cast<const double*>(staging.Data());
  Arguments arguments;
  read_arguments(*loaded.kernel, *loaded.place, self.owner, slots,
                 slots == nullptr ? 0 : staging.ByteLength() / sizeof(double), arguments);
  loaded.place->device.launch(*loaded.kernel, shape, arguments.params);
  return call.env().Undefined();
}

Napi::Value sync(Call& call) {
  call.device(0).device.sync();
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
};

Napi::Error with_code(Napi::Env env, const char* code, const std::string& sentence) {
  Napi::Error error = Napi::Error::New(env, sentence);
  error.Set("code", code);
  return error;
}

Napi::Value dispatch(const Napi::CallbackInfo& info) {
  const Verb& verb = *static_cast<const Verb*>(info.Data());
  const std::string where = std::string(verb.name) + ": ";
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
    throw with_code(info.Env(), "ERR_ARGUMENT", where + error.what());
  } catch (const std::bad_alloc&) {
    throw with_code(info.Env(), "ERR_OUT_OF_MEMORY", where + "memory for the call must be left, got none");
  } catch (const std::exception& error) {
    throw with_code(info.Env(), "ERR_BINDING", where + "the call must end normally, got " + error.what());
  }
}

void end_environment(Napi::Env env, Environment* data) {
  std::unique_ptr<Environment> self(data);
  struct Release {
    static void visit(Place& at, void* owner) { at.pool.release_all(*static_cast<uint64_t*>(owner)); }
  };
  each_place(Release::visit, &self->owner);
  if (self->external_bytes != 0) Napi::MemoryManagement::AdjustExternalMemory(env, -self->external_bytes);
}

Napi::Object start(Napi::Env env, Napi::Object exports) {
  static std::atomic<uint64_t> owners{0};
  auto* self = new Environment;
  self->owner = ++owners;
  env.SetInstanceData<Environment, end_environment>(self);
  Napi::ArrayBuffer staging = Napi::ArrayBuffer::New(env, kStaging * sizeof(double));
  self->staging = Napi::Persistent(staging);
  exports.Set("args", Napi::Float64Array::New(env, kStaging, staging, 0));
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
