// The weight gradient where L has few channels: with columns q = (k, tap), neighbours in the weight,
//
//   W[c, q] = Σ_{n, i, j} S[n, c, i, j] · X[q][n, i, j],   X[q][n, i, j] = L[n, k, (i, j)·stride + delta(tap)]
//
// Rows are channels c, lanes are columns, K are the positions. A task sums over some blocks of positions; for each it
// copies the rows of L that are needed into planes with zeros around, from which columns are packed. A zero that stands
// for a position of L that does not exist makes a sum NaN when it meets something that is not finite: then nothing is
// written and the caller sums over existing positions only. The number of tasks depends on the problem alone.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "conv_plan.h"
#include "team.h"
#include "wgrad_columns.h"

namespace fracstride {
namespace {

// Most channels k, and least channels c and columns, for which lanes are columns.
constexpr int64_t MOST_CHANNELS = 5, LEAST_ROWS = 8, LEAST_COLUMNS = 4;
// Most elements of a plane of L, which lies far from others when taps do.
constexpr int64_t MOST_PLANE = 1 << 15;
constexpr int64_t WANTED_TASKS = 32, TASK_BLOCKS = 4, PARTIAL_BYTES = 16 << 20;

class ColumnsRun {
 public:
  ColumnsRun(const ConvCall& call, const WgradEngine& engine, ConvLayout layout)
      : call_(call), s_(call.shape), e_(engine), by_row_(layout == NCHW) {
    small_ = pitches_of(layout, s_.cs, s_.hs, s_.ws);
    large_ = pitches_of(layout, s_.cl, s_.hl, s_.wl);
    cs_ = s_.cs / s_.groups;
    cl_ = s_.cl / s_.groups;
    const int64_t depth = e_.k_pitch - e_.half_lanes, width = std::max<int64_t>(s_.ws, 1);
    pieces_ = divide_up(width, depth);
    width_ = divide_up(width, pieces_);
    rows_ = std::min(std::max<int64_t>(1, s_.hs), std::max<int64_t>(1, depth / width_));
    plane_h_ = (rows_ - 1) * s_.sh + (s_.r - 1) * s_.dh + 1;
    plane_w_ = (width_ - 1) * s_.sw + (s_.s - 1) * s_.dw + 1;
    tiles_ = divide_up(cs_, e_.rows);
    panels_ = divide_up(columns(), e_.lanes);
    blocks_ = s_.n * divide_up(s_.hs, rows_) * pieces_;
    for (int64_t k = 0; k < cl_; k++)
      for (int64_t r = 0; r < s_.r; r++)
        for (int64_t s = 0; s < s_.s; s++) at_.push_back((k * plane_h_ + r * s_.dh) * plane_w_ + s * s_.dw);
  }

  bool fits() const {
    return cl_ <= MOST_CHANNELS && cs_ >= LEAST_ROWS && columns() >= LEAST_COLUMNS && s_.ws > 0 && blocks_ > 0 &&
           plane_h_ <= MOST_PLANE / plane_w_ && s_.groups * sum_bytes() <= PARTIAL_BYTES;
  }

  bool run() {
    tasks_ = std::max<int64_t>(1, std::min(divide_up(WANTED_TASKS, s_.groups), blocks_ / TASK_BLOCKS));
    tasks_ = std::min(tasks_, PARTIAL_BYTES / (s_.groups * sum_bytes()));
    sums_ = static_cast<char*>(scratch(SCRATCH_CALL_A, tasks_ * s_.groups * sum_bytes()));
    parallel_for(tasks_ * s_.groups, [&](int64_t i) { run_task(i / tasks_, i % tasks_, sums_ + i * sum_bytes()); });
    std::atomic<bool> finite{true};
    parallel_for(s_.groups * tiles_, [&](int64_t i) {
      if (!add_tasks(i / tiles_, i % tiles_)) finite = false;
    });
    if (!finite) return false;
    parallel_for(s_.groups * tiles_, [&](int64_t i) { store(i / tiles_, i % tiles_); });
    return true;
  }

 private:
  int64_t columns() const { return cl_ * s_.r * s_.s; }
  int64_t tile_elements() const { return e_.rows * e_.lanes; }
  int64_t sum_bytes() const { return tiles_ * panels_ * tile_elements() * e_.accumulator_bytes; }
  int64_t tile_begin(int64_t tile) const { return cs_ * tile / tiles_; }

  // Rows [i0, i1) by columns [j0, j1) of image n.
  struct Block {
    int64_t n, i0, i1, j0, j1;
    int64_t width() const { return j1 - j0; }
    int64_t positions() const { return (i1 - i0) * width(); }
  };

