// The plan of a matrix product over the phases of its output (conv_product.cc): what is packed where, which positions
// sum over which taps, and the tasks.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "conv_form.h"

namespace fracstride {

// How output channels are cut into tiles of weights: each has `interleave` neighbouring columns of up to
// divide_up(co, tiles) channels in its rows, channel by channel.
struct Tiling {
  int64_t interleave, tiles;
};

// Phases that read the same inputs: rows h, h + 1, … and columns w, w + 1, … of the output. Their weights stand side by
// side, as if they were output channels: a tile of them belongs to one phase, or with rows of channels to all columns.
struct Phase {
  const AxisPhase* h;
  const AxisPhase* w;
  int64_t rows, columns;
  Depth depth;
  Tiling tiling;
  // Where its packed weights begin, in elements.
  int64_t packed;
  int64_t taps_w() const { return static_cast<int64_t>(w->taps.size()); }
  int64_t weight_tiles() const { return rows * (columns / tiling.interleave) * tiling.tiles; }
};

// A tile of weights: output channels [co, co + channels) of the phase's row and column (the first of them).
struct WeightTile {
  int64_t row, column, co, channels;
};

// A rectangle of a phase's positions with a rectangle of its taps.
struct Region {
  const Phase* phase;
  Interval h, w;
  Grid grid;
  int64_t tiles;
  // Tiles lie in one row each, and their inputs are read where they are.
  bool direct;
  int64_t taps() const { return (h.t1 - h.t0) * (w.t1 - w.t0); }
};

struct Task {
  const Region* region;
  int64_t group, tile0, tile1, weight0, weight1;
  double cost;
};

// The `i`-th of `tiles` tiles of `count` rows begins here: as few as possible, as equal as possible.
inline int64_t tile_begin(int64_t count, int64_t tiles, int64_t i) {
  return count * i / tiles;
}

// What is multiplied and how: lanes are positions (px) or channels.
struct Product : ConvForm {
  const ConvEngine& engine;
  ConvLayout layout;
  ConvLanes lanes;

  bool px() const { return lanes == LANES_PX; }
  bool by_row() const { return !px() && layout == NHWC; }
  int64_t input_tile() const { return px() ? engine.lanes : engine.rows; }
  int64_t weight_pitch() const { return px() ? engine.a_pitch : engine.lanes; }
  int64_t input_pitch() const { return px() ? engine.lanes : engine.a_pitch; }
  int64_t max_depth() const { return engine.k_pitch - engine.half_lanes; }
  int64_t tile_elements() const { return engine.rows * engine.lanes; }
  int64_t input_tile_elements() const { return by_row() ? engine.rows * engine.k_pitch : max_depth() * input_pitch(); }

  int64_t channel_begin(const Tiling& tiling, int64_t tile) const {
    return px() ? tile_begin(co, tiling.tiles, tile) : std::min(co, tile * engine.lanes);
  }
  WeightTile weight_tile(const Phase& phase, int64_t tile) const {
    const int64_t member = tile / phase.tiling.tiles, i = tile % phase.tiling.tiles;
    const int64_t across = phase.columns / phase.tiling.interleave, co = channel_begin(phase.tiling, i);
    return {member / across, member % across, co, channel_begin(phase.tiling, i + 1) - co};
  }
  int64_t input_begin(const Region& region, int64_t tile) const {
    const int64_t positions = region.grid.positions();
    if (!px()) return tile_begin(positions, region.tiles, tile);
    if (!region.direct) return std::min(positions, tile * engine.lanes);
    const int64_t width = region.grid.w1 - region.grid.w0, in_row = divide_up(width, engine.lanes);
    return tile / in_row * width + std::min(width, tile % in_row * engine.lanes);
  }

  // The packed weights of a tile, in elements from the beginning of all.
  int64_t packed_begin(const Phase& phase, int64_t group, int64_t tile) const {
    const int64_t depth = phase.depth.taps * ci, before = group * phase.weight_tiles() + tile;
    return phase.packed + before * depth * weight_pitch();
  }
};

class ProductPlan {
 public:
  explicit ProductPlan(const Product& product);

  const std::vector<Phase>& phases() const { return phases_; }
  // Of the packed weights of all phases.
  int64_t packed_elements() const { return packed_elements_; }

  // Heaviest first. Where some weight is not finite, no position may meet a tap that does not exist for it.
  const std::vector<Task>& cut(bool finite);

 private:
  bool may_be_direct(const Phase& phase) const;
  Tiling tiling_of(int64_t columns) const;
  int64_t outputs(const Phase& phase) const { return p_.co * phase.rows * phase.columns; }
  double packed_cost(const Phase& phase, int64_t rows, int64_t width) const;
  double direct_cost(const Phase& phase, int64_t rows, int64_t width) const;
  bool direct_is_cheaper(const Phase& phase, int64_t rows, int64_t width) const;
  double region_cost(const Phase& phase, const Interval& h, const Interval& w) const;
  double cost_of(const Phase& phase, const std::vector<Interval>& h, const std::vector<Interval>& w) const;
  void make_regions(bool finite);
  void add_region(const Phase& phase, const Interval& h, const Interval& w);
  void make_tasks();
  int64_t most_weights() const;
  int64_t count_blocks(int64_t block) const;
  void add_tasks(int64_t block, int64_t most, int64_t least_splits);

  const Product& p_;
  const ConvEngine& e_;
  int64_t packed_elements_ = 0;
  std::vector<Phase> phases_;
  std::vector<Region> regions_;
  std::vector<Task> tasks_;
};

// Every weight, packed for the phases of `plan`; true when all of them are finite.
bool pack_product_weights(const Product& product, const ProductPlan& plan, char* packed);

}  // namespace fracstride
