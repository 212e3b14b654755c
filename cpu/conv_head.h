// contract where the large side has few channels, as its driver (cpu/conv_head.cc) and the generated files of one
// instruction set see each other. With columns q = (channel of L, tap) it is a matrix product over few q (columns.h):
//   S[c, position] = Σ_q W[c][q] · X[q][position]
//
// Columns are read where they lie, in planes of as many channels of L as a cache holds.
#pragma once

#include <stdint.h>

#include "columns.h"
#include "conv.h"

namespace fracstride {

// The problem of one group; `large`, `small`, `weight` and `bias` begin with its first channels.
struct HeadForm {
  ConvShape shape;
  const void* large;
  const void* weight;
  const void* bias;
  void* small;
  Pitches pitch_large, pitch_small;
  int64_t channels, columns;
  int activation;
  double slope;
  // Whether positions are the lanes; else channels are, of sums over all columns at once.
  bool channel_rows;
};

// The operands of a block: columns [column, column + columns) begin at planes[at[…]], whose rows are `pitch` apart, and
// W as turned. Unless these are the `first` ones, sums [channel][sums_pitch] are there already; after the `last` ones
// they are stored. Unless `finite`, sums that are not may have met a zero that stands for nothing. With `stream`, whole
// lines are written past the caches.
struct HeadProduct {
  ColumnsBlock block;
  const void* planes;
  const int64_t* at;
  int64_t column, columns, pitch;
  const void* weight;
  void* sums;
  int64_t sums_pitch;
  bool first, last, finite, stream;
};

struct HeadEngine {
  ColumnsEngine columns;
  int rows, lanes;
  // W as T in tiles of up to `rows` or of `lanes` channels, each [q][channel], which begin so many channels apart;
  // whether all of it is finite.
  bool (*turn_weight)(const HeadForm& form, void* to);
  void (*contract)(const HeadForm& form, const HeadProduct& what);
};

// Kernel entry: params as codegen/passes.ts lists the `general` arguments of contract.
void head_contract(void** params, const HeadEngine& engine, ConvLayout layout);

}  // namespace fracstride
