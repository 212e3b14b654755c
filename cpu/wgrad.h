// The engine of weight gradients, as its driver (cpu/conv_wgrad.cc) and the generated files of one instruction set see
// each other: plain data and function pointers only. Sums run in the accumulator type T.
//
// A product is C[row][lane] = Σ_k A[k][row] · B[k][lane] over positions k; A is packed [k][a_pitch] or [row][k_pitch],
// B [k][lanes].
#pragma once

#include <stdint.h>

#include "conv.h"

namespace fracstride {

// `depth` neighbouring positions of both operands, in elements from their beginnings.
struct Segment {
  int64_t a, b, depth;
};

using SegmentsMicro = void (*)(const Segment* segments, int64_t count, const void* a, const void* b, void* c,
                               int64_t accumulate);

// Elements from[i · step] for i < count.
struct StridedLine {
  const void* from;
  int64_t step, count;
};

// Channels [0, channels) of rows × columns positions of a tensor: (c, r, i) at from[c · pitch_c + r · pitch_row +
// i · step], to to[(r · columns + i) · pitch + c]. Channels up to the next whole vector become 0.
// With `at`, channel c begins at at[c] instead of c · pitch_c.
struct PackGrid {
  const void* from;
  int64_t pitch_c, pitch_row, step, channels, rows, columns, pitch;
  const int64_t* at;
};

// Column q of C to to[lane · pitch + q] for lanes [0, lanes): its lanes begin at c[at[q]].
struct StoreColumns {
  const void* c;
  const int64_t* at;
  int64_t count, lanes, pitch;
};

struct WgradEngine {
  int storage_bytes, accumulator_bytes;
  // Register tile, pitches of A by k and by rows.
  int rows, lanes, half_lanes, a_pitch, k_pitch;
  // [A by k | A by rows][half | all lanes][rows − 1]
  SegmentsMicro micro[2][2][MAX_TILE_ROWS];
  void (*pack)(const PackGrid& what, void* to);
  // The same from elements of T whose positions are neighbours or `step` apart.
  void (*pack_full)(const PackGrid& what, void* to);
  // To and from neighbouring elements of T; whole vectors of `to` may be written by the first.
  void (*load_line)(const StridedLine& what, void* to);
  void (*store_line)(const void* from, int64_t count, void* to);
  void (*store)(const StoreColumns& what, void* to);
  // to[i] += from[i], both of T.
  void (*add)(const void* from, int64_t count, void* to);
  bool (*all_finite)(const void* sums, int64_t count);
};

void conv_wgrad(void** params, const WgradEngine& engine, ConvLayout layout);

}  // namespace fracstride
