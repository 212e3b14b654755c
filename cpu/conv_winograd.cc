// expand and contract by Winograd's minimal filtering (winograd_plan.h has the algebra). For every tile, part and point
//
//   V = Bᵀ x B of the input's windows      U = G g Gᵀ of the weight, kept between calls
//   M[point][tile][co] = Σ_k V[point][tile][k] · U[point][k][co]      y = Aᵀ M A
//
// Tiles of all images are numbered in the order n, row, column and cut into groups of the micro-kernel's rows; blocks
// of groups go through the three steps together. When there are fewer blocks than threads, V is made by all of them
// first and each then takes its share of the output channels. Nothing that is summed depends on how work is shared.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

#include "conv_args.h"
#include "team.h"
#include "winograd.h"
#include "winograd_maps.h"
#include "winograd_plan.h"

namespace fracstride {
namespace {

// What V and M of a block should fit into, at least this many tiles, and what U is that is too much to be read for
// few tiles.
constexpr int64_t BLOCK_BYTES = 512 * 1024, BLOCK_TILES = 28, LARGE_FILTERS = 4 << 20, LARGE_BLOCK_TILES = 112;
// V of tiles that all threads share, and that a block may have.
constexpr int64_t SHARED_BYTES = 16 << 20;
// Tensors and filters of which a last-level cache may have lost what is read next.
constexpr int64_t DISTANT_BYTES = 16 << 20;
// Tiles of a row whose inputs or outputs are transformed at once: so many that these stay in a first-level cache, and
// in steps that lead to whole vectors of columns.
constexpr int64_t STRIP_BYTES = 40 * 1024, STRIP_STEP = 8;
// What keeps points from falling into the same cache sets.
constexpr int64_t PAD = 16;
// A micro-kernel asks for one line of the next filters for each k, which have two lines with lanes of two vectors.
constexpr int64_t LINE_FLOATS = 16, FETCHING_GROUPS = 2;

struct Filtering {
  const WinogradEngine& engine;
  ResidueMaps maps;
  // Of one map; n counts the maps of all images.
  int64_t outputs, n, groups, ci, co, height, width;
  Source source;
  Sink sink;
  TiledAxis h, w;
  const void* weight;
  int64_t weight_pitch_c, weight_pitch_co, kernel_w, kernel_area;
  // Whether units are parts of the same sums (contract) or of different outputs (expand).
  bool sums;
};

int64_t round_up(int64_t value, int64_t to) {
  return divide_up(value, to) * to;
}

class WinogradRun {
 public:
  WinogradRun(const Filtering& filtering, std::vector<Unit> units)
      : f_(filtering), e_(*filtering.engine.product), units_(std::move(units)) {
    panels_ = divide_up(f_.co, e_.lanes);
    tiles_ = f_.n * f_.h.tiles * f_.w.tiles;
    for (const Unit& unit : units_) {
      const int64_t blocks = divide_up(unit.depth, max_depth());
      blocks_.push_back({blocks, round_up(divide_up(unit.depth, blocks), f_.engine.width)});
    }
    // Sums depend on how many tiles are in a group, so groups may not depend on the number of threads; an even number
    // of them, with a few tiles less in each, is what two threads can share.
    tile_groups_ = divide_up(tiles_, e_.rows);
    if (tile_groups_ > groups_of_block()) tile_groups_ = round_up(tile_groups_, 2);
    const int64_t inputs = f_.n * f_.ci * f_.source.h * f_.source.w, results = f_.n * f_.co * f_.height * f_.width;
    distant_ = f_.groups * (inputs + results) * e_.storage_bytes + filter_bytes() > DISTANT_BYTES;
  }

  int64_t filter_bytes() const { return f_.groups * panels_ * panel_elements() * e_.accumulator_bytes; }

  // False when some weight is not finite.
  bool pack(char* to) const {
    std::atomic<bool> finite{true};
    const int64_t parts = divide_up(f_.ci, f_.engine.width);
    parallel_for(f_.groups * panels_ * parts, [&](int64_t i) {
      if (!pack_part(i / parts, i % parts * f_.engine.width, reinterpret_cast<float*>(to))) finite = false;
    });
    return finite;
  }

