// The weight gradient as a matrix product over positions:
//
//   W[c, k, tap] = Σ_{n, i, j} S[n, c, i, j] · L[n, k, (i, j)·stride + delta(tap)]
//
// Rows are pairs (k, tap), lanes are channels c, K are the positions of S. The positions are cut into chunks whose
// number depends on the problem alone; each chunk sums into tiles of its own, and those are added in order: the result
// does not depend on the number of threads.
#include <algorithm>
#include <atomic>
#include <cstring>

#include "conv_args.h"
#include "conv_plan.h"
#include "team.h"

namespace fracstride {
namespace {

// C tiles of one task, panels of S in it, tasks worth cutting chunks for, K blocks a chunk has at least, bytes that
// the partial tiles may take.
constexpr int64_t TASK_TILES = 128, TASK_PANELS = 4, WANTED_TASKS = 64, CHUNK_BLOCKS = 2, PARTIAL_BYTES = 64 << 20;

// Rows [row0, row0 + count) of the list of rows; one tap for all of them when tap ≥ 0.
struct RowTile {
  int64_t row0, count, tap;
};

struct Row {
  int64_t channel, tap;
};

struct Task {
  int64_t group, tile0, tile1, panel0, panel1, chunk;
};

class WgradRun {
 public:
  WgradRun(const ConvCall& call, const ConvEngine& engine, ConvLayout layout, bool exact)
      : call_(call), s_(call.shape), e_(engine), layout_(layout), exact_(exact) {
    const Pitches small = pitches_of(layout, s_.cs, s_.hs, s_.ws), large = pitches_of(layout, s_.cl, s_.hl, s_.wl);
    small_ = {call.first, small.n, small.c, small.h, small.w, s_.hs, s_.ws, 1, 1};
    large_ = {call.second, large.n, large.c, large.h, large.w, s_.hl, s_.wl, s_.sh, s_.sw};
    grid_ = {s_.n, 0, s_.hs, 0, s_.ws};
    cs_ = s_.cs / s_.groups;
    cl_ = s_.cl / s_.groups;
    panels_ = divide_up(cs_, e_.lanes);
    blocks_ = divide_up(grid_.positions(), depth());
    make_rows();
    make_tasks();
  }

  // False when S holds something that is not finite that met a zero for a position of L that does not exist.
  bool run() {
    if (cs_ == 0 || cl_ == 0) return true;
    std::atomic<bool> finite{true};
    if (chunks_ > 1) partial_ = static_cast<char*>(scratch(SCRATCH_CALL_A, chunks_ * chunk_bytes()));
    parallel_for(static_cast<int64_t>(tasks_.size()), [&](int64_t i) {
      if (!run_task(tasks_[i])) finite = false;
    });
    if (!finite) return false;
    if (chunks_ > 1) add_chunks();
    return true;
  }

 private:
  int64_t depth() const { return e_.k_pitch - e_.half_lanes; }
  int64_t area() const { return s_.r * s_.s; }
  int64_t tile_elements() const { return e_.rows * e_.lanes; }
  int64_t tile_bytes() const { return tile_elements() * e_.accumulator_bytes; }
  int64_t tile_count() const { return static_cast<int64_t>(tiles_.size()); }
  int64_t chunk_bytes() const { return s_.groups * tile_count() * panels_ * tile_bytes(); }
  bool one_tap_tiles() const { return exact_ || layout_ == NHWC; }
  bool by_row() const { return layout_ == NCHW; }

  Tap tap_at(int64_t tap) const { return {tap / s_.s * s_.dh - s_.ph, tap % s_.s * s_.dw - s_.pw}; }

  void make_rows() {
    const int64_t outer = one_tap_tiles() ? area() : 1, count = one_tap_tiles() ? cl_ : cl_ * area();
    const int64_t tiles = divide_up(count, e_.rows);
    for (int64_t o = 0; o < outer; o++) {
      for (int64_t t = 0; t < tiles; t++) {
        const int64_t begin = count * t / tiles, end = count * (t + 1) / tiles;
        tiles_.push_back({o * count + begin, end - begin, one_tap_tiles() ? o : -1});
      }
      for (int64_t i = 0; i < count; i++) rows_.push_back(one_tap_tiles() ? Row{i, o} : Row{i / area(), i % area()});
    }
    for (const Row& row : rows_) offsets_.push_back(row.channel * area() + row.tap);
  }

