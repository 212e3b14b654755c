// The weight gradient where L has few channels: with columns q = (k, tap), neighbours in the weight (columns.h),
//
//   W[c, q] = Σ_{n, i, j} S[n, c, i, j] · X[q][n, i, j]
//
// Where positions are neighbours in S, both operands lie along them: sums are vectors of positions, added up in the
// end. Where channels are, they are the lanes of matrix products whose rows are columns. A task sums over some blocks
// of positions. A zero that stands for a position of L that does not exist makes a sum NaN when it meets something that
// is not finite: then nothing is written and the caller sums over existing positions only. The number of tasks depends
// on the problem alone.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "columns.h"
#include "conv_plan.h"
#include "team.h"
#include "wgrad_columns.h"

namespace fracstride {
namespace {

// Most channels k, and least channels c and columns, for which this is the faster way.
constexpr int64_t MOST_CHANNELS = 5, LEAST_ROWS = 8, LEAST_COLUMNS = 4;
constexpr int64_t WANTED_TASKS = 32, TASK_BLOCKS = 4, PARTIAL_BYTES = 16 << 20;
// Positions of a block, and what its columns take, where sums are vectors of positions: adding those up is a small
// part.
constexpr int64_t MOST_POSITIONS = 1024, BLOCK_BYTES = 384 * 1024;

class ColumnsRun {
 public:
  ColumnsRun(const ConvCall& call, const WgradEngine& engine, ConvLayout layout)
      : call_(call),
        s_(call.shape),
        e_(engine),
        along_(layout == NCHW),
        small_(pitches_of(layout, s_.cs, s_.hs, s_.ws)),
        cs_(s_.cs / s_.groups),
        columns_(s_, pitches_of(layout, s_.cl, s_.hl, s_.wl), e_.columns, along_ ? along_depth() : panel_depth()) {
    tiles_ = along_ ? divide_up(cs_, e_.dot_rows) : divide_up(count(), e_.rows);
    panels_ = along_ ? divide_up(count(), e_.dot_columns) : divide_up(cs_, e_.lanes);
  }

  bool fits() const {
    return cs_ >= LEAST_ROWS && count() >= LEAST_COLUMNS && s_.ws > 0 && columns_.blocks() > 0 && columns_.fits() &&
           s_.groups * sum_bytes() <= PARTIAL_BYTES;
  }

  bool run() {
    const int64_t blocks = columns_.blocks();
    tasks_ = std::max<int64_t>(1, std::min(divide_up(WANTED_TASKS, s_.groups), blocks / (along_ ? 1 : TASK_BLOCKS)));
    tasks_ = std::min(tasks_, PARTIAL_BYTES / (s_.groups * sum_bytes()));
    sums_ = static_cast<char*>(scratch(SCRATCH_CALL_A, tasks_ * s_.groups * sum_bytes()));
    parallel_for(tasks_ * s_.groups, [&](int64_t i) { run_task(i / tasks_, i % tasks_, sums_ + i * sum_bytes()); });
    // Sums of all tasks, in order, in pieces that do not depend on the number of threads.
    std::atomic<bool> finite{true};
    parallel_ranges(sum_elements(), PIECE, [&](int64_t begin, int64_t end) {
      for (int64_t group = 0; group < s_.groups; group++) {
        char* const sum = sums_ + group * tasks_ * sum_bytes() + begin * e_.accumulator_bytes;
        for (int64_t i = 1; i < tasks_; i++) e_.add(sum + i * sum_bytes(), end - begin, sum);
        if (!e_.all_finite(sum, end - begin)) finite = false;
      }
    });
    if (!finite) return false;
    for (int64_t group = 0; group < s_.groups; group++) store(group, sums_ + group * tasks_ * sum_bytes());
    return true;
  }

 private:
  static constexpr int64_t PIECE = 4096;

  int64_t panel_depth() const { return e_.k_pitch - e_.half_lanes; }
  int64_t along_depth() const {
    const int64_t columns = std::max<int64_t>(1, s_.cl / s_.groups * s_.r * s_.s), vector = e_.columns.width;
    const int64_t fitting = BLOCK_BYTES / (columns * e_.accumulator_bytes) / vector * vector;
    return std::min(MOST_POSITIONS, std::max(vector, fitting));
  }
  int64_t count() const { return columns_.count(); }
  int64_t tile_elements() const { return e_.rows * e_.lanes; }
  // Sums of a task: [c][q] along positions, else tiles of columns × channels by panel and tile; in whole vectors.
  int64_t sum_elements() const {
    return along_ ? divide_up(cs_ * count(), e_.lanes) * e_.lanes : tiles_ * panels_ * tile_elements();
  }
  int64_t sum_bytes() const { return sum_elements() * e_.accumulator_bytes; }
  static int64_t part(int64_t whole, int64_t parts, int64_t i) { return whole * i / parts; }
  const void* small_at(int64_t group, int64_t c, const ColumnsBlock& block) const {
    const int64_t at = block.n * small_.n + (group * cs_ + c) * small_.c + block.i0 * small_.h + block.j0 * small_.w;
    return element(call_.first, at, e_.storage_bytes);
  }

  void run_task(int64_t group, int64_t task, char* sums) const {
    const int64_t begin = part(columns_.blocks(), tasks_, task), end = part(columns_.blocks(), tasks_, task + 1);
    const int64_t pitch = along_ ? columns_.pitch() : e_.k_pitch;
    char* const x = static_cast<char*>(scratch(SCRATCH_ITEM_A, count() * pitch * e_.accumulator_bytes));
    std::memset(sums, 0, sum_bytes());
    for (int64_t i = begin; i < end; i++) {
      const ColumnsBlock block = columns_.block(i);
      columns_.gather(call_.second, group, block, x, pitch);
      if (along_) {
        multiply_along(group, block, columns_.block(std::min(i + 1, end - 1)), x, pitch, sums);
      } else {
        multiply_panels(group, block, x, sums);
      }
    }
  }

