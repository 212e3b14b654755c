#include "cudnn_state.h"

#include <dlfcn.h>
#include <link.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

#include "json.h"
#include "symbols.h"

namespace simulator::cudnn {

namespace {

struct Symbol {
  const char* name;
  int since;
  void* address;
};

const Symbol kSymbols[] = {
#define SIM_SYMBOL(name, since, parameters) {#name, since, reinterpret_cast<void*>(&name)},
    SIM_CUDNN_ENTRIES(SIM_SYMBOL)
#undef SIM_SYMBOL
#define SIM_SYMBOL(name, since, result, parameters) {#name, since, reinterpret_cast<void*>(&name)},
        SIM_CUDNN_PLAIN_ENTRIES(SIM_SYMBOL)
#undef SIM_SYMBOL
};

// Before anyone looks for an entry.
__attribute__((constructor)) void hide_absent_entries() {
  const State& s = state();
  for (const Symbol& symbol : kSymbols) {
    if (symbol.since > s.config.version || s.config.without.count(symbol.name) != 0) hide_symbol(symbol.address);
  }
}

State* make_state() {
  auto* made = new State;
  if (const char* text = std::getenv("CUDNN_SIMULATOR")) {
    const std::string wrong = configure(made->config, text);
    if (!wrong.empty()) {
      std::fprintf(stderr, "CUDNN_SIMULATOR: %s\n", wrong.c_str());
      std::abort();
    }
  }
  return made;
}

struct Fault {
  std::mutex mutex;
  std::string sentence;
};

Fault& fault() {
  static auto* const made = new Fault;
  return *made;
}

struct Claims {
  std::mutex mutex;
  std::map<Handle, std::thread::id> taken;
};

Claims& claims() {
  static auto* const made = new Claims;
  return *made;
}

template <class F>
bool found(void* library, const char* name, F& function) {
  function = reinterpret_cast<F>(dlsym(library, name));
  return function != nullptr;
}

std::string path_of(void* library) {
  link_map* map = nullptr;
  return dlinfo(library, RTLD_DI_LINKMAP, &map) == 0 && map != nullptr ? map->l_name : "another";
}

std::string living(const State& s) {
  return Object()
      .add("handles", s.handles.size())
      .add("tensors", s.tensors.size())
      .add("filters", s.filters.size())
      .add("convolutions", s.convolutions.size())
      .json();
}

std::string calls_json(const State& s) {
  Object all;
  for (const auto& [name, calls] : s.calls) {
    Object algorithms;
    for (const auto& [algo, count] : calls.algorithms) algorithms.add(std::to_string(algo), count);
    all.add(
        name,
        Object().add("calls", calls.calls).add("refused", calls.refused).add("algorithms", algorithms.json()).json());
  }
  return all.json();
}

// JSON; or "!" and a sentence when the verb or its argument is wrong.
std::string answer(State& s, const std::string& verb, const std::string& argument) {
  if (verb == "configure") {
    const std::string wrong = configure(s.config, argument);
    return wrong.empty() ? std::string("null") : std::string("!").append(wrong);
  }
  if (verb == "counters") {
    const std::string json = calls_json(s);
    if (argument == "reset") s.calls.clear();
    return json;
  }
  if (verb == "memory") return living(s);
  if (verb == "lastFault") return last_fault().empty() ? "null" : quoted(last_fault());
  if (verb == "forgetFault") {
    forget_fault();
    return "null";
  }
  return "!simulator: verb must be known, got " + verb;
}

}  // namespace

State& state() {
  static State* const made = make_state();
  return *made;
}

void note_fault(const std::string& sentence) {
  Fault& f = fault();
  const std::lock_guard<std::mutex> lock(f.mutex);
  f.sentence = sentence;
}

std::string last_fault() {
  Fault& f = fault();
  const std::lock_guard<std::mutex> lock(f.mutex);
  return f.sentence;
}

void forget_fault() {
  note_fault("");
}

uint64_t next_seed() {
  static std::atomic<uint64_t> next{state().config.seed != 0
                                        ? state().config.seed
                                        : (uint64_t(std::random_device()()) << 32 | std::random_device()())};
  return next++;
}

void refuse(Status status, const std::string& sentence) {
  throw Refusal{status, sentence};
}

std::string shown(int64_t value) {
  return std::to_string(value);
}

const Driver& find_driver() {
  static const Driver* known = nullptr;  // under the state's lock
  if (known != nullptr) return *known;
  void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  require(library != nullptr, kNOT_INITIALIZED,
          "libcuda of the process must be the simulator's (npm run simulator), got none");
  auto made = std::make_unique<Driver>();
  const bool whole =
      found(library, "simulatorEnqueue", made->enqueue) && found(library, "simulatorHost", made->host) &&
      found(library, "simulatorArch", made->arch) && found(library, "simulatorGeneration", made->generation) &&
      found(library, "cuCtxGetCurrent", made->current) && found(library, "cuStreamIsCapturing", made->capturing) &&
      found(library, "cuStreamSynchronize", made->synchronize);
  require(whole, kNOT_INITIALIZED,
          "libcuda of the process must be the simulator's (npm run simulator), got " + path_of(library));
  known = made.release();
  return *known;
}

Status as_configured(const State& s, Status status) {
  if (!s.config.old()) return status;
  switch (status) {
#define SIM_CASE(name, value, old) \
  case value:                      \
    return old;
    SIM_CUDNN_STATUSES(SIM_CASE)
#undef SIM_CASE
  }
  return 4;
}

Status begin(Call& call) {
  State& s = call.s;
  s.calls[call.entry].calls += 1;
  if (s.config.verbose > 1) std::fprintf(stderr, "simulator: %s\n", call.entry);
  Status status = kSUCCESS;
  for (auto& injected : s.config.statuses) {
    if (injected.entry != call.entry || injected.status == 0) continue;
    if (injected.left > 1) {
      injected.left -= 1;
      continue;
    }
    status = injected.status;
    if (injected.left == 1) injected.status = 0;
    break;
  }
  if (status != kSUCCESS) {
    s.calls[call.entry].refused += 1;
    note_fault(std::string(call.entry) + " was made to return " + shown(status));
  }
  return status;
}

Status end(Call& call, const Refusal* refusal) {
  Calls& calls = call.s.calls[call.entry];
  if (refusal == nullptr) {
    if (call.algorithm >= 0) calls.algorithms[call.algorithm] += 1;
    return kSUCCESS;
  }
  calls.refused += 1;
  const std::string sentence = std::string(call.entry) + ": " + refusal->sentence;
  note_fault(sentence);
  if (call.s.config.verbose > 0) std::fprintf(stderr, "simulator: %s\n", sentence.c_str());
  return as_configured(call.s, refusal->status);
}

Claim::Claim(Handle handle) : handle_(handle) {
  Claims& c = claims();
  const std::lock_guard<std::mutex> lock(c.mutex);
  alone_ = c.taken.emplace(handle, std::this_thread::get_id()).second;
}

Claim::~Claim() {
  if (!alone_) return;
  Claims& c = claims();
  const std::lock_guard<std::mutex> lock(c.mutex);
  c.taken.erase(handle_);
}

Library& library_of(State& s, Handle handle) {
  Library* library = s.handles.find(handle);
  require(library != nullptr, kBAD_PARAM, "handle must be one that cudnnCreate made and that lives");
  driver::ContextHandle current = nullptr;
  require(find_driver().current(&current) == driver::kSUCCESS && current != nullptr, kNOT_INITIALIZED,
          "the thread must have a current context");
  require(current == library->context, kBAD_PARAM, "handle must be used in the context that it was made in");
  require(find_driver().generation(current) == library->generation, kBAD_PARAM,
          "handle must be used in the context that it was made in, got one that was reset since");
  return *library;
}

}  // namespace simulator::cudnn

SIM_EXPORT const char* simulatorCudnnControl(const char* verb, const char* argument) {
  using namespace simulator::cudnn;
  thread_local std::string said;
  State& s = state();
  const std::lock_guard<std::mutex> lock(s.mutex);
  said = answer(s, verb, argument == nullptr ? "" : argument);
  return said.c_str();
}
