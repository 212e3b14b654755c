// The algebra of Winograd's filtering on expand and contract: which parts an axis has, and which parts of the two axes
// are products together.
//
// An axis is cut into tiles of m positions. A part is one residue class with its own filter: of the outputs in expand
// (a phase), of the inputs in contract. Of tile t it reads inputs in_step·(t·m + i) + in_first for i < m + taps − 1,
// and its outputs are out_step·(t·m + j) + out_first for j < m, as far as they exist.
#pragma once

#include <cstdint>
#include <vector>

#include "conv_plan.h"

namespace fracstride {

struct AxisPart {
  // Taps of the kernel in the order of the inputs that they meet.
  std::vector<int64_t> taps;
  int64_t in_first, out_first;
  int64_t count() const { return static_cast<int64_t>(taps.size()); }
};

struct TiledAxis {
  int64_t outputs, in_step, out_step, tiles;
  std::vector<AxisPart> parts;

  int64_t points(int64_t part) const { return outputs + parts[part].count() - 1; }
  // First input and output of tiles from `tile` on, of any part; and how many `count` tiles have.
  int64_t first_input(int64_t tile) const;
  int64_t inputs_of(int64_t count) const;
  int64_t first_output(int64_t tile) const;
  int64_t outputs_of(int64_t count) const { return out_step * outputs * count; }
};

// `shared`: phases read the same windows; all must have equally many taps.
TiledAxis tile_expand(const Axis& axis, int64_t outputs, bool shared);
TiledAxis tile_contract(const Axis& axis, int64_t outputs);

// Parts of the two axes.
struct PartPair {
  int64_t h, w;
};

// A product a point, M = V·U: K runs over the channels of all `inputs`, which are summed; each of the `outputs` has its
// own filters and results.
struct Unit {
  std::vector<PartPair> inputs, outputs;
  int64_t points, depth;
  // Number of its first input and result among all units', each with a point; of its filters among those of all, in K.
  int64_t first_input, first_result, first_filter;
};

// `depth` channels of each input, padding included.
std::vector<Unit> expand_units(const TiledAxis& h, const TiledAxis& w, int64_t depth);
std::vector<Unit> contract_units(const TiledAxis& h, const TiledAxis& w, int64_t depth);

}  // namespace fracstride
