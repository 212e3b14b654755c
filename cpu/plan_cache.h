// What a driver works out of a problem before it can begin, kept from one of its calls to the next: small calls would
// take longer to plan than to run.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>

#include "conv.h"

namespace fracstride {

// Everything that a plan depends on. `setting` tells apart what one driver does in several ways.
struct PlanKey {
  ConvShape shape;
  const void* engine;
  int64_t layout, setting;
};

// A driver's plans, of the thread that runs kernels. Of problems that fall on one slot the last one's is kept.
template <class Plan>
class PlanCache {
 public:
  // The plan of this key, made by make() unless it is kept. It stays until the driver's next call.
  template <class Make>
  Plan& find(const PlanKey& key, const Make& make) {
    const Words words = words_of(key);
    Slot& slot = slots_[hash(words) % SLOTS];
    if (slot.plan == nullptr || slot.words != words) {
      slot.plan.reset();
      slot.plan = make();
      slot.words = words;
    }
    return *slot.plan;
  }

 private:
  static constexpr size_t SLOTS = 64;
  using Words = std::array<int64_t, sizeof(PlanKey) / sizeof(int64_t)>;
  struct Slot {
    Words words;
    std::unique_ptr<Plan> plan;
  };

  static Words words_of(const PlanKey& key) {
    static_assert(sizeof(PlanKey) == sizeof(ConvShape) + 3 * sizeof(int64_t), "a key must have no gaps");
    Words words;
    std::memcpy(words.data(), &key, sizeof words);
    return words;
  }

  // FNV-1a, a word at a time, its upper half folded in.
  static uint64_t hash(const Words& words) {
    uint64_t value = 0xcbf29ce484222325;
    for (const int64_t word : words) value = (value ^ static_cast<uint64_t>(word)) * 0x100000001b3;
    return value ^ value >> 32;
  }

  std::array<Slot, SLOTS> slots_;
};

}  // namespace fracstride
