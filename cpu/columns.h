// L as a matrix of columns q = (k, tap), neighbours in the weight, where it has few channels k:
//
//   X[q][n, i, j] = L[n, k, (i, j)·stride + delta(tap)], 0 where that does not exist
//
// for a block of positions of S at a time. The rows of L that a block meets are copied into planes, one a residue of
// the stride along w, with zeros around; a column of the block then is made of runs of neighbours.
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

// Column q: `rows` runs of `width` neighbours, run i from planes[at[q] + i · row_pitch] on, to to[q · pitch …], where
// zeros follow up to two whole vectors.
struct GatherColumns {
  const void* planes;
  const int64_t* at;
  int64_t columns, rows, width, row_pitch, pitch;
};

// The generated part; T is the accumulator.
struct ColumnsEngine {
  int storage_bytes, accumulator_bytes, width;
  // To neighbouring elements of T; whole vectors may be written.
  void (*load_line)(const StridedLine& what, void* to);
  void (*gather)(const GatherColumns& what, void* to);
};

// Rows [i0, i1) by columns [j0, j1) of image n; more than one row only where they are whole.
struct ColumnsBlock {
  int64_t n, i0, i1, j0, j1;
  int64_t width() const { return j1 - j0; }
  int64_t positions() const { return (i1 - i0) * width(); }
};

class Columns {
 public:
  // Blocks of no more than `depth` positions.
  Columns(const ConvShape& shape, const Pitches& large, const ColumnsEngine& engine, int64_t depth);

  // Columns of a group, blocks of all images.
  int64_t count() const { return static_cast<int64_t>(at_.size()); }
  int64_t blocks() const { return blocks_; }
  ColumnsBlock block(int64_t i) const;
  // The least pitch of columns, in elements: no multiple of a page.
  int64_t pitch() const;
  // Whether the planes of a block are no larger than a cache holds.
  bool fits() const;
  // The columns of a group; takes SCRATCH_ITEM_C.
  void gather(const void* large, int64_t group, const ColumnsBlock& block, void* to, int64_t pitch) const;

 private:
  void copy_planes(const void* large, int64_t group, const ColumnsBlock& block, char* planes) const;

  const ConvShape& s_;
  Pitches large_;
  const ColumnsEngine& e_;
  int64_t cl_, pieces_, width_, rows_, in_image_, blocks_, plane_h_, plane_w_;
  std::vector<int64_t> at_;
};

}  // namespace fracstride
