// Winograd's minimal filtering, as its drivers (conv_winograd.cc, conv_winograd_wgrad.cc) and the generated part of one
// instruction set see each other. Both axes are cut into tiles of m outputs; a part of an axis with r taps needs m + r
// − 1 inputs a tile and as many products, its points (codegen/winograd.ts has the matrices).
//
// Transforms work on vectors of channels: `width` neighbouring ones at [row][column][width] of a strip of tiles.
#pragma once

#include <stdint.h>

#include "conv.h"
#include "wgrad.h"

namespace fracstride {

constexpr int MIN_OUTPUTS = 2, MAX_OUTPUTS = 5, MAX_TAPS = 3;

// Channels [c0, c0 + channels) of rows × columns positions from (h, w) on of image n: to[row · row_pitch + column ·
// width + channel]; what does not exist is 0. Less than `width` columns more may be written. Lines `ahead` elements
// further on, if not 0, are asked for.
struct Strip {
  Source source;
  int64_t n, c0, channels, h, w, rows, columns, row_pitch, ahead;
};

// to[point · point_pitch + tile · tile_pitch] = Bᵀ x B of each tile's window x of a strip; or A y Aᵀ of its outputs y.
struct Windows {
  const void* from;
  int64_t row_pitch, column_pitch, step, tiles;
  void* to;
  int64_t point_pitch, tile_pitch;
};

// y = Aᵀ M A of each tile, written or added to a strip of outputs.
struct Products {
  const void* from;
  int64_t point_pitch, tile_pitch;
  void* to;
  int64_t row_pitch, column_pitch, step, tiles;
  bool add;
};

// to[point · point_pitch] = G g Gᵀ of `count` neighbouring elements; tap (i, j) at taps[i · r_w + j].
struct Filters {
  const void* const* taps;
  int64_t count;
  void* to;
  int64_t point_pitch;
};

// Tap (i, j) = Gᵀ M G of the sums M of `rows` rows of `lanes` lanes, rows `row_pitch` apart, to taps[i · r_w + j] with
// the same pitch. Whole vectors of lanes are read and written.
struct Gradients {
  const void* from;
  int64_t point_pitch, row_pitch, rows, lanes;
  void* const* taps;
};

// Outputs [h, h + rows) × [w, w + columns) of image n, as far as they exist, channels from c0 on.
struct StripOutput {
  const void* from;
  int64_t row_pitch;
  Sink sink;
  int64_t height, width, n, c0, channels, h, w, rows, columns;
};

// The generated part: [m − MIN_OUTPUTS][taps of the height − 1][taps of the width − 1], null where points are too many.
struct WinogradEngine {
  const ConvEngine* product;
  const WgradEngine* gradient;
  int width;
  void (*input[MAX_OUTPUTS - MIN_OUTPUTS + 1][MAX_TAPS][MAX_TAPS])(const Windows& what);
  void (*output[MAX_OUTPUTS - MIN_OUTPUTS + 1][MAX_TAPS][MAX_TAPS])(const Products& what);
  void (*weight[MAX_OUTPUTS - MIN_OUTPUTS + 1][MAX_TAPS][MAX_TAPS])(const Filters& what);
  void (*outward[MAX_OUTPUTS - MIN_OUTPUTS + 1][MAX_TAPS][MAX_TAPS])(const Windows& what);
  // False when some tap is not finite.
  bool (*taps[MAX_OUTPUTS - MIN_OUTPUTS + 1][MAX_TAPS][MAX_TAPS])(const Gradients& what);
  void (*stage)(const Strip& what, void* to);
  // Bias and activation on the way; false when some sum is not finite.
  bool (*store)(const StripOutput& what);
};

// What the catalogue's rows refuse never comes here but from callers that do not ask them: then
// std::invalid_argument (winograd_check.cc).
void check_winograd_shape(const WinogradEngine& engine, const ConvShape& shape, int64_t outputs);
void need_of_winograd(bool holds, const char* rule);

// `shared`: the phases of an expand read one set of windows; then all of them have equally many taps.
void winograd_expand(void** params, const WinogradEngine& engine, ConvLayout layout, int64_t outputs, bool shared);
void winograd_contract(void** params, const WinogradEngine& engine, ConvLayout layout, int64_t outputs);
void winograd_wgrad(void** params, const WinogradEngine& engine, ConvLayout layout, int64_t outputs);

}  // namespace fracstride
