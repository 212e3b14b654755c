// Handles and cached memory blocks of a device; see pool.h.
//
// A guarded block is [192 bytes][64 guard bytes][size class bytes][64 guard bytes], any other just the size class
// bytes, so that buffers are as aligned as the device's memory. A handle is generation · 2^27 + device · 2^22 + slot,
// below 2^53, and no handle is given out twice.

#include "pool.h"

#include <algorithm>
#include <cstring>

#include "error.h"

namespace fracstride {

namespace {

constexpr uint64_t kGuard = 64;
constexpr uint64_t kFront = 256;
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

uint64_t whole(const Block& block) {
  return block.size + (block.guarded ? kFront + kGuard : 0);
}

uint8_t* data(const Block& block) {
  return block.memory + (block.guarded ? kFront : 0);
}

std::string place_name(const char* where, int argument) {
  return std::string(where) + (argument < 0 ? ": the range" : ": argument " + std::to_string(argument));
}

}  // namespace

Pool::~Pool() {
  for (const Slot& slot : slots_) {
    if (slot.block.memory != nullptr) device_.free(slot.block.memory, whole(slot.block));
  }
  drop_cache();
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
  slot.block = take_block(owner, bytes);  // if this throws, the slot stays on the free list
  free_slots_.pop_back();
  slot.bytes = bytes;
  slot.owner = owner;
  slot.generation += 1;
  live_ += bytes;
  peak_ = std::max(peak_, live_);
  try {
    if (slot.block.guarded) mark(slot);
  } catch (...) {
    release_slot(number);
    throw;
  }
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

void Pool::release_all(uint64_t owner) noexcept {
  try {
    device_.sync();
  } catch (...) {  // the device was lost, and nothing runs on it any more
  }
  std::lock_guard<std::mutex> lock(mutex_);
  for (const uint64_t arena : arenas_.of(owner)) {
    for (const Block& block : arenas_.free(arena)) give_block(block);
  }
  for (uint32_t i = 0; i < slots_.size(); ++i) {
    if (slots_[i].block.memory != nullptr && slots_[i].owner == owner) release_slot(i);
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
  if (arenas_.any_open()) arenas_.used(owner, slot->block);
  return data(slot->block) + uint64_t(offset);
}

uint64_t Pool::begin_capture(uint64_t owner) {
  std::lock_guard<std::mutex> lock(mutex_);
  return arenas_.begin(owner);
}

void Pool::end_capture(uint64_t owner) {
  std::lock_guard<std::mutex> lock(mutex_);
  arenas_.end(owner);
}

void Pool::free_arena(uint64_t arena) {
  std::lock_guard<std::mutex> lock(mutex_);
  for (const Block& block : arenas_.free(arena)) give_block(block);
}

MemoryCounts Pool::counts() {
  std::lock_guard<std::mutex> lock(mutex_);
  return {live_, cached_, peak_, arenas_.bytes()};
}

void Pool::empty_cache() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    drop_cache();
  }
  device_.sync();  // what was freed is gone when the work before it has run
}

void Pool::set_limit(uint64_t bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  limit_ = bytes;
}

void Pool::set_debug(bool on) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (on == debug_) return;
  if (on) damaged_ = 0;
  debug_ = on;
  drop_cache();  // blocks of the other kind
}

uint64_t Pool::damaged_guards() {
  std::lock_guard<std::mutex> lock(mutex_);
  uint64_t count = damaged_;
  for (const Slot& slot : slots_) {
    if (slot.block.guarded) count += damage(slot);
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
  const bool same = slot.block.memory != nullptr && slot.generation == value >> (kSlotBits + kDeviceBits);
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

Block Pool::take_block(uint64_t owner, uint64_t bytes) {
  if (bytes <= kLargestBuffer) {
    const uint64_t size = size_class(bytes);
    if (Block block = arenas_.take(owner, size, debug_); block.memory != nullptr) return block;
    Block block;
    const auto list = cache_.find(size);
    if (list != cache_.end() && !list->second.empty()) {
      block = list->second.back();
      list->second.pop_back();
      cached_ -= size;
    } else {
      block = new_block(size);
    }
    if (block.memory == nullptr && !device_.capturing()) {
      drop_cache();
      device_.sync();
      block = new_block(size);
    }
    if (block.memory != nullptr) {
      arenas_.made(owner, block);
      return block;
    }
  }
  throw Error("ERR_OUT_OF_MEMORY", std::string("alloc: size must be at most what is left on ") + device_.label() +
                                       ", " + show_bytes(double(device_.available())) + ", got " +
                                       show_bytes(double(bytes)) + " (" + show_bytes(double(live_)) + " live, " +
                                       show_bytes(double(cached_)) + " cached, " + show_bytes(double(arenas_.bytes())) +
                                       " kept by graphs)");
}

Block Pool::new_block(uint64_t size) {
  Block block{nullptr, size, debug_};
  block.memory = static_cast<uint8_t*>(device_.alloc(whole(block)));
  return block;
}

// The cache holds blocks of one kind only: with guard zones in debug mode, without them otherwise.
void Pool::give_block(const Block& block) {
  if (block.guarded != debug_ || cached_ + block.size > std::max(peak_, kSmallCache)) {
    device_.free(block.memory, whole(block));
    return;
  }
  cache_[block.size].push_back(block);
  cached_ += block.size;
}

void Pool::release_slot(uint32_t number) noexcept {
  Slot& slot = slots_[number];
  const bool kept = arenas_.keeps(slot.owner, slot.block);
  if (slot.block.guarded && !device_.capturing()) check_released(slot, !kept);
  if (!kept) give_block(slot.block);
  live_ -= slot.bytes;
  slot.block = {};
  // A slot whose generations are used up is never given out again.
  if (slot.generation < kLastGeneration) free_slots_.push_back(number);
}

void Pool::drop_cache() {
  for (auto& [size, blocks] : cache_) {
    for (const Block& block : blocks) device_.free(block.memory, whole(block));
  }
  cache_.clear();
  cached_ = 0;
}

void Pool::mark(const Slot& slot) {
  uint8_t* begin = data(slot.block);
  device_.set_bytes(begin - kGuard, kGuardByte, kGuard);
  device_.set_bytes(begin, 0xFF, slot.bytes);
  device_.set_bytes(begin + slot.bytes, kGuardByte, kGuard);
}

// A device that was lost has nothing to look at.
void Pool::check_released(const Slot& slot, bool overwrite) noexcept {
  try {
    damaged_ += damage(slot);
    if (overwrite) device_.set_bytes(data(slot.block), 0xFF, slot.bytes);
  } catch (...) {
  }
}

uint64_t Pool::damage(const Slot& slot) {
  const uint8_t* begin = data(slot.block);
  uint64_t count = 0;
  for (const uint8_t* zone : {begin - kGuard, begin + slot.bytes}) {
    uint8_t bytes[kGuard];
    device_.copy_out(bytes, zone, kGuard);
    count += std::any_of(bytes, bytes + kGuard, [](uint8_t b) { return b != kGuardByte; }) ? 1 : 0;
  }
  return count;
}

}  // namespace fracstride
