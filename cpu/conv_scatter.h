// expand by products of every tap alone, as its driver (cpu/conv_scatter.cc) and the generated files of one instruction
// set see each other. With columns q = (channel of L, tap) it is a matrix product over the channels of S, whose results
// are added up where their taps lead (the reverse of what columns.h gathers):
//   Y[q][position of S] = Σ_c W[c][q] · S[c][position]        L[k, y, x] = Σ_taps Y[(k, tap)][i, j]
// S is read where it lies, each tap is multiplied where its input exists and nowhere else. T is the accumulator.
#pragma once

#include <stdint.h>

#include "conv.h"

namespace fracstride {

// W as T: tiles of up to `rows` columns, each [c][column], or panels of `lanes` columns. Column q of channel c lies at
// data[offset[q] + c · pitch_c].
struct ScatterWeight {
  const void* data;
  const int64_t* offset;
  int64_t columns, channels, pitch_c;
};

// Products of neighbouring positions. Planes: S[c · pitch + position] to Y[q · to_pitch + position], where as many as
// `readable` positions lie in memory and `spare` holds a panel of `lanes` of them; pixels: S[position · pitch + c] to
// Y[position · to_pitch + q]. All are T.
struct ScatterProduct {
  const void* small;
  const void* weight;
  int64_t pitch, channels, positions, readable, columns;
  void* to;
  int64_t to_pitch;
  void* spare;
};

// One row of `channels` planes of L: column x of class f = x mod phases is Σ over sources i in [begin[f], begin[f + 1])
// of products[at[i] + x div phases], where lanes[i] has the lanes, as bits, of each vector that exist; `tile` holds
// phases × tile_pitch sums.
struct ScatterPlanes {
  const void* products;
  const int64_t* at;
  const uint32_t* const* lanes;
  const int64_t* begin;
  int64_t phases, vectors, columns, channels, product_pitch;
  void* tile;
  int64_t tile_pitch;
  void* to;
  int64_t to_pitch;
  LineFinish finish;
};

// Blocks [first, last) of a row of pixels have sources [begin, end).
struct ScatterPart {
  int64_t first, last, begin, end;
};

// One row of pixels of L: block b, `length` elements as a stride is wide, is the sum of bias (T) and of its sources
// products[b · pitch + at[i] …]; unless `masked`, all lanes of them exist, or are written again. Blocks from `first` on
// go to `sums`, from which `count` pixels are stored.
struct ScatterPixels {
  const void* products;
  const int64_t* at;
  const uint32_t* const* lanes;
  const ScatterPart* parts;
  int64_t part_count, length, pitch, first;
  bool masked;
  const void* bias;
  void* sums;
  int64_t skipped, count, channels;
  void* to;
  int64_t to_pitch;
  LineFinish finish;
};

// [planes | pixels] where they differ.
struct ScatterEngine {
  int storage_bytes, accumulator_bytes, width, rows, lanes;
  void (*pack[2])(const ScatterWeight& what, void* to);
  void (*multiply[2])(const ScatterProduct& what);
  void (*store_planes)(const ScatterPlanes& what);
  void (*store_pixels)(const ScatterPixels& what);
  // to[i] = from[i] as T for i < count.
  void (*load)(const void* from, int64_t count, void* to);
  void (*fence)();
};

// Kernel entry: params as codegen/passes.ts lists the `general` arguments of expand.
void scatter_expand(void** params, const ScatterEngine& engine, ConvLayout layout);

}  // namespace fracstride
