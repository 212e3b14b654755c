// The names of the kernels launched last, for the sentence of a failure that shows only later.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace fracstride {

class Launches {
 public:
  // `name` must live as long as this object.
  void note(const char* name) noexcept {
    names_[count_.fetch_add(1, std::memory_order_relaxed) % kKept].store(name, std::memory_order_relaxed);
  }

  // Launches so far; to be asked before waiting, and handed to `ran` once the wait succeeded.
  uint64_t count() const noexcept { return count_.load(std::memory_order_relaxed); }

  void ran(uint64_t count) noexcept {
    uint64_t known = ran_.load(std::memory_order_relaxed);
    while (known < count && !ran_.compare_exchange_weak(known, count, std::memory_order_relaxed)) {
    }
  }

  // What may have been running: `while a ran`, `in one of the 5 launches since the last wait, newest first: a, b, c,
  // …`.
  std::string suspects() const {
    const uint64_t count = count_.load(std::memory_order_relaxed), ran = ran_.load(std::memory_order_relaxed);
    if (count <= ran) return "in no kernel: none was launched since the last wait";
    std::vector<std::string> names;
    uint64_t at = count;
    for (; at > ran && at + kKept > count && names.size() <= kNamed; --at) {
      const char* name = names_[(at - 1) % kKept].load(std::memory_order_relaxed);
      if (name == nullptr) continue;
      bool known = false;
      for (const std::string& seen : names) known = known || seen == name;
      if (!known) names.push_back(name);
    }
    if (names.empty()) return "in a kernel whose launch was just under way";
    if (names.size() == 1 && at == ran) return "while " + names[0] + " ran";
    std::string text = "in one of the " + std::to_string(count - ran) + " launches since the last wait, newest first: ";
    for (size_t i = 0; i < names.size() && i < kNamed; ++i) text += (i == 0 ? "" : ", ") + names[i];
    return names.size() > kNamed || at > ran ? text + ", …" : text;
  }

 private:
  static constexpr uint64_t kKept = 64;
  static constexpr size_t kNamed = 3;
  std::atomic<uint64_t> count_{0}, ran_{0};
  std::atomic<const char*> names_[kKept]{};
};

}  // namespace fracstride
