// The CPU's stream: a bounded queue of work and the one thread that runs it, in order, leading the thread team. Threads
// that ask for work only wait when the queue is full or when they ask to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "../cuda/device.h"
#include "kernel.h"

namespace fracstride {

class Stream;

// The stream of this process, made on first use. A forked child gets one of its own, with nothing in it.
Stream& cpu_stream();

class Stream {
 public:
  Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  // `name` has to live as long as the process; the values behind `params` are copied.
  void launch(CpuEntry entry, const char* name, const std::string& kinds, void* const* params);
  void copy_in(void* target, const void* source, size_t bytes);
  void set_bytes(void* target, uint8_t value, size_t bytes);
  // Calls `release(memory, bytes)` once the work asked for so far has run.
  void release(void* memory, size_t bytes, void (*release)(void*, size_t)) noexcept;
  void copy_out(void* target, const void* source, size_t bytes, Ended ended, void* context);
  // After it returns, that copy writes nothing any more; `ended` is called all the same.
  void abandon(void* context) noexcept;

  // Waits for all work asked for so far. `wait` throws what failed of the calling thread's own work.
  void wait();
  void wait_quietly() noexcept;

 private:
  struct Parts;
  Parts& parts_;  // never destroyed: the thread may still run when the process ends
};

}  // namespace fracstride
