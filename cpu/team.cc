// The thread team. A loop is published by a new `open` number; workers that see it register in `inside`, check that the
// loop is still open, and claim items. The caller closes the loop when no item is left and waits for those inside; a
// worker that wakes late finds the loop closed and touches nothing, so sleepers never delay a caller.
#include "team.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "limits.h"
#include "pause.h"

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace fracstride {
namespace {

constexpr int MAX_THREADS = 1024;
// About 20 µs on current machines: longer than the gap between two kernels of one network.
constexpr int SPINS = 4000;

class Team {
 public:
  int threads() {
    int known = threads_.load(std::memory_order_relaxed);
    if (known == 0) {
      threads_.compare_exchange_strong(known, default_threads());
      known = threads_.load();
    }
    return known;
  }

  void resize(int count) {
    std::lock_guard<std::mutex> only(callers_);
    stop();
    threads_ = count < 1 ? 1 : count > MAX_THREADS ? MAX_THREADS : count;
  }

  // False when another thread uses the team.
  bool run(int64_t count, TeamBody body, void* context) {
    std::unique_lock<std::mutex> only(callers_, std::try_to_lock);
    if (!only.owns_lock()) return false;
    start();
    publish(count, body, context);
    work();
    open_ = 0;
    wait_for_workers();
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
    return true;
  }

 private:
  static int default_threads() {
    const char* text = std::getenv("FRACSTRIDE_NUM_THREADS");
    const int asked = text == nullptr ? 0 : count_in(text);
    return std::min(asked >= 1 ? asked : usable_cpus(), MAX_THREADS);
  }

  // A whole number that is all of the text, 0 for any other: half of a word is nobody's wish.
  static int count_in(const char* text) {
    const char* end = text + std::strlen(text);
    int count = 0;
    const auto [stopped, error] = std::from_chars(text, end, count);
    return error == std::errc() && stopped == end ? count : 0;
  }

  // Starts what is missing of the team. Fewer threads than asked for (a process limit) are no error.
  void start() {
    if (!workers_.empty()) return;
    stopping_ = false;
    try {
      for (int i = 1; i < threads(); i++) workers_.emplace_back([this] { serve(); });
    } catch (const std::system_error&) {
      threads_ = static_cast<int>(workers_.size()) + 1;
    }
  }

  void stop() {
    {
      std::lock_guard<std::mutex> lock(sleep_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
    workers_.clear();
  }

  void publish(int64_t count, TeamBody body, void* context) {
    body_ = body;
    context_ = context;
    count_ = count;
    next_ = 0;
    open_ = ++loops_;
    if (sleeping_ == 0) return;
    std::lock_guard<std::mutex> lock(sleep_);
    const int64_t useful = std::min<int64_t>(count - 1, sleeping_);
    for (int64_t i = 0; i < useful; i++) wake_.notify_one();
  }

  void work() {
    for (int64_t i; (i = next_.fetch_add(1)) < count_;) {
      try {
        body_(context_, i);
      } catch (...) {
        std::lock_guard<std::mutex> lock(sleep_);
        if (!error_) error_ = std::current_exception();
        next_ = count_;
      }
    }
  }

  void serve();

  // A new loop or the end of the team, after spinning for a while and then sleeping.
  void await_loop(uint64_t seen) {
    for (int spin = 0; spin < SPINS; spin++) {
      if (is_new(open_, seen) || stopping_) return;
      pause_cpu();
    }
    std::unique_lock<std::mutex> lock(sleep_);
    sleeping_++;
    wake_.wait(lock, [&] { return is_new(open_, seen) || stopping_; });
    sleeping_--;
  }

  static bool is_new(uint64_t open, uint64_t seen) { return open != 0 && open != seen; }

  void wait_for_workers() {
    for (int spin = 0; spin < SPINS; spin++) {
      if (inside_ == 0) return;
      pause_cpu();
    }
    std::unique_lock<std::mutex> lock(sleep_);
    caller_sleeps_ = true;
    left_.wait(lock, [&] { return inside_ == 0; });
    caller_sleeps_ = false;
  }

  std::mutex callers_;
  std::atomic<int> threads_{0};
  std::vector<std::thread> workers_;

  // The loop that is open. Written while nobody is inside.
  TeamBody body_ = nullptr;
  void* context_ = nullptr;
  int64_t count_ = 0;
  uint64_t loops_ = 0;
  std::exception_ptr error_;
  alignas(64) std::atomic<int64_t> next_{0};
  alignas(64) std::atomic<uint64_t> open_{0};
  alignas(64) std::atomic<int> inside_{0};

  std::mutex sleep_;
  std::condition_variable wake_, left_;
  std::atomic<int> sleeping_{0};
  std::atomic<bool> stopping_{false}, caller_sleeps_{false};
};

thread_local bool in_loop = false;

struct LoopScope {
  LoopScope() { in_loop = true; }
  ~LoopScope() { in_loop = false; }
};

void Team::serve() {
  LoopScope scope;
  for (uint64_t seen = 0; !stopping_;) {
    await_loop(seen);
    inside_++;
    const uint64_t open = open_;
    if (is_new(open, seen)) {
      work();
      seen = open;
    }
    if (--inside_ == 0 && caller_sleeps_) {
      std::lock_guard<std::mutex> lock(sleep_);
      left_.notify_one();
    }
  }
}

// Never destroyed: the process may end while a loop runs. Replaced in a forked child, where the threads of the parent
// do not exist and its locks may be held for ever.
Team* the_team = nullptr;

Team* make_team() {
#if defined(__unix__) || defined(__APPLE__)
  pthread_atfork(nullptr, nullptr, [] {
    the_team = new Team;
    in_loop = false;
  });
#endif
  return new Team;
}

Team& team() {
  static std::once_flag once;
  std::call_once(once, [] { the_team = make_team(); });
  return *the_team;
}

class Scratch {
 public:
  ~Scratch() { release(); }

  void* request(size_t bytes) {
    if (bytes <= size_) return memory_;
    release();
    memory_ = ::operator new(bytes, std::align_val_t(64));
    size_ = bytes;
    return memory_;
  }

 private:
  void release() {
    if (memory_ != nullptr) ::operator delete(memory_, std::align_val_t(64));
    memory_ = nullptr;
    size_ = 0;
  }

  void* memory_ = nullptr;
  size_t size_ = 0;
};

thread_local Scratch slots[SCRATCH_SLOTS];

}  // namespace

void team_run(int64_t count, TeamBody body, void* context) {
  if (count > 1 && !in_loop && team().threads() > 1) {
    LoopScope scope;
    if (team().run(count, body, context)) return;
  }
  for (int64_t i = 0; i < count; i++) body(context, i);
}

int team_threads() {
  return team().threads();
}

void set_team_threads(int count) {
  team().resize(count);
}

void* scratch(ScratchSlot slot, size_t bytes) {
  return slots[slot].request(bytes);
}

}  // namespace fracstride
