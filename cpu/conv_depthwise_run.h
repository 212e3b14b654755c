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

void run_pixels(const DepthwiseProduct& product, const DepthwiseEngine& engine);

}  // namespace fracstride
