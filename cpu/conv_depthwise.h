// Depthwise convolutions (one channel a group on both sides), as their drivers (cpu/conv_depthwise_*.cc) and the
// generated files of one instruction set see each other: plain data and function pointers only.
//
// NCHW, lanes are positions: rows of a plane are staged as T with zeros around them, so that no load needs a mask:
//   staged[row][remainder][j] = plane[row0 + row][column0 + remainder + j · step]
// NHWC, lanes are channels: pixels are read where they lie, and only those that exist.
#pragma once

#include <stdint.h>

#include "conv.h"

namespace fracstride {

struct DepthwiseStage {
  const void* plane;
  int64_t h, w, row0, rows, column0, step, pitch;
  void* to;
};

// Lines of a plane by one of the unrolled kernels, as T, whole vectors of them; lines from `lines` on go to `spare`.
// `stream`: past the caches, all lines being aligned.
struct DepthwiseBlocks {
  const void* staged;
  int64_t pitch, row_pitch, block_pitch;
  const void* weight;
  double bias;
  void* to;
  void* spare;
  int64_t to_pitch, lines, positions;
  bool stream;
};

// to[i · to_step] = Σ_t weight[weight_at[t]] · staged[staged_at[t] + i] for i < count
struct DepthwiseLine {
  const void* staged;
  const void* weight;
  const int64_t* staged_at;
  const int64_t* weight_at;
  int64_t taps, count;
  void* to;
  int64_t to_step;
  LineFinish finish;
};

// For each pixel i < count and channel: to[i · to_step] = Σ_t weight[weight_at[t]] · from[from_at[t] + i · from_step];
// weights and bias are T, their channels padded to whole vectors.
struct DepthwisePixels {
  const void* from;
  const void* weight;
  const int64_t* from_at;
  const int64_t* weight_at;
  int64_t taps, count, channels;
  int64_t from_step, to_step;
  void* to;
  LineFinish finish;
};

// Adds to sums[t][lane] (T), lanes of one vector: Σ small[row · small_pitch + i] · large[at[t] + row · large_pitch + i]
// over rows and the i of each lane; `count` is a multiple of the lanes.
struct DepthwisePlaneSums {
  const void* small;
  const void* large;
  int64_t small_pitch, large_pitch, rows, count;
  const int64_t* at;
  int64_t taps;
  void* sums;
};

// Adds to sums[weight_at[t] + channel] (T): Σ_i small[i · small_step] · large[at[t] + i · large_step].
struct DepthwisePixelSums {
  const void* small;
  const void* large;
  int64_t small_step, large_step, count, channels;
  const int64_t* at;
  const int64_t* weight_at;
  int64_t taps;
  void* sums;
};

// An unrolled kernel for square kernels and strides; `padding` is the remainder of the padding by the stride. It writes
// `lines` lines at once, in each `columns` neighbours a position.
struct DepthwiseShape {
  bool expand;
  int kernel, stride, padding, lines, columns;
  void (*run)(const DepthwiseBlocks& what);
};

struct DepthwiseEngine {
  int storage_bytes, accumulator_bytes, width, shape_count;
  const DepthwiseShape* shapes;
  void (*stage)(const DepthwiseStage& what);
  // to[i] = from[i] (T; whole vectors of it are read), activated, for i < count.
  void (*finish_line)(const void* from, int64_t count, const LineFinish& what, void* to);
  void (*line)(const DepthwiseLine& what);
  void (*pixels)(const DepthwisePixels& what);
  void (*sum_planes)(const DepthwisePlaneSums& what);
  void (*sum_pixels)(const DepthwisePixelSums& what);
  bool (*all_finite)(const void* values, int64_t count);
  // to[i] = from[i · step] as T, for i < count.
  void (*load)(const void* from, int64_t step, int64_t count, void* to);
  // to[i · to_step] = Σ_p Σ_l sums[p · pitch + i · step + l] over pieces and l < lanes, in that order.
  void (*store_sums)(const void* sums, int64_t pieces, int64_t pitch, int64_t count, int64_t step, int64_t lanes,
                     void* to, int64_t to_step);
  // Written past the caches, seen by every thread.
  void (*fence)();
};

// Whether tensors are planes: those of one channel are in both layouts.
inline bool in_planes(const ConvShape& shape, ConvLayout layout) {
  return layout == NCHW || shape.groups == 1;
}

// Kernel entries: params as codegen/passes.ts lists the `general` arguments of each contraction.
void depthwise_expand(void** params, const DepthwiseEngine& engine, ConvLayout layout);
void depthwise_contract(void** params, const DepthwiseEngine& engine, ConvLayout layout);
void depthwise_wgrad(void** params, const DepthwiseEngine& engine, ConvLayout layout);

}  // namespace fracstride
