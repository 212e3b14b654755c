// contract where the large side has few channels, as its driver (cpu/conv_head.cc) and the generated files of one
// instruction set see each other. With columns q = (channel of L, tap) it is a matrix product over few q (columns.h):
//   S[c, position] = Σ_q W[c][q] · X[q][position]
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
  // Whether positions are neighbours in S, and so the lanes; else channels are.
  bool channel_rows;
};

// The operands of a block: X as [q][pitch], W as turned. Unless `finite`, sums that are not may have met a zero that
// stands for nothing. With `stream`, whole lines are written past the caches.
struct HeadProduct {
  ColumnsBlock block;
  const void* x;
  const void* weight;
  int64_t pitch;
  bool finite, stream;
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