  void make_tasks() {
    const int64_t panels = std::min(panels_, TASK_PANELS);
    const int64_t tiles = std::max<int64_t>(1, TASK_TILES / std::max<int64_t>(panels, 1));
    const int64_t base = s_.groups * divide_up(tile_count(), tiles) * divide_up(panels_, std::max<int64_t>(panels, 1));
    chunks_ = std::min(divide_up(WANTED_TASKS, std::max<int64_t>(base, 1)), blocks_ / CHUNK_BLOCKS);
    chunks_ = std::min(chunks_, PARTIAL_BYTES / std::max<int64_t>(chunk_bytes(), 1));
    chunks_ = std::max<int64_t>(chunks_, 1);
    for (int64_t chunk = 0; chunk < chunks_; chunk++)
      for (int64_t group = 0; group < s_.groups; group++)
        for (int64_t panel = 0; panel < panels_; panel += panels)
          for (int64_t tile = 0; tile < tile_count(); tile += tiles) {
            tasks_.push_back(
                {group, tile, std::min(tile + tiles, tile_count()), panel, std::min(panel + panels, panels_), chunk});
          }
  }

  char* partial_at(int64_t chunk, int64_t group, int64_t tile, int64_t panel) const {
    return partial_ + chunk * chunk_bytes() + ((group * tile_count() + tile) * panels_ + panel) * tile_bytes();
  }

  bool run_task(const Task& task) const {
    const int64_t tiles = task.tile1 - task.tile0, panels = task.panel1 - task.panel0;
    char* const c = static_cast<char*>(scratch(SCRATCH_ITEM_A, tiles * panels * tile_bytes()));
    char* const b = static_cast<char*>(scratch(SCRATCH_ITEM_B, panels * depth() * e_.lanes * e_.accumulator_bytes));
    char* const a = static_cast<char*>(
        scratch(SCRATCH_ITEM_C, std::max<int64_t>(e_.rows * e_.k_pitch, depth() * e_.a_pitch) * e_.accumulator_bytes));
    std::memset(c, 0, tiles * panels * tile_bytes());
    std::vector<Run> runs;
    const int64_t block1 = blocks_ * (task.chunk + 1) / chunks_;
    for (int64_t block = blocks_ * task.chunk / chunks_; block < block1; block++) {
      const int64_t begin = block * depth(), end = std::min(begin + depth(), grid_.positions());
      runs.clear();
      add_runs(grid_, begin, end, runs);
      const Runs where = {runs.data(), static_cast<int64_t>(runs.size())};
      if (!multiply(task, where, end - begin, a, b, c)) return false;
    }
    finish(task, c);
    return true;
  }

  bool multiply(const Task& task, const Runs& runs, int64_t depth, char* a, char* b, char* c) const {
    const int64_t panels = task.panel1 - task.panel0;
    int64_t packed_tap = -2;
    for (int64_t t = task.tile0; t < task.tile1; t++) {
      const RowTile& tile = tiles_[t];
      const int64_t tap = exact_ ? tile.tap : -1;
      if (tap != packed_tap && !pack_small(task, runs, depth, tap, b)) return false;
      packed_tap = tap;
      pack_large(task, runs, depth, tile, a);
      for (int64_t panel = 0; panel < panels; panel++, c += tile_bytes()) {
        const int64_t lanes = cs_ - (task.panel0 + panel) * e_.lanes;
        const Micro micro = e_.micro[by_row()][lanes > e_.half_lanes][tile.count - 1];
        micro(depth, a, b + panel * this->depth() * e_.lanes * e_.accumulator_bytes, c, 1);
      }
    }
    return true;
  }