  void multiply_along(int64_t group, const ColumnsBlock& block, const ColumnsBlock& next, const char* x, int64_t pitch,
                      char* sums) const {
    const int64_t positions = block.positions(), vector = e_.columns.width, bytes = e_.accumulator_bytes;
    const int64_t padded = divide_up(positions, vector) * vector;
    const bool in_place = e_.storage_bytes == e_.accumulator_bytes && padded == positions;
    char* const lines = static_cast<char*>(scratch(SCRATCH_ITEM_B, e_.dot_rows * pitch * bytes));
    for (int64_t t = 0; t < tiles_; t++) {
      const int64_t c = part(cs_, tiles_, t), rows = part(cs_, tiles_, t + 1) - c;
      if (!in_place) copy_lines(group, c, rows, block, padded, pitch, lines);
      const void* const a = in_place ? small_at(group, c, block) : lines;
      const int64_t ahead = t + 1 < tiles_ ? part(cs_, tiles_, t + 1) : 0;
      const ColumnsBlock& after = t + 1 < tiles_ ? block : next;
      for (int64_t p = 0; p < panels_; p++) {
        fetch(small_at(group, ahead, after), p, after.positions());
        const int64_t q = part(count(), panels_, p), columns = part(count(), panels_, p + 1) - q;
        e_.dots[rows - 1][columns - 1]({a, x + q * pitch * bytes, in_place ? small_.c : pitch, pitch, padded,
                                        sums + (c * count() + q) * bytes, count()});
      }
    }
  }

  // Asks for a part of the lines that the next tile reads.
  void fetch(const void* from, int64_t p, int64_t positions) const {
    const int64_t bytes = positions * e_.storage_bytes, first = part(bytes, panels_, p) / LINE * LINE;
    for (int64_t row = 0; row < e_.dot_rows; row++)
      for (int64_t at = first; at < part(bytes, panels_, p + 1); at += LINE) {
        __builtin_prefetch(static_cast<const char*>(from) + row * small_.c * e_.storage_bytes + at, 0, 2);
      }
  }

  void copy_lines(int64_t group, int64_t c, int64_t rows, const ColumnsBlock& block, int64_t padded, int64_t pitch,
                  char* to) const {
    const int64_t bytes = e_.accumulator_bytes, positions = block.positions();
    for (int64_t r = 0; r < rows; r++, to += pitch * bytes) {
      e_.columns.load_line({small_at(group, c + r, block), 1, positions}, to);
      std::memset(to + positions * bytes, 0, (padded - positions) * bytes);
    }
  }

  // Rows are columns q, lanes are channels, which are packed by position.
  void multiply_panels(int64_t group, const ColumnsBlock& block, const char* x, char* sums) const {
    const Segment all = {0, 0, block.positions()};
    char* const b = static_cast<char*>(scratch(SCRATCH_ITEM_B, e_.k_pitch * e_.lanes * e_.accumulator_bytes));
    for (int64_t p = 0; p < panels_; p++) {
      const int64_t c = p * e_.lanes, channels = std::min<int64_t>(e_.lanes, cs_ - c);
      e_.pack({small_at(group, c, block), small_.c, small_.h, small_.w, channels, block.i1 - block.i0, block.width(),
               e_.lanes},
              b);
      for (int64_t t = 0; t < tiles_; t++, sums += tile_elements() * e_.accumulator_bytes) {
        const int64_t q = part(count(), tiles_, t), rows = part(count(), tiles_, t + 1) - q;
        e_.micro[1][channels > e_.half_lanes][rows - 1](&all, 1, x + q * e_.k_pitch * e_.accumulator_bytes, b, sums, 1);
      }
    }
  }

  void store(int64_t group, const char* sums) const {
    void* const to = element(call_.output, group * cs_ * count(), e_.storage_bytes);
    if (along_) return e_.store_line(sums, cs_ * count(), to);
    std::vector<int64_t> at;
    for (int64_t t = 0; t < tiles_; t++)
      for (int64_t q = part(count(), tiles_, t); q < part(count(), tiles_, t + 1); q++) {
        at.push_back(t * tile_elements() + (q - part(count(), tiles_, t)) * e_.lanes);
      }
    for (int64_t p = 0; p < panels_; p++, sums += tiles_ * tile_elements() * e_.accumulator_bytes) {
      const int64_t c = p * e_.lanes, channels = std::min<int64_t>(e_.lanes, cs_ - c);
      e_.store({sums, at.data(), count(), channels, count()}, element(to, c * count(), e_.storage_bytes));
    }
  }

  static constexpr int64_t LINE = 64;

  const ConvCall& call_;
  const ConvShape& s_;
  const WgradEngine& e_;
  bool along_;
  Pitches small_;
  int64_t cs_;
  Columns columns_;
  int64_t tiles_, panels_, tasks_ = 1;
  char* sums_ = nullptr;
};

}  // namespace

bool wgrad_by_columns(const ConvCall& call, const WgradEngine& engine, ConvLayout layout) {
  const ConvShape& s = call.shape;
  if (s.cl / s.groups > MOST_CHANNELS || s.cl < s.groups || s.cs < s.groups || s.r * s.s > 1 << 15) return false;
  ColumnsRun run(call, engine, layout);
  return run.fits() && run.run();
}

}  // namespace fracstride
