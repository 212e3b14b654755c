// L as a matrix of columns q = (k, tap), neighbours in the weight, for a block of positions of S at a time:
//
//   X[q][n, i, j] = L[n, k, (i, j)·stride + delta(tap)], 0 where that does not exist
//
// The rows of L that a block meets are copied into planes, one a residue of the strides along h and w, with zeros
// around: column q of the block then is planes[at(q) + i · pitch + j], whose rows follow each other, and is read where
// it lies. Behind a row's last position follow elements of other columns.
#pragma once

#include <cstdint>
#include <vector>

#include "conv_args.h"

namespace fracstride {

// Elements from[i · step] for i < count.
struct StridedLine {
  const void* from;
  int64_t step, count;
};

// Elements from[i · pitch_from + c] for i < count and c < channels, to to[c · pitch_to + i].
struct TurnedLines {
  const void* from;
  int64_t pitch_from, count, channels, pitch_to;
};

// The generated part; T is the accumulator.
struct ColumnsEngine {
  int storage_bytes, accumulator_bytes, width;
  // To neighbouring elements of T; whole vectors may be written, in which zeros follow.
  void (*load_line)(const StridedLine& what, void* to);
  void (*turn_lines)(const TurnedLines& what, void* to);
};

// Rows [i0, i1) by columns [j0, j1) of image n; more than one row only where they are whole.
struct ColumnsBlock {
  int64_t n, i0, i1, j0, j1;
  int64_t rows() const { return i1 - i0; }
  int64_t width() const { return j1 - j0; }
  int64_t positions() const { return rows() * width(); }
};

class Columns {
 public:
  // Blocks of no more than `depth` positions, and of fewer where the planes of `together` channels would not fit.
  Columns(const ConvShape& shape, const Pitches& large, const ColumnsEngine& engine, int64_t depth, int64_t together);

  // Columns of a group, blocks of all images.
  int64_t count() const { return cl_ * s_.r * s_.s; }
  int64_t blocks() const { return blocks_; }
  ColumnsBlock block(int64_t i) const;
  // From one row of a column to the next.
  int64_t pitch() const { return plane_w_; }
  // Elements from the first position of a block to behind its last one, with what lies between its rows.
  int64_t reach(const ColumnsBlock& block) const { return (block.rows() - 1) * plane_w_ + block.width(); }
  // Of the planes of one channel, and whether a cache holds them.
  int64_t channel_bytes() const { return pitch_k_ * e_.accumulator_bytes; }
  bool fits() const;
  // The planes of channels [k0, k0 + channels) of a group; takes SCRATCH_ITEM_C.
  const char* stage(const void* large, int64_t group, const ColumnsBlock& block, int64_t k0, int64_t channels) const;
  // Where the columns of staged channels begin in the planes: [channel][tap].
  const int64_t* at() const { return at_.data(); }

 private:
  // Elements of a row of L that are one residue of the stride: where they begin, how many, and where in the planes.
  struct Residue {
    int64_t from, count, to;
  };

  void cut(int64_t depth);
  void list_residues(const ColumnsBlock& block, std::vector<Residue>& residues) const;
  void stage_row(const char* from, const std::vector<Residue>& residues, int64_t channels, char* to) const;

  const ConvShape& s_;
  Pitches large_;
  const ColumnsEngine& e_;
  int64_t cl_, pieces_, width_, rows_, in_image_, blocks_, plane_h_, plane_w_, pitch_plane_, pitch_k_;
  std::vector<int64_t> at_;
};

}  // namespace fracstride
