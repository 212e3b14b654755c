// The weight gradient by Winograd's minimal filtering (winograd_plan.h has the algebra): the filtering of contract read
// the other way. For every tile, part and point
//
//   P = A dy Aᵀ of the tile of S      V = Bᵀ x B of each part's window of L
//   M[point][part][k][c] = Σ_tiles V[point][part][tile][k] · P[point][tile][c]      W = Gᵀ M G, part by part
//
// Rows are channels k, lanes are channels c, K are tiles, in the order n, row, column. All threads make P and V of what
// a cache holds: of all tiles and a range of channels k where P is small enough, else of a block of tiles and all
// channels. Then a task takes a rectangle of channels with all points, whose sums it keeps until the last tile. Every
// sum is over all tiles in order, DEPTH by DEPTH, whoever makes it: nothing depends on the number of threads or of
// tasks.
#include <algorithm>
#include <atomic>
#include <utility>

#include "conv_args.h"
#include "team.h"
#include "winograd.h"
#include "winograd_maps.h"
#include "winograd_plan.h"

namespace fracstride {
namespace {

// P of all tiles; V of a range, or P and V of a block of tiles; sums of a task; tiles of one product, whose panels then
// stay in a first-level cache.
constexpr int64_t SMALL_BYTES = 12 << 20, VALUE_BYTES = 6 << 20, SUM_BYTES = 512 << 10, DEPTH = 128;
// Tasks for every thread, and items that make P and V of a block.
constexpr int64_t TASKS_A_THREAD = 4, ITEM_TILES = 64;
// Tensors of which a last-level cache may have lost what is read next.
constexpr int64_t DISTANT_BYTES = 8 << 20;
// What keeps points from falling into the same cache sets.
constexpr int64_t PAD = 16;

class WinogradGradient {
 public:
  WinogradGradient(const ConvCall& call, const WinogradEngine& engine, ConvLayout layout, int64_t outputs)
      : call_(call),
        maps_(call.shape),
        s_(maps_.shape(call.shape)),
        e_(engine),
        p_(*engine.product),
        outputs_(outputs),
        cs_(s_.cs / s_.groups),
        cl_(s_.cl / s_.groups),
        h_(tile_contract(contract_axis(s_.hl, s_.hs, s_.r, s_.sh, s_.ph, s_.dh), outputs)),
        w_(tile_contract(contract_axis(s_.wl, s_.ws, s_.s, s_.sw, s_.pw, s_.dw), outputs)),
        units_(contract_units(h_, w_, 1)) {
    const ConvShape& whole = call.shape;
    const Pitches small = pitches_of(layout, s_.cs, whole.hs, whole.ws);
    const Pitches large = pitches_of(layout, s_.cl, whole.hl, whole.wl);
    small_ = {call.first, small.n, small.c, small.h * maps_.h, small.w * maps_.w, s_.hs, s_.ws, 1, 1};
    large_ = {call.second, large.n, large.c, large.h * maps_.h, large.w * maps_.w, s_.hl, s_.wl, 1, 1};
    panels_ = divide_up(cs_, p_.lanes);
    chunks_ = divide_up(cl_, e_.width);
    tiles_ = s_.n * h_.tiles * w_.tiles;
    distant_ = s_.n * (s_.cs * s_.hs * s_.ws + s_.cl * s_.hl * s_.wl) * p_.storage_bytes > DISTANT_BYTES;
    cut();
  }

  // False when some tap is not finite: then what was written is not the result.
  bool run() {
    const int64_t most = block_tiles_, small_elements = small_begin(units_.size(), most);
    float* const small = static_cast<float*>(
        scratch(SCRATCH_CALL_A, (small_elements + large_begin(units_.size(), most)) * p_.accumulator_bytes));
    if (blocks_ > 1) kept_ = static_cast<char*>(scratch(SCRATCH_CALL_B, tasks_of(0, chunks_) * task_bytes_));
    for (int64_t group = 0; group < s_.groups; group++)
      for (int64_t i = 0; i < blocks_; i++) {
        const Block block = {group, i * most, std::min((i + 1) * most, tiles_), i == 0, i + 1 == blocks_};
        for (int64_t chunk = 0; chunk < chunks_; chunk += range_) {
          run_range(block, chunk, std::min(chunk + range_, chunks_), small, small + small_elements);
        }
      }
    return finite_;
  }