  Block block_at(int64_t i) const {
    const int64_t piece = i % pieces_, in_image = divide_up(s_.hs, rows_), row = i / pieces_ % in_image;
    return {i / pieces_ / in_image, row * rows_, std::min(s_.hs, (row + 1) * rows_), s_.ws * piece / pieces_,
            s_.ws * (piece + 1) / pieces_};
  }

  void run_task(int64_t group, int64_t task, char* sums) const {
    const int64_t bytes = e_.accumulator_bytes, depth = e_.k_pitch;
    const int64_t begin = blocks_ * task / tasks_, end = blocks_ * (task + 1) / tasks_;
    if (begin == end) std::memset(sums, 0, sum_bytes());
    char* const a = static_cast<char*>(scratch(SCRATCH_ITEM_A, std::max(e_.rows, e_.a_pitch) * depth * bytes));
    char* const b = static_cast<char*>(scratch(SCRATCH_ITEM_B, panels_ * depth * e_.lanes * bytes));
    const int64_t plane = cl_ * plane_h_ * plane_w_ * bytes;
    char* const planes = static_cast<char*>(scratch(SCRATCH_ITEM_C, plane + 16 * e_.lanes * bytes));
    for (int64_t i = begin; i < end; i++) {
      const Block block = block_at(i);
      std::memset(planes, 0, plane);
      copy_planes(group, block, planes);
      for (int64_t p = 0; p < panels_; p++) pack_columns(block, p, planes, b + p * depth * e_.lanes * bytes);
      multiply(group, block, block_at(std::min(i + 1, end - 1)), a, b, sums, i > begin);
    }
  }

  // What exists of the rows and columns of L that the block meets.
  void copy_planes(int64_t group, const Block& block, char* planes) const {
    const int64_t h0 = block.i0 * s_.sh - s_.ph, w0 = block.j0 * s_.sw - s_.pw;
    const int64_t h1 = h0 + (block.i1 - block.i0 - 1) * s_.sh + (s_.r - 1) * s_.dh + 1;
    const int64_t w1 = w0 + (block.width() - 1) * s_.sw + (s_.s - 1) * s_.dw + 1;
    const int64_t first = std::max<int64_t>(0, w0), count = std::min(s_.wl, w1) - first;
    if (count <= 0) return;
    for (int64_t k = 0; k < cl_; k++)
      for (int64_t h = std::max<int64_t>(0, h0); h < std::min(s_.hl, h1); h++) {
        const int64_t from = block.n * large_.n + (group * cl_ + k) * large_.c + h * large_.h + first * large_.w;
        alignas(64) char line[MOST_LINE];
        const int64_t most = MOST_LINE / e_.accumulator_bytes - 2 * e_.lanes;
        for (int64_t i = 0; i < count; i += most) {
          const int64_t piece = std::min(most, count - i);
          e_.load_line({element(call_.second, from + i * large_.w, e_.storage_bytes), large_.w, piece}, line);
          char* const to = planes + ((k * plane_h_ + h - h0) * plane_w_ + first - w0 + i) * e_.accumulator_bytes;
          std::memcpy(to, line, piece * e_.accumulator_bytes);
        }
      }
  }

  void pack_columns(const Block& block, int64_t panel, const char* planes, char* to) const {
    const int64_t q = panel * e_.lanes;
    e_.pack_full({planes, 0, s_.sh * plane_w_, s_.sw, std::min<int64_t>(e_.lanes, columns() - q), block.i1 - block.i0,
                  block.width(), e_.lanes, &at_[q]},
                 to);
  }

  void multiply(int64_t group, const Block& block, const Block& next, char* a, const char* b, char* sums,
                bool more) const {
    const int64_t bytes = e_.accumulator_bytes;
    const Segment all = {0, 0, block.positions()};
    for (int64_t t = 0; t < tiles_; t++) {
      pack_rows(group, block, t, a);
      for (int64_t p = 0; p < panels_; p++, sums += tile_elements() * bytes) {
        fetch_rows(group, next, t, p);
        const bool half = columns() - p * e_.lanes <= e_.half_lanes;
        e_.micro[by_row_][!half][tile_begin(t + 1) - tile_begin(t) - 1](
            &all, 1, a, b + p * e_.k_pitch * e_.lanes * bytes, sums, more);
      }
    }
  }

