// The addon's surface (src/native.ts) and the only file that knows N-API: it checks every argument's type and range,
// unpacks, calls a device verb, and turns an Error into a JavaScript Error with a `code`.
//
// All state of a JavaScript environment (the main thread's or a worker's) hangs on its instance data; buffers of an
// environment are released when it ends.

#ifndef NAPI_VERSION
#define NAPI_VERSION 8
#endif
#include <node_api.h>

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

constexpr size_t kMostArguments = 9;
constexpr size_t kStaging = 512;
constexpr double kSafe = 9007199254740991.0;

struct Loaded {
  double device;
  Place* place;
  std::unique_ptr<Kernel> kernel;
};

struct Environment {
  uint64_t owner;
  napi_ref staging = nullptr;
  int64_t external_bytes = 0;
  std::vector<Loaded> kernels;  // a kernel's handle is its index here plus one
  std::unordered_map<std::string, uint32_t> by_name;
};

// One call from JavaScript; the accessors throw ERR_ARGUMENT.
struct Call {
  napi_env env;
  Environment& self;
  const char* where;
  napi_value argv[kMostArguments];

  void check(napi_status status, const char* what) const {
    if (status != napi_ok) throw Error("ERR_ARGUMENT", std::string(where) + ": " + what + " must be usable, got none");
  }

  std::string type_name(size_t i) const {
    static const char* const names[] = {"undefined", "null",      "a boolean",  "a number",          "a string",
                                        "a symbol",  "an object", "a function", "an external value", "a bigint"};
    napi_valuetype type = napi_undefined;
    napi_typeof(env, argv[i], &type);
    return names[type];
  }

  [[noreturn]] void refuse(const char* what, const char* rule, const std::string& got) const {
    throw Error("ERR_ARGUMENT", std::string(where) + ": " + what + " must be " + rule + ", got " + got);
  }

  double number(size_t i, const char* what) const {
    double value;
    if (napi_get_value_double(env, argv[i], &value) != napi_ok) refuse(what, "a number", type_name(i));
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
    bool value;
    if (napi_get_value_bool(env, argv[i], &value) != napi_ok) refuse(what, "true or false", type_name(i));
    return value;
  }

  std::string text(size_t i, const char* what, size_t longest) const {
    size_t length = 0;
    if (napi_get_value_string_utf8(env, argv[i], nullptr, 0, &length) != napi_ok)
      refuse(what, "a string", type_name(i));
    if (length > longest) refuse(what, ("at most " + show(double(longest)) + " bytes").c_str(), show(double(length)));
    std::string value(length, '\0');
    check(napi_get_value_string_utf8(env, argv[i], &value[0], length + 1, &length), what);
    return value;
  }

  Place& device(size_t i) const { return place(number(i, "device"), where); }

  // The bytes of a typed array or DataView; a detached one has none.
  Image bytes(size_t i, const char* what) const;
};

Image Call::bytes(size_t i, const char* what) const {
  bool typed = false, view = false;
  napi_is_typedarray(env, argv[i], &typed);
  if (!typed) napi_is_dataview(env, argv[i], &view);
  Image image;
  if (typed) {
    static const size_t sizes[] = {1, 1, 1, 2, 2, 4, 4, 4, 8, 8, 8, 2};
    napi_typedarray_type type;
    size_t length = 0;
    void* data = nullptr;
    check(napi_get_typedarray_info(env, argv[i], &type, &length, &data, nullptr, nullptr), what);
    if (size_t(type) >= sizeof sizes / sizeof *sizes) refuse(what, "a typed array of a known type", "another");
    image = {data, length * sizes[type]};
  } else if (view) {
    void* data = nullptr;
    check(napi_get_dataview_info(env, argv[i], &image.size, &data, nullptr, nullptr), what);
    image.data = data;
  } else {
    refuse(what, "a typed array or a DataView", type_name(i));
  }
  if (image.data == nullptr) image.size = 0;
  return image;
}

// JavaScript values out of C++ ones. Creation only fails when an exception is pending; null is then the right answer.
napi_value js(napi_env env, double value) {
  napi_value result = nullptr;
  napi_create_double(env, value, &result);
  return result;
}
napi_value js(napi_env env, const std::string& value) {
  napi_value result = nullptr;
  napi_create_string_utf8(env, value.data(), value.size(), &result);
  return result;
}
napi_value js(napi_env env, const std::vector<std::string>& values) {
  napi_value list = nullptr;
  napi_create_array_with_length(env, values.size(), &list);
  for (size_t i = 0; i < values.size(); ++i) napi_set_element(env, list, uint32_t(i), js(env, values[i]));
  return list;
}
napi_value js_bool(napi_env env, bool value) {
  napi_value result = nullptr;
  napi_get_boolean(env, value, &result);
  return result;
}
napi_value js_null(napi_env env) {
  napi_value result = nullptr;
  napi_get_null(env, &result);
  return result;
}