 private:
  // Tiles [first, last) of a group; the first of its blocks, the last.
  struct Block {
    int64_t group, first, last;
    bool begins, ends;
    int64_t tiles() const { return last - first; }
  };

  // Chunks of rows [chunk0, chunk1) and panels of lanes [panel0, panel1).
  struct Task {
    int64_t chunk0, chunk1, panel0, panel1;
    int64_t tiles() const { return (chunk1 - chunk0) * (panel1 - panel0); }
  };

  int64_t inputs_of(size_t unit) const { return static_cast<int64_t>(units_[unit].inputs.size()); }
  int64_t tile_elements() const { return e_.width * p_.lanes; }

  // P: of each unit and point [panel][tile][lane]; V: of each [part][chunk of the range][tile][row].
  int64_t small_pitch(int64_t tiles) const { return panels_ * tiles * p_.lanes + PAD; }
  int64_t large_pitch(size_t unit, int64_t tiles) const { return inputs_of(unit) * range_ * tiles * e_.width + PAD; }
  int64_t small_begin(size_t unit, int64_t tiles) const {
    int64_t points = 0;
    for (size_t i = 0; i < unit; i++) points += units_[i].points;
    return points * small_pitch(tiles);
  }
  int64_t large_begin(size_t unit, int64_t tiles) const {
    int64_t at = 0;
    for (size_t i = 0; i < unit; i++) at += units_[i].points * large_pitch(i, tiles);
    return at;
  }

  // M of a task: of each unit and point [panel][part][chunk][row][lane].
  int64_t sum_pitch(size_t unit, const Task& task) const {
    return task.tiles() * inputs_of(unit) * tile_elements() + PAD;
  }
  int64_t sum_begin(size_t unit, const Task& task) const {
    int64_t at = 0;
    for (size_t i = 0; i < unit; i++) at += units_[i].points * sum_pitch(i, task);
    return at;
  }

  // Elements of P and of V for each tile and vector of channels: points, and points of all parts.
  int64_t small_points() const {
    int64_t points = 0;
    for (const Unit& unit : units_) points += unit.points;
    return points;
  }
  int64_t large_points() const {
    int64_t points = 0;
    for (size_t i = 0; i < units_.size(); i++) points += units_[i].points * inputs_of(i);
    return points;
  }

  void cut() {
    const int64_t small = small_points() * panels_ * p_.lanes * p_.accumulator_bytes;
    const int64_t large = large_points() * e_.width * p_.accumulator_bytes;
    block_tiles_ = tiles_;
    range_ = chunks_;
    if (tiles_ * small <= SMALL_BYTES) {
      range_ = std::min(chunks_, std::max<int64_t>(1, VALUE_BYTES / (tiles_ * large)));
    } else {
      block_tiles_ = std::max(VALUE_BYTES / (small + chunks_ * large) / DEPTH, int64_t{1}) * DEPTH;
    }
    blocks_ = divide_up(tiles_, block_tiles_);
    if (block_tiles_ == DEPTH) block_tiles_ = divide_up(tiles_, blocks_);
    rows_ = range_;
    lanes_ = panels_;
    const int64_t wanted = TASKS_A_THREAD * team_threads();
    const auto bytes = [&] { return sum_begin(units_.size(), {0, rows_, 0, lanes_}) * p_.accumulator_bytes; };
    // The side is halved of which a task reads more.
    while (rows_ * lanes_ > 1 && (bytes() > SUM_BYTES || tasks_of(0, range_) < wanted)) {
      const bool by_rows = rows_ * e_.width * large_points() > lanes_ * p_.lanes * small_points();
      int64_t& side = lanes_ == 1 || (by_rows && rows_ > 1) ? rows_ : lanes_;
      side = divide_up(side, 2);
    }
    task_bytes_ = bytes();
  }

  int64_t tasks_of(int64_t chunk0, int64_t chunk1) const {
    return divide_up(chunk1 - chunk0, rows_) * divide_up(panels_, lanes_);
  }

  Task task_of(int64_t number, int64_t chunk0, int64_t chunk1) const {
    const int64_t down = divide_up(chunk1 - chunk0, rows_), chunk = chunk0 + number % down * rows_,
                  panel = number / down * lanes_;
    return {chunk, std::min(chunk + rows_, chunk1), panel, std::min(panel + lanes_, panels_)};
  }

