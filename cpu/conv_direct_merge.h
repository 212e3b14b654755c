// Phases of one axis that read the same inputs, as rows of one product (cpu/conv_direct.cc).
#pragma once

#include <cstdint>
#include <vector>

#include "conv_plan.h"

namespace fracstride {

// An input index u·step + delta: element u + shift of the plane of a residue, which exists for low ≤ u < high.
struct Read {
  int64_t delta, residue, shift, low, high;
};

// Phases of one axis that read the same inputs: position q of a member is u − shift, its tap t reads u·step +
// deltas[t].
struct Merged {
  struct Member {
    const AxisPhase* phase;
    int64_t index, shift;
  };
  std::vector<Member> members;
  std::vector<int64_t> deltas;
  std::vector<Read> reads;
  int64_t first, last;
  int64_t size() const { return static_cast<int64_t>(members.size()); }
};

// The phases of an axis in groups that read the same inputs; `shifted`, or the same but for a shift.
std::vector<Merged> merge_phases(const Axis& axis, bool shifted);

}  // namespace fracstride