  // False when some sum is not finite: then what was written is not the result.
  bool run(const char* filters) {
    filters_ = reinterpret_cast<const float*>(filters);
    const int64_t threads = team_threads();
    const int64_t fitting = groups_of_block(), blocks = divide_up(tile_groups_, fitting);
    const bool shared = blocks < threads || input_bytes(std::min(tiles_, fitting * e_.rows)) > SHARED_BYTES;
    for (int64_t group = 0; group < f_.groups; group++) {
      if (shared) {
        run_shared(group, threads);
      } else {
        // As many blocks for every thread, those with one group more first.
        const int64_t count = std::min(tile_groups_, round_up(blocks, threads));
        const auto begin = [&](int64_t i) { return tile_groups_ / count * i + std::min(tile_groups_ % count, i); };
        parallel_for(count, [&](int64_t i) { run_block(group, block_of(begin(i), begin(i + 1))); });
      }
    }
    return finite_;
  }

 private:
  // Groups [first, last) of tiles, with the number of the first tile and the count of all.
  struct Block {
    int64_t first, last, tile, tiles;
    int64_t groups() const { return last - first; }
  };

  // How the K of a unit is cut: blocks of `depth`, the last maybe less.
  struct Cut {
    int64_t blocks, depth;
  };

  static int64_t tile_begin(int64_t count, int64_t parts, int64_t i) { return count * i / parts; }
  int64_t first_tile(int64_t group) const { return tile_begin(tiles_, tile_groups_, group); }
  int64_t max_depth() const { return e_.k_pitch - e_.half_lanes; }
  int64_t padded_channels() const { return round_up(f_.ci, f_.engine.width); }

  int64_t panel_elements() const {
    const Unit& last = units_.back();
    return (last.first_filter + last.points * static_cast<int64_t>(last.outputs.size()) * last.depth) * e_.lanes;
  }
  int64_t results() const {
    const Unit& last = units_.back();
    return last.first_result + last.points * static_cast<int64_t>(last.outputs.size());
  }

  Block block_of(int64_t first, int64_t last) const {
    return {first, last, first_tile(first), first_tile(last) - first_tile(first)};
  }

  // V: of each unit and point [block of K][tile][k].
  int64_t input_pitch(size_t unit, int64_t tiles) const { return blocks_[unit].blocks * tiles * e_.k_pitch + PAD; }
  int64_t input_begin(size_t unit, int64_t tiles) const {
    int64_t at = 0;
    for (size_t i = 0; i < unit; i++) at += units_[i].points * input_pitch(i, tiles);
    return at;
  }
  int64_t input_bytes(int64_t tiles) const { return input_begin(units_.size(), tiles) * e_.accumulator_bytes; }

  // M: of each result [tile][lane].
  int64_t result_pitch(int64_t tiles) const { return tiles * e_.lanes + PAD; }
  int64_t result_bytes(int64_t tiles) const { return results() * result_pitch(tiles) * e_.accumulator_bytes; }

  int64_t groups_of_block() const {
    const int64_t fitting = BLOCK_BYTES / (input_bytes(1) + result_bytes(1));
    const int64_t least = filter_bytes() / f_.groups > LARGE_FILTERS ? LARGE_BLOCK_TILES : BLOCK_TILES;
    return divide_up(std::max(least, fitting), e_.rows);
  }

  void run_block(int64_t group, Block block) {
    float* const inputs = static_cast<float*>(scratch(SCRATCH_ITEM_A, input_bytes(block.tiles)));
    for (int64_t c = 0; c < f_.ci; c += f_.engine.width) transform_inputs(group, c, block, block, inputs);
    for (int64_t panel = 0; panel < panels_; panel++) multiply_panel(group, panel, block, block, inputs);
  }

