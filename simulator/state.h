// What the stand-in remembers: devices with their primary contexts, and what handles stand for. One lock guards all of
// it; work of streams runs outside of it.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "api.h"
#include "config.h"
#include "machine.h"

namespace simulator::driver {

using Lock = std::unique_lock<std::mutex>;

struct Context;
struct Stream;

// How a piece of work ended.
struct Ended {
  Result result = kSUCCESS;
  std::string sentence;
};

using Work = std::function<Ended()>;

// Up to which piece of work of a stream something has to wait.
struct Point {
  std::shared_ptr<Stream> stream;
  uint64_t number = 0;
};

struct Capture {
  Enum mode = kCaptureGlobal;
  std::thread::id thread;
  bool invalid = false;
  std::vector<Work> nodes;
};

struct Item {
  Work work;
  std::vector<Point> after;
};

struct Stream {
  Context* context = nullptr;
  bool blocking = false;  // ordered with the legacy stream
  bool legacy = false;
  std::deque<Item> queue;
  uint64_t asked = 0, done = 0;  // pieces of work
  bool closing = false, ended = false;
  std::unique_ptr<Capture> capture;
};

struct Event {
  Context* context = nullptr;
  bool timing = true;
  bool captured = false;  // last recorded while its stream was capturing
  Point point;
  std::shared_ptr<double> time = std::make_shared<double>(0);  // seconds, of the last record that ran
};

struct LoadedModule {
  Context* context = nullptr;
  std::unique_ptr<Module> machine;
  std::map<std::string, FunctionHandle> functions;
};

struct LoadedFunction {
  Context* context = nullptr;
  std::shared_ptr<LoadedModule> module;
  const Function* machine = nullptr;
  uint32_t dynamic_shared_bytes = 0;  // most a launch may ask for
  int carveout = -1;
};

struct Graph {
  Context* context = nullptr;
  std::vector<Work> nodes;
};

// Handles are numbers that are never given out twice, so one that was destroyed stays invalid.
template <class T, class Handle>
class Table {
 public:
  explicit Table(uintptr_t first) : next_(first) {}
  Handle add(std::shared_ptr<T> object) {
    next_ += 16;
    objects_[next_] = std::move(object);
    return reinterpret_cast<Handle>(next_);
  }
  std::shared_ptr<T> find(Handle handle) const {
    const auto found = objects_.find(reinterpret_cast<uintptr_t>(handle));
    return found == objects_.end() ? nullptr : found->second;
  }
  void remove(Handle handle) { objects_.erase(reinterpret_cast<uintptr_t>(handle)); }
  void remove_all(const Context* context) {
    for (auto at = objects_.begin(); at != objects_.end();) {
      at = at->second->context == context ? objects_.erase(at) : std::next(at);
    }
  }
  std::unordered_map<uintptr_t, std::shared_ptr<T>>& all() { return objects_; }

 private:
  uintptr_t next_;
  std::unordered_map<uintptr_t, std::shared_ptr<T>> objects_;
};

struct Block {
  uint64_t bytes = 0;
  bool pooled = false;   // of cuMemAllocAsync
  bool leaving = false;  // its free is on its way
};

// The primary context of a device. Lives as long as the process; `active` between the first retain and the last
// release.
struct Context {
  int device = 0;
  bool active = false;
  unsigned flags = 0;
  int retained = 0;
  uint64_t generation = 1;   // counts up when it is torn down
  Result failed = kSUCCESS;  // once set, stays until a reset
  std::unique_ptr<Memory> memory;
  std::map<Pointer, Block> blocks;
  uint64_t pool_high = 0;
  uint64_t pool_threshold = 0;
  std::shared_ptr<Stream> legacy;
  std::vector<std::shared_ptr<Stream>> streams;  // whose thread has not ended, destroyed ones too
  std::atomic<bool> cancel{false};

