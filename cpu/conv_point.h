// Convolutions whose small side has few positions, as their driver (cpu/conv_point.cc) and the generated files of one
// instruction set see each other. The weight is a matrix W[ci][k] where it lies, k = (channel of the large side, tap);
// the large side is a matrix A[m][k] (zero where a tap reads nothing), the small side S[m][ci], m = (image, position):
//   contract  S = A · Wᵀ · wgrad  W = Sᵀ · A
#pragma once

#include <stdint.h>

#include "conv.h"

namespace fracstride {

constexpr int MAX_POINT_ROWS = 16;

// A tensor by images and positions: position q of image n and channel c is at n · pitch_n + c · pitch_c + q · pitch_q.
struct PointTensor {
  void* data;
  int64_t channels, positions, pitch_n, pitch_c, pitch_q;
};

// The problem: `at[q · taps + tap]` is the position of the large side that a tap of position q reads, −1 for none.
struct PointForm {
  PointTensor small, large;
  const int64_t* at;
  int64_t rows, taps, depth, pitch;
  // Whether there is one position, whose taps are the large side in the order of its positions.
  bool in_order;
  const void* weight;
  const void* bias;
  int activation;
  double slope;
};

// The operands of wgrad, S as [m][ci] and A, and where W belongs. `exact`: sums that are not finite may have met a zero
// that stands for nothing.
struct PointSums {
  const void* small;
  const void* large;
  void* weight;
  bool exact;
};

struct PointEngine {
  int storage_bytes, accumulator_bytes, rows, lanes;
  // S as T, to[m · pitch_m + ci · pitch_ci].
  void (*gather_small)(const PointForm& form, int64_t pitch_m, int64_t pitch_ci, void* to);
  // Row m of A as T, `pitch` elements.
  void (*gather_large)(const PointForm& form, int64_t m, void* to);
  // S of rows [m0, m1) and channels [c0, c1).
  void (*contract)(const PointForm& form, const void* large, int64_t m0, int64_t m1, int64_t c0, int64_t c1);
  // W of channels [c0, c1) and columns [k0, k1), of which k0 is a multiple of `lanes`; `panels` has room for the
  // columns of A, in whole panels of lanes.
  void (*wgrad)(const PointForm& form, const PointSums& what, int64_t c0, int64_t c1, int64_t k0, int64_t k1,
                void* panels);
  bool (*all_finite)(const void* from, int64_t count);
};

// Kernel entries: params as codegen/passes.ts lists the `general` arguments of each contraction.
void point_contract(void** params, const PointEngine& engine, ConvLayout layout);
void point_wgrad(void** params, const PointEngine& engine, ConvLayout layout);

}  // namespace fracstride
