// The control addon: open(path) gives the verbs of a stand-in that this process uses, or is about to use, as its CUDA
// driver, and open(path, cudnn) those of a stand-in for libcudnn too. A library that is loaded twice by one path is one
// library, so this reaches the state that the driver calls change, from whatever thread.
#include <dlfcn.h>
#include <napi.h>

#include <string>

namespace {

using Control = const char* (*)(const char* verb, const char* argument);

Napi::Value ask(const Napi::CallbackInfo& call, const char* verb, const std::string& argument) {
  const auto control = reinterpret_cast<Control>(call.Data());
  const std::string said = control(verb, argument.c_str());
  if (!said.empty() && said[0] == '!') throw Napi::Error::New(call.Env(), said.substr(1));
  const Napi::Object json = call.Env().Global().Get("JSON").As<Napi::Object>();
  return json.Get("parse").As<Napi::Function>().Call(json, {Napi::String::New(call.Env(), said)});
}

std::string text(const Napi::CallbackInfo& call) {
  if (!call[0].IsString()) throw Napi::TypeError::New(call.Env(), "simulator: argument must be a string");
  return call[0].As<Napi::String>();
}

Napi::Value configure(const Napi::CallbackInfo& call) {
  return ask(call, "configure", text(call));
}
Napi::Value fault(const Napi::CallbackInfo& call) {
  return ask(call, "fault", text(call));
}
Napi::Value counters(const Napi::CallbackInfo& call) {
  const bool reset = call[0].IsObject() && call[0].As<Napi::Object>().Get("reset").ToBoolean();
  return ask(call, "counters", reset ? "reset" : "");
}
Napi::Value memory(const Napi::CallbackInfo& call) {
  return ask(call, "memory", "");
}
Napi::Value last_fault(const Napi::CallbackInfo& call) {
  return ask(call, "lastFault", "");
}
Napi::Value forget_fault(const Napi::CallbackInfo& call) {
  return ask(call, "forgetFault", "");
}

// The control of a library that npm run simulator built.
void* control_of(Napi::Env env, const std::string& path, const char* name) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw Napi::Error::New(env, std::string("simulator: ") + dlerror());
  void* control = dlsym(library, name);
  if (control == nullptr) {
    throw Napi::Error::New(env, "simulator: library must be one that npm run simulator built, got " + path);
  }
  return control;
}

Napi::Value open(const Napi::CallbackInfo& call) {
  const Napi::Env env = call.Env();
  void* control = control_of(env, text(call), "simulatorControl");
  Napi::Object verbs = Napi::Object::New(env);
  const auto add = [&](const char* name, Napi::Value (*verb)(const Napi::CallbackInfo&)) {
    verbs.Set(name, Napi::Function::New(env, verb, name, control));
  };
  add("configure", configure);
  add("fault", fault);
  add("counters", counters);
  add("memory", memory);
  add("lastFault", last_fault);
  add("forgetFault", forget_fault);
  if (!call[1].IsString()) return verbs;
  control = control_of(env, call[1].As<Napi::String>(), "simulatorCudnnControl");
  add("configureCudnn", configure);
  add("cudnnCounters", counters);
  add("cudnnMemory", memory);
  add("cudnnLastFault", last_fault);
  add("forgetCudnnFault", forget_fault);
  return verbs;
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("open", Napi::Function::New(env, open, "open"));
  return exports;
}

}  // namespace

NODE_API_MODULE(control, init)
