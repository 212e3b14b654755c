// The addon's surface (src/native.ts). The files of this folder are the only ones that know Node-API: each verb checks
// every argument's type and range, unpacks and calls a device verb; here an Error becomes a JavaScript Error with a
// `code`.
//
// All state of a JavaScript environment (the main thread's or a worker's) hangs on its instance data; buffers of an
// environment are released when it ends.

#include <napi.h>

#include <atomic>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>

#if defined(__unix__) || defined(__APPLE__)
#include <dlfcn.h>
#endif

#include "../error.h"
#include "verbs.h"

namespace fracstride {

namespace {

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
