#include "access.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>

#include "count.h"

namespace simulator {

namespace {

std::string hex(uint64_t n) {
  char text[32];
  std::snprintf(text, sizeof text, "0x%" PRIx64, n);
  return text;
}

std::string what(bool write, unsigned bytes, const std::string& where) {
  return std::string(write ? "writes " : "reads ") + std::to_string(bytes) + " bytes at " + where;
}

// One lane's address in any space; null when it fails.
uint8_t* reach_one(Warp& w, const Op& op, Space space, uint64_t address, unsigned bytes, bool write, int lane) {
  Block& block = *w.block;
  if (space == Space::kGeneric) {
    space = Space::kGlobal;
    if (address - kSharedWindow < kWindowBytes)
      space = Space::kShared, address -= kSharedWindow;
    else if (address - kLocalWindow < kWindowBytes)
      space = Space::kLocal, address -= kLocalWindow;
    else if (address - kParameterWindow < kWindowBytes)
      space = Space::kParameter, address -= kParameterWindow;
  }
  const char* name = "";
  uint64_t size = 0;
  uint8_t* base = nullptr;
  switch (space) {
    case Space::kShared:
      name = "shared memory", size = block.shared_bytes, base = block.shared.data();
      break;
    case Space::kLocal:
      name = "local memory", size = w.code->local_bytes, base = w.local + size * static_cast<unsigned>(lane);
      break;
    case Space::kParameter:
      name = "the parameters", size = w.code->parameter_bytes;
      base = static_cast<uint8_t*>(const_cast<void*>(block.launch->parameters));
      if (write) size = 0;
      break;
    default:
      break;
  }
  if (base == nullptr) {
    const Range range = block.memory->find(address);
    if (range.end == 0 || bytes > range.end - address) {
      fail(w, op, kIllegalAddress, lane,
           what(write, bytes, hex(address) + ", " + block.memory->describe(range.end == 0 ? address : range.end)));
      return nullptr;
    }
    if (address % bytes != 0) {
      fail(w, op, kMisalignedAddress, lane,
           what(write, bytes, hex(address) + ", which is not a multiple of " + std::to_string(bytes)));
      return nullptr;
    }
    block.found[static_cast<size_t>(&op - w.code->ops.data())] = range;
    return reinterpret_cast<uint8_t*>(static_cast<intptr_t>(address) + block.delta);
  }
  if (address > size || bytes > size - address) {
    fail(w, op, kIllegalAddress, lane,
         what(write, bytes, hex(address) + " of " + name + ", which has " + std::to_string(size) + " bytes"));
    return nullptr;
  }
  if (address % bytes != 0) {
    fail(w, op, kMisalignedAddress, lane,
         what(write, bytes, hex(address) + " of " + name + ", which is not a multiple of " + std::to_string(bytes)));
    return nullptr;
  }
  return base + address;
}

}  // namespace

bool reach(Warp& w, const Op& op, Space space, unsigned bytes, bool write, Places& places, const Op* real) {
  if (real == nullptr) real = &op;
  const auto site = static_cast<size_t>(real - w.code->ops.data());
  alignas(64) int64_t address[32];
  const int64_t add = op.value;
  if ((op.small & kNarrow) != 0) {
    const uint32_t* a = cells<uint32_t>(w, op.a);
    // A 32-bit address wraps around as one.
    for (int i = 0; i < 32; i++)
      address[i] = static_cast<int64_t>(static_cast<uint32_t>(a[i] + static_cast<uint32_t>(add)));
  } else {
    const uint64_t* a = cells<uint64_t>(w, op.a);
    for (int i = 0; i < 32; i++) address[i] = static_cast<int64_t>(a[i] + static_cast<uint64_t>(add));
  }
  const uint32_t mask = w.mask;
  if (mask != kAll) {
    const int64_t first = address[std::countr_zero(mask)];
    for (int i = 0; i < 32; i++) address[i] = (mask >> i & 1) != 0 ? address[i] : first;
  }
  int64_t low = address[0], high = address[0], bits = 0, stray = 0;
  for (int i = 0; i < 32; i++) {
    low = std::min(low, address[i]);
    high = std::max(high, address[i]);
    bits |= address[i];
    stray |= static_cast<int64_t>((static_cast<uint64_t>(address[i]) - static_cast<uint64_t>(address[0])) ^
                                  (uint64_t{bytes} * static_cast<uint64_t>(i)));
  }
  Block& block = *w.block;
  Range range;
  intptr_t delta = 0;
  switch (space) {
    case Space::kShared:
      range = {0, block.shared_bytes};
      delta = reinterpret_cast<intptr_t>(block.shared.data());
      break;
    case Space::kLocal:
    case Space::kParameter:
      break;
    default:
      range = block.found[site];
      delta = block.delta;
      break;
  }
  places.uniform = places.adjacent = false;
  const bool inside =
      low >= static_cast<int64_t>(range.begin) && high <= static_cast<int64_t>(range.end) - static_cast<int64_t>(bytes);
  if (inside && (bits & (bytes - 1)) == 0) {
    places.uniform = low == high;
    places.adjacent = stray == 0 && mask == kAll;
    for (int i = 0; i < 32; i++) places.at[i] = reinterpret_cast<uint8_t*>(address[i] + delta);
  } else {
    bool good = true;
    lanes(mask, [&](int i) {
      if (good) places.at[i] = reach_one(w, *real, space, static_cast<uint64_t>(address[i]), bytes, write, i);
      good = good && places.at[i] != nullptr;
    });
    if (!good) return false;
  }
  if (block.launch->count_memory) {
    if (space == Space::kGlobal || (space == Space::kGeneric && low < static_cast<int64_t>(kSharedWindow)))
      count_global(block.counters, address, mask, bytes, write);
    else if (space == Space::kShared || (space == Space::kGeneric && low < static_cast<int64_t>(kLocalWindow)))
      count_shared(block.counters, address, mask, bytes, write);
  }
  return true;
}

void set_address(Op& op, const Build::Address& address) {
  op.a = address.at;
  op.value = address.offset;
  op.small = static_cast<uint8_t>((op.small & ~kNarrow) | (address.narrow ? kNarrow : 0));
}

Space space_of(Build& b, const Build::Address* address) {
  if (b.has("global")) return Space::kGlobal;
  if (b.has("shared") || b.has("shared::cta")) return Space::kShared;
  if (b.has("local")) return Space::kLocal;
  if (b.has("const")) return Space::kConstant;
  if (b.has("param")) {
    if (address == nullptr || address->space == Space::kGeneric) return Space::kGeneric;
    return address->space;
  }
  return Space::kGeneric;
}

void ignore_hints(Build& b) {
  for (const char* hint : {"nc",
                           "volatile",
                           "weak",
                           "relaxed",
                           "acquire",
                           "release",
                           "acq_rel",
                           "cta",
                           "cluster",
                           "gpu",
                           "sys",
                           "ca",
                           "cg",
                           "cs",
                           "lu",
                           "cv",
                           "wb",
                           "wt",
                           "L1::evict_normal",
                           "L1::evict_unchanged",
                           "L1::evict_first",
                           "L1::evict_last",
                           "L1::no_allocate",
                           "L2::64B",
                           "L2::128B",
                           "L2::256B",
                           "L2::cache_hint",
                           "L2::evict_last",
                           "L2::evict_normal",
                           "L2::evict_first",
                           "mmio"})
    b.has(hint);
}

}  // namespace simulator