  void run_shared(int64_t group, int64_t threads) {
    const int64_t most = std::max<int64_t>(1, SHARED_BYTES / input_bytes(e_.rows)),
                  chunks = divide_up(f_.ci, f_.engine.width);
    for (int64_t g = 0; g < tile_groups_; g += most) {
      const Block block = block_of(g, std::min(g + most, tile_groups_));
      float* const inputs = static_cast<float*>(scratch(SCRATCH_CALL_A, input_bytes(block.tiles)));
      parallel_for(block.groups() * chunks, [&](int64_t i) {
        const int64_t at = block.first + i / chunks;
        transform_inputs(group, i % chunks * f_.engine.width, block, block_of(at, at + 1), inputs);
      });
      const int64_t pieces = std::min(block.groups(), divide_up(2 * threads, panels_));
      parallel_for(panels_ * pieces, [&](int64_t i) {
        const int64_t piece = i % pieces;
        const Block part = block_of(block.first + tile_begin(block.groups(), pieces, piece),
                                    block.first + tile_begin(block.groups(), pieces, piece + 1));
        multiply_panel(group, i / pieces, block, part, inputs);
      });
    }
  }

  // Tiles of a strip with so many positions a tile.
  int64_t strip_tiles(int64_t positions) const {
    const int64_t fitting = STRIP_BYTES / (positions * f_.engine.width * e_.accumulator_bytes);
    return std::max(fitting / STRIP_STEP, int64_t{1}) * STRIP_STEP;
  }

  // Calls visit(strip, the strip that comes next) for strips of at most `most` tiles of a row, which begin with tile
  // strip.at of `part`. After the last one comes the first one again, of the next channels.
  template <class Visit>
  void each_strip(const Block& part, int64_t most, const Visit& visit) const {
    static thread_local std::vector<Run> runs, strips;
    runs.clear();
    strips.clear();
    add_runs({f_.n, 0, f_.h.tiles, 0, f_.w.tiles}, part.tile, part.tile + part.tiles, runs);
    for (const Run& run : runs)
      for (int64_t at = 0; at < run.count; at += most)
        strips.push_back({run.at + at, std::min(most, run.count - at), run.n, run.qh, run.qw + at});
    for (size_t i = 0; i < strips.size(); i++) visit(strips[i], strips[(i + 1) % strips.size()]);
  }

  // What is asked for while a strip is staged: the next one's inputs, unless a last-level cache has them.
  int64_t ahead(const Run& strip, const Run& next) const {
    const int64_t columns = f_.w.inputs_of(strip.count);
    if (!distant_ || !ResidueMaps::is_short(f_.source, columns, e_.storage_bytes)) return 0;
    const int64_t channels = next.at > strip.at ? 0 : f_.engine.width;
    return f_.maps.distance(f_.source, strip, next, f_.h.in_step * f_.outputs, f_.w.in_step * f_.outputs) +
           channels * f_.source.pitch_c;
  }

  // Channels [c, c + width) of the tiles of `part`, which are among those of `block`.
  void transform_inputs(int64_t group, int64_t c, const Block& block, const Block& part, float* to) const {
    const int64_t width = f_.engine.width, most = strip_tiles(f_.h.inputs_of(1) * f_.w.in_step * f_.outputs);
    each_strip(part, most, [&](const Run& tiles, const Run& next) {
      Strip strip = {f_.maps.map_of(f_.source, tiles.n, e_.storage_bytes),
                     0,
                     group * f_.ci + c,
                     std::min(width, f_.ci - c),
                     f_.h.first_input(tiles.qh),
                     f_.w.first_input(tiles.qw),
                     f_.h.inputs_of(1),
                     f_.w.inputs_of(tiles.count),
                     (f_.w.inputs_of(tiles.count) + width) * width,
                     ahead(tiles, next)};
      float* const staged = static_cast<float*>(scratch(SCRATCH_ITEM_C, strip.rows * strip.row_pitch * sizeof(float)));
      f_.engine.stage(strip, staged);
      Windows windows = {nullptr,
                         f_.h.in_step * strip.row_pitch,
                         f_.w.in_step * width,
                         f_.w.in_step * f_.outputs * width,
                         tiles.count,
                         nullptr,
                         0,
                         e_.k_pitch};
      for (size_t u = 0; u < units_.size(); u++) {
        const Unit& unit = units_[u];
        for (size_t i = 0; i < unit.inputs.size(); i++) {
          const PartPair& pair = unit.inputs[i];
          const int64_t k = static_cast<int64_t>(i) * padded_channels() + c, k_block = k / blocks_[u].depth;
          windows.from = staged + (f_.h.parts[pair.h].in_first - f_.h.first_input(0)) * strip.row_pitch +
                         (f_.w.parts[pair.w].in_first - f_.w.first_input(0)) * width;
          windows.point_pitch = input_pitch(u, block.tiles);
          windows.to = to + input_begin(u, block.tiles) + k % blocks_[u].depth +
                       (k_block * block.tiles + part.tile - block.tile + tiles.at) * e_.k_pitch;
          f_.engine.input[f_.outputs - MIN_OUTPUTS][taps_h(pair) - 1][taps_w(pair) - 1](windows);
        }
      }
    });
  }

