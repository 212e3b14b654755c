// The algebra of the weight gradient: for each tap, which positions of S meet which positions of L.
//
// Tap k of an axis pairs S[i] with L[i·stride + k·dilation − padding]. L is split by residues modulo the stride into
// planes, plane r holding L[q·stride + r] at q: the tap then pairs S[i] with q = i + shift of one plane, and all taps
// of a plane read the same packed copy. Positions that do not exist take no part, so no zero stands for any.
#pragma once

#include <cstdint>
#include <vector>

#include "wgrad.h"

namespace fracstride {

struct ShiftedTap {
  int64_t plane, shift;
};

// Indices residue + q·stride for q in [0, count); its taps shift by low … high.
struct ResiduePlane {
  int64_t residue, count, low, high;
};

struct WgradAxis {
  int64_t small, stride;
  std::vector<ShiftedTap> taps;
  std::vector<ResiduePlane> planes;
};

WgradAxis wgrad_axis(int64_t small, int64_t large, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation);

// Rows [i0, i1) of image n, from packed row `row` of S on.
struct Band {
  int64_t n, i0, i1, row;
};

// Packed rows or columns [first, first + count) of a plane; rows lie from packed row `at` on.
struct PlaneRange {
  int64_t first, count, at;
};

// A block of positions: rows [row0, row1) in the order n, i by columns [j0, j1), with what is packed for it.
struct WgradBlock {
  int64_t row0, row1, j0, j1;
  std::vector<Band> bands;
  // [band][plane of rows], [plane of columns]
  std::vector<PlaneRange> rows, columns;
  // Packed positions before each plane [rows][columns], and of all of them.
  std::vector<int64_t> plane_at;
  int64_t positions;
  int64_t width() const { return j1 - j0; }
};

void plan_block(const WgradAxis& h, const WgradAxis& w, int64_t row0, int64_t row1, int64_t j0, int64_t j1,
                WgradBlock& block);

// Appends the segments of a tap for the block's rows [row0, row1), counted from its first one.
void add_segments(const WgradAxis& h, const WgradAxis& w, const WgradBlock& block, int64_t tap_h, int64_t tap_w,
                  int64_t row0, int64_t row1, const WgradEngine& engine, std::vector<Segment>& segments);

}  // namespace fracstride
