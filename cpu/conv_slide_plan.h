// What `slide` works out of a problem before it computes (cpu/conv_slide.cc): the pattern of shifts along a row, tiles
// of rows, the weights in the order in which they are read, and how many rows of S are at hand at a time.
#pragma once

#include <cstdint>
#include <vector>

#include "conv_args.h"
#include "conv_direct_merge.h"
#include "conv_slide.h"

namespace fracstride {

class SlidePlan {
 protected:
  // Rows of a tile, [member][channel]: channels [c0, c0 + channels) of phases [m0, m0 + members) of a group of rows.
  struct Block {
    const Merged* h;
    int64_t c0, channels, m0, members, weight;
    int64_t rows() const { return channels * members; }
    int64_t taps() const { return static_cast<int64_t>(h->deltas.size()); }
  };

  // A vector of the rows that are computed together: its row, where its inputs begin in a row of S, in bytes, and where
  // its sums lie.
  struct ChunkVector {
    int64_t row, from, at;
  };

  SlidePlan(const ConvCall& call, const SlideEngine& engine, ConvLayout layout);

  bool empty() const { return s_.n == 0 || co_ == 0 || s_.hl == 0 || s_.wl == 0; }
  // Whether all of it is finite.
  bool pack_weights();
  const void* weight_of(const Block& block, int64_t group, int64_t tap) const {
    return weight_ + weight_at(block, group, tap) * e_.accumulator_bytes;
  }
  int64_t tile_of(const Block& block) const { return pattern_->vectors[block.rows() - 1]; }

  const ConvCall& call_;
  const ConvShape& s_;
  const SlideEngine& e_;
  const bool planes_;
  const int64_t ci_, co_;
  const Pitches from_, to_;
  const Axis h_, w_;
  const SlidePattern* pattern_ = nullptr;
  std::vector<Merged> merged_;
  std::vector<Block> blocks_;
  // The least shift along a row; vectors of a row of sums, and its elements.
  int64_t low_ = 0, vectors_ = 0, line_ = 0;
  // A row of S in the ring: `gap_` zeros, then of each channel `columns_` elements and zeros up to `pitch_`, which are
  // also what the next channel begins with. All of it is aligned as vectors are.
  int64_t gap_ = 0, columns_ = 0, pitch_ = 0;
  // Positions [first, last) of row phases, and the shifts of the rows of S that they read.
  int64_t first_ = 0, last_ = 0, low_h_ = 0, high_h_ = 0;
  bool has_taps_ = false;
  // Rows that are computed together, and rows of S that the ring holds; whether rows of the next ones are copied into
  // it while these are multiplied.
  int64_t chunk_ = 1, slots_ = 1;
  bool copies_ = false;
  std::vector<ChunkVector> chunk_vectors_;

 private:
  void find_pattern();
  bool matches(const SlidePattern& pattern) const;
  void make_blocks();
  void add_blocks(const Merged& h);
  void set_ring();
  // Elements of one tap's weights, and where they begin.
  int64_t tap_weights(const Block& block) const { return block.rows() * s_.s * ci_; }
  int64_t weight_at(const Block& block, int64_t group, int64_t tap) const {
    return block.weight + (group * block.taps() + tap) * tap_weights(block);
  }
  void list_weights(const Block& block, int64_t tap, std::vector<int64_t>& offset) const;

  int64_t weights_ = 0;
  char* weight_ = nullptr;
};

}  // namespace fracstride
