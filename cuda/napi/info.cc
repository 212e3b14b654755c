// What the machine has: CPU, CUDA devices, compiler and library; and the compiler itself.

#include <cstring>

#include "../../cpu/device_cpu.h"
#include "../device_cuda.h"
#include "../nvrtc.h"
#include "verbs.h"

namespace fracstride {

namespace {

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

constexpr size_t kLongestSource = 64 << 20;

}  // namespace

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

}  // namespace fracstride
