// expand and contract as matrix products over the phases of their output:
//
//   out[n, co, position q] = Σ_taps Σ_ci in[n, ci, q·step + delta(tap)] · W(ci, co, tap)
//
// One operand is the weight, packed when it has changed; the other is the input, packed by each task. The tasks are
// rectangles of positions × ranges of output channels; each sums over all of K in an order that does not depend on the
// task.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

#include "conv_form.h"
#include "team.h"

namespace fracstride {
namespace {

// C tiles and packed inputs of a task together stay in a second-level cache of 512 KiB or more.
constexpr int64_t TASK_BYTES = 256 * 1024;
// Tiles of inputs in a task, at least: better so few than that other tasks pack them again.
constexpr int64_t LEAST_BLOCK = 2;
// Outputs that no cache keeps until somebody reads them are written past the caches.
constexpr int64_t STREAMED_BYTES = 8 * 1024 * 1024;
// Channels of a weight that are packed by one item of work.
constexpr int64_t PART_CHANNELS = 64;
// What copying one short piece of a row costs, in vector multiply-adds.
constexpr double COPY_COST = 4;

struct Product : ConvForm {
  const ConvEngine& engine;
  ConvLayout layout;
  ConvLanes lanes;
};

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

// The tiles of `count` rows: as few as possible, as equal as possible.
int64_t tile_begin(int64_t count, int64_t tiles, int64_t i) {
  return count * i / tiles;
}

class ProductRun {
 public:
  explicit ProductRun(const Product& product) : p_(product), e_(product.engine) { make_phases(); }

  void run(const ConvCall& call) {
    if (p_.n == 0 || p_.co == 0 || phases_.empty()) return;
    const int64_t bytes = packed_elements_ * e_.accumulator_bytes;
    if (call.packed == nullptr) {
      packed_ = static_cast<char*>(scratch(SCRATCH_CALL_A, bytes));
      make_regions(pack_weights());
    } else {
      packed_ = reinterpret_cast<char*>(&packed_header(call, bytes) + 1);
      make_regions(packed_weight(call, bytes, [this](char*) { return pack_weights(); }).finite);
    }
    make_tasks();
    parallel_for(static_cast<int64_t>(tasks_.size()), [&](int64_t i) { run_task(tasks_[i]); });
  }

 private:
  bool px() const { return p_.lanes == LANES_PX; }
  bool by_row() const { return !px() && p_.layout == NHWC; }
  int64_t input_tile() const { return px() ? e_.lanes : e_.rows; }
  int64_t weight_pitch() const { return px() ? e_.a_pitch : e_.lanes; }
  int64_t input_pitch() const { return px() ? e_.lanes : e_.a_pitch; }
  int64_t max_depth() const { return e_.k_pitch - e_.half_lanes; }
  int64_t tile_elements() const { return e_.rows * e_.lanes; }
  int64_t input_tile_elements() const { return by_row() ? e_.rows * e_.k_pitch : max_depth() * input_pitch(); }

  int64_t channel_begin(const Tiling& tiling, int64_t tile) const {
    return px() ? tile_begin(p_.co, tiling.tiles, tile) : std::min(p_.co, tile * e_.lanes);
  }
  WeightTile weight_tile(const Phase& phase, int64_t tile) const {
    const int64_t member = tile / phase.tiling.tiles, i = tile % phase.tiling.tiles;
    const int64_t across = phase.columns / phase.tiling.interleave, co = channel_begin(phase.tiling, i);
    return {member / across, member % across, co, channel_begin(phase.tiling, i + 1) - co};
  }
  int64_t input_begin(const Region& region, int64_t tile) const {
    const int64_t positions = region.grid.positions();
    if (!px()) return tile_begin(positions, region.tiles, tile);
    if (!region.direct) return std::min(positions, tile * e_.lanes);
    const int64_t width = region.grid.w1 - region.grid.w0, in_row = divide_up(width, e_.lanes);
    return tile / in_row * width + std::min(width, tile % in_row * e_.lanes);
  }

