// Page-locked blocks; see staging.h.

#include "staging.h"

#include <cstdlib>

#include "error.h"

namespace fracstride {

namespace {

constexpr size_t kSmall = size_t(16) << 10;
constexpr size_t kMostSmall = 128;
constexpr size_t kMostLarge = 32;

}  // namespace

Staging::Lease Staging::take(size_t bytes, const char* where) {
  const bool small = bytes <= kSmall;
  Kind& kind = kind_of(small);
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    if (StagingBlock* block = find(kind, small, where)) return Lease(block, {this});
    if (kind.busy.empty()) {
      given_.wait(lock);
      continue;
    }
    StagingBlock* block = kind.busy.front();
    kind.busy.pop_front();
    lock.unlock();
    queue_.call.event_synchronize(block->event);  // a failure shows again in what the caller does next
    block->under_way = false;
    return Lease(block, {this});
  }
}

Staging::Lease Staging::try_take(size_t bytes, const char* where) {
  const bool small = bytes <= kSmall;
  std::lock_guard<std::mutex> lock(mutex_);
  return Lease(find(kind_of(small), small, where), {this});
}

void Staging::send(StagingBlock& block, void* target, size_t bytes) {
  const cu::Pointer to = reinterpret_cast<uintptr_t>(target);
  record(block, queue_.call.memcpy_htod_async(to, block.memory, bytes, queue_.stream()), "copyIn");
}

void Staging::fetch(StagingBlock& block, const void* source, size_t bytes) {
  const cu::Pointer from = reinterpret_cast<uintptr_t>(source);
  cu::Result copied = cu::kSuccess;
  if (bytes != 0) copied = queue_.call.memcpy_dtoh_async(block.memory, from, bytes, queue_.stream());
  record(block, copied, "copyOut");
}

void Staging::record(StagingBlock& block, cu::Result copied, const char* where) {
  queue_.check(copied, where, "the copy");
  queue_.check(queue_.call.event_record(block.event, queue_.stream()), where, "the copy");
  block.under_way = true;
}

void Staging::give(StagingBlock* block) {
  std::lock_guard<std::mutex> lock(mutex_);
  Kind& kind = kind_of(block->small);
  if (block->under_way) {
    kind.busy.push_back(block);
  } else {
    kind.idle.push_back(block);
  }
  given_.notify_one();
}

// The mutex is held.
StagingBlock* Staging::find(Kind& kind, bool small, const char* where) {
  while (!kind.busy.empty() && queue_.call.event_query(kind.busy.front()->event) != cu::kNotReady) {
    kind.busy.front()->under_way = false;
    kind.idle.push_back(kind.busy.front());
    kind.busy.pop_front();
  }
  if (!kind.idle.empty()) {
    StagingBlock* block = kind.idle.back();
    kind.idle.pop_back();
    return block;
  }
  if (kind.made == (small ? kMostSmall : kMostLarge)) return nullptr;
  StagingBlock* block = make(small, where);
  ++kind.made;
  return block;
}

// Where no memory can be locked, ordinary memory will do: the driver then copies before it returns.
StagingBlock* Staging::make(bool small, const char* where) {
  const size_t bytes = small ? kSmall : kPiece;
  queue_.enter_surely(where);
  cu::Event event = nullptr;
  const unsigned flags = cu::kEventDisableTiming | cu::kEventBlockingSync;
  queue_.check(queue_.call.event_create(&event, flags), where, "making an event");
  void* memory = nullptr;
  if (queue_.call.mem_host_alloc(&memory, bytes, 0) != cu::kSuccess) memory = std::malloc(bytes);
  if (memory == nullptr) {
    throw Error("ERR_OUT_OF_MEMORY", std::string(where) + ": host memory for a copy must be left, got none for " +
                                         show_bytes(double(bytes)));
  }
  return new StagingBlock{static_cast<char*>(memory), event, small, false};
}

}  // namespace fracstride
