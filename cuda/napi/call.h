// What the verbs of the addon share: the state of a JavaScript environment, and one call with its checked arguments.
#pragma once

#include <napi.h>

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "../arguments.h"
#include "../cudnn.h"
#include "../registry.h"

namespace fracstride {

// The area in which JavaScript leaves arguments: numbers, then the grid, the block and the bytes of shared memory.
constexpr size_t kStaging = 4096;
constexpr size_t kGrid = 7;
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

struct Reads;  // reads.cc
std::shared_ptr<Reads> no_reads();

struct Environment {
  uint64_t owner;
  napi_env env;
  std::shared_ptr<Reads> reads = no_reads();
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
  std::string type_name(size_t i) const;
  [[noreturn]] void refuse(const char* what, const char* rule, const std::string& got) const;
  double number(size_t i, const char* what) const;
  double integer(size_t i, const char* what, double low, double high) const;
  bool boolean(size_t i, const char* what) const;
  std::string text(size_t i, const char* what, size_t longest) const;
  Place& device(size_t i) const { return place(number(i, "device"), where); }
  // The bytes of a typed array or DataView; a detached one has none.
  Image bytes(size_t i, const char* what) const;
  // The staging area's numbers; detached it has no bytes.
  const double* staged() const;
};

Napi::Error with_code(Napi::Env env, const char* code, const std::string& sentence);
Napi::Array js(Napi::Env env, const std::vector<std::string>& values);

// Only work of the device itself can be recorded.
void refuse_in_capture(Call& call, Place& at, const char* what);
void refuse_in_other_capture(Call& call, const Place* at);

// The device address for a copy of `bytes` bytes: handle and offset are the call's second and third argument.
void* copy_target(Call& call, Place& at, size_t bytes);

// Ends the environment's recording; the memory that was set aside for it goes back.
void drop_capture(Environment& self);
void drop_graph(Recorded& found);

}  // namespace fracstride
