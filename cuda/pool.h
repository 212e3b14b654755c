// Buffers of one device: a table of generation-checked handles over a cache of memory blocks.
//
// A block is kept for re-use by size class (at most an eighth larger than asked), so that a training loop neither asks
// the system for memory nor touches new pages once it is warm. Work of a device runs in order, so a block may be given
// out again at once. Byte counts are of what was asked for, exactly.
// In debug mode a new buffer is filled with 0xFF and lies between two guard zones, which are checked when it is
// released.
#pragma once

#include <cstdint>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "arenas.h"
#include "device.h"

namespace fracstride {

struct MemoryCounts {
  uint64_t live;
  uint64_t cached;
  uint64_t peak;
  uint64_t graphs;  // bytes of no buffer that graphs keep
};

class Pool {
 public:
  // `index` is the device's number; it is part of every handle.
  Pool(Device& device, uint32_t index) : device_(device), index_(index) {}
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // `owner` names the JavaScript environment; a buffer is only visible to its owner.
  uint64_t allocate(uint64_t owner, uint64_t bytes);
  // Bytes of the buffer that was released; 0 for a handle that is not live.
  uint64_t release(uint64_t owner, uint64_t handle);
  // Waits for the device and releases everything of an owner; never throws.
  void release_all(uint64_t owner) noexcept;

  // The address of `bytes` bytes at `offset`; refuses a handle that is not live and a range outside the buffer.
  // The sentence of the error names `where` and, if that is not negative, the number of the argument.
  void* at(uint64_t owner, double handle, double offset, double bytes, const char* where, int argument);

  // Blocks that a graph being captured by `owner` uses stay with its arena (never 0) until that is freed.
  uint64_t begin_capture(uint64_t owner);
  void end_capture(uint64_t owner);
  // Ends the capture too if it is under way.
  void free_arena(uint64_t arena);

  MemoryCounts counts();
  void empty_cache();
  void set_limit(uint64_t bytes);
  void set_debug(bool on);
  // Damaged guard zones of buffers that are live now, and of those released since debug mode was switched on.
  uint64_t damaged_guards();

 private:
  struct Slot {
    Block block;
    uint64_t bytes = 0;
    uint64_t owner = 0;
    uint32_t generation = 0;
  };

  Slot* find(uint64_t owner, double handle);
  uint32_t take_slot();
  Block take_block(uint64_t owner, uint64_t bytes);
  Block new_block(uint64_t bytes);
  void give_block(const Block& block);
  void release_slot(uint32_t number) noexcept;
  void drop_cache();
  void mark(const Slot& slot);
  uint64_t damage(const Slot& slot);
  void check_released(const Slot& slot, bool overwrite) noexcept;

  Device& device_;
  const uint32_t index_;
  std::mutex mutex_;
  std::vector<Slot> slots_;
  std::vector<uint32_t> free_slots_;
  std::unordered_map<uint64_t, std::vector<Block>> cache_;
  Arenas arenas_;
  uint64_t live_ = 0;
  uint64_t cached_ = 0;
  uint64_t peak_ = 0;
  uint64_t limit_ = 0;
  bool debug_ = false;
  uint64_t damaged_ = 0;
};

}  // namespace fracstride
