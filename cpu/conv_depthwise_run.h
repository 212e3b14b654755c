// A depthwise product on its way from its arguments to the driver of its layout.
#pragma once

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

// Positions q of an axis from `first` on, of `small`, for which indices [q · stride − padding, … + extent) are in [0,
// large).
struct WholePositions {
  int64_t first, last;
};
WholePositions whole_positions(int64_t small, int64_t large, int64_t extent, int64_t stride, int64_t padding,
                               int64_t first);

void run_pixels(const DepthwiseProduct& product, const DepthwiseEngine& engine);

}  // namespace fracstride