  void run_range(const Block& block, int64_t chunk0, int64_t chunk1, float* small, float* large) {
    transform(block, chunk0, chunk1, small, large);
    parallel_for(tasks_of(chunk0, chunk1), [&](int64_t i) {
      char* const sums =
          blocks_ > 1 ? kept_ + i * task_bytes_ : static_cast<char*>(scratch(SCRATCH_ITEM_A, task_bytes_));
      run_task(block, task_of(i, chunk0, chunk1), chunk0, small, large, reinterpret_cast<float*>(sums));
    });
  }

  // V of a range, and P of the block before the first.
  void transform(const Block& block, int64_t chunk0, int64_t chunk1, float* small, float* large) const {
    const int64_t pieces = divide_up(block.tiles(), ITEM_TILES), of_large = chunk1 - chunk0,
                  of_small = chunk0 == 0 ? divide_up(cs_, e_.width) : 0;
    parallel_for(pieces * (of_large + of_small), [&](int64_t i) {
      const int64_t piece = i % pieces, chunk = i / pieces;
      const int64_t first = block.first + block.tiles() * piece / pieces,
                    last = block.first + block.tiles() * (piece + 1) / pieces;
      if (chunk < of_large) {
        transform_large(block, chunk0 + chunk, chunk, first, last, large);
      } else {
        transform_small(block, (chunk - of_large) * e_.width, first, last, small);
      }
    });
  }

  // Calls visit(run, what comes after it) for runs of tiles in a row, which begin with tile run.at of the block. After
  // its last tile comes the first one.
  template <class Visit>
  void each_run(const Block& block, int64_t first, int64_t last, const Visit& visit) const {
    static thread_local std::vector<Run> runs;
    const Grid grid = {s_.n, 0, h_.tiles, 0, w_.tiles};
    const int64_t after = last < block.last ? last : block.first;
    runs.clear();
    add_runs(grid, first, last, runs);
    for (Run& run : runs) run.at += first - block.first;
    add_runs(grid, after, after + 1, runs);
    for (size_t i = 0; i + 1 < runs.size(); i++) visit(runs[i], runs[i + 1]);
  }

  // Stages the strip that has the inputs of `tiles`: `width` channels from c on of those before `end`. Before the strip
  // of `next`, whose inputs are `step_h` and `step_w` positions a tile further.
  const float* stage(const Source& source, const Run& tiles, const Run& next, int64_t c, int64_t end, int64_t step_h,
                     int64_t step_w, Strip* strip) const {
    const int64_t width = e_.width;
    strip->source = maps_.map_of(source, tiles.n, p_.storage_bytes);
    strip->c0 = c;
    strip->channels = std::min(width, end - c);
    strip->row_pitch = (strip->columns + width) * width;
    const bool asks = distant_ && ResidueMaps::is_short(source, strip->columns, p_.storage_bytes);
    strip->ahead = asks ? maps_.distance(source, tiles, next, step_h, step_w) : 0;
    float* const staged = static_cast<float*>(scratch(SCRATCH_ITEM_C, strip->rows * strip->row_pitch * sizeof(float)));
    e_.stage(*strip, staged);
    return staged;
  }

  void transform_small(const Block& block, int64_t c, int64_t first, int64_t last, float* to) const {
    const int64_t width = e_.width, panel = c / p_.lanes;
    each_run(block, first, last, [&](const Run& tiles, const Run& next) {
      Windows windows = {nullptr, 0, width, outputs_ * width, tiles.count, nullptr, small_pitch(block.tiles()),
                         p_.lanes};
      Strip strip = {{}, 0, 0, 0, tiles.qh * outputs_, tiles.qw * outputs_, outputs_, tiles.count * outputs_, 0, 0};
      windows.from =
          stage(small_, tiles, next, block.group * cs_ + c, (block.group + 1) * cs_, outputs_, outputs_, &strip);
      windows.row_pitch = strip.row_pitch;
      for (size_t u = 0; u < units_.size(); u++) {
        windows.to = to + small_begin(u, block.tiles()) + (panel * block.tiles() + tiles.at) * p_.lanes + c % p_.lanes;
        e_.outward[outputs_ - MIN_OUTPUTS][taps_h(u) - 1][taps_w(u) - 1](windows);
      }
    });
  }

