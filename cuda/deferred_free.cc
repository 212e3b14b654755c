// Frees that wait for the stream; see deferred_free.h.

#include "deferred_free.h"

namespace fracstride {

namespace {

constexpr size_t kMostBytes = size_t(256) << 20;
constexpr size_t kMostBlocks = 4096;

}  // namespace

void DeferredFrees::add(cu::Pointer memory, size_t bytes, bool may_wait) noexcept {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    waiting_.push_back(memory);
    bytes_ += bytes;
    if (!may_wait || (bytes_ < kMostBytes && waiting_.size() < kMostBlocks)) return;
  }
  const Batch batch = take();
  if (queue_.try_enter()) queue_.call.stream_synchronize(queue_.stream());  // a failure shows in the next verb
}

bool DeferredFrees::pending() {
  std::lock_guard<std::mutex> lock(mutex_);
  return !waiting_.empty();
}

DeferredFrees::Batch DeferredFrees::take() {
  std::lock_guard<std::mutex> lock(mutex_);
  std::vector<cu::Pointer> memory;
  memory.swap(waiting_);
  bytes_ = 0;
  return {queue_, std::move(memory)};
}

DeferredFrees::Batch::~Batch() {
  if (memory_.empty() || !queue_.try_enter()) return;
  for (const cu::Pointer memory : memory_) queue_.call.mem_free(memory);
}

}  // namespace fracstride
