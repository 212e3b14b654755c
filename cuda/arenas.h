// Memory blocks that graphs refer to. A graph reads and writes the same addresses each time it is replayed, so every
// block that was used while it was captured stays with it until it is freed: a live buffer's block outlives the buffer,
// and a block given out and released within the capture is given out again only within it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace fracstride {

struct Block {
  uint8_t* memory = nullptr;
  uint64_t size = 0;     // of the class, without guard zones
  bool guarded = false;  // has guard zones
};

class Arenas {
 public:
  uint64_t begin(uint64_t owner);
  void end(uint64_t owner);
  // The arena that `owner` is capturing into, or 0.
  uint64_t open(uint64_t owner) const;
  bool any_open() const { return !open_.empty(); }

  // A block of this kind that the open arena of `owner` has left, or none.
  Block take(uint64_t owner, uint64_t size, bool guarded);
  // A new block for the open arena of `owner`; nothing when there is none.
  void made(uint64_t owner, const Block& block);
  // A live block that captured work refers to.
  void used(uint64_t owner, const Block& block);
  // A block whose buffer was released: whether a graph keeps it.
  bool keeps(uint64_t owner, const Block& block);

  // Blocks that nobody needs any more.
  std::vector<Block> free(uint64_t arena);
  // Arenas of an owner.
  std::vector<uint64_t> of(uint64_t owner) const;

  uint64_t bytes() const { return bytes_; }

 private:
  struct Arena {
    uint64_t owner;
    std::unordered_set<uint8_t*> blocks;
    std::unordered_set<uint8_t*> own;  // made for it
    std::vector<Block> left;           // of `own`, released within the capture
  };
  struct Pinned {
    uint32_t arenas;
    bool parked;  // its buffer was released
    Block block;
  };

  void pin(Arena& arena, const Block& block);

  std::unordered_map<uint64_t, Arena> arenas_;
  std::unordered_map<uint64_t, uint64_t> open_;  // owner → arena
  std::unordered_map<uint8_t*, Pinned> pinned_;
  uint64_t last_ = 0;
  uint64_t bytes_ = 0;
};

}  // namespace fracstride
