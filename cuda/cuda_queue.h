// A device's context with its one stream, and the only place where a driver's answer becomes an error.
//
// All environments of the process share the stream, so that work runs in the order in which it was asked for. A failure
// that the driver repeats from then on ends the device for this process: the first to see it gets ERR_CUDA with what is
// known, everybody after that ERR_DEVICE_UNAVAILABLE with a pointer to it.
#pragma once

#include <atomic>
#include <mutex>
#include <string>

#include "device.h"
#include "driver.h"
#include "launches.h"

namespace fracstride {

class CudaQueue {
 public:
  explicit CudaQueue(int ordinal);

  const cu::Entries& call;
  const std::string label;
  Launches launches;

  cu::Stream stream() const noexcept { return stream_; }

  // Makes the context current on this thread, which calls the driver only when it was another of ours; what asks the
  // driver for something that belongs to a context uses `enter_surely`.
  void enter(const char* where) {
    if (lost_.load(std::memory_order_relaxed)) unavailable(where);
    if (entered_ != context_) enter_surely(where);
  }
  void enter_surely(const char* where);
  // For what must not throw: false when there is no way in.
  bool try_enter() noexcept;
  bool lost() const noexcept { return lost_.load(std::memory_order_relaxed); }

  // `<where>: <what> [<subject>] must succeed, got …`, unless it did.
  void check(cu::Result result, const char* where, const char* what, const char* subject = nullptr) {
    if (result != cu::kSuccess) fail(result, where, what, subject);
  }
  // The same as an outcome.
  Outcome outcome(cu::Result result, const char* where, const char* what);

  // Waits for the work of the stream.
  void wait(const char* where);

 private:
  [[noreturn]] void fail(cu::Result result, const char* where, const char* what, const char* subject);
  [[noreturn]] void unavailable(const char* where);
  bool ends_device(cu::Result result);
  std::string describe(cu::Result result) const;

  // The context that `enter` made current on this thread.
  static thread_local cu::Context entered_;

  cu::DeviceId id_ = 0;
  cu::Context context_ = nullptr;
  cu::Stream stream_ = nullptr;
  std::atomic<bool> lost_{false};
  std::mutex mutex_;
  std::string loss_;  // how the device was lost
};

}  // namespace fracstride
