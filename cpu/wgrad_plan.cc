#include "wgrad_plan.h"

#include <algorithm>

#include "conv_plan.h"

namespace fracstride {
namespace {

// A plane's taps share a packed copy unless they lie so far apart that most of it would be read by none.
constexpr int64_t WIDEST_SPAN = 16;

void add_tap(WgradAxis& axis, int64_t residue, int64_t count, int64_t shift) {
  for (size_t i = 0; i < axis.planes.size(); i++) {
    ResiduePlane& plane = axis.planes[i];
    if (plane.residue != residue || std::max(plane.high, shift) - std::min(plane.low, shift) > WIDEST_SPAN) continue;
    plane.low = std::min(plane.low, shift);
    plane.high = std::max(plane.high, shift);
    axis.taps.push_back({static_cast<int64_t>(i), shift});
    return;
  }
  axis.taps.push_back({static_cast<int64_t>(axis.planes.size()), shift});
  axis.planes.push_back({residue, count, shift, shift});
}

// Indices of a plane that positions [begin, end) of S meet.
PlaneRange range_of(const ResiduePlane& plane, int64_t begin, int64_t end) {
  const int64_t first = std::max<int64_t>(0, begin + plane.low), last = std::min(plane.count, end + plane.high);
  return {first, std::max<int64_t>(0, last - first), 0};
}

}  // namespace

WgradAxis wgrad_axis(int64_t small, int64_t large, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation) {
  WgradAxis axis = {small, stride, {}, {}};
  for (int64_t k = 0; k < kernel; k++) {
    const int64_t delta = k * dilation - padding;
    const int64_t shift = delta >= 0 ? delta / stride : -((-delta + stride - 1) / stride);
    const int64_t residue = delta - shift * stride;
    add_tap(axis, residue, residue < large ? divide_up(large - residue, stride) : 0, shift);
  }
  return axis;
}

void plan_block(const WgradAxis& h, const WgradAxis& w, int64_t row0, int64_t row1, int64_t j0, int64_t j1,
                WgradBlock& block) {
  block.row0 = row0;
  block.row1 = row1;
  block.j0 = j0;
  block.j1 = j1;
  block.bands.clear();
  block.rows.clear();
  block.columns.clear();
  block.plane_at.clear();
  std::vector<int64_t> filled(h.planes.size(), 0);
  for (int64_t row = row0; row < row1;) {
    const int64_t n = row / h.small, i0 = row % h.small, i1 = std::min(h.small, i0 + row1 - row);
    block.bands.push_back({n, i0, i1, row - row0});
    for (size_t p = 0; p < h.planes.size(); p++) {
      PlaneRange range = range_of(h.planes[p], i0, i1);
      range.at = filled[p];
      filled[p] += range.count;
      block.rows.push_back(range);
    }
    row += i1 - i0;
  }
  for (const ResiduePlane& plane : w.planes) block.columns.push_back(range_of(plane, j0, j1));
  block.positions = 0;
  for (const int64_t rows : filled)
    for (const PlaneRange& columns : block.columns) {
      block.plane_at.push_back(block.positions);
      block.positions += rows * columns.count;
    }
}

void add_segments(const WgradAxis& h, const WgradAxis& w, const WgradBlock& block, int64_t tap_h, int64_t tap_w,
                  int64_t row0, int64_t row1, const WgradEngine& engine, std::vector<Segment>& segments) {
  const ShiftedTap &th = h.taps[tap_h], &tw = w.taps[tap_w];
  const int64_t planes_h = static_cast<int64_t>(h.planes.size()), planes_w = static_cast<int64_t>(w.planes.size());
  const PlaneRange& columns = block.columns[tw.plane];
  const int64_t plane = block.plane_at[th.plane * planes_w + tw.plane];
  const int64_t first = std::max(block.j0, -tw.shift), last = std::min(block.j1, w.planes[tw.plane].count - tw.shift);
  const size_t begin = segments.size();
  for (size_t b = 0; first < last && b < block.bands.size(); b++) {
    const Band& band = block.bands[b];
    const PlaneRange& rows = block.rows[b * planes_h + th.plane];
    const int64_t i0 = std::max({band.i0, band.i0 + row0 - band.row, -th.shift});
    const int64_t i1 = std::min({band.i1, band.i0 + row1 - band.row, h.planes[th.plane].count - th.shift});
    for (int64_t i = i0; i < i1; i++) {
      const int64_t from_a =
          plane + (rows.at + i + th.shift - rows.first) * columns.count + first + tw.shift - columns.first;
      const int64_t from_b = (band.row + i - band.i0) * block.width() + first - block.j0;
      const Segment next = {from_a * engine.a_pitch, from_b * engine.lanes, last - first};
      if (segments.size() > begin) {
        Segment& previous = segments.back();
        const bool joined = previous.a + previous.depth * engine.a_pitch == next.a &&
                            previous.b + previous.depth * engine.lanes == next.b;
        if (joined) {
          previous.depth += next.depth;
          continue;
        }
      }
      segments.push_back(next);
    }
  }
}

}  // namespace fracstride