  int64_t taps_h(const PartPair& part) const { return f_.h.parts[part.h].count(); }
  int64_t taps_w(const PartPair& part) const { return f_.w.parts[part.w].count(); }

  // One panel of output channels of the groups of `part`, which are among those of `block`.
  void multiply_panel(int64_t group, int64_t panel, const Block& block, const Block& part, const float* inputs) {
    const int64_t pitch = result_pitch(part.tiles);
    float* const results = static_cast<float*>(scratch(SCRATCH_ITEM_B, result_bytes(part.tiles)));
    const float* const filters = filters_ + (group * panels_ + panel) * panel_elements();
    const int64_t lanes = std::min<int64_t>(e_.lanes, f_.co - panel * e_.lanes);
    for (size_t u = 0; u < units_.size(); u++) {
      const Unit& unit = units_[u];
      const int64_t outputs = static_cast<int64_t>(unit.outputs.size());
      for (int64_t point = 0; point < unit.points; point++) {
        for (int64_t o = 0; o < outputs; o++) {
          const int64_t number = o * unit.points + point;
          const float* const from = inputs + input_begin(u, block.tiles) + point * input_pitch(u, block.tiles);
          const int64_t filter = unit.first_filter + (point * outputs + o) * unit.depth;
          multiply_point(u, block, part, lanes, from, filters + filter * e_.lanes,
                         results + (unit.first_result + number) * pitch);
        }
      }
    }
    for (int64_t l = 0; l < lanes; l += f_.engine.width) {
      transform_results(group, panel * e_.lanes + l, part, pitch, results + l);
    }
  }

  // Filters lie in the order of the products: the groups of one product together ask for those of the next.
  void multiply_point(size_t unit, const Block& block, const Block& part, int64_t lanes, const float* inputs,
                      const float* filters, float* to) const {
    const Cut& cut = blocks_[unit];
    for (int64_t b = 0; b < cut.blocks; b++) {
      const int64_t depth = std::min(cut.depth, units_[unit].depth - b * cut.depth);
      for (int64_t g = part.first; g < part.last; g++) {
        const int64_t tile = first_tile(g), rows = first_tile(g + 1) - tile;
        const float* const filter = filters + b * cut.depth * e_.lanes;
        const float* const next = filter + depth * e_.lanes + (g - part.first) % FETCHING_GROUPS * depth * LINE_FLOATS;
        e_.micro[1][lanes > e_.half_lanes][rows - 1](depth, inputs + (b * block.tiles + tile - block.tile) * e_.k_pitch,
                                                     filter, to + (tile - part.tile) * e_.lanes, e_.lanes, b > 0, next);
      }
    }
  }

