// Context, stream and errors of a CUDA device; see cuda_queue.h.

#include "cuda_queue.h"

#include "error.h"

namespace fracstride {

thread_local cu::Context CudaQueue::entered_ = nullptr;

CudaQueue::CudaQueue(int ordinal) : call(driver().call), label("cuda:" + std::to_string(ordinal)) {
  check(call.device_get(&id_, ordinal), "device", "opening", label.c_str());
  check(call.device_primary_ctx_retain(&context_, id_), "device", "making the context of", label.c_str());
  enter_surely("device");
  check(call.stream_create(&stream_, cu::kStreamNonBlocking), "device", "making the stream of", label.c_str());
}

void CudaQueue::enter_surely(const char* where) {
  if (lost()) unavailable(where);
  check(call.ctx_set_current(context_), where, "entering the context of", label.c_str());
  entered_ = context_;
}

bool CudaQueue::try_enter() noexcept {
  if (call.ctx_set_current(context_) != cu::kSuccess) return false;
  entered_ = context_;
  return true;
}

void CudaQueue::wait(const char* where) {
  enter(where);
  const uint64_t asked = launches.count();
  check(call.stream_synchronize(stream_), where, "work on", label.c_str());
  launches.ran(asked);
}

std::string CudaQueue::describe(cu::Result result) const {
  return driver_error(call, result);
}

// Errors after which the driver fails every call, by number; of any other, the stream is asked.
bool CudaQueue::ends_device(cu::Result result) {
  switch (result) {
    case cu::kNoDevice:
    case cu::kInvalidDevice:
    case cu::kEccUncorrectable:
    case cu::kNvlinkUncorrectable:
    case cu::kIllegalAddress:
    case cu::kLaunchTimeout:
    case cu::kContextIsDestroyed:
    case cu::kAssert:
    case cu::kUnknown:
      return stream_ != nullptr;
    case cu::kOutOfMemory:
      return false;
    default:
      break;
  }
  if (result >= cu::kHardwareStackError && result <= cu::kLaunchFailed) return stream_ != nullptr;
  if (stream_ == nullptr) return false;
  const cu::Result now = call.stream_query(stream_);
  return now == result;
}

void CudaQueue::fail(cu::Result result, const char* where, const char* what, const char* subject) {
  const std::string got = describe(result);
  if (ends_device(result)) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!lost_.load(std::memory_order_relaxed)) {
      loss_ = got + ' ' + launches.suspects();
      lost_.store(true);
      throw Error("ERR_CUDA", std::string(where) + ": work on " + label + " must succeed, got " + loss_ + "; " + label +
                                  " cannot be used by this process any longer");
    }
  }
  if (lost()) unavailable(where);
  const std::string sentence = std::string(where) + ": " + what +
                               (subject == nullptr ? "" : std::string(" ") + subject) + " must succeed, got " + got;
  throw Error(result == cu::kOutOfMemory ? "ERR_OUT_OF_MEMORY" : "ERR_CUDA", sentence);
}

void CudaQueue::unavailable(const char* where) {
  std::lock_guard<std::mutex> lock(mutex_);
  throw Error("ERR_DEVICE_UNAVAILABLE",
              std::string(where) + ": " + label + " must be usable, got a device that failed before with " + loss_);
}

Outcome CudaQueue::outcome(cu::Result result, const char* where, const char* what) {
  if (result == cu::kSuccess) return {};
  try {
    fail(result, where, what, nullptr);
  } catch (const Error& error) {
    return {error.code(), error.what()};
  }
}

}  // namespace fracstride
