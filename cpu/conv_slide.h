// expand with few output channels, as its driver (cpu/conv_slide.cc) and the generated files of one instruction set see
// each other. Lanes are neighbouring positions of a row of S. A register tile has the sums of all column phases of some
// rows, pairs of an output channel and a row phase; a vector of S is loaded once for each shift along the row, for all
// of them:
//   L[row, phase f][position q] = Σ_taps of h Σ_c Σ_shifts j of f  S[c, tap][q + j] · W[c, tap][j, f, row]
// T is the accumulator.
#pragma once

#include <stdint.h>

#include "conv.h"

namespace fracstride {

constexpr int MAX_SLIDE_VECTORS = 8, MAX_SLIDE_ROWS = 6, MAX_SLIDE_PHASES = 4, MAX_SLIDE_PATTERNS = 32;

// The taps of one row of the kernel, for the vectors of a tile: where the inputs of each begin, for the first channel
// and shift, the weights [c][shift][phase][row], and what is asked for with each channel, so many bytes further on.
// Unless `copy_to` is null, a vector of T of each channel is copied meanwhile: between products there is time for it.
// Its channels are as far apart as what is asked for, and as the inputs.
struct SlideTap {
  const void* from[MAX_SLIDE_VECTORS];
  const void* weights;
  const char* ahead;
  int64_t ahead_step;
  const char* copy_from;
  void* copy_to;
};

// Sums of a row and phase f go to to[row_at[row] + f · phase_pitch + at[vector] …]; `pitch` elements lie between the
// inputs of neighbouring channels.
struct SlideProduct {
  const SlideTap* taps;
  int64_t count, channels, pitch;
  void* to;
  const int64_t* row_at;
  const int64_t* at;
  int64_t phase_pitch;
};
using SlideMicro = void (*)(const SlideProduct& product);

// Which of neighbouring shifts each column phase reads: `taps[f]` from first[f] on. Tiles of 1, 2, … rows.
struct SlidePattern {
  int phases, window, first[MAX_SLIDE_PHASES], taps[MAX_SLIDE_PHASES], rows;
  SlideMicro micro[MAX_SLIDE_ROWS];
  int vectors[MAX_SLIDE_ROWS];
};

// `count` positions of all channels of a row of S, of which one pitch is 1, to to[c · to_pitch + position], aligned as
// vectors are; the last one of each channel may be filled with zeros.
struct SlideRow {
  const void* from;
  int64_t pitch_c, pitch_w, channels, count;
  void* to;
  int64_t to_pitch;
};

// Weight element (c, i) from data[c · pitch_c + offset[i]] to to[c · count + i].
struct SlideWeight {
  const void* data;
  int64_t pitch_c;
  const int64_t* offset;
  int64_t count, channels;
  void* to;
};

// A row of L from lines of sums that are biased and activated: column q · phases + f of channel c is
// lines[c · channel_pitch + f · phase_pitch + q].
struct SlideStore {
  const void* lines;
  int64_t channel_pitch, phase_pitch, channels, phases, columns;
  void* to;
  int64_t pitch_c, pitch_w;
  void* spare;
  bool stream;
};

struct SlideEngine {
  int storage_bytes, accumulator_bytes, width, pattern_count;
  const SlidePattern* patterns;
  // Computes instead where a weight is not finite, which the zeros around S must not meet.
  const ConvEngine* exact;
  void (*load_row)(const SlideRow& what);
  // Whether all of it is finite.
  bool (*pack_weight)(const SlideWeight& what);
  void (*finish)(void* line, int64_t count, const LineFinish& finish);
  void (*store)(const SlideStore& what);
  void (*fence)();
};

// Kernel entry: params as codegen/passes.ts lists the `general` arguments of expand.
void slide_expand(void** params, const SlideEngine& engine, ConvLayout layout);

}  // namespace fracstride
