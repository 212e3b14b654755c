// The engine of weight gradients, as its driver (cpu/conv_wgrad.cc) and the generated files of one instruction set see
// each other: plain data and function pointers only. Sums run in the accumulator type T.
//
// A product is C[row][lane] = Σ_k A[k][row] · B[k][lane] over positions k; A is packed [k][a_pitch], B [k][lanes].
#pragma once

#include <stdint.h>

#include "conv.h"
#include "patches.h"

namespace fracstride {

// `depth` neighbouring positions of both operands, in elements from their beginnings.
struct Segment {
  int64_t a, b, depth;
};

using SegmentsMicro = void (*)(const Segment* segments, int64_t count, const void* a, const void* b, void* c,
                               int64_t accumulate);

// Channels [0, channels) of rows × columns positions of a tensor: (c, r, i) at from[c · pitch_c + r · pitch_row +
// i · step], to to[(r · columns + i) · pitch + c]. Channels up to the next whole vector become 0. Of `planes` that
// begin at from, from + 1, …, the next one is packed pitch_plane further on.
struct PackGrid {
  const void* from;
  int64_t pitch_c, pitch_row, step, channels, rows, columns, pitch;
  int64_t planes = 1, pitch_plane = 0;
};

constexpr int MAX_PACKED_PLANES = 4;

// Column q of C to to[lane · pitch + q] for lanes [0, lanes): its lanes begin at c[at[q]].
struct StoreColumns {
  const void* c;
  const int64_t* at;
  int64_t count, lanes, pitch;
};

// Sums over `runs` of `length` positions, whole vectors: sums[row · pitch_sums + column] += Σ_run Σ_j
// a[row · pitch_a + run · step_a + j] · b[at[column] + run · step_b + j].
struct Dots {
  const void* a;
  const void* b;
  const int64_t* at;
  int64_t pitch_a, runs, length, step_a, step_b;
  void* sums;
  int64_t pitch_sums;
};

// Sums (tap, k) of a line to to[k · pitch + tap].
struct StoredPatch {
  int64_t taps, channels, pitch;
};

// sums[row · pitch_sums + lane] += Σ_p a[row · pitch_a + p · step_a] · b[p · pitch_b + lane] over `depth` positions p;
// vectors of b are `apart` elements apart. With each line of T of positions, a line is asked for with every row: rows
// are `ahead_pitch` bytes apart there, and what is asked for next is `ahead_step` bytes on.
struct PatchSums {
  const void* a;
  const void* b;
  int64_t pitch_a, step_a, depth, pitch_b, apart;
  void* sums;
  int64_t pitch_sums;
  const char* ahead;
  int64_t ahead_pitch, ahead_step;
};

constexpr int MAX_DOT_ROWS = 4, MAX_DOT_COLUMNS = 6;
constexpr int MAX_SUM_ROWS = 8, MAX_SUM_VECTORS = 3;

struct WgradEngine {
  int storage_bytes, accumulator_bytes;
  // Register tile, pitch of A, and positions of one product.
  int rows, lanes, half_lanes, a_pitch, depth;
  // [half | all lanes][rows − 1]
  SegmentsMicro micro[2][MAX_TILE_ROWS];
  void (*pack)(const PackGrid& what, void* to);
  void (*store_line)(const void* from, int64_t count, void* to);
  void (*store)(const StoreColumns& what, void* to);
  // to[i] += from[i], both of T.
  void (*add)(const void* from, int64_t count, void* to);
  bool (*all_finite)(const void* sums, int64_t count);
  // [rows − 1][columns − 1]
  int dot_rows, dot_columns;
  void (*dots[MAX_DOT_ROWS][MAX_DOT_COLUMNS])(const Dots& what);
  PatchEngine patches;
  void (*store_patch)(const void* from, const StoredPatch& what, void* to);
  // [vectors − 1][rows − 1]
  int sum_rows, sum_vectors;
  void (*patch_sums[MAX_SUM_VECTORS][MAX_SUM_ROWS])(const PatchSums& what);
};

void conv_wgrad(void** params, const WgradEngine& engine, ConvLayout layout);

}  // namespace fracstride