struct Object {
  napi_env env;
  napi_value value = nullptr;
  explicit Object(napi_env e) : env(e) { napi_create_object(e, &value); }
  Object& set(const char* name, napi_value field) {
    napi_set_named_property(env, value, name, field);
    return *this;
  }
  Object& set(const char* name, double field) { return set(name, js(env, field)); }
};

void account(Call& call, int64_t change) {
  if (change == 0) return;
  int64_t total;
  napi_adjust_external_memory(call.env, change, &total);
  call.self.external_bytes += change;
}

napi_value cpu_info_verb(Call& call) {
  const CpuInfo info = cpu_info();
  return Object(call.env).set("isas", js(call.env, info.isas)).set("threads", info.threads).value;
}

napi_value set_threads(Call& call) {
  set_cpu_threads(int(call.integer(0, "threads", 1, 1024)));
  return nullptr;
}

napi_value cuda_info_verb(Call& call) {
  const napi_env env = call.env;
  const CudaInfo& info = cuda_info();
  napi_value devices = nullptr;
  napi_create_array_with_length(env, info.devices.size(), &devices);
  for (size_t i = 0; i < info.devices.size(); ++i) {
    const CudaDeviceInfo& d = info.devices[i];
    Object device(env);
    device.set("name", js(env, d.name)).set("arch", d.arch).set("multiprocessors", d.multiprocessors);
    device.set("totalMemory", double(d.total_memory)).set("clockRateKhz", d.clock_rate_khz);
    device.set("memoryClockRateKhz", d.memory_clock_rate_khz).set("memoryBusWidthBits", d.memory_bus_width_bits);
    napi_set_element(env, devices, uint32_t(i), device.set("l2CacheBytes", d.l2_cache_bytes).value);
  }
  Object result(env);
  result.set("available", js_bool(env, info.available));
  result.set("reason", info.available ? js_null(env) : js(env, info.reason));
  return result.set("driverVersion", info.driver_version).set("devices", devices).value;
}

napi_value kernel_names(Call& call) {
  return js(call.env, call.device(0).device.kernel_names());
}

napi_value alloc(Call& call) {
  Place& at = call.device(0);
  const double bytes = call.integer(1, "bytes", 0, kSafe);
  const uint64_t handle = at.pool.allocate(call.self.owner, uint64_t(bytes));
  account(call, int64_t(bytes));
  return js(call.env, double(handle));
}

napi_value free_buffer(Call& call) {
  Place& at = call.device(0);
  const double handle = call.number(1, "handle");
  if (handle >= 1 && handle <= kSafe) account(call, -int64_t(at.pool.release(call.self.owner, uint64_t(handle))));
  return nullptr;
}

// The device address for a copy of `bytes` bytes.
void* copy_target(Call& call, Place& at, size_t bytes) {
  const double handle = call.number(1, "handle");
  const double offset = call.number(2, "byte offset");
  return at.pool.at(call.self.owner, handle, offset, double(bytes), call.where, -1);
}

napi_value copy_in(Call& call) {
  Place& at = call.device(0);
  const Image source = call.bytes(3, "source");
  void* target = copy_target(call, at, source.size);
  if (source.size != 0) at.device.copy_in(target, source.data, source.size);
  return nullptr;
}

napi_value copy_out(Call& call) {
  Place& at = call.device(0);
  const Image target = call.bytes(3, "target");
  const void* source = copy_target(call, at, target.size);
  if (target.size != 0) at.device.copy_out(const_cast<void*>(target.data), source, target.size);
  return nullptr;
}

napi_value memory(Call& call) {
  const MemoryCounts counts = call.device(0).pool.counts();
  Object result(call.env);
  return result.set("live", double(counts.live))
      .set("cached", double(counts.cached))
      .set("peak", double(counts.peak))
      .value;
}

napi_value empty_cache(Call& call) {
  call.device(0).pool.empty_cache();
  return nullptr;
}

napi_value set_memory_limit(Call& call) {
  Place& at = call.device(0);
  at.pool.set_limit(uint64_t(call.integer(1, "bytes", 0, kSafe)));
  return nullptr;
}

napi_value debug_memory(Call& call) {
  struct Switch {
    static void visit(Place& at, void* on) { at.pool.set_debug(*static_cast<bool*>(on)); }
  };
  bool on = call.boolean(0, "debug mode");
  place(0, call.where);
  each_place(Switch::visit, &on);
  return nullptr;
}

napi_value check_guards(Call& call) {
  struct Sum {
    static void visit(Place& at, void* total) { *static_cast<uint64_t*>(total) += at.pool.damaged_guards(); }
  };
  uint64_t total = 0;
  each_place(Sum::visit, &total);
  return js(call.env, double(total));
}