  // Channels [c, c + width) of the tiles of `part`.
  void transform_results(int64_t group, int64_t c, const Block& part, int64_t pitch, const float* from) {
    const int64_t width = f_.engine.width, most = strip_tiles(f_.h.outputs_of(1) * f_.w.outputs_of(1));
    each_strip(part, most, [&](const Run& tiles, const Run&) {
      Sink sink = f_.maps.map_of(f_.sink, tiles.n, e_.storage_bytes);
      sink.data = element(sink.data, group * f_.co * sink.pitch_c, e_.storage_bytes);
      sink.bias = element(sink.bias, group * f_.co, e_.storage_bytes);
      StripOutput strip = {nullptr,
                           0,
                           sink,
                           f_.height,
                           f_.width,
                           0,
                           c,
                           std::min(width, f_.co - c),
                           f_.h.first_output(tiles.qh),
                           f_.w.first_output(tiles.qw),
                           f_.h.outputs_of(1),
                           f_.w.outputs_of(tiles.count)};
      strip.row_pitch = strip.columns * width;
      float* const made = static_cast<float*>(scratch(SCRATCH_ITEM_C, strip.rows * strip.row_pitch * sizeof(float)));
      Products products = {nullptr,
                           pitch,
                           e_.lanes,
                           nullptr,
                           f_.h.out_step * strip.row_pitch,
                           f_.w.out_step * width,
                           f_.w.out_step * f_.outputs * width,
                           tiles.count,
                           false};
      for (size_t u = 0; u < units_.size(); u++) {
        const Unit& unit = units_[u];
        for (size_t o = 0; o < unit.outputs.size(); o++) {
          const PartPair& pair = unit.outputs[o];
          products.from =
              from + (unit.first_result + static_cast<int64_t>(o) * unit.points) * pitch + tiles.at * e_.lanes;
          products.to = made + (f_.h.parts[pair.h].out_first - f_.h.first_output(0)) * strip.row_pitch +
                        (f_.w.parts[pair.w].out_first - f_.w.first_output(0)) * width;
          products.add = f_.sums && u > 0;
          f_.engine.output[f_.outputs - MIN_OUTPUTS][taps_h(pair) - 1][taps_w(pair) - 1](products);
        }
      }
      strip.from = made;
      if (!f_.engine.store(strip)) finite_ = false;
    });
  }

  // `width` input channels from c on of one panel.
  bool pack_part(int64_t panel, int64_t c, float* to) const {
    const int64_t width = f_.engine.width, size = width * e_.lanes, group = panel / panels_,
                  co = panel % panels_ * e_.lanes;
    const int64_t channels = std::min(width, f_.ci - c);
    float* const taps = static_cast<float*>(scratch(SCRATCH_ITEM_A, f_.kernel_area * size * sizeof(float)));
    std::vector<void*> places;
    for (int64_t k = 0; k < f_.kernel_area; k++) {
      places.push_back(taps + k * size);
      std::memset(taps + k * size + channels * e_.lanes, 0, (width - channels) * e_.lanes * sizeof(float));
    }
    const int64_t from = group * f_.ci * f_.co * f_.kernel_area + co * f_.weight_pitch_co + c * f_.weight_pitch_c;
    const bool finite =
        e_.pack_weight({element(f_.weight, from, e_.storage_bytes), f_.weight_pitch_c, f_.weight_pitch_co, channels,
                        std::min<int64_t>(e_.lanes, f_.co - co), e_.lanes, f_.kernel_area, places.data()});
    for (const Unit& unit : units_)
      for (size_t i = 0; i < unit.inputs.size(); i++)
        for (size_t o = 0; o < unit.outputs.size(); o++) {
          const int64_t k = static_cast<int64_t>(i) * padded_channels() + c;
          const int64_t at = unit.first_filter + static_cast<int64_t>(o) * unit.depth + k;
          const PartPair& part = f_.sums ? unit.inputs[i] : unit.outputs[o];
          const int64_t depth = static_cast<int64_t>(unit.outputs.size()) * unit.depth;
          transform_filter(part, taps, depth, to + panel * panel_elements() + at * e_.lanes);
        }
    return finite;
  }

  void transform_filter(const PartPair& part, const float* taps, int64_t depth, float* to) const {
    const int64_t size = f_.engine.width * e_.lanes;
    const void* places[MAX_TAPS * MAX_TAPS];
    int64_t count = 0;
    for (const int64_t h : f_.h.parts[part.h].taps)
      for (const int64_t w : f_.w.parts[part.w].taps) places[count++] = taps + (h * f_.kernel_w + w) * size;
    f_.engine.weight[f_.outputs - MIN_OUTPUTS][taps_h(part) - 1][taps_w(part) - 1](
        {places, size, to, depth * e_.lanes});
  }

