// Handles and cached memory blocks of a device; see pool.h.
//
// A block is [64 guard bytes][size class bytes][64 guard bytes]; buffers start behind the first zone, so they are
// 64-byte aligned. A handle is generation · 2^27 + device · 2^22 + slot, below 2^53, and no handle is given out twice.

#include "pool.h"

#include <algorithm>
#include <cstring>

#include "error.h"

namespace fracstride {

namespace {

constexpr uint64_t kGuard = 64;
constexpr uint32_t kSlotBits = 22;
constexpr uint32_t kDeviceBits = 5;
constexpr uint32_t kLastGeneration = (1u << 26) - 1;
constexpr uint64_t kLargestBuffer = 1ull << 52;
// Below this the cache may hold more than was ever live.
constexpr uint64_t kSmallCache = 64ull << 20;
constexpr uint8_t kGuardByte = 0xA5;

// The smallest class that holds `bytes`: multiples of 64 up to 512, then eight classes a power of two.
uint64_t size_class(uint64_t bytes) {
  if (bytes <= 512) return bytes == 0 ? 64 : (bytes + 63) / 64 * 64;
  uint64_t power = 512;
  while (power * 2 <= bytes) power *= 2;
  const uint64_t step = power / 8;
  return (bytes + step - 1) / step * step;
}

std::string place_name(const char* where, int argument) {
  return std::string(where) + (argument < 0 ? ": the range" : ": argument " + std::to_string(argument));
}

}  // namespace

Pool::~Pool() {
  for (const Slot& slot : slots_) {
    if (slot.block != nullptr) device_.free(slot.block, size_class(slot.bytes) + 2 * kGuard);
  }
  trim();
}

uint64_t Pool::allocate(uint64_t owner, uint64_t bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (limit_ != 0 && (bytes > limit_ || live_ > limit_ - bytes)) {
    throw Error("ERR_OUT_OF_MEMORY", std::string("alloc: live bytes of ") + device_.label() +
                                         " must be at most the limit " + show_bytes(double(limit_)) + ", got " +
                                         show_bytes(double(live_)) + " live and a request of " +
                                         show_bytes(double(bytes)));
  }
  const uint32_t number = take_slot();
  Slot& slot = slots_[number];
  slot.block = take_block(bytes);  // if this throws, the slot stays on the free list
  free_slots_.pop_back();
  slot.bytes = bytes;
  slot.owner = owner;
  slot.generation += 1;
  slot.guarded = debug_;
  live_ += bytes;
  peak_ = std::max(peak_, live_);
  if (slot.guarded) mark(slot);
  return (uint64_t(slot.generation) << (kSlotBits + kDeviceBits)) | (uint64_t(index_) << kSlotBits) | number;
}

uint64_t Pool::release(uint64_t owner, uint64_t handle) {
  std::lock_guard<std::mutex> lock(mutex_);
  Slot* slot = find(owner, double(handle));
  if (slot == nullptr) return 0;
  const uint64_t bytes = slot->bytes;
  release_slot(uint32_t(slot - slots_.data()));
  return bytes;
}

void Pool::release_all(uint64_t owner) {
  std::lock_guard<std::mutex> lock(mutex_);
  for (uint32_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].block != nullptr && slots_[i].owner == owner) release_slot(i);
  }
}

void* Pool::at(uint64_t owner, double handle, double offset, double bytes, const char* where, int argument) {
  std::lock_guard<std::mutex> lock(mutex_);
  const Slot* slot = find(owner, handle);
  if (slot == nullptr) {
    throw Error("ERR_ARGUMENT", place_name(where, argument) + " must be a live buffer of " + device_.label() +
                                    ", got handle " + show(handle));
  }
  const double size = double(slot->bytes);
  // Written so that NaN fails; both are integers in the range of a double, so the sum is exact.
  const bool inside = offset >= 0 && offset <= size && bytes >= 0 && offset + bytes <= size;
  if (!inside || offset != double(uint64_t(offset)) || bytes != double(uint64_t(bytes))) {
    throw Error("ERR_ARGUMENT", place_name(where, argument) + " must lie inside its buffer of " + show(size) +
                                    " bytes, got " + show(bytes) + " bytes at offset " + show(offset));
  }
  return slot->block + kGuard + uint64_t(offset);
}

MemoryCounts Pool::counts() {
  std::lock_guard<std::mutex> lock(mutex_);
  return {live_, cached_, peak_};
}

void Pool::empty_cache() {
  std::lock_guard<std::mutex> lock(mutex_);
  trim();
}

