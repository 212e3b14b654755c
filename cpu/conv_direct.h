// The kernels with output positions in the lanes and inputs read where they lie (variant `direct`), as their driver
// (cpu/conv_direct.cc) and the generated files of one instruction set see each other. T is the accumulator type.
#pragma once

#include "conv.h"

namespace fracstride {

constexpr int MAX_PIXEL_VECTORS = 8;
constexpr int MAX_PIXEL_ROWS = 16;
// Tiles are 1, 2, 4 or 8 vectors wide.
constexpr int PIXEL_TILES = 4;

// One tap of a tile: where its inputs begin relative to the tile's, which weights are its own, and for each vector the
// lanes, as bits, whose inputs exist; `whole` when all do. What lies `ahead` of its inputs is wanted soon.
struct PixelTap {
  int64_t offset, index, ahead;
  uint32_t lanes[MAX_PIXEL_VECTORS];
  bool whole;
};

// to[at[row] + lane] = Σ_blocks Σ_taps Σ_c in block  from[c · pitch + offset(tap) + lane] · weights[tap][c][row]
// for every row and every lane of the tile's vectors; what does not exist takes part in no product.
struct PixelProduct {
  const PixelTap* taps;
  int64_t count, channels, block;
  const void* from;
  int64_t pitch;
  const void* weights;
  void* to;
  const int64_t* at;
};
using PixelMicro = void (*)(const PixelProduct& product);

// Neighbouring output columns of one row: column i of channel c is tile[c · pitch_channel + (i % phases) · pitch_phase
// + i / phases], and goes to to[c · pitch_c + i · pitch_w]; one of the two pitches of the output is 1.
struct PixelStore {
  const void* tile;
  int64_t pitch_channel, pitch_phase, channels, phases, columns;
  void* to;
  int64_t pitch_c, pitch_w;
  // Past the caches.
  bool stream;
};

// The generated part for one instruction set and element type.
struct PixelEngine {
  int storage_bytes, accumulator_bytes, width;
  // [log2 of the vectors][rows − 1], and how many rows there are.
  PixelMicro micro[PIXEL_TILES][MAX_PIXEL_ROWS];
  int rows[PIXEL_TILES];
  void (*pack_input)(const PackInput& what, void* to);
  // to[c · rows + row] = data[offset[row] + c · pitch_c], as T.
  void (*pack_rows)(const void* data, const int64_t* offset, int64_t rows, int64_t channels, int64_t pitch_c, void* to);
  // Bias (may be null) and activation of `channels` × `elements`.
  void (*finish)(void* tile, int64_t channels, int64_t elements, const void* bias, int activation, double slope);
  void (*store)(const PixelStore& what);
};

// Kernel entries: params as codegen/passes.ts lists the `general` arguments of each contraction.
void conv_direct_expand(void** params, const PixelEngine& engine, ConvLayout layout);
void conv_direct_contract(void** params, const PixelEngine& engine, ConvLayout layout);

}  // namespace fracstride