  // Inputs need no packing when lanes are neighbours in memory, have the accumulator's type and are read only once or
  // twice.
  bool may_be_direct(const Phase& phase) const {
    return px() && e_.masked_loads && e_.storage_bytes == e_.accumulator_bytes && phase.weight_tiles() <= 2 &&
           p_.source.step_w * p_.source.pitch_w == 1;
  }

  Tiling tiling_of(int64_t columns) const {
    return px() ? Tiling{columns, divide_up(p_.co, e_.rows / columns)} : Tiling{1, divide_up(p_.co, e_.lanes)};
  }

  void make_phases() {
    for (const Alike& h : alike_phases(p_.h, p_.h.step)) {
      for (const Alike& w : alike_phases(p_.w, px() ? e_.rows : p_.w.step)) {
        const int64_t taps = static_cast<int64_t>(h.first->taps.size() * w.first->taps.size());
        const Depth depth = cut_depth(taps, p_.ci, max_depth());
        phases_.push_back({h.first, w.first, h.count, w.count, depth, tiling_of(w.count), packed_elements_});
        packed_elements_ += p_.groups * phases_.back().weight_tiles() * taps * p_.ci * weight_pitch();
      }
    }
  }

  char* packed_at(const Phase& phase, int64_t group, int64_t tile) const {
    const int64_t depth = phase.depth.taps * p_.ci, before = group * phase.weight_tiles() + tile;
    return packed_ + (phase.packed + before * depth * weight_pitch()) * e_.accumulator_bytes;
  }

  // Calls visit(first channel, channels, first tap, taps, first k) for the blocks of K in order.
  template <class Visit>
  void each_block(const Depth& depth, const Visit& visit) const {
    for (int64_t c = 0; c < depth.channels; c += depth.channel_block) {
      const int64_t channels = std::min(depth.channel_block, depth.channels - c);
      for (int64_t t = 0; t < depth.taps; t += depth.tap_block) {
        visit(c, channels, t, std::min(depth.tap_block, depth.taps - t), c * depth.taps + t * channels);
      }
    }
  }

  // Where tap number `tap` of the kernel lies: in no phase when nothing is written by it.
  struct Place {
    const Phase* phase;
    int64_t row, column, tap;
  };

  std::vector<Place> place_taps() const {
    std::vector<Place> places(p_.kernel_area, Place{nullptr, 0, 0, 0});
    for (const Phase& phase : phases_)
      for (int64_t row = 0; row < phase.rows; row++)
        for (int64_t column = 0; column < phase.columns; column++) {
          int64_t t = 0;
          for (const AxisTap& h : phase.h[row].taps)
            for (const AxisTap& w : phase.w[column].taps) {
              places[h.k * p_.kernel_w + w.k] = {&phase, row, column, t++};
            }
        }
    return places;
  }

  // True when every weight is finite.
  bool pack_weights() {
    const std::vector<Place> places = place_taps();
    std::atomic<bool> finite{true};
    for (const Phase& phase : phases_) {
      const auto same = [&](const Phase& other) { return other.tiling.interleave == phase.tiling.interleave; };
      if (&*std::find_if(phases_.begin(), phases_.end(), same) == &phase && !pack_tiles(places, phase.tiling)) {
        finite = false;
      }
    }
    return finite;
  }

  // The weights of every phase of this tiling.
  bool pack_tiles(const std::vector<Place>& places, const Tiling& tiling) {
    const int64_t parts = divide_up(p_.ci, PART_CHANNELS);
    std::atomic<bool> finite{true};
    parallel_for(p_.groups * tiling.tiles * parts, [&](int64_t i) {
      const int64_t part = i % parts, tile = i / parts % tiling.tiles, group = i / parts / tiling.tiles;
      const int64_t end = p_.ci * (part + 1) / parts;
      for (int64_t c = p_.ci * part / parts; c < end;) {
        const int64_t next = std::min(end, next_block(c));
        if (!pack_weight_part(places, tiling, group, tile, c, next - c)) finite = false;
        c = next;
      }
    });
    return finite;
  }

