// Sums of a weight gradient in chunks: tasks sum over a part of the positions each, in memory of their own.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>

#include "conv_plan.h"
#include "team.h"
#include "wgrad.h"

namespace fracstride {

// [group][chunk][element] of T.
class WgradChunks {
 public:
  // A chunk of a group is so many elements, and zeros up to whole vectors.
  WgradChunks(const WgradEngine& engine, int64_t groups, int64_t used)
      : e_(engine), groups_(groups), used_(used), elements_(divide_up(used, engine.lanes) * engine.lanes) {}

  bool fits() const { return groups_ * bytes() <= MOST_BYTES; }
  // As many chunks as `tasks` without chunks want, of so many blocks of positions: of the problem alone.
  void cut(int64_t tasks, int64_t blocks) {
    count_ = std::min({divide_up(WANTED_TASKS, tasks), blocks, MOST_BYTES / (groups_ * bytes())});
  }
  int64_t count() const { return count_; }

  // Takes SCRATCH_CALL_A.
  void allocate() {
    sums_ = static_cast<char*>(scratch(SCRATCH_CALL_A, count_ * groups_ * bytes()));
    const int64_t used = used_ * e_.accumulator_bytes;
    for (int64_t i = 0; i < count_ * groups_; i++) std::memset(sums_ + i * bytes() + used, 0, bytes() - used);
  }
  char* at(int64_t group, int64_t chunk) const { return sums_ + (group * count_ + chunk) * bytes(); }

  // Adds all chunks of each group to its first, in order, in pieces that do not depend on the number of threads. False
  // when a sum is not finite.
  bool add() const {
    std::atomic<bool> finite{true};
    parallel_ranges(elements_, PIECE, [&](int64_t begin, int64_t end) {
      for (int64_t group = 0; group < groups_; group++) {
        char* const sum = at(group, 0) + begin * e_.accumulator_bytes;
        for (int64_t i = 1; i < count_; i++) e_.add(sum + i * bytes(), end - begin, sum);
        if (!e_.all_finite(sum, end - begin)) finite = false;
      }
    });
    return finite;
  }

 private:
  static constexpr int64_t WANTED_TASKS = 32, MOST_BYTES = 16 << 20, PIECE = 4096;

  int64_t bytes() const { return elements_ * e_.accumulator_bytes; }

  const WgradEngine& e_;
  int64_t groups_, used_, elements_, count_ = 1;
  char* sums_ = nullptr;
};

}  // namespace fracstride