  // `chunk` of all, which is chunk `place` of its range.
  void transform_large(const Block& block, int64_t chunk, int64_t place, int64_t first, int64_t last, float* to) const {
    const int64_t width = e_.width, c = chunk * width;
    const int64_t step_h = h_.in_step * outputs_, step_w = w_.in_step * outputs_;
    each_run(block, first, last, [&](const Run& tiles, const Run& next) {
      Windows windows = {nullptr, 0, w_.in_step * width, step_w * width, tiles.count, nullptr, 0, width};
      Strip strip = {
          {}, 0, 0, 0, h_.first_input(tiles.qh), w_.first_input(tiles.qw), h_.inputs_of(1), w_.inputs_of(tiles.count),
          0,  0};
      const float* const staged =
          stage(large_, tiles, next, block.group * cl_ + c, (block.group + 1) * cl_, step_h, step_w, &strip);
      windows.row_pitch = h_.in_step * strip.row_pitch;
      for (size_t u = 0; u < units_.size(); u++) {
        windows.point_pitch = large_pitch(u, block.tiles());
        for (size_t i = 0; i < units_[u].inputs.size(); i++) {
          const PartPair& pair = units_[u].inputs[i];
          windows.from = staged + (h_.parts[pair.h].in_first - h_.first_input(0)) * strip.row_pitch +
                         (w_.parts[pair.w].in_first - w_.first_input(0)) * width;
          windows.to = to + large_begin(u, block.tiles()) +
                       ((static_cast<int64_t>(i) * range_ + place) * block.tiles() + tiles.at) * width;
          e_.input[outputs_ - MIN_OUTPUTS][taps_h(u) - 1][taps_w(u) - 1](windows);
        }
      }
    });
  }

  int64_t taps_h(size_t unit) const { return h_.parts[units_[unit].inputs[0].h].count(); }
  int64_t taps_w(size_t unit) const { return w_.parts[units_[unit].inputs[0].w].count(); }

  // `large` begins with chunk chunk0.
  void run_task(const Block& block, const Task& task, int64_t chunk0, const float* small, const float* large,
                float* sums) {
    const int64_t tiles = block.tiles();
    for (int64_t at = 0; at < tiles; at += DEPTH)
      for (size_t u = 0; u < units_.size(); u++)
        for (int64_t point = 0; point < units_[u].points; point++) {
          multiply(task, chunk0, u, tiles, at, small + small_begin(u, tiles) + point * small_pitch(tiles),
                   large + large_begin(u, tiles) + point * large_pitch(u, tiles),
                   sums + sum_begin(u, task) + point * sum_pitch(u, task), !block.begins || at > 0);
        }
    if (block.ends) store(block.group, task, sums);
  }

  // One point of a task, tiles from `at` on.
  void multiply(const Task& task, int64_t chunk0, size_t unit, int64_t tiles, int64_t at, const float* small,
                const float* large, float* to, bool more) const {
    const int64_t depth = std::min(DEPTH, tiles - at);
    // Register tiles are as few as possible, as equal as possible.
    const auto tile_rows_of = [&](int64_t rows) { return divide_up(rows, divide_up(rows, p_.rows)); };
    const int64_t tile_rows = tile_rows_of(e_.width), last_rows = tile_rows_of(rows_of(chunks_ - 1));
    const auto rows_from = [&](int64_t input, int64_t chunk) {
      return large + ((input * range_ + chunk - chunk0) * tiles + at) * e_.width;
    };
    for (int64_t panel = task.panel0; panel < task.panel1; panel++) {
      const float* const b = small + (panel * tiles + at) * p_.lanes;
      const bool all = cs_ - panel * p_.lanes > p_.half_lanes;
      for (int64_t i = 0; i < inputs_of(unit); i++)
        for (int64_t chunk = task.chunk0; chunk < task.chunk1; chunk++, to += tile_elements()) {
          const float* const a = rows_from(i, chunk);
          // What comes next is asked for: the next chunk, that of the next part, the first one again or that of the
          // next point.
          const float* next = rows_from(0, task.chunk0) + (panel + 1 < task.panel1 ? 0 : large_pitch(unit, tiles));
          if (i + 1 < inputs_of(unit)) next = rows_from(i + 1, task.chunk0);
          if (chunk + 1 < task.chunk1) next = rows_from(i, chunk + 1);
          const int64_t rows = rows_of(chunk), most = rows == e_.width ? tile_rows : last_rows;
          for (int64_t row = 0; row < rows; row += most) {
            p_.micro[0][all][std::min(most, rows - row) - 1](depth, a + row, b, to + row * p_.lanes, p_.lanes, more,
                                                             next);
          }
        }
    }
  }

