// L as a matrix of patches (im2row), for a block of positions of S at a time: the taps of a position are neighbours,
//
//   X[n, i, j][(r, s, k)] = L[n, k, (i, j)·stride + delta(r, s)], 0 where that does not exist
//
// It is cut into slabs of some rows of taps and some channels k. The rows of L that a block meets are copied with zeros
// around and their channels as neighbours: a piece of a patch, one row of taps, then lies there in one run.
#pragma once

#include <cstdint>

#include "columns.h"
#include "conv_args.h"

namespace fracstride {

// Elements lines[c · pitch + i] to to[i · channels + c] for i < count.
struct Interleaved {
  const void* lines;
  int64_t pitch, channels, count;
};

// Lanes [first, last) of a vector, of which lane l is from[l].
struct PatchPart {
  const void* from;
  int64_t first, last;
};

// A vector of patches that `parts` are the lanes of, those of no part 0: `positions` in each of `runs` rows, `step` and
// `pitch` elements apart, to neighbouring rows of `lanes` elements.
struct PatchVector {
  const PatchPart* parts;
  int64_t count, runs, positions, pitch, step, lanes;
};

// The generated part; T is the accumulator.
struct PatchEngine {
  ColumnsEngine lines;
  void (*interleave)(const Interleaved& what, void* to);
  void (*copy_vector)(const PatchVector& what, void* to);
};

// Rows [r0, r0 + rows) of taps and channels [k0, k0 + channels).
struct Slab {
  int64_t r0, rows, k0, channels;
};

class Patches {
 public:
  // Blocks of no more than `depth` positions, and of fewer where the rows of a slab would not fit a cache.
  Patches(const ConvShape& shape, const Pitches& large, const PatchEngine& engine, int64_t depth);

  int64_t slabs() const { return slabs_; }
  Slab slab(int64_t i) const;
  // Elements of a slab of a patch.
  int64_t lanes() const { return taps_ * s_.s * channels_; }
  int64_t blocks() const { return blocks_; }
  ColumnsBlock block(int64_t i) const;
  bool fits() const;

  // What a block's slab is read from; takes SCRATCH_ITEM_C.
  const char* stage(const void* large, int64_t group, const ColumnsBlock& block, const Slab& slab) const;
  // Elements [first, first + count) of a slab's patches, whose rows are `lanes` elements.
  void copy(const char* staged, const ColumnsBlock& block, int64_t first, int64_t count, int64_t lanes, char* to) const;
  // Whether the vectors of such elements lie in one piece each and equally far apart: how far then, else 0.
  int64_t apart(int64_t first, int64_t count) const;
  // Where element `first` of the block's row i begins, and from a position to the next.
  const char* at(const char* staged, int64_t i, int64_t first) const;
  int64_t step() const { return s_.sw * channels_; }

 private:
  void cut(int64_t depth);
  // From a row of positions to the next in what is staged: a single row of taps needs no rows between.
  int64_t rows_apart() const { return taps_ == 1 ? 1 : s_.sh; }
  int64_t offset(int64_t element) const;
  int64_t row_of(int64_t i, int64_t tap) const { return i * rows_apart() + tap * s_.dh; }
  void stage_row(const char* from, const ColumnsBlock& block, int64_t channels, char* to, char* lines) const;

  const ConvShape& s_;
  Pitches large_;
  const PatchEngine& e_;
  // Slabs, and rows of taps and channels of each; elements of a piece.
  int64_t cl_, slabs_, taps_, channels_, piece_;
  int64_t pieces_, width_, rows_, in_image_, blocks_, pixels_, staged_rows_, row_pitch_, line_pitch_;
};

}  // namespace fracstride