  // The first channel after c where a block of some phase begins.
  int64_t next_block(int64_t c) const {
    int64_t next = p_.ci;
    for (const Phase& phase : phases_) {
      next = std::min(next, (c / phase.depth.channel_block + 1) * phase.depth.channel_block);
    }
    return next;
  }

  // Channels [c, c + channels), which lie in one block of each phase, of one tile in each row and column.
  bool pack_weight_part(const std::vector<Place>& places, const Tiling& tiling, int64_t group, int64_t tile, int64_t c,
                        int64_t channels) const {
    std::vector<void*> to;
    for (const Place& place : places) {
      if (place.phase == nullptr || place.phase->tiling.interleave != tiling.interleave) {
        to.push_back(nullptr);
        continue;
      }
      const Phase& phase = *place.phase;
      const Depth& depth = phase.depth;
      const int64_t first = c / depth.channel_block * depth.channel_block;
      const int64_t block = std::min(depth.channel_block, p_.ci - first);
      const int64_t k = first * depth.taps + place.tap * block + c - first;
      const int64_t across = phase.columns / tiling.interleave;
      const int64_t member = place.row * across + place.column / tiling.interleave;
      const int64_t lane = k * weight_pitch() + place.column % tiling.interleave;
      to.push_back(packed_at(phase, group, member * tiling.tiles + tile) + lane * e_.accumulator_bytes);
    }
    const int64_t co = channel_begin(tiling, tile), lanes = channel_begin(tiling, tile + 1) - co;
    const int64_t from = group * p_.ci * p_.co * p_.kernel_area + co * p_.weight_pitch_co + c * p_.weight_pitch_c;
    return e_.pack_weight({element(p_.weight, from, e_.storage_bytes), p_.weight_pitch_c, p_.weight_pitch_co, channels,
                           lanes, weight_pitch(), p_.kernel_area, to.data(), tiling.interleave});
  }

  // In vector multiply-adds for one channel of input and one tap: those of the product, and what packing costs beside.
  double packed_cost(const Phase& phase, int64_t rows, int64_t width) const {
    const int64_t positions = rows * width;
    if (!px()) {
      const int64_t tiles = divide_up(positions, e_.rows);
      return 2.0 * phase.weight_tiles() * std::max(positions, 4 * tiles) + COPY_COST * positions;
    }
    const int64_t rest = positions % e_.lanes;
    const double tiles = positions / e_.lanes + (rest == 0 ? 0 : rest <= e_.half_lanes ? 0.6 : 1);
    const bool aligned = width % e_.lanes == 0 || e_.lanes % width == 0;
    const double pieces = aligned ? std::max<double>(rows, tiles) : rows + tiles;
    return 2.0 * outputs(phase) * tiles + COPY_COST * pieces;
  }

  double direct_cost(const Phase& phase, int64_t rows, int64_t width) const {
    const int64_t half_tiles = divide_up(width, e_.half_lanes);
    return rows * (static_cast<double>(outputs(phase) * half_tiles) + divide_up(width, e_.lanes));
  }

  int64_t outputs(const Phase& phase) const { return p_.co * phase.rows * phase.columns; }

  bool direct_is_cheaper(const Phase& phase, int64_t rows, int64_t width) const {
    return may_be_direct(phase) && direct_cost(phase, rows, width) < packed_cost(phase, rows, width);
  }

  double region_cost(const Phase& phase, const Interval& h, const Interval& w) const {
    const int64_t rows = p_.n * (h.q1 - h.q0), width = w.q1 - w.q0;
    const double taps = static_cast<double>((h.t1 - h.t0) * (w.t1 - w.t0)) + 0.25;
    const bool direct = direct_is_cheaper(phase, rows, width);
    return taps * (direct ? direct_cost(phase, rows, width) : packed_cost(phase, rows, width));
  }

  double cost_of(const Phase& phase, const std::vector<Interval>& h, const std::vector<Interval>& w) const {
    double cost = 0;
    for (const Interval& a : h)
      for (const Interval& b : w) cost += region_cost(phase, a, b);
    return cost;
  }

