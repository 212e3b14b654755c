#include "product_plan.h"

#include "team.h"

namespace fracstride {
namespace {

// C tiles and packed inputs of a task together stay in a second-level cache of 512 KiB or more.
constexpr int64_t TASK_BYTES = 256 * 1024;
// Tiles of inputs in a task, at least: better so few than that other tasks pack them again.
constexpr int64_t LEAST_BLOCK = 2;
// Channels of a block of K, at least: taps of one channel share its lines in memory, unless channels are neighbours.
constexpr int64_t FEW_CHANNELS = 8;
// What copying one short piece of a row costs, in vector multiply-adds.
constexpr double COPY_COST = 4;

}  // namespace

ProductPlan::ProductPlan(const Product& product) : p_(product), e_(product.engine) {
  for (const Alike& h : alike_phases(p_.h, p_.h.step)) {
    for (const Alike& w : alike_phases(p_.w, p_.px() ? e_.rows : p_.w.step)) {
      const int64_t taps = static_cast<int64_t>(h.first->taps.size() * w.first->taps.size());
      const Depth depth = cut_depth(taps, p_.ci, p_.max_depth(), p_.by_row() ? p_.max_depth() : FEW_CHANNELS);
      phases_.push_back({h.first, w.first, h.count, w.count, depth, tiling_of(w.count), packed_elements_});
      packed_elements_ += p_.groups * phases_.back().weight_tiles() * taps * p_.ci * p_.weight_pitch();
    }
  }
}

const std::vector<Task>& ProductPlan::cut(bool finite) {
  make_regions(finite);
  make_tasks();
  return tasks_;
}

// Inputs need no packing when lanes are neighbours in memory, have the accumulator's type and are read only once or
// twice.
bool ProductPlan::may_be_direct(const Phase& phase) const {
  return p_.px() && e_.masked_loads && e_.storage_bytes == e_.accumulator_bytes && phase.weight_tiles() <= 2 &&
         p_.source.step_w * p_.source.pitch_w == 1;
}

Tiling ProductPlan::tiling_of(int64_t columns) const {
  return p_.px() ? Tiling{columns, divide_up(p_.co, e_.rows / columns)} : Tiling{1, divide_up(p_.co, e_.lanes)};
}

// In vector multiply-adds for one channel of input and one tap: those of the product, and what packing costs beside.
double ProductPlan::packed_cost(const Phase& phase, int64_t rows, int64_t width) const {
  const int64_t positions = rows * width;
  if (!p_.px()) {
    const int64_t tiles = divide_up(positions, e_.rows);
    return 2.0 * phase.weight_tiles() * std::max(positions, 4 * tiles) + COPY_COST * positions;
  }
  const int64_t rest = positions % e_.lanes;
  const double tiles = positions / e_.lanes + (rest == 0 ? 0 : rest <= e_.half_lanes ? 0.6 : 1);
  const bool aligned = width % e_.lanes == 0 || e_.lanes % width == 0;
  const double pieces = aligned ? std::max<double>(rows, tiles) : rows + tiles;
  return 2.0 * outputs(phase) * tiles + COPY_COST * pieces;
}

double ProductPlan::direct_cost(const Phase& phase, int64_t rows, int64_t width) const {
  const int64_t half_tiles = divide_up(width, e_.half_lanes);
  return rows * (static_cast<double>(outputs(phase) * half_tiles) + divide_up(width, e_.lanes));
}

bool ProductPlan::direct_is_cheaper(const Phase& phase, int64_t rows, int64_t width) const {
  return may_be_direct(phase) && direct_cost(phase, rows, width) < packed_cost(phase, rows, width);
}

double ProductPlan::region_cost(const Phase& phase, const Interval& h, const Interval& w) const {
  const int64_t rows = p_.n * (h.q1 - h.q0), width = w.q1 - w.q0;
  const double taps = static_cast<double>((h.t1 - h.t0) * (w.t1 - w.t0)) + 0.25;
  const bool direct = direct_is_cheaper(phase, rows, width);
  return taps * (direct ? direct_cost(phase, rows, width) : packed_cost(phase, rows, width));
}

double ProductPlan::cost_of(const Phase& phase, const std::vector<Interval>& h, const std::vector<Interval>& w) const {
  double cost = 0;
  for (const Interval& a : h)
    for (const Interval& b : w) cost += region_cost(phase, a, b);
  return cost;
}

// Positions by the taps that exist for them, or all of a phase with zeros for those that do not: what costs less.
// A weight that is not finite must not meet such a zero, so then only the first is right.
void ProductPlan::make_regions(bool finite) {
  for (const Phase& phase : phases_) {
    const std::vector<Interval> exact_h = exact_intervals(p_.h, *phase.h), exact_w = exact_intervals(p_.w, *phase.w);
    const std::vector<Interval> whole_h = whole_interval(exact_h), whole_w = whole_interval(exact_w);
    const std::vector<Interval>* const choices[4][2] = {
        {&exact_h, &exact_w}, {&whole_h, &whole_w}, {&whole_h, &exact_w}, {&exact_h, &whole_w}};
    int best = 0;
    for (int i = 1; finite && i < 4; i++) {
      const double cost = cost_of(phase, *choices[i][0], *choices[i][1]);
      if (cost < cost_of(phase, *choices[best][0], *choices[best][1])) best = i;
    }
    for (const Interval& h : *choices[best][0])
      for (const Interval& w : *choices[best][1]) add_region(phase, h, w);
  }
}

void ProductPlan::add_region(const Phase& phase, const Interval& h, const Interval& w) {
  const Grid grid = {p_.n, h.q0, h.q1, w.q0, w.q1};
  const int64_t rows = p_.n * (h.q1 - h.q0), width = w.q1 - w.q0;
  const bool direct = direct_is_cheaper(phase, rows, width);
  const int64_t tiles = direct ? rows * divide_up(width, e_.lanes) : divide_up(rows * width, p_.input_tile());
  regions_.push_back({&phase, h, w, grid, tiles, direct});
}

void ProductPlan::make_tasks() {
  const int64_t threads = team_threads(), wanted = threads == 1 ? 1 : 4 * threads;
  int64_t block = std::max<int64_t>(1, TASK_BYTES / 2 / (p_.input_tile_elements() * e_.accumulator_bytes));
  const int64_t all = TASK_BYTES / (most_weights() * p_.tile_elements() * e_.accumulator_bytes);
  if (all >= LEAST_BLOCK) block = std::min(block, all);
  while (block > 1 && count_blocks(block) < wanted) block = (block + 1) / 2;
  const int64_t fitting = std::max<int64_t>(1, TASK_BYTES / (block * p_.tile_elements() * e_.accumulator_bytes));
  add_tasks(block, fitting, divide_up(wanted, count_blocks(block)));
  std::stable_sort(tasks_.begin(), tasks_.end(), [](const Task& a, const Task& b) { return a.cost > b.cost; });
}

int64_t ProductPlan::most_weights() const {
  int64_t most = 1;
  for (const Phase& phase : phases_) most = std::max(most, phase.weight_tiles());
  return most;
}

int64_t ProductPlan::count_blocks(int64_t block) const {
  int64_t count = 0;
  for (const Region& region : regions_) count += divide_up(region.tiles, block) * p_.groups;
  return std::max<int64_t>(count, 1);
}

// Each block of positions is cut into so many tasks that no more than `most` tiles of weights are in one.
// The phases of one block of positions follow each other: they read the same inputs and write the same lines.
void ProductPlan::add_tasks(int64_t block, int64_t most, int64_t least_splits) {
  int64_t longest = 0;
  for (const Region& region : regions_) longest = std::max(longest, region.tiles);
  for (int64_t group = 0; group < p_.groups; group++)
    for (int64_t tile = 0; tile < longest; tile += block)
      for (const Region& region : regions_) {
        if (tile >= region.tiles) continue;
        const int64_t weights = region.phase->weight_tiles(), tile1 = std::min(tile + block, region.tiles);
        const int64_t splits = std::min(weights, std::max(divide_up(weights, most), least_splits));
        for (int64_t i = 0; i < splits; i++) {
          const int64_t w0 = tile_begin(weights, splits, i), w1 = tile_begin(weights, splits, i + 1);
          const double cost = static_cast<double>((tile1 - tile) * (w1 - w0)) * (region.taps() * p_.ci + 16);
          tasks_.push_back({&region, group, tile, tile1, w0, w1, cost});
        }
      }
}

}  // namespace fracstride
