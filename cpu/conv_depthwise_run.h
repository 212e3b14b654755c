// A depthwise product on its way from its arguments to the driver of its layout.
#pragma once

#include <algorithm>
#include <vector>

#include "conv_depthwise.h"
#include "conv_plan.h"

namespace fracstride {

struct DepthwiseProduct {
  ConvShape shape;
  bool expand;
  int64_t n, channels;
  // From what is read to what is written.
  Axis h, w;
  const void* from;
  const void* weight;
  void* to;
  LineFinish finish;
};

// The blocks of pixels for such a shape, or null.
const DepthwisePixelShape* pixel_shape(const ConvShape& shape, int64_t channels, const DepthwiseEngine& engine);

struct Span {
  int64_t first, last;
};

// Positions q of an axis from `first` on, of `small`, for which indices [q · stride − padding, … + extent) are in [0,
// large).
Span whole_positions(int64_t small, int64_t large, int64_t extent, int64_t stride, int64_t padding, int64_t first);

// Calls `each` with what of an interval's positions a span leaves.
template <class Each>
void for_the_rest(const Interval& part, const Span& done, const Each& each) {
  const int64_t q1 = std::min(part.q1, done.first), q0 = std::max(part.q0, done.last);
  if (part.q0 < q1) each(Interval{part.q0, q1, part.t0, part.t1});
  if (q0 < part.q1) each(Interval{q0, part.q1, part.t0, part.t1});
}

// The taps of pixels, a channel a lane: what position (q, q0 of an interval) reads, from the first pixel of its image
// on, and where its weights lie in [tap][lane].
struct PixelTaps {
  const Axis& h;
  const Axis& w;
  int64_t kernel_width, channels, lanes;

  void list(const AxisPhase& rows, const AxisPhase& columns, const Interval& part, int64_t q, std::vector<int64_t>& at,
            std::vector<int64_t>& weight_at) const {
    at.clear();
    weight_at.clear();
    for (const AxisTap& a : rows.taps) {
      const int64_t row = q * h.input_step + a.delta;
      if (row < 0 || row >= h.input) continue;
      for (int64_t t = part.t0; t < part.t1; t++) {
        const int64_t column = part.q0 * w.input_step + columns.taps[t].delta;
        at.push_back((row * w.input + column) * channels);
        weight_at.push_back((a.k * kernel_width + columns.taps[t].k) * lanes);
      }
    }
  }
};

void run_pixels(const DepthwiseProduct& product, const DepthwiseEngine& engine);

}  // namespace fracstride