  // Positions by the taps that exist for them, or all of a phase with zeros for those that do not: what costs less.
  // A weight that is not finite must not meet such a zero, so then only the first is right.
  void make_regions(bool finite) {
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

  void add_region(const Phase& phase, const Interval& h, const Interval& w) {
    const Grid grid = {p_.n, h.q0, h.q1, w.q0, w.q1};
    const int64_t rows = p_.n * (h.q1 - h.q0), width = w.q1 - w.q0;
    const bool direct = direct_is_cheaper(phase, rows, width);
    const int64_t tiles = direct ? rows * divide_up(width, e_.lanes) : divide_up(rows * width, input_tile());
    regions_.push_back({&phase, h, w, grid, tiles, direct});
  }

  void make_tasks() {
    const int64_t threads = team_threads(), wanted = threads == 1 ? 1 : 4 * threads;
    int64_t block = std::max<int64_t>(1, TASK_BYTES / 2 / (input_tile_elements() * e_.accumulator_bytes));
    const int64_t all = TASK_BYTES / (most_weights() * tile_elements() * e_.accumulator_bytes);
    if (all >= LEAST_BLOCK) block = std::min(block, all);
    while (block > 1 && count_blocks(block) < wanted) block = (block + 1) / 2;
    const int64_t fitting = std::max<int64_t>(1, TASK_BYTES / (block * tile_elements() * e_.accumulator_bytes));
    add_tasks(block, fitting, divide_up(wanted, count_blocks(block)));
    std::stable_sort(tasks_.begin(), tasks_.end(), [](const Task& a, const Task& b) { return a.cost > b.cost; });
  }

  int64_t most_weights() const {
    int64_t most = 1;
    for (const Phase& phase : phases_) most = std::max(most, phase.weight_tiles());
    return most;
  }

  int64_t count_blocks(int64_t block) const {
    int64_t count = 0;
    for (const Region& region : regions_) count += divide_up(region.tiles, block) * p_.groups;
    return std::max<int64_t>(count, 1);
  }

  // Each block of positions is cut into so many tasks that no more than `most` tiles of weights are in one.
  // The phases of one block of positions follow each other: they read the same inputs and write the same lines.
  void add_tasks(int64_t block, int64_t most, int64_t least_splits) {
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

  // Neighbouring taps of the phase: packed weights from tap `weight` of the block on, inputs from tap `input` on.
  struct Segment {
    int64_t weight, input, taps;
  };

  // A tile of input positions inside a task: its runs, from number `run` of the task's on.
  struct InputTile {
    int64_t run, runs, positions;
  };

  // A block of K that has taps of the task's region.
  struct Block {
    int64_t c0, channels, t0, taps, k;
  };

  // What a task works with; kept by each thread.
  struct Work {
    // Of each tile, and of the whole task.
    std::vector<Run> runs, all_runs;
    std::vector<InputTile> inputs;
    std::vector<Block> blocks;
    std::vector<Tap> taps;
    std::vector<Segment> segments;
    Sink sink;
    Runs runs_of(const InputTile& input) const { return {&runs[input.run], input.runs}; }
  };

  void run_task(const Task& task) const {
    static thread_local Work work;
    make_inputs(task, work);
    work.sink = sink_of(task);
    if (task.region->direct) {
      run_direct(task, work);
    } else {
      run_packed(task, work);
    }
    if (work.sink.stream) e_.stream_fence();
  }

  int64_t all_tiles_bytes(const Task& task) const {
    return (task.tile1 - task.tile0) * (task.weight1 - task.weight0) * tile_elements() * e_.accumulator_bytes;
  }

  void run_direct(const Task& task, Work& work) const {
    char* const c = static_cast<char*>(scratch(SCRATCH_ITEM_A, all_tiles_bytes(task)));
    std::memset(c, 0, all_tiles_bytes(task));
    each_block(task.region->phase->depth, [&](int64_t c0, int64_t channels, int64_t t0, int64_t count, int64_t k) {
      select_taps(*task.region, t0, count, work);
      multiply_direct(task, work, c0, channels, k, c);
    });
    const char* tile = c;
    for (int64_t w = task.weight0; w < task.weight1; w++) {
      for (const InputTile& input : work.inputs) {
        store_tile(task, work, w, input, tile);
        tile += tile_elements() * e_.accumulator_bytes;
      }
    }
  }

  void make_inputs(const Task& task, Work& work) const {
    const Region& region = *task.region;
    work.runs.clear();
    work.all_runs.clear();
    work.inputs.clear();
    for (int64_t tile = task.tile0; tile < task.tile1; tile++) {
      const int64_t begin = input_begin(region, tile), end = input_begin(region, tile + 1);
      const int64_t run = static_cast<int64_t>(work.runs.size());
      add_runs(region.grid, begin, end, work.runs);
      work.inputs.push_back({run, static_cast<int64_t>(work.runs.size()) - run, end - begin});
    }
    if (px()) add_runs(region.grid, input_begin(region, task.tile0), input_begin(region, task.tile1), work.all_runs);
  }

  // Tiles are stored as soon as they are summed; with one block of K there is never more than one of them.
  void run_packed(const Task& task, Work& work) const {
    work.blocks.clear();
    each_block(task.region->phase->depth, [&](int64_t c0, int64_t channels, int64_t t0, int64_t count, int64_t k) {
      select_taps(*task.region, t0, count, work);
      if (!work.taps.empty()) work.blocks.push_back({c0, channels, t0, count, k});
    });
    const int64_t blocks = static_cast<int64_t>(work.blocks.size());
    const int64_t tile_bytes = tile_elements() * e_.accumulator_bytes;
    char* const c = static_cast<char*>(scratch(SCRATCH_ITEM_A, blocks > 1 ? all_tiles_bytes(task) : tile_bytes));
    const int64_t input_bytes = input_tile_elements() * e_.accumulator_bytes;
    char* const packed = static_cast<char*>(scratch(SCRATCH_ITEM_B, (task.tile1 - task.tile0) * input_bytes));
    for (int64_t b = 0; b < blocks; b++) {
      const Block& block = work.blocks[b];
      select_taps(*task.region, block.t0, block.taps, work);
      pack_inputs(task, work, block, packed);
      multiply(task, work, block, packed, {c, blocks > 1 ? tile_bytes : 0, b > 0, b == blocks - 1});
    }
    if (blocks == 0) store_nothing(task, work, c);
  }

  // Sums over no taps at all.
  void store_nothing(const Task& task, const Work& work, char* c) const {
    std::memset(c, 0, tile_elements() * e_.accumulator_bytes);
    for (int64_t w = task.weight0; w < task.weight1; w++)
      for (const InputTile& input : work.inputs) store_tile(task, work, w, input, c);
  }

  // The region's taps among [t0, t0 + count) of its phase.
  void select_taps(const Region& region, int64_t t0, int64_t count, Work& work) const {
    std::vector<Segment>& segments = work.segments;
    work.taps.clear();
    segments.clear();
    const Phase& phase = *region.phase;
    for (int64_t t = t0; t < t0 + count; t++) {
      const int64_t th = t / phase.taps_w(), tw = t % phase.taps_w();
      if (th < region.h.t0 || th >= region.h.t1 || tw < region.w.t0 || tw >= region.w.t1) continue;
      if (!segments.empty() && segments.back().weight + segments.back().taps == t - t0) {
        segments.back().taps++;
      } else {
        segments.push_back({t - t0, static_cast<int64_t>(work.taps.size()), 1});
      }
      work.taps.push_back({phase.h->taps[th].delta, phase.w->taps[tw].delta});
    }
  }

  // The block's input tiles, each with its taps one after the other.
  void pack_inputs(const Task& task, const Work& work, const Block& block, char* to) const {
    if (px()) {
      const int64_t begin = input_begin(*task.region, task.tile0), end = input_begin(*task.region, task.tile1);
      const Runs runs = {work.all_runs.data(), static_cast<int64_t>(work.all_runs.size())};
      pack_taps(task, work, block, runs, end - begin, to);
      return;
    }
    for (const InputTile& input : work.inputs) {
      pack_taps(task, work, block, work.runs_of(input), input.positions, to);
      to += input_tile_elements() * e_.accumulator_bytes;
    }
  }

  void pack_taps(const Task& task, const Work& work, const Block& block, const Runs& runs, int64_t positions,
                 char* to) const {
    PackInput what = {};
    what.source = p_.source;
    what.source.data = element(p_.source.data, task.group * p_.ci * p_.source.pitch_c, e_.storage_bytes);
    what.runs = runs;
    what.c0 = block.c0;
    what.channels = block.channels;
    what.positions = positions;
    what.pitch_channel = by_row() ? 1 : input_pitch();
    what.pitch_position = by_row() ? e_.k_pitch : 1;
    what.fill = by_row() ? block.channels : input_pitch();
    what.pitch_panel = px() ? input_tile_elements() : 0;
    const int64_t tap_elements = by_row() ? block.channels : block.channels * input_pitch();
    what.pitch_tap = tap_elements;
    for (size_t t = 0; t < work.taps.size(); t += what.taps) {
      what.tap = work.taps[t];
      what.taps = px() ? taps_together(*task.region, work.taps, t) : 1;
      e_.pack_input(what, to);
      to += what.taps * tap_elements * e_.accumulator_bytes;
    }
  }

  // Taps from number t on that read neighbours in the tensor, for every position of the region.
  int64_t taps_together(const Region& region, const std::vector<Tap>& taps, size_t t) const {
    const Source& source = p_.source;
    size_t end = t;
    while (end < taps.size() && taps[end].dh == taps[t].dh &&
           taps[end].dw == taps[t].dw + static_cast<int64_t>(end - t) &&
           region.w.q0 * source.step_w + taps[end].dw >= 0 &&
           (region.w.q1 - 1) * source.step_w + taps[end].dw < source.w) {
      end++;
    }
    return source.step_w > 1 ? std::max<int64_t>(1, end - t) : 1;
  }

  // Where C tiles lie, what they hold, and whether they are complete after this block of K.
  struct Sums {
    char* c;
    int64_t pitch;
    bool accumulate, last;
  };

  void multiply(const Task& task, const Work& work, const Block& block, const char* packed, const Sums& sums) const {
    const int64_t bytes = e_.accumulator_bytes, tiles = static_cast<int64_t>(work.inputs.size());
    const Phase& phase = *task.region->phase;
    char* c = sums.c;
    for (int64_t w = task.weight0; w < task.weight1; w++) {
      const char* const weight = packed_at(phase, task.group, w) + block.k * weight_pitch() * bytes;
      const int64_t co = weight_tile(phase, w).channels * phase.tiling.interleave;
      const int64_t next_w = w + 1 < task.weight1 ? w + 1 : w;
      const char* const next_weight = packed_at(phase, task.group, next_w) + block.k * weight_pitch() * bytes;
      for (int64_t i = 0; i < tiles; i++, c += sums.pitch) {
        const char* const input = packed + i * input_tile_elements() * bytes;
        const char* const next_input = i + 1 < tiles ? input + input_tile_elements() * bytes : packed;
        const char* const ahead = i == (px() ? 0 : tiles - 1) ? next_weight : next_input;
        const int64_t rows = px() ? co : work.inputs[i].positions, lanes = px() ? work.inputs[i].positions : co;
        const Micro micro = e_.micro[by_row()][lanes > e_.half_lanes][rows - 1];
        bool more = sums.accumulate;
        for (const Segment& segment : work.segments) {
          const char* const from_weight = weight + segment.weight * block.channels * weight_pitch() * bytes;
          const char* const from_input =
              input + segment.input * block.channels * (by_row() ? 1 : input_pitch()) * bytes;
          micro(segment.taps * block.channels, px() ? from_weight : from_input, px() ? from_input : from_weight, c,
                more, ahead);
          more = true;
        }
        if (sums.last) store_tile(task, work, w, work.inputs[i], c);
      }
    }
  }

  // Tiles of one row each, with the inputs where they lie: lanes that do not exist are masked, not packed as zeros.
  void multiply_direct(const Task& task, const Work& work, int64_t c0, int64_t channels, int64_t k, char* c) const {
    const int64_t bytes = e_.accumulator_bytes;
    for (int64_t w = task.weight0; w < task.weight1; w++) {
      const char* const weight = packed_at(*task.region->phase, task.group, w) + k * weight_pitch() * bytes;
      const int64_t co = weight_tile(*task.region->phase, w).channels * task.region->phase->tiling.interleave;
      for (const InputTile& input : work.inputs) {
        const Run& run = work.runs[input.run];
        const DirectMicro micro = e_.direct[run.count > e_.half_lanes][co - 1];
        for (const Segment& segment : work.segments) {
          for (int64_t t = 0; t < segment.taps; t++) {
            const Tap& tap = work.taps[segment.input + t];
            const int64_t h = run.qh * p_.source.step_h + tap.dh, at = run.qw + tap.dw;
            const int64_t first = std::max<int64_t>(0, -at), last = std::min(run.count, p_.source.w - at);
            if (h < 0 || h >= p_.source.h || first >= last) continue;
            const int64_t from =
                run.n * p_.source.pitch_n + (task.group * p_.ci + c0) * p_.source.pitch_c + h * p_.source.pitch_h + at;
            micro(channels, weight + (segment.weight + t) * channels * weight_pitch() * bytes,
                  element(p_.source.data, from, e_.storage_bytes), p_.source.pitch_c, first, last, c);
          }
        }
        c += tile_elements() * bytes;
      }
    }
  }

  // The sink of the first row and column of the task's phases.
  Sink sink_of(const Task& task) const {
    const Phase& phase = *task.region->phase;
    Sink sink = p_.sink;
    const int64_t first = phase.h->first * sink.pitch_h + phase.w->first * sink.pitch_w;
    sink.data = element(p_.sink.data, task.group * p_.co * sink.pitch_c + first, e_.storage_bytes);
    sink.bias = element(p_.sink.bias, task.group * p_.co, e_.storage_bytes);
    sink.pitch_column = sink.pitch_w;
    sink.pitch_h *= p_.h.step;
    sink.pitch_w *= p_.w.step;
    sink.interleave = phase.tiling.interleave;
    const int64_t written = p_.n * p_.groups * p_.co * p_.h.output * p_.w.output * e_.storage_bytes;
    sink.stream = written >= STREAMED_BYTES;
    return sink;
  }

  void store_tile(const Task& task, const Work& work, int64_t w, const InputTile& input, const char* c) const {
    const WeightTile tile = weight_tile(*task.region->phase, w);
    Sink sink = work.sink;
    sink.data = element(sink.data, tile.row * p_.sink.pitch_h + tile.column * p_.sink.pitch_w, e_.storage_bytes);
    const auto store = px() ? e_.store_channel_rows : e_.store_channel_lanes;
    store(c, work.runs_of(input), tile.co, tile.channels, sink);
  }

  const Product& p_;
  const ConvEngine& e_;
  int64_t packed_elements_ = 0;
  char* packed_ = nullptr;
  std::vector<Phase> phases_;
  std::vector<Region> regions_;
  std::vector<Task> tasks_;
};

}  // namespace

void expand_product(const ConvCall& call, const ConvEngine& engine, ConvLayout layout, ConvLanes lanes) {
  const Product product = {expand_form(call, layout), engine, layout, lanes};
  ProductRun(product).run(call);
}

void contract_product(const ConvCall& call, const ConvEngine& engine, ConvLayout layout, ConvLanes lanes) {
  const Product product = {contract_form(call, layout), engine, layout, lanes};
  ProductRun(product).run(call);
}

void conv_expand(void** params, const ConvEngine& engine, ConvLayout layout, ConvLanes lanes) {
  expand_product(read_packing_call(params), engine, layout, lanes);
}

void conv_contract(void** params, const ConvEngine& engine, ConvLayout layout, ConvLanes lanes) {
  contract_product(read_packing_call(params), engine, layout, lanes);
}

}  // namespace fracstride
