// A device as a few verbs: alloc free copy_in copy_out load launch sync info. Kernels are launched with
// cuLaunchKernel's own ABI: an array of pointers to argument values. No device is mentioned outside its own file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace fracstride {

struct LaunchShape {
  uint32_t grid[3];
  uint32_t block[3];
  uint32_t shared_bytes;
};

// Something launchable; each device derives its own. `kinds` has one letter an argument: p i l f d.
struct Kernel {
  std::string name;
  std::string kinds;
  virtual ~Kernel() = default;
  // The first pointer whose buffer does not hold what the scalars ask for, or -1; `bytes[i]` are those behind argument
  // i.
  virtual int too_small(void* const* params, const uint64_t* bytes) const {
    (void)params;
    (void)bytes;
    return -1;
  }
};

struct Image {
  const void* data = nullptr;
  size_t size = 0;
};

// How an asynchronous verb ended: `code` is null when it worked, else a code of codegen/errors.ts with its sentence.
struct Outcome {
  const char* code = nullptr;
  std::string sentence;
};

// Called once, on a thread of the device's own.
using Ended = void (*)(void* context, const Outcome& outcome);

// Recorded work that can be launched again; each device derives its own.
struct Graph {
  virtual ~Graph() = default;
};

// Where a library puts work of its own, as the device's driver knows streams.
struct LibraryStreams {
  void* own = nullptr;  // the device's; null for a device without streams
  void* now = nullptr;  // for work of this thread: the same, or that of what it records
};

// Work of a device runs in the order in which it was asked for, whoever asked. launch, copy_in, set_bytes and
// copy_out_async return before it has run; so memory that earlier work still reads may be given to later work at once.
// A failure that shows only when work runs is thrown by the next verb that waits, and named after the kernel that ran.
class Device {
 public:
  virtual ~Device() = default;

  // Memory aligned to 64 bytes, or null when there is none left.
  virtual void* alloc(size_t bytes) = 0;
  // Takes effect after the work asked for so far.
  virtual void free(void* memory, size_t bytes) noexcept = 0;
  // Bytes that could be allocated now, as far as the device can tell.
  virtual uint64_t available() = 0;

  // The source may change as soon as this returns.
  virtual void copy_in(void* target, const void* source, size_t bytes) = 0;
  // Waits for the work asked for so far.
  virtual void copy_out(void* target, const void* source, size_t bytes) = 0;
  // `target` has to live until `ended` was called. With 0 bytes it tells when the work asked for so far has run.
  virtual void copy_out_async(void* target, const void* source, size_t bytes, Ended ended, void* context) = 0;
  // Gives a copy_out_async up whose reader ends: true when its `target` will not be written any more, false when that
  // is only sure once `ended` was called. Either way `ended` is called.
  virtual bool abandon(void* context) noexcept {
    (void)context;
    return false;
  }
  virtual void set_bytes(void* target, uint8_t value, size_t bytes) = 0;

  virtual std::vector<std::string> kernel_names() = 0;
  virtual std::unique_ptr<Kernel> load(const std::string& name, const std::string& kinds, Image image) = 0;
  virtual void launch(const Kernel& kernel, const LaunchShape& shape, void** params) = 0;
  virtual void sync() = 0;

  // From begin_capture on, work of the calling thread is recorded and does not run; what has to wait is refused.
  // The devices that cannot record refuse with ERR_ARGUMENT.
  virtual void begin_capture() = 0;
  virtual bool capturing() const noexcept = 0;
  // Null when what was recorded is no graph or was broken off by an error (abort_capture never throws).
  virtual std::unique_ptr<Graph> end_capture() = 0;
  virtual void abort_capture() noexcept = 0;
  virtual void replay(Graph& graph) = 0;

  // For libraries that compute on the device by themselves: makes it current on this thread.
  virtual LibraryStreams enter_library(const char* where) {
    (void)where;
    return {};
  }
  // Notes that a library is about to be asked for work, for failures that show later; `name` has to live for ever.
  virtual void note_library(const char* name) { (void)name; }
  // After a library has failed: throws what the device says, if it was the device that failed.
  virtual void check_library(const char* where) { (void)where; }

  virtual const char* label() const = 0;
};

}  // namespace fracstride
