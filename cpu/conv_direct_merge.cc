#include "conv_direct_merge.h"

#include <algorithm>

namespace fracstride {
namespace {

std::vector<int64_t> deltas_of(const AxisPhase& phase, int64_t shift) {
  std::vector<int64_t> deltas;
  for (const AxisTap& tap : phase.taps) deltas.push_back(tap.delta - shift);
  return deltas;
}

std::vector<Read> reads_of(const Axis& axis, const std::vector<int64_t>& deltas) {
  std::vector<Read> reads;
  for (const int64_t delta : deltas) {
    const int64_t shift = floor_divide(delta, axis.input_step);
    reads.push_back(
        {delta, delta - shift * axis.input_step, shift, -shift, -floor_divide(delta - axis.input, axis.input_step)});
  }
  return reads;
}

}  // namespace

std::vector<Merged> merge_phases(const Axis& axis, bool shifted) {
  std::vector<Merged> all;
  for (const AxisPhase& phase : axis.phases) {
    const int64_t shift = shifted && !phase.taps.empty() ? phase.taps.front().delta : 0;
    const std::vector<int64_t> deltas = deltas_of(phase, shift);
    auto same = std::find_if(all.begin(), all.end(), [&](const Merged& m) { return m.deltas == deltas; });
    if (same == all.end())
      same = all.insert(all.end(), Merged{{}, deltas, reads_of(axis, deltas), shift, shift + phase.count});
    same->members.push_back({&phase, phase.first, shift});
    same->first = std::min(same->first, shift);
    same->last = std::max(same->last, shift + phase.count);
  }
  return all;
}

}  // namespace fracstride