void Pool::set_limit(uint64_t bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  limit_ = bytes;
}

void Pool::set_debug(bool on) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (on && !debug_) damaged_ = 0;
  debug_ = on;
}

uint64_t Pool::damaged_guards() {
  std::lock_guard<std::mutex> lock(mutex_);
  uint64_t count = damaged_;
  for (const Slot& slot : slots_) {
    if (slot.block != nullptr && slot.guarded) count += damage(slot);
  }
  return count;
}

Pool::Slot* Pool::find(uint64_t owner, double handle) {
  if (!(handle >= 1 && handle < 9007199254740992.0)) return nullptr;
  const uint64_t value = uint64_t(handle);
  const uint64_t number = value & ((1u << kSlotBits) - 1);
  const uint64_t device = (value >> kSlotBits) & ((1u << kDeviceBits) - 1);
  if (double(value) != handle || device != index_ || number >= slots_.size()) return nullptr;
  Slot& slot = slots_[number];
  const bool same = slot.block != nullptr && slot.generation == value >> (kSlotBits + kDeviceBits);
  return same && slot.owner == owner ? &slot : nullptr;
}

// The number of a free slot, which stays on top of the free list.
uint32_t Pool::take_slot() {
  if (free_slots_.empty()) {
    const uint32_t number = uint32_t(slots_.size());
    if (number >> kSlotBits != 0) {
      throw Error("ERR_OUT_OF_MEMORY", "alloc: live buffers must be at most 4194304, got one more");
    }
    slots_.emplace_back();
    free_slots_.push_back(number);
  }
  return free_slots_.back();
}

uint8_t* Pool::take_block(uint64_t bytes) {
  if (bytes <= kLargestBuffer) {
    const auto list = cache_.find(size_class(bytes));
    if (list != cache_.end() && !list->second.empty()) {
      uint8_t* block = list->second.back();
      list->second.pop_back();
      cached_ -= list->first;
      return block;
    }
    uint8_t* block = new_block(bytes);
    if (block == nullptr && cached_ > 0) {
      trim();
      block = new_block(bytes);
    }
    if (block != nullptr) return block;
  }
  throw Error("ERR_OUT_OF_MEMORY", std::string("alloc: size must be at most what is left on ") + device_.label() +
                                       ", " + show_bytes(double(device_.available())) + ", got " +
                                       show_bytes(double(bytes)) + " (" + show_bytes(double(live_)) + " live)");
}

uint8_t* Pool::new_block(uint64_t bytes) {
  return static_cast<uint8_t*>(device_.alloc(size_class(bytes) + 2 * kGuard));
}

void Pool::give_block(uint8_t* block, uint64_t bytes) {
  const uint64_t size = size_class(bytes);
  if (cached_ + size > std::max(peak_, kSmallCache)) {
    device_.free(block, size + 2 * kGuard);
    return;
  }
  cache_[size].push_back(block);
  cached_ += size;
}

void Pool::release_slot(uint32_t number) {
  Slot& slot = slots_[number];
  if (slot.guarded) {
    damaged_ += damage(slot);
    device_.set_bytes(slot.block, 0xFF, size_class(slot.bytes) + 2 * kGuard);
  }
  give_block(slot.block, slot.bytes);
  live_ -= slot.bytes;
  slot.block = nullptr;
  // A slot whose generations are used up is never given out again.
  if (slot.generation < kLastGeneration) free_slots_.push_back(number);
}

void Pool::trim() {
  device_.sync();
  for (auto& [size, blocks] : cache_) {
    for (uint8_t* block : blocks) device_.free(block, size + 2 * kGuard);
  }
  cache_.clear();
  cached_ = 0;
}

void Pool::mark(const Slot& slot) {
  device_.set_bytes(slot.block, kGuardByte, kGuard);
  device_.set_bytes(slot.block + kGuard, 0xFF, slot.bytes);
  device_.set_bytes(slot.block + kGuard + slot.bytes, kGuardByte, kGuard);
}

uint64_t Pool::damage(const Slot& slot) {
  uint64_t count = 0;
  for (const uint8_t* zone : {slot.block, slot.block + kGuard + slot.bytes}) {
    uint8_t bytes[kGuard];
    device_.copy_out(bytes, zone, kGuard);
    count += std::any_of(bytes, bytes + kGuard, [](uint8_t b) { return b != kGuardByte; }) ? 1 : 0;
  }
  return count;
}

}  // namespace fracstride
