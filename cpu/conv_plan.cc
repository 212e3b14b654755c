#include "conv_plan.h"

#include <algorithm>

namespace fracstride {
namespace {

// Taps of `phase` that exist for position q: neighbours, since their deltas are monotonic.
Interval taps_at(const Axis& axis, const AxisPhase& phase, int64_t q) {
  Interval found = {q, q + 1, 0, 0};
  const int64_t count = static_cast<int64_t>(phase.taps.size());
  for (int64_t t = 0; t < count; t++) {
    const int64_t index = q * axis.input_step + phase.taps[t].delta;
    if (index < 0 || index >= axis.input) continue;
    if (found.t1 == 0) found.t0 = t;
    found.t1 = t + 1;
  }
  return found;
}

bool are_alike(const AxisPhase& a, const AxisPhase& b) {
  const auto same_delta = [](const AxisTap& x, const AxisTap& y) { return x.delta == y.delta; };
  return a.count == b.count && std::equal(a.taps.begin(), a.taps.end(), b.taps.begin(), b.taps.end(), same_delta);
}

}  // namespace

std::vector<Alike> alike_phases(const Axis& axis, int64_t most) {
  std::vector<Alike> found;
  for (const AxisPhase& phase : axis.phases) {
    if (!found.empty() && found.back().count < most && are_alike(*found.back().first, phase)) {
      found.back().count++;
    } else {
      found.push_back({&phase, 1});
    }
  }
  return found;
}

Axis expand_axis(int64_t input, int64_t output, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation) {
  Axis axis = {input, output, stride, 1, {}};
  for (int64_t first = 0; first < std::min(stride, output); first++) {
    AxisPhase phase = {first, divide_up(output - first, stride), {}};
    for (int64_t k = 0; k < kernel; k++) {
      const int64_t distance = first + padding - k * dilation;
      const int64_t delta = floor_divide(distance, stride);
      if (delta * stride == distance) phase.taps.push_back({k, delta});
    }
    axis.phases.push_back(std::move(phase));
  }
  return axis;
}

Axis contract_axis(int64_t input, int64_t output, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation) {
  Axis axis = {input, output, 1, stride, {}};
  AxisPhase phase = {0, output, {}};
  for (int64_t k = 0; k < kernel; k++) phase.taps.push_back({k, k * dilation - padding});
  if (output > 0) axis.phases.push_back(std::move(phase));
  return axis;
}

std::vector<Interval> exact_intervals(const Axis& axis, const AxisPhase& phase) {
  std::vector<Interval> intervals;
  for (int64_t q = 0; q < phase.count; q++) {
    const Interval next = taps_at(axis, phase, q);
    if (!intervals.empty() && intervals.back().t0 == next.t0 && intervals.back().t1 == next.t1) {
      intervals.back().q1 = next.q1;
    } else {
      intervals.push_back(next);
    }
  }
  return intervals;
}

std::vector<Interval> whole_interval(const std::vector<Interval>& exact) {
  if (exact.empty()) return {};
  Interval whole = {exact.front().q0, exact.back().q1, 0, 0};
  for (const Interval& part : exact) {
    if (part.t1 == 0) continue;
    whole.t0 = whole.t1 == 0 ? part.t0 : std::min(whole.t0, part.t0);
    whole.t1 = std::max(whole.t1, part.t1);
  }
  return {whole};
}

Depth cut_depth(int64_t taps, int64_t channels, int64_t depth, int64_t together) {
  const int64_t t = std::max<int64_t>(taps, 1), c = std::max<int64_t>(channels, 1);
  const int64_t most_taps = std::max<int64_t>(depth / std::min(c, together), 1);
  const int64_t tap_block = divide_up(t, divide_up(t, most_taps));
  const int64_t most_channels = std::max<int64_t>(depth / tap_block, 1);
  return {taps, channels, tap_block, divide_up(c, divide_up(c, most_channels))};
}

void add_runs(const Grid& grid, int64_t begin, int64_t end, std::vector<Run>& runs) {
  const int64_t width = grid.w1 - grid.w0, height = grid.h1 - grid.h0;
  for (int64_t p = begin; p < end;) {
    const int64_t row = p / width, column = p % width;
    const int64_t count = std::min(width - column, end - p);
    runs.push_back({p - begin, count, row / height, grid.h0 + row % height, grid.w0 + column});
    p += count;
  }
}

}  // namespace fracstride