  ContextHandle handle() { return reinterpret_cast<ContextHandle>(this); }
};

struct Pinned {
  uint64_t bytes = 0;
  bool registered = false;  // the caller's own memory
};

struct Tally {
  uint64_t launches = 0;
  Counters counters;
};

struct State {
  std::mutex mutex;
  std::condition_variable changed;
  Config config;
  Faults faults;
  bool initialised = false;
  std::vector<std::unique_ptr<Context>> contexts;  // one a device
  Table<Stream, StreamHandle> streams{0x510000000000};
  Table<Event, EventHandle> events{0x520000000000};
  Table<LoadedModule, ModuleHandle> modules{0x530000000000};
  Table<LoadedFunction, FunctionHandle> functions{0x540000000000};
  Table<Graph, GraphHandle> graphs{0x550000000000};
  Table<Graph, GraphExecHandle> graph_execs{0x560000000000};
  std::map<uintptr_t, Pinned> pinned;
  std::map<std::string, Tally> tallies;
  std::string last_fault;
  uint64_t faults_seen = 0;
};

// Made on the first call and never destroyed: stream threads may outlive main.
State& state();

// The contexts current to this thread, innermost last.
std::vector<Context*>& current();
extern thread_local bool in_host_function;
extern thread_local Enum capture_mode;

// What every entry starts with. Each gives the result that the entry has to return before doing anything, or kSUCCESS.
Result check_initialised(State& s, const char* entry);
Result check_context(State& s, const char* entry, Context*& context);
// For what CUDA forbids while another or this thread captures ("potentially unsafe"); invalidates those captures.
Result check_safe(State& s);

// driver_streams.cc
// The stream a handle stands for in this context (null: the legacy stream), or null when it is none of its.
std::shared_ptr<Stream> stream_of(State& s, Context& context, StreamHandle handle);
std::shared_ptr<Stream> make_stream(Context& context, bool blocking, bool legacy);
// Runs `work` in order on the stream; while the stream captures, records it instead.
Result enqueue(State& s, Lock& lock, const std::shared_ptr<Stream>& stream, Work work, std::vector<Point> after = {});
// Waits until a stream has done its first `number` pieces of work (or its context failed); what it came to.
Result wait_for(State& s, Lock& lock, const Point& point);
Result wait_for_all(State& s, Lock& lock, Context& context);
// Whether a stream of the context captures; then what has to wait for it is refused and the capture invalidated.
Result check_no_capture(Context& context, bool blocking_only, Result refusal);
void tear_down(State& s, Lock& lock, Context& context);

// driver.cc
void record_fault(State& s, const Ended& ended);
// A fault that was asked for, as if the device had had it.
Ended injected(const std::string& what);

// Of the configured architecture: shared memory that a block may ask for, and blocks of a kernel that fit a
// multiprocessor.
int most_shared_bytes(const State& s);
int resident_blocks(const State& s, const Function& function, int threads, size_t dynamic_shared_bytes);

// Runs `body` with the state locked.
template <class Body>
Result with_state(const char* entry, Body body) {
  State& s = state();
  Lock lock(s.mutex);
  const Result result = check_initialised(s, entry);
  return result == kSUCCESS ? body(s, lock) : result;
}

// The same with this thread's current context.
template <class Body>
Result with_context(const char* entry, Body body) {
  State& s = state();
  Lock lock(s.mutex);
  Context* context = nullptr;
  const Result result = check_context(s, entry, context);
  return result == kSUCCESS ? body(s, lock, *context) : result;
}

// The same with a stream of it.
template <class Body>
Result with_stream(const char* entry, StreamHandle handle, Body body) {
  return with_context(entry, [&](State& s, Lock& lock, Context& context) -> Result {
    const std::shared_ptr<Stream> stream = stream_of(s, context, handle);
    return stream == nullptr ? kERROR_INVALID_HANDLE : body(s, lock, context, stream);
  });
}

}  // namespace simulator::driver
