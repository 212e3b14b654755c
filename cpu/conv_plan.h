// The algebra of a contraction that writes positions (expand, contract): residue classes of its output, the taps of
// each, and where those taps exist.
//
// On one axis, output index o = first + q·step reads input index q·input_step + delta of each of its taps. expand:
// tap k reaches o when o + p − k·d is a multiple of the stride s; the outputs fall into s classes (phases), q counts
// within one, input_step = 1. contract: one class, input_step = s, delta = k·d − p.
#pragma once

#include <cstdint>
#include <vector>

#include "conv.h"

namespace fracstride {

// Of a line of the caches.
constexpr int64_t LINE_BYTES = 64;

// Asks for what lies there, line by line.
inline void ask_for(const char* from, int64_t bytes) {
  for (int64_t at = 0; at < bytes; at += LINE_BYTES) __builtin_prefetch(from + at);
}

struct AxisTap {
  int64_t k, delta;
};

// Lanes [first, last) of a vector as bits; at most 32.
inline uint32_t lane_bits(int64_t first, int64_t last) {
  return first >= last ? 0 : static_cast<uint32_t>((uint64_t{1} << last) - (uint64_t{1} << first));
}

// One class of output indices; taps by rising k.
struct AxisPhase {
  int64_t first, count;
  std::vector<AxisTap> taps;
};

// Positions [q0, q1) of a phase and taps [t0, t1) that exist for some of them; for all of them when exact.
struct Interval {
  int64_t q0, q1, t0, t1;
};

struct Axis {
  int64_t input, output, step, input_step;
  std::vector<AxisPhase> phases;
};

// `count` phases that follow each other and read the same inputs: as many positions, the same deltas.
struct Alike {
  const AxisPhase* first;
  int64_t count;
};

// Every phase of an axis, in runs of alike ones of no more than `most`.
std::vector<Alike> alike_phases(const Axis& axis, int64_t most);

Axis expand_axis(int64_t input, int64_t output, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation);
Axis contract_axis(int64_t input, int64_t output, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation);

// A partition of the phase's positions by the taps that exist.
std::vector<Interval> exact_intervals(const Axis& axis, const AxisPhase& phase);
// One interval of all positions and the taps that any of them needs (none when there are no positions).
std::vector<Interval> whole_interval(const std::vector<Interval>& exact);

// How the K dimension of a product of `taps` taps and `channels` channels is cut: blocks of channels, in each blocks of
// taps, in each the taps, in each the channels. No block is deeper than `depth`, and as many channels as `together` are
// in one where there are so many.
struct Depth {
  int64_t taps, channels, tap_block, channel_block;
};

Depth cut_depth(int64_t taps, int64_t channels, int64_t depth, int64_t together);

// Rows [h0, h1) × columns [w0, w1) of every image.
struct Grid {
  int64_t n, h0, h1, w0, w1;
  int64_t positions() const { return n * (h1 - h0) * (w1 - w0); }
};

// Appends the runs of positions [begin, end) of a grid, counted in the order n, qh, qw.
void add_runs(const Grid& grid, int64_t begin, int64_t end, std::vector<Run>& runs);

inline int64_t floor_divide(int64_t a, int64_t b) {
  return a >= 0 ? a / b : -((-a + b - 1) / b);
}

inline int64_t divide_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

}  // namespace fracstride
