// Blocks that graphs keep; see arenas.h.

#include "arenas.h"

namespace fracstride {

uint64_t Arenas::begin(uint64_t owner) {
  open_[owner] = ++last_;
  arenas_[last_].owner = owner;
  return last_;
}

void Arenas::end(uint64_t owner) {
  const auto open = open_.find(owner);
  if (open == open_.end()) return;
  arenas_[open->second].left.clear();  // parked all the same
  open_.erase(open);
}

uint64_t Arenas::open(uint64_t owner) const {
  const auto found = open_.find(owner);
  return found == open_.end() ? 0 : found->second;
}

Block Arenas::take(uint64_t owner, uint64_t size, bool guarded) {
  const uint64_t number = open(owner);
  if (number == 0) return {};
  std::vector<Block>& left = arenas_[number].left;
  for (size_t i = left.size(); i-- > 0;) {
    if (left[i].size != size || left[i].guarded != guarded) continue;
    const Block block = left[i];
    left.erase(left.begin() + int64_t(i));
    pinned_[block.memory].parked = false;
    bytes_ -= block.size;
    return block;
  }
  return {};
}

void Arenas::made(uint64_t owner, const Block& block) {
  const uint64_t number = open(owner);
  if (number == 0) return;
  Arena& arena = arenas_[number];
  arena.own.insert(block.memory);
  pin(arena, block);
}

void Arenas::used(uint64_t owner, const Block& block) {
  const uint64_t number = open(owner);
  if (number != 0) pin(arenas_[number], block);
}

void Arenas::pin(Arena& arena, const Block& block) {
  if (!arena.blocks.insert(block.memory).second) return;
  const auto [at, fresh] = pinned_.try_emplace(block.memory, Pinned{0, false, block});
  at->second.arenas += 1;
}

bool Arenas::keeps(uint64_t owner, const Block& block) {
  const auto found = pinned_.find(block.memory);
  if (found == pinned_.end()) return false;
  found->second.parked = true;
  bytes_ += block.size;
  const uint64_t number = open(owner);
  if (number != 0 && arenas_[number].own.count(block.memory) != 0) arenas_[number].left.push_back(block);
  return true;
}

std::vector<Block> Arenas::free(uint64_t number) {
  std::vector<Block> gone;
  const auto found = arenas_.find(number);
  if (found == arenas_.end()) return gone;
  if (open(found->second.owner) == number) open_.erase(found->second.owner);
  for (uint8_t* memory : found->second.blocks) {
    const auto pinned = pinned_.find(memory);
    if (--pinned->second.arenas != 0) continue;
    if (pinned->second.parked) {
      gone.push_back(pinned->second.block);
      bytes_ -= pinned->second.block.size;
    }
    pinned_.erase(pinned);
  }
  arenas_.erase(found);
  return gone;
}

std::vector<uint64_t> Arenas::of(uint64_t owner) const {
  std::vector<uint64_t> numbers;
  for (const auto& [number, arena] : arenas_) {
    if (arena.owner == owner) numbers.push_back(number);
  }
  return numbers;
}

}  // namespace fracstride