  int64_t rows_of(int64_t chunk) const { return std::min<int64_t>(e_.width, cl_ - chunk * e_.width); }

  void store(int64_t group, const Task& task, const float* sums) {
    for (int64_t panel = task.panel0; panel < task.panel1; panel++)
      for (int64_t chunk = task.chunk0; chunk < task.chunk1; chunk++) {
        if (!store_tile(group, task, panel, chunk, sums)) finite_ = false;
      }
  }

  bool store_tile(int64_t group, const Task& task, int64_t panel, int64_t chunk, const float* sums) const {
    static thread_local std::vector<int64_t> columns;
    const int64_t rows = rows_of(chunk), area = s_.r * s_.s, size = rows * p_.lanes, c0 = panel * p_.lanes;
    const int64_t lanes = std::min<int64_t>(p_.lanes, cs_ - c0);
    float* const taps = static_cast<float*>(scratch(SCRATCH_ITEM_B, area * size * sizeof(float)));
    const int64_t rows_at = chunk - task.chunk0, chunks = task.chunk1 - task.chunk0;
    bool finite = true;
    for (size_t u = 0; u < units_.size(); u++)
      for (int64_t i = 0; i < inputs_of(u); i++) {
        const float* const from = sums + sum_begin(u, task) +
                                  (((panel - task.panel0) * inputs_of(u) + i) * chunks + rows_at) * tile_elements();
        finite = part_taps(u, i, {from, sum_pitch(u, task), p_.lanes, rows, lanes, nullptr}, taps, size) && finite;
      }
    columns.clear();
    for (int64_t row = 0; row < rows; row++)
      for (int64_t tap = 0; tap < area; tap++) columns.push_back(tap * size + row * p_.lanes);
    const int64_t pitch = cl_ * area, to = (group * cs_ + c0) * pitch + chunk * e_.width * area;
    e_.gradient->store({taps, columns.data(), static_cast<int64_t>(columns.size()), lanes, pitch},
                       element(call_.output, to, p_.storage_bytes));
    return finite;
  }

  // The taps of one part, each to its place among all, `size` elements apart.
  bool part_taps(size_t unit, int64_t input, Gradients what, float* taps, int64_t size) const {
    const PartPair& pair = units_[unit].inputs[input];
    void* places[MAX_TAPS * MAX_TAPS];
    int64_t count = 0;
    for (const int64_t h : h_.parts[pair.h].taps)
      for (const int64_t w : w_.parts[pair.w].taps) places[count++] = taps + (h * s_.s + w) * size;
    what.taps = places;
    return e_.taps[outputs_ - MIN_OUTPUTS][taps_h(unit) - 1][taps_w(unit) - 1](what);
  }

  const ConvCall& call_;
  const ResidueMaps maps_;
  // Of one map; n counts the maps of all images.
  const ConvShape s_;
  const WinogradEngine& e_;
  const ConvEngine& p_;
  int64_t outputs_, cs_, cl_;
  TiledAxis h_, w_;
  std::vector<Unit> units_;
  Source small_, large_;
  int64_t panels_ = 0, chunks_ = 0, tiles_ = 0;
  // Tiles of a block, and blocks; chunks of a range; chunks and panels of a task, and bytes of its sums.
  int64_t block_tiles_ = 0, blocks_ = 1, range_ = 0, rows_ = 0, lanes_ = 0, task_bytes_ = 0;
  bool distant_ = false;
  char* kept_ = nullptr;
  std::atomic<bool> finite_{true};
};

}  // namespace

void winograd_wgrad(void** params, const WinogradEngine& engine, ConvLayout layout, int64_t outputs) {
  const ConvCall call = read_wgrad_call(params);
  check_winograd_shape(engine, call.shape, outputs);
  // The direct product decides where a tap is infinite or no number, as this one has other intermediate values.
  if (!WinogradGradient(call, engine, layout, outputs).run()) conv_wgrad(params, *engine.gradient, layout);
}

}  // namespace fracstride