napi_value load(Call& call) {
  const double number = call.number(0, "device");
  Place& at = place(number, call.where);
  const std::string name = call.text(1, "name", 512);
  const std::string kinds = call.text(2, "kinds", kMostParameters);
  if (kinds.find_first_not_of("pilfd") != std::string::npos)
    call.refuse("kinds", "letters of p i l f d", '"' + kinds + '"');
  napi_valuetype type = napi_undefined;
  napi_typeof(call.env, call.argv[3], &type);
  const bool compiled_in = type == napi_null || type == napi_undefined;
  const Image image = compiled_in ? Image{} : call.bytes(3, "image");
  const std::string key = show(number) + ' ' + kinds + ' ' + name;
  Environment& self = call.self;
  if (compiled_in) {
    const auto known = self.by_name.find(key);
    if (known != self.by_name.end()) return js(call.env, known->second);
  }
  self.kernels.push_back({number, &at, at.device.load(name, kinds, image)});
  const uint32_t handle = uint32_t(self.kernels.size());
  if (compiled_in) self.by_name[key] = handle;
  return js(call.env, handle);
}

napi_value launch(Call& call) {
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

  napi_value buffer = nullptr;
  void* slots = nullptr;
  size_t bytes = 0;
  napi_get_reference_value(call.env, self.staging, &buffer);
  call.check(napi_get_arraybuffer_info(call.env, buffer, &slots, &bytes), "args");
  Arguments arguments;
  read_arguments(*loaded.kernel, *loaded.place, self.owner, static_cast<const double*>(slots),
                 slots == nullptr ? 0 : bytes / sizeof(double), arguments);
  loaded.place->device.launch(*loaded.kernel, shape, arguments.params);
  return nullptr;
}

napi_value sync(Call& call) {
  call.device(0).device.sync();
  return nullptr;
}

struct Verb {
  const char* name;
  napi_value (*body)(Call&);
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

void throw_js(napi_env env, const char* code, const char* sentence) {
  napi_value code_value = nullptr, message = nullptr, error = nullptr;
  napi_create_string_utf8(env, code, NAPI_AUTO_LENGTH, &code_value);
  napi_create_string_utf8(env, sentence, NAPI_AUTO_LENGTH, &message);
  if (napi_create_error(env, code_value, message, &error) == napi_ok) napi_throw(env, error);
}

napi_value dispatch(napi_env env, napi_callback_info info) {
  void* data = nullptr;
  void* instance = nullptr;
  size_t count = kMostArguments;
  napi_value argv[kMostArguments];
  if (napi_get_cb_info(env, info, &count, argv, nullptr, &data) != napi_ok) return nullptr;
  if (napi_get_instance_data(env, &instance) != napi_ok || instance == nullptr) return nullptr;
  const Verb& verb = *static_cast<const Verb*>(data);
  Call call{env, *static_cast<Environment*>(instance), verb.name, {}};
  for (size_t i = 0; i < kMostArguments; ++i) call.argv[i] = argv[i];
  try {
    return verb.body(call);
  } catch (const Error& error) {
    throw_js(env, error.code(), error.what());
  } catch (const std::invalid_argument& error) {
    throw_js(env, "ERR_ARGUMENT", (std::string(verb.name) + ": " + error.what()).c_str());
  } catch (const std::bad_alloc&) {
    throw_js(env, "ERR_OUT_OF_MEMORY",
             (std::string(verb.name) + ": memory for the call must be left, got none").c_str());
  } catch (const std::exception& error) {
    throw_js(env, "ERR_BINDING",
             (std::string(verb.name) + ": the call must end normally, got " + error.what()).c_str());
  }
  return nullptr;
}

void end_environment(napi_env env, void* data, void*) {
  std::unique_ptr<Environment> self(static_cast<Environment*>(data));
  struct Release {
    static void visit(Place& at, void* owner) { at.pool.release_all(*static_cast<uint64_t*>(owner)); }
  };
  each_place(Release::visit, &self->owner);
  int64_t total;
  if (self->external_bytes != 0) napi_adjust_external_memory(env, -self->external_bytes, &total);
}

bool start(napi_env env, napi_value exports) {
  static std::atomic<uint64_t> owners{0};
  auto* self = new Environment;
  self->owner = ++owners;
  if (napi_set_instance_data(env, self, end_environment, nullptr) != napi_ok) {
    delete self;
    return false;
  }
  void* data = nullptr;
  napi_value buffer = nullptr, args = nullptr;
  bool good = napi_create_arraybuffer(env, kStaging * sizeof(double), &data, &buffer) == napi_ok &&
              napi_create_typedarray(env, napi_float64_array, kStaging, buffer, 0, &args) == napi_ok &&
              napi_create_reference(env, buffer, 1, &self->staging) == napi_ok &&
              napi_set_named_property(env, exports, "args", args) == napi_ok;
  for (const Verb& verb : kVerbs) {
    napi_value function = nullptr;
    good = good &&
           napi_create_function(env, verb.name, NAPI_AUTO_LENGTH, dispatch, const_cast<Verb*>(&verb), &function) ==
               napi_ok &&
           napi_set_named_property(env, exports, verb.name, function) == napi_ok;
  }
  return good;
}

}  // namespace

}  // namespace fracstride

NAPI_MODULE_INIT() {
  if (!fracstride::start(env, exports))
    napi_throw_error(env, "ERR_BINDING", "native: the addon must initialise, got an error");
  return exports;
}
