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

// Vectors of channels begin `width` apart; the last one ends with the channels where they are so many, and then has
// some of the one before it once more: nothing needs a mask.
inline int64_t first_channel(int64_t vector, int64_t channels, int64_t width) {
  const int64_t last = channels - width, first = vector * width;
  return last < 0 || first < last ? first : last;
}

// For each pixel i < count and channel: to[i · to_step] = Σ_t weight[weight_at[t]] · from[from_at[t] + i · from_step];
// weights and bias are T, weights [vector][tap][lane] with weight_pitch between vectors, the bias padded to one vector.
struct DepthwisePixels {
  const void* from;
  const void* weight;
  const int64_t* from_at;
  const int64_t* weight_at;
  int64_t weight_pitch, taps, count, channels;
  int64_t from_step, to_step;
  void* to;
  LineFinish finish;
};

// Rows of `count` positions that have all taps, by unrolled blocks: at least as many as one has. `from` is what the
// first one reads first, `to` its first output; pitches are between rows, in elements.
struct DepthwisePixelBlocks {
  const void* from;
  const void* weight;
  int64_t from_pitch, to_pitch, count, channels;
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

// Adds to sums[vector · sums_pitch + weight_at[t] + lane] (T): Σ_i small[i · small_step] · large[at[t] + i ·
// large_step].
struct DepthwisePixelSums {
  const void* small;
  const void* large;
  int64_t small_step, large_step, count, channels;
  const int64_t* at;
  const int64_t* weight_at;
  int64_t taps, sums_pitch;
  void* sums;
};

// Adds the products of all taps to sums[vector][tap][lane] (T), over up to `sum_rows` rows of `count` positions of S
// that have them all; `large` is what the first tap of the first position reads.
struct DepthwiseBlockSums {
  const void* small;
  const void* large;
  int64_t small_pitch, large_pitch, rows, count, channels;
  void* sums;
};

// An unrolled kernel for square kernels and strides; `padding` is the remainder of the padding by the stride. It writes
// `lines` lines at once, in each `columns` neighbours a position.
struct DepthwiseShape {
  bool expand;
  int kernel, stride, padding, lines, columns;
  void (*run)(const DepthwiseBlocks& what);
};

// The same for pixels, for any padding: positions of a block, and what computes rows of them.
struct DepthwisePixelBlock {
  int rows, columns;
  void (*run)(const DepthwisePixelBlocks& what);
};

struct DepthwisePixelShape {
  int kernel, stride;
  DepthwisePixelBlock expand, contract;
  int sum_rows;
  void (*sum)(const DepthwiseBlockSums& what);
};

struct DepthwiseEngine {
  int storage_bytes, accumulator_bytes, width, shape_count;
  const DepthwiseShape* shapes;
  int pixel_shape_count;
  const DepthwisePixelShape* pixel_shapes;
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
  // to[i] = Σ_l Σ_p sums[p · pitch + i · width + l] over pieces and lanes.
  void (*store_sums)(const void* sums, int64_t pieces, int64_t pitch, int64_t count, void* to);
  // to[l · taps + t] = Σ_p sums[p · pitch + t · width + l] for l < lanes.
  void (*store_lane_sums)(const void* sums, int64_t pieces, int64_t pitch, int64_t taps, int64_t lanes, void* to);
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