  const Filtering& f_;
  const ConvEngine& e_;
  const std::vector<Unit> units_;
  std::vector<Cut> blocks_;
  int64_t panels_ = 0, tiles_ = 0, tile_groups_ = 0;
  bool distant_ = false;
  const float* filters_ = nullptr;
  std::atomic<bool> finite_{true};
};

struct Side {
  int64_t c, h, w;
};

// The direct product decides where a sum is infinite or no number, as this one has other intermediate values.
void run_filtering(const ConvCall& call, const Filtering& filtering, std::vector<Unit> units, ConvLayout layout) {
  WinogradRun run(filtering, std::move(units));
  const PackedHeader& header = packed_weight(call, run.filter_bytes(), [&](char* to) { return run.pack(to); });
  if (header.finite && run.run(reinterpret_cast<const char*>(&header + 1))) return;
  ConvCall again = call;
  again.packed = nullptr;
  const auto product = filtering.sums ? contract_product : expand_product;
  product(again, *filtering.engine.product, layout, LANES_CH);
}

// `in` and `out` are the tensors as they are, the axes those of one map.
Filtering filtering_of(const ConvCall& call, const WinogradEngine& engine, ConvLayout layout, const ResidueMaps& maps,
                       const Side& in, const Side& out, TiledAxis h, TiledAxis w) {
  const ConvShape s = maps.shape(call.shape);
  const Pitches from = pitches_of(layout, in.c, in.h, in.w), to = pitches_of(layout, out.c, out.h, out.w);
  const int64_t from_h = from.h * maps.h, from_w = from.w * maps.w, to_h = to.h * maps.h, to_w = to.w * maps.w;
  const Source source = {call.first, from.n, from.c, from_h, from_w, in.h / maps.h, in.w / maps.w, 1, 1};
  const Sink sink = {call.output, call.bias, to.n, to.c, to_h, to_w, call.activation, call.slope};
  const int64_t outputs = h.outputs, height = out.h / maps.h, width = out.w / maps.w;
  return {engine, maps,  outputs, s.n,       s.groups,     in.c / s.groups, out.c / s.groups,
          height, width, source,  sink,      std::move(h), std::move(w),    call.second,
          0,      0,     s.s,     s.r * s.s, false};
}

}  // namespace

void winograd_expand(void** params, const WinogradEngine& engine, ConvLayout layout, int64_t outputs, bool shared) {
  const ConvCall call = read_packing_call(params);
  check_winograd_shape(engine, call.shape, outputs);
  const ConvShape& whole = call.shape;
  const ResidueMaps maps(whole);
  const ConvShape s = maps.shape(whole);
  need_of_winograd(!shared || (s.r % s.sh == 0 && s.s % s.sw == 0), "phases of equally many taps");
  TiledAxis h = tile_expand(expand_axis(s.hs, s.hl, s.r, s.sh, s.ph, s.dh), outputs, shared);
  TiledAxis w = tile_expand(expand_axis(s.ws, s.wl, s.s, s.sw, s.pw, s.dw), outputs, shared);
  std::vector<Unit> units = expand_units(h, w, round_up(s.cs / s.groups, engine.width));
  Filtering filtering = filtering_of(call, engine, layout, maps, {s.cs, whole.hs, whole.ws}, {s.cl, whole.hl, whole.wl},
                                     std::move(h), std::move(w));
  filtering.weight_pitch_c = s.cl / s.groups * s.r * s.s;
  filtering.weight_pitch_co = s.r * s.s;
  run_filtering(call, filtering, std::move(units), layout);
}

void winograd_contract(void** params, const WinogradEngine& engine, ConvLayout layout, int64_t outputs) {
  const ConvCall call = read_packing_call(params);
  check_winograd_shape(engine, call.shape, outputs);
  const ConvShape& whole = call.shape;
  const ResidueMaps maps(whole);
  const ConvShape s = maps.shape(whole);
  TiledAxis h = tile_contract(contract_axis(s.hl, s.hs, s.r, s.sh, s.ph, s.dh), outputs);
  TiledAxis w = tile_contract(contract_axis(s.wl, s.ws, s.s, s.sw, s.pw, s.dw), outputs);
  std::vector<Unit> units = contract_units(h, w, round_up(s.cl / s.groups, engine.width));
  Filtering filtering = filtering_of(call, engine, layout, maps, {s.cl, whole.hl, whole.wl}, {s.cs, whole.hs, whole.ws},
                                     std::move(h), std::move(w));
  filtering.weight_pitch_c = s.r * s.s;
  filtering.weight_pitch_co = s.cl / s.groups * s.r * s.s;
  filtering.sums = true;
  run_filtering(call, filtering, std::move(units), layout);
}

}  // namespace fracstride
