// The arguments of the convolution kernels, read from a launch and checked.
#pragma once

#include <cstdint>

#include "conv.h"

namespace fracstride {

struct ConvCall {
  const void* first;
  const void* second;
  const void* bias;
  void* output;
  ConvShape shape;
  int activation;
  double slope;
};

// Arguments of the `general` tables of codegen/passes.ts.
ConvCall read_product_call(void** params);
ConvCall read_wgrad_call(void** params);

// Pitches of a [n, c, h, w] tensor in a layout, for positions one step apart.
struct Pitches {
  int64_t n, c, h, w;
};
Pitches pitches_of(ConvLayout layout, int64_t c, int64_t h, int64_t w);

inline const void* element(const void* data, int64_t index, int bytes) {
  return data == nullptr ? nullptr : static_cast<const char*>(data) + index * bytes;
}
inline void* element(void* data, int64_t index, int bytes) {
  return static_cast<char*>(data) + index * bytes;
}

}  // namespace fracstride
