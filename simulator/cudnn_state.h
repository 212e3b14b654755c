// What the stand-in for libcudnn remembers, and what every entry of it starts and ends with.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>

#include "attach.h"
#include "cudnn_api.h"
#include "cudnn_config.h"
#include "cudnn_problem.h"

namespace simulator::cudnn {

// The simulator's libcuda, as this process has loaded it.
struct Driver {
  driver::Result (*current)(driver::ContextHandle*) = nullptr;
  driver::Result (*capturing)(StreamHandle, driver::Enum*) = nullptr;
  driver::Result (*synchronize)(StreamHandle) = nullptr;
  driver::Result (*enqueue)(StreamHandle, const driver::Task*) = nullptr;
  void* (*host)(driver::ContextHandle, driver::Pointer, uint64_t, char*, size_t) = nullptr;
  uint64_t (*generation)(driver::ContextHandle) = nullptr;
  int (*arch)() = nullptr;
};

struct Library {
  driver::ContextHandle context = nullptr;
  uint64_t generation = 0;  // of the context
  StreamHandle stream = nullptr;
};

struct Tensor : Shape {
  bool set = false;
};

struct Filter : Shape {
  bool set = false;
  Enum format = kNchw;
};

struct Convolution {
  bool set = false;
  int pad[2] = {0, 0}, stride[2] = {1, 1}, dilation[2] = {1, 1};
  Enum mode = kCrossCorrelate, compute = kFloat;
  int groups = 1;
  Enum math = kDefaultMath;
};

// Handles are numbers that are never given out twice, so one that was destroyed stays invalid.
template <class T, class Name>
class Objects {
 public:
  explicit Objects(uintptr_t first) : next_(first) {}
  Name add() {
    next_ += 16;
    objects_[next_] = std::make_unique<T>();
    return reinterpret_cast<Name>(next_);
  }
  T* find(Name name) const {
    const auto found = objects_.find(reinterpret_cast<uintptr_t>(name));
    return found == objects_.end() ? nullptr : found->second.get();
  }
  bool remove(Name name) { return objects_.erase(reinterpret_cast<uintptr_t>(name)) != 0; }
  size_t size() const { return objects_.size(); }

 private:
  uintptr_t next_;
  std::unordered_map<uintptr_t, std::unique_ptr<T>> objects_;
};

struct Calls {
  uint64_t calls = 0, refused = 0;
  std::map<int, uint64_t> algorithms;  // of those that were taken
};

struct State {
  std::mutex mutex;
  Config config;
  Objects<Library, Handle> handles{0x610000000000};
  Objects<Tensor, TensorDescriptor> tensors{0x620000000000};
  Objects<Filter, FilterDescriptor> filters{0x630000000000};
  Objects<Convolution, ConvolutionDescriptor> convolutions{0x640000000000};
  std::map<std::string, Calls> calls;
};

State& state();

// Beside the state's lock: streams note what went wrong too, and must not wait for a call.
void note_fault(const std::string& sentence);
std::string last_fault();
void forget_fault();

// The number that the next shuffled sum is ordered by.
uint64_t next_seed();

// A call that is refused: with a status of cuDNN 9, and why.
struct Refusal {
  Status status;
  std::string sentence;
};

[[noreturn]] void refuse(Status status, const std::string& sentence);

inline void require(bool holds, Status status, const std::string& sentence) {
  if (!holds) refuse(status, sentence);
}

std::string shown(int64_t value);

// The simulator's libcuda; refused when this process has loaded none, or another.
const Driver& find_driver();
// The status that the configured version has for a status of cuDNN 9.
Status as_configured(const State& s, Status status);

// What of a call counts: `algorithm` once it is taken.
struct Call {
  State& s;
  const char* entry;
  int algorithm = -1;
};

Status begin(Call& call);
Status end(Call& call, const Refusal* refusal);

// Two threads in one handle at once are a mistake of the caller, whatever comes of it.
class Claim {
 public:
  explicit Claim(Handle handle);
  ~Claim();
  bool alone() const { return alone_; }

 private:
  Handle handle_;
  bool alone_;
};

// Runs `body` with the state locked; what it refuses is noted and returned.
template <class Body>
Status entry(const char* name, Body body) {
  State& s = state();
  const std::lock_guard<std::mutex> lock(s.mutex);
  Call call{s, name};
  if (const Status injected = begin(call)) return injected;
  try {
    body(call);
  } catch (const Refusal& refusal) {
    return end(call, &refusal);
  }
  return end(call, nullptr);
}

// The same with a handle in the context it was made in.
Library& library_of(State& s, Handle handle);
template <class Body>
Status entry(const char* name, Handle handle, Body body) {
  const Claim claim(handle);
  return entry(name, [&](Call& call) {
    require(claim.alone(), kBAD_PARAM, "handle must be used by one thread at a time, got a second one");
    body(call, library_of(call.s, handle));
  });
}

template <class T>
void require_pointer(T* pointer, const char* name) {
  require(pointer != nullptr, kBAD_PARAM_NULL_POINTER, std::string(name) + " must not be null");
}

}  // namespace simulator::cudnn
