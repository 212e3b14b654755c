#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <new>

#include "machine.h"

namespace simulator {

namespace {

constexpr uint64_t kAlignment = 512;
constexpr uint64_t kGuard = 512;
constexpr uint64_t kPage = 4096;

uint64_t up(uint64_t n, uint64_t to) {
  return (n + to - 1) / to * to;
}

std::string hex(uint64_t n) {
  char text[32];
  std::snprintf(text, sizeof text, "0x%" PRIx64, n);
  return text;
}

}  // namespace

Memory::Memory(uint64_t capacity) : capacity_(capacity) {
  static std::atomic<uint64_t> devices{0};
  base_ = 0x0000000a00000000u + (devices++ << 40);
  // Address space costs nothing until it is touched; take what the host lets one have.
  for (reserved_ = uint64_t{1} << 38; reserved_ >= 2 * up(capacity, kPage); reserved_ /= 2) {
    void* at = mmap(nullptr, reserved_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) continue;
    arena_ = static_cast<uint8_t*>(at);
    break;
  }
  if (arena_ == nullptr) throw std::bad_alloc();
  next_ = base_;
  delta_ = reinterpret_cast<intptr_t>(arena_) - static_cast<intptr_t>(base_);
}

Memory::~Memory() {
  munmap(arena_, reserved_);
}

// The first address from `from` on where `bytes` and a guard fit between the living; 0 when nowhere.
uint64_t Memory::gap(uint64_t from, uint64_t bytes) const {
  const uint64_t end = base_ + reserved_;
  auto next = living_.lower_bound(from);
  if (next != living_.begin()) {
    const auto before = std::prev(next);
    from = std::max(from, up(before->first + before->second + kGuard, kAlignment));
  }
  for (; next != living_.end(); ++next) {
    if (from + bytes + kGuard <= next->first) return from;
    from = up(next->first + next->second + kGuard, kAlignment);
  }
  return from + bytes + kGuard <= end ? from : 0;
}

uint64_t Memory::allocate(uint64_t bytes) {
  if (bytes == 0) return 0;
  uint64_t address;
  {
    std::unique_lock lock(mutex_);
    if (bytes > capacity_ - used_) return 0;
    // Whole pages to large allocations, so that a freed one gives its pages back to the host.
    const uint64_t from = bytes >= kPage ? up(next_, kPage) : next_;
    address = gap(from, bytes);
    if (address == 0) {
      address = gap(base_, bytes);
      if (address == 0) return 0;
      freed_.clear();
    }
    living_[address] = bytes;
    used_ += bytes;
    next_ = up(address + bytes + kGuard, kAlignment);
  }
  std::memset(arena_ + (address - base_), 0xcd, bytes);
  return address;
}

bool Memory::free(uint64_t address) {
  std::unique_lock lock(mutex_);
  const auto found = living_.find(address);
  if (found == living_.end()) return false;
  const uint64_t bytes = found->second;
  const uint64_t first = up(address - base_, kPage), last = (address - base_ + bytes) / kPage * kPage;
  if (last > first) madvise(arena_ + first, last - first, MADV_DONTNEED);
  used_ -= bytes;
  living_.erase(found);
  freed_[address] = bytes;
  if (freed_.size() > 4096) freed_.erase(freed_.begin());
  return true;
}

Range Memory::find(uint64_t address) const {
  std::shared_lock lock(mutex_);
  auto after = living_.upper_bound(address);
  if (after == living_.begin()) return {};
  --after;
  if (address >= after->first + after->second) return {};
  return {after->first, after->first + after->second};
}

uint8_t* Memory::host(uint64_t address, uint64_t bytes) const {
  const Range range = find(address);
  if (range.end == 0 || bytes > range.end - address) return nullptr;
  return arena_ + (address - base_);
}

uint64_t Memory::used() const {
  std::shared_lock lock(mutex_);
  return used_;
}

std::string Memory::describe(uint64_t address) const {
  std::shared_lock lock(mutex_);
  const auto of = [](const std::pair<const uint64_t, uint64_t>& a) {
    return "an allocation of " + std::to_string(a.second) + " bytes at " + hex(a.first);
  };
  const auto gone = freed_.upper_bound(address);
  if (gone != freed_.begin()) {
    const auto& f = *std::prev(gone);
    if (address < f.first + f.second) return "in " + of(f) + " that was freed";
  }
  const auto after = living_.upper_bound(address);
  const auto* before = after == living_.begin() ? nullptr : &*std::prev(after);
  if (before != nullptr && address < before->first + before->second)
    return std::to_string(address - before->first) + " bytes into " + of(*before);
  const uint64_t behind = before == nullptr ? ~uint64_t{0} : address - before->first - before->second;
  const uint64_t ahead = after == living_.end() ? ~uint64_t{0} : after->first - address;
  if (std::min(behind, ahead) > (uint64_t{1} << 32)) return "far from every allocation";
  if (behind <= ahead) return std::to_string(behind) + " bytes after the end of " + of(*before);
  return std::to_string(ahead) + " bytes before " + of(*after);
}

}  // namespace simulator