  // Panels of S; in an exact run without the positions where `tap` reads nothing.
  bool pack_small(const Task& task, const Runs& runs, int64_t depth, int64_t tap, char* to) const {
    bool finite = true;
    for (int64_t panel = task.panel0; panel < task.panel1; panel++) {
      PackInput what = {};
      what.source = small_;
      what.source.data = element(small_.data, task.group * cs_ * small_.pitch_c, e_.storage_bytes);
      what.runs = runs;
      what.c0 = panel * e_.lanes;
      what.channels = std::min<int64_t>(e_.lanes, cs_ - what.c0);
      what.positions = depth;
      what.pitch_channel = 1;
      what.pitch_position = what.fill = e_.lanes;
      if (tap >= 0) {
        what.mask = &large_;
        what.mask_tap = tap_at(tap);
      }
      e_.pack_input(what, to);
      finite = finite && (exact_ || e_.all_finite(to, depth * e_.lanes));
      to += this->depth() * e_.lanes * e_.accumulator_bytes;
    }
    return finite;
  }

  void pack_large(const Task& task, const Runs& runs, int64_t depth, const RowTile& tile, char* to) const {
    PackInput what = {};
    what.source = large_;
    what.source.data = element(large_.data, task.group * cl_ * large_.pitch_c, e_.storage_bytes);
    what.runs = runs;
    what.positions = depth;
    what.channels = 1;
    what.pitch_channel = by_row() ? e_.k_pitch : 1;
    what.pitch_position = by_row() ? 1 : e_.a_pitch;
    what.fill = depth;
    if (tile.tap >= 0) {
      what.channels = tile.count;
      what.fill = by_row() ? depth : tile.count;
    }
    for (int64_t m = 0; m < tile.count; m += what.channels) {
      what.c0 = rows_[tile.row0 + m].channel;
      what.tap = tap_at(rows_[tile.row0 + m].tap);
      e_.pack_input(what, to + m * what.pitch_channel * e_.accumulator_bytes);
    }
  }

  void finish(const Task& task, const char* c) const {
    for (int64_t t = task.tile0; t < task.tile1; t++)
      for (int64_t panel = task.panel0; panel < task.panel1; panel++, c += tile_bytes()) {
        if (chunks_ == 1) {
          store(c, 1, task.group, t, panel);
        } else {
          std::memcpy(partial_at(task.chunk, task.group, t, panel), c, tile_bytes());
        }
      }
  }

  void add_chunks() const {
    parallel_for(s_.groups * tile_count() * panels_, [&](int64_t i) {
      const int64_t panel = i % panels_, tile = i / panels_ % tile_count(), group = i / panels_ / tile_count();
      store(partial_at(0, group, tile, panel), chunks_, group, tile, panel);
    });
  }

  void store(const char* tiles, int64_t count, int64_t group, int64_t tile, int64_t panel) const {
    const int64_t c0 = panel * e_.lanes, pitch = cl_ * area();
    e_.store_weight(
        tiles, count, chunk_bytes() / e_.accumulator_bytes, tiles_[tile].count, std::min<int64_t>(e_.lanes, cs_ - c0),
        element(call_.output, (group * cs_ + c0) * pitch, e_.storage_bytes), pitch, &offsets_[tiles_[tile].row0]);
  }

  const ConvCall& call_;
  const ConvShape& s_;
  const ConvEngine& e_;
  ConvLayout layout_;
  bool exact_;
  Source small_, large_;
  Grid grid_;
  int64_t cs_, cl_, panels_, blocks_, chunks_ = 1;
  char* partial_ = nullptr;
  std::vector<Row> rows_;
  std::vector<RowTile> tiles_;
  std::vector<int64_t> offsets_;
  std::vector<Task> tasks_;
};

}  // namespace

void conv_wgrad(void** params, const ConvEngine& engine, ConvLayout layout) {
  const ConvCall call = read_wgrad_call(params);
  if (!WgradRun(call, engine, layout, false).run()) WgradRun(call, engine, layout, true).run();
}

}  // namespace fracstride