  // Asks for what the next block packs of a tile of S, one part for each panel: its pieces are short and far apart.
  void fetch_rows(int64_t group, const Block& block, int64_t tile, int64_t part) const {
    const int64_t c0 = tile_begin(tile), channels = tile_begin(tile + 1) - c0;
    const int64_t from = block.n * small_.n + (group * cs_ + c0) * small_.c + block.i0 * small_.h + block.j0 * small_.w;
    const bool joined = block.width() == s_.ws;
    const int64_t runs = joined ? 1 : block.i1 - block.i0, run = joined ? block.positions() : block.width();
    const int64_t lines = by_row_ ? channels * runs : block.positions(), count = by_row_ ? run : channels;
    for (int64_t i = lines * part / panels_; i < lines * (part + 1) / panels_; i++) {
      const int64_t at = by_row_ ? i / runs * small_.c + i % runs * small_.h : i / run * small_.h + i % run * small_.w;
      const char* const begin = static_cast<const char*>(element(call_.first, from + at, e_.storage_bytes));
      for (int64_t byte = 0; byte < count * e_.storage_bytes; byte += 64) __builtin_prefetch(begin + byte, 0, 2);
    }
  }

  // A tile of S: lines of positions where those are neighbours in the tensor, else channels by position.
  void pack_rows(int64_t group, const Block& block, int64_t tile, char* to) const {
    const int64_t c0 = tile_begin(tile), channels = tile_begin(tile + 1) - c0;
    const int64_t from = block.n * small_.n + (group * cs_ + c0) * small_.c + block.i0 * small_.h + block.j0 * small_.w;
    if (!by_row_) {
      e_.pack({element(call_.first, from, e_.storage_bytes), small_.c, small_.h, small_.w, channels,
               block.i1 - block.i0, block.width(), e_.a_pitch, nullptr},
              to);
      return;
    }
    const bool joined = block.width() == s_.ws;
    const int64_t lines = joined ? 1 : block.i1 - block.i0, count = joined ? block.positions() : block.width();
    for (int64_t c = 0; c < channels; c++)
      for (int64_t i = 0; i < lines; i++) {
        e_.load_line({element(call_.first, from + c * small_.c + i * small_.h, e_.storage_bytes), 1, count},
                     to + (c * e_.k_pitch + i * count) * e_.accumulator_bytes);
      }
  }

  // Adds the sums of all tasks of a tile to those of the first, in order; whether they are finite.
  bool add_tasks(int64_t group, int64_t tile) const {
    const int64_t count = panels_ * tile_elements();
    char* const sum = sums_ + group * tasks_ * sum_bytes() + tile * count * e_.accumulator_bytes;
    for (int64_t i = 1; i < tasks_; i++) e_.add(sum + i * sum_bytes(), count, sum);
    const int64_t used = (tile_begin(tile + 1) - tile_begin(tile)) * e_.lanes;
    for (int64_t p = 0; p < panels_; p++) {
      if (!e_.all_finite(sum + p * tile_elements() * e_.accumulator_bytes, used)) return false;
    }
    return true;
  }

  void store(int64_t group, int64_t tile) const {
    const char* sum = sums_ + group * tasks_ * sum_bytes() + tile * panels_ * tile_elements() * e_.accumulator_bytes;
    for (int64_t p = 0; p < panels_; p++, sum += tile_elements() * e_.accumulator_bytes)
      for (int64_t c = tile_begin(tile); c < tile_begin(tile + 1); c++) {
        const int64_t q = p * e_.lanes;
        e_.store_line(sum + (c - tile_begin(tile)) * e_.lanes * e_.accumulator_bytes,
                      std::min<int64_t>(e_.lanes, columns() - q),
                      element(call_.output, (group * cs_ + c) * columns() + q, e_.storage_bytes));
      }
  }

  // Bytes of a line on its way into a plane.
  static constexpr int64_t MOST_LINE = 4096;

  const ConvCall& call_;
  const ConvShape& s_;
  const WgradEngine& e_;
  bool by_row_;
  Pitches small_, large_;
  int64_t cs_, cl_, pieces_, width_, rows_, plane_h_, plane_w_, tiles_, panels_, blocks_, tasks_ = 1;
  char* sums_ = nullptr;
  std::vector<int64_t> at_;
};

}  // namespace

bool wgrad_by_columns(const ConvCall& call, const WgradEngine& engine, ConvLayout layout) {
  const ConvShape& s = call.shape;
  if (s.cl / s.groups > MOST_CHANNELS || s.cl < s.groups || s.cs < s.groups || s.r * s.s > MOST_PLANE) return false;
  ColumnsRun run(call, engine, layout);
  return run.fits() && run.run();
}

}  // namespace fracstride
