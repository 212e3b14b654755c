// The CPU's stream; see stream.h. Work lies in a ring of fixed slots: `asked` counts what was put in, `done` what has
// run. A thread that waits spins for a few microseconds, then yields its processor to the team, then sleeps; whoever
// makes progress looks for sleepers after publishing it, sleepers look for progress after saying that they sleep.

#include "stream.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <new>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <unordered_set>
#include <utility>

#include "../cuda/arguments.h"
#include "../cuda/error.h"
#include "pause.h"

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace fracstride {

namespace {

constexpr uint64_t kSlots = 1024;
constexpr uint64_t kNobody = UINT64_MAX;
// Larger sources are copied to a block of their own; beyond so many bytes in such blocks the caller waits.
constexpr size_t kInline = kMostParameters * sizeof(uint64_t);
constexpr size_t kMostStaged = 64 << 20;
// Longer than the gap between two launches of one network, shorter than anybody notices on a laptop's battery.
constexpr auto kIdleSpin = std::chrono::microseconds(50);
constexpr auto kWaitSpin = std::chrono::microseconds(20);

// Waits a little; false when `ready` did not come true. Yielding keeps a waiting thread from taking a processor away
// from the thread that it waits for.
template <class Ready>
bool spin(std::chrono::microseconds longest, const Ready& ready) {
  for (int i = 0; i < 50; ++i) {
    if (ready()) return true;
    pause_cpu();
  }
  const auto end = std::chrono::steady_clock::now() + longest;
  do {
    std::this_thread::yield();
    if (ready()) return true;
  } while (std::chrono::steady_clock::now() < end);
  return false;
}

// Which thread asked: failures are told to the one whose work failed.
uint32_t this_thread() {
  static std::atomic<uint32_t> threads{0};
  thread_local const uint32_t number = ++threads;
  return number;
}

enum class Verb : uint8_t { kLaunch, kCopyIn, kStagedCopyIn, kSetBytes, kRelease, kCopyOut };

struct Work {
  Verb verb;
  uint8_t value;
  uint32_t thread;
  uint32_t count;
  CpuEntry entry;
  const char* name;
  void* target;
  const void* source;
  size_t bytes;
  void (*release)(void*, size_t);
  Ended ended;
  void* context;
  uint8_t* tables;       // of a launch that has any: a block of its own
  uint32_t table_count;  // they are its first arguments; their places in the block stand in `values`
  alignas(64) uint64_t values[kMostParameters];
};

}  // namespace

struct Stream::Parts {
  Work slots[kSlots];
  alignas(64) std::atomic<uint64_t> asked{0};
  alignas(64) std::atomic<uint64_t> done{0};
  std::atomic<size_t> staged{0};

  std::mutex producers;
  bool started = false;

  std::mutex sleep;
  std::condition_variable work_came, work_ended;
  std::atomic<bool> idle{false};
  std::atomic<uint64_t> wanted{kNobody};  // somebody sleeps until `done` reaches this

  std::mutex reads;
  std::condition_variable copied;
  std::unordered_set<void*> pending;
  void* copying = nullptr;

  std::mutex failing;
  std::map<uint32_t, Outcome> failures;  // by thread, the first of each
  std::atomic<bool> failed{false};

  // Puts work into the ring; `fill` writes the slot.
  template <class Fill>
  void push(const Fill& fill) {
    std::lock_guard<std::mutex> only(producers);
    const uint64_t ticket = asked.load(std::memory_order_relaxed);
    // Not for one slot only: a thread that wakes for each would be slower than the work.
    if (ticket - done.load(std::memory_order_acquire) >= kSlots) wait_until(ticket - kSlots + kSlots / 4);
    fill(slots[ticket % kSlots]);
    asked = ticket + 1;
    if (idle) {
      std::lock_guard<std::mutex> lock(sleep);
      work_came.notify_one();
    }
    if (!started) start();
  }

  // Where no thread can be had, work runs at once.
  void start() {
    try {
      std::thread([this] { serve(); }).detach();
      started = true;
    } catch (const std::system_error&) {
      for (uint64_t next = done; next < asked; done = ++next) run(slots[next % kSlots]);
    }
  }

  void serve() {
    for (uint64_t next = done;;) {
      await_work(next);
      run(slots[next % kSlots]);
      done = ++next;
      if (next < wanted) continue;
      std::lock_guard<std::mutex> lock(sleep);
      wanted = kNobody;
      work_ended.notify_all();
    }
  }

  void await_work(uint64_t next) {
    const auto ready = [&] { return asked.load(std::memory_order_acquire) > next; };
    if (spin(kIdleSpin, ready)) return;
    std::unique_lock<std::mutex> lock(sleep);
    idle = true;
    work_came.wait(lock, [&] { return asked > next; });
    idle = false;
  }

  void wait_until(uint64_t count) noexcept {
    if (spin(kWaitSpin, [&] { return done.load(std::memory_order_acquire) >= count; })) return;
    std::unique_lock<std::mutex> lock(sleep);
    for (;;) {
      if (count < wanted) wanted = count;
      if (done >= count) return;
      work_ended.wait(lock);
    }
  }

  bool all_done() const { return done.load(std::memory_order_acquire) == asked.load(std::memory_order_acquire); }

  void run(Work& work) {
    switch (work.verb) {
      case Verb::kLaunch:
        return run_kernel(work);
      case Verb::kCopyIn:
        std::memcpy(work.target, work.values, work.bytes);
        return;
      case Verb::kStagedCopyIn:
        std::memcpy(work.target, work.source, work.bytes);
        std::free(const_cast<void*>(work.source));
        staged -= work.bytes;
        return;
      case Verb::kSetBytes:
        std::memset(work.target, work.value, work.bytes);
        return;
      case Verb::kRelease:
        return work.release(work.target, work.bytes);
      case Verb::kCopyOut:
        return run_copy_out(work);
    }
  }

  // Told to the thread that asked for the work.
  void fail(const Work& work, Outcome outcome) {
    std::lock_guard<std::mutex> lock(failing);
    failures.emplace(work.thread, std::move(outcome));
    failed = true;
  }

  void run_kernel(Work& work) {
    void* params[kMostParameters];
    for (uint32_t i = 0; i < work.count; ++i) params[i] = &work.values[i];
    for (uint32_t i = 0; i < work.table_count; ++i) params[i] = work.tables + work.values[i];
    try {
      work.entry(params);
    } catch (const std::invalid_argument& error) {
      fail(work, {"ERR_ARGUMENT", std::string("launch: ") + error.what()});
    } catch (...) {  // std::bad_alloc: see CpuEntry
      fail(work,
           {"ERR_OUT_OF_MEMORY", std::string("launch: working memory of ") + work.name + " must be left, got none"});
    }
    std::free(work.tables);
  }

  void run_copy_out(Work& work) {
    Outcome outcome;
    {
      std::lock_guard<std::mutex> lock(reads);
      if (pending.erase(work.context) == 0) {
        outcome = {"ERR_ARGUMENT", "copyOutAsync: the reader must be there, got one that has gone"};
      } else {
        copying = work.context;
      }
    }
    if (outcome.code == nullptr) {
      if (work.bytes != 0) std::memcpy(work.target, work.source, work.bytes);
      {
        std::lock_guard<std::mutex> lock(reads);
        copying = nullptr;
      }
      copied.notify_all();
      outcome = take_failure(work.thread);
    }
    work.ended(work.context, outcome);
  }

  Outcome take_failure(uint32_t thread) {
    Outcome outcome;
    if (!failed) return outcome;
    std::lock_guard<std::mutex> lock(failing);
    const auto found = failures.find(thread);
    if (found == failures.end()) return outcome;
    outcome = std::move(found->second);
    failures.erase(found);
    failed = !failures.empty();
    return outcome;
  }
};

Stream::Stream() : parts_(*new Parts) {}

namespace {

// The tables that a kernel takes by value, which are its first arguments: "P384L64dd" has two, of 384 and 64 words.
struct Tables {
  explicit Tables(const std::string& kinds) {
    for (; count < 2 && scalars < kinds.size() && (kinds[scalars] == 'P' || kinds[scalars] == 'L'); ++count) {
      size_t words = 0;
      for (++scalars; scalars < kinds.size() && kinds[scalars] >= '0' && kinds[scalars] <= '9'; ++scalars)
        words = 10 * words + size_t(kinds[scalars] - '0');
      bytes[count] = words * 8;
      all += words * 8;
    }
  }
  size_t bytes[2] = {0, 0};
  size_t all = 0, scalars = 0;  // where the letters of the other arguments begin
  uint32_t count = 0;
};

}  // namespace

void Stream::launch(CpuEntry entry, const char* name, const std::string& kinds, void* const* params) {
  const Tables tables(kinds);
  uint8_t* block = nullptr;
  if (tables.count > 0) {
    block = static_cast<uint8_t*>(std::malloc(tables.all));
    if (block == nullptr) throw std::bad_alloc();
  }
  parts_.push([&](Work& work) {
    work.verb = Verb::kLaunch;
    work.thread = this_thread();
    work.count = tables.count + uint32_t(kinds.size() - tables.scalars);
    work.entry = entry;
    work.name = name;
    work.tables = block;
    work.table_count = tables.count;
    size_t at = 0;
    for (uint32_t i = 0; i < tables.count; at += tables.bytes[i++]) {
      work.values[i] = at;
      std::memcpy(block + at, params[i], tables.bytes[i]);
    }
    for (uint32_t i = tables.count; i < work.count; ++i) {
      const char kind = kinds[tables.scalars + i - tables.count];
      std::memcpy(&work.values[i], params[i], kind == 'i' || kind == 'f' ? 4 : 8);
    }
  });
}

void Stream::copy_in(void* target, const void* source, size_t bytes) {
  if (bytes == 0) return;
  void* block = nullptr;
  if (!parts_.all_done() && bytes > kInline && bytes <= kMostStaged) {
    if (parts_.staged.fetch_add(bytes) + bytes <= kMostStaged) block = std::malloc(bytes);
    if (block == nullptr) parts_.staged -= bytes;
  }
  if (block != nullptr) {
    std::memcpy(block, source, bytes);
  } else if (bytes > kInline || parts_.all_done()) {
    wait_quietly();
    std::memcpy(target, source, bytes);
    return;
  }
  parts_.push([&](Work& work) {
    work.verb = block == nullptr ? Verb::kCopyIn : Verb::kStagedCopyIn;
    work.target = target;
    work.bytes = bytes;
    work.source = block;
    if (block == nullptr) std::memcpy(work.values, source, bytes);
  });
}

void Stream::set_bytes(void* target, uint8_t value, size_t bytes) {
  parts_.push([&](Work& work) {
    work.verb = Verb::kSetBytes;
    work.value = value;
    work.target = target;
    work.bytes = bytes;
  });
}

void Stream::release(void* memory, size_t bytes, void (*release)(void*, size_t)) noexcept {
  if (parts_.all_done()) return release(memory, bytes);
  parts_.push([&](Work& work) {
    work.verb = Verb::kRelease;
    work.target = memory;
    work.bytes = bytes;
    work.release = release;
  });
}

void Stream::copy_out(void* target, const void* source, size_t bytes, Ended ended, void* context) {
  {
    std::lock_guard<std::mutex> lock(parts_.reads);
    parts_.pending.insert(context);
  }
  parts_.push([&](Work& work) {
    work.verb = Verb::kCopyOut;
    work.thread = this_thread();
    work.target = target;
    work.source = source;
    work.bytes = bytes;
    work.ended = ended;
    work.context = context;
  });
}

void Stream::abandon(void* context) noexcept {
  std::unique_lock<std::mutex> lock(parts_.reads);
  if (parts_.pending.erase(context) != 0) return;
  parts_.copied.wait(lock, [&] { return parts_.copying != context; });
}

void Stream::wait() {
  wait_quietly();
  const Outcome outcome = parts_.take_failure(this_thread());
  if (outcome.code != nullptr) throw Error(outcome.code, outcome.sentence);
}

void Stream::wait_quietly() noexcept {
  parts_.wait_until(parts_.asked);
}

namespace {

std::atomic<Stream*> the_stream{nullptr};

}  // namespace

Stream& cpu_stream() {
  Stream* stream = the_stream.load(std::memory_order_acquire);
  if (stream != nullptr) return *stream;
#if defined(__unix__) || defined(__APPLE__)
  static std::once_flag once;
  std::call_once(once, [] { pthread_atfork(nullptr, nullptr, [] { the_stream = nullptr; }); });
#endif
  Stream* const made = new Stream;
  if (the_stream.compare_exchange_strong(stream, made)) return *made;
  delete made;  // another thread was first; its parts hold no thread yet
  return *stream;
}

}  // namespace fracstride
