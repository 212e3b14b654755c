// The weight gradient as matrix products over positions, one for each tap:
//
//   W[c, k, tap] = Σ_{n, i, j} S[n, c, i, j] · L[n, k, (i, j)·stride + delta(tap)]
//
// Rows are channels k, lanes are channels c, K are the positions of S that the tap pairs with a position of L
// (wgrad_plan.h). A task owns a rectangle of channels with all taps, whose sums stay in the second-level cache, and a
// chunk of the positions; it packs a block of both tensors once for all taps. The number of chunks depends on the
// problem alone and their sums are added in order: the result does not depend on the number of threads.
#include <algorithm>
#include <cstring>

#include "conv_args.h"
#include "conv_plan.h"
#include "team.h"
#include "wgrad_columns.h"
#include "wgrad_patches.h"
#include "wgrad_plan.h"

namespace fracstride {
namespace {

// Sums of one task and what it has packed, together in a second-level cache of a megabyte.
constexpr int64_t SUM_BYTES = 640 << 10, PACKED_BYTES = 256 << 10;
// Tasks worth cutting chunks for, positions a chunk has at least, bytes that the sums of all chunks may take.
constexpr int64_t WANTED_TASKS = 32, CHUNK_POSITIONS = 512, PARTIAL_BYTES = 64 << 20;

// Tiles [tile0, tile1) of rows and panels [panel0, panel1) of lanes of a group, with the sums before it in a chunk.
struct Region {
  int64_t group, tile0, tile1, panel0, panel1, at;
};

// Asks for memory ahead of its use: runs of `bytes` bytes, `runs` of them in each of `rows` rows.
class Ahead {
 public:
  void start(const void* from, int64_t runs, int64_t run_pitch, int64_t rows, int64_t row_pitch, int64_t bytes) {
    from_ = static_cast<const char*>(from);
    runs_ = runs;
    run_pitch_ = run_pitch;
    rows_ = bytes > 0 && runs > 0 ? rows : 0;
    row_pitch_ = row_pitch;
    bytes_ = bytes;
    run_ = row_ = at_ = 0;
  }

  int64_t lines() const { return rows_ * runs_ * (divide_up(bytes_, LINE_BYTES) + 1); }
  bool done() const { return row_ >= rows_; }

  void next() {
    __builtin_prefetch(from_ + row_ * row_pitch_ + run_ * run_pitch_ + std::min(at_, bytes_ - 1), 0, 2);
    at_ += LINE_BYTES;
    if (at_ < bytes_ + LINE_BYTES - 1) return;
    at_ = 0;
    if (++run_ < runs_) return;
    run_ = 0;
    row_++;
  }

 private:
  const char* from_ = nullptr;
  int64_t runs_ = 0, run_pitch_ = 0, rows_ = 0, row_pitch_ = 0, bytes_ = 0, run_ = 0, row_ = 0, at_ = 0;
};

// What a task works with; kept by each thread.
struct Work {
  WgradBlock block, next;
  // Pieces of both tensors that the next block packs, and how many lines of them to ask for at each product.
  std::vector<Ahead> ahead;
  size_t ahead_at;
  int64_t quota;
  std::vector<Segment> segments;
  // [tap + 1]
  std::vector<size_t> begin;
  std::vector<int64_t> columns;
};

class WgradRun {
 public:
  WgradRun(const ConvCall& call, const WgradEngine& engine, ConvLayout layout)
      : call_(call), s_(call.shape), e_(engine) {
    small_ = pitches_of(layout, s_.cs, s_.hs, s_.ws);
    large_ = pitches_of(layout, s_.cl, s_.hl, s_.wl);
    h_ = wgrad_axis(s_.hs, s_.hl, s_.r, s_.sh, s_.ph, s_.dh);
    w_ = wgrad_axis(s_.ws, s_.wl, s_.s, s_.sw, s_.pw, s_.dw);
    cs_ = s_.cs / s_.groups;
    cl_ = s_.cl / s_.groups;
    panels_ = divide_up(cs_, e_.lanes);
    tiles_ = divide_up(cl_, e_.rows);
    if (cs_ == 0 || cl_ == 0) return;
    cut_blocks();
    make_regions();
    cut_chunks();
  }

  void run() {
    if (cs_ == 0 || cl_ == 0) return;
    const int64_t regions = static_cast<int64_t>(regions_.size());
    if (chunks_ > 1) partial_ = static_cast<char*>(scratch(SCRATCH_CALL_A, chunks_ * chunk_bytes_));
    parallel_for(chunks_ * regions, [&](int64_t i) { run_task(regions_[i % regions], i / regions); });
    if (chunks_ > 1) add_chunks();
  }

 private:
  // Positions that one product sums over: a panel of each operand then stays in the first-level cache.
  int64_t depth() const { return e_.depth; }
  int64_t area() const { return s_.r * s_.s; }
  int64_t tile_elements() const { return e_.rows * e_.lanes; }
  int64_t tile_bytes() const { return tile_elements() * e_.accumulator_bytes; }
  int64_t tile_begin(int64_t tile) const { return cl_ * tile / tiles_; }
  int64_t rows() const { return s_.n * s_.hs; }
  int64_t sum_bytes(const Region& r) const {
    return (r.tile1 - r.tile0) * (r.panel1 - r.panel0) * area() * tile_bytes();
  }

  // Columns and rows of one product's positions.
  void cut_blocks() {
    const int64_t width = std::max<int64_t>(s_.ws, 1);
    pieces_ = divide_up(width, depth());
    width_ = divide_up(width, pieces_);
    rows_once_ = std::max<int64_t>(1, depth() / width_);
  }

  // Packed vectors for each vector multiply-add of a region.
  double packing(int64_t tiles, int64_t panels) const {
    const double planes = static_cast<double>(h_.planes.size() * w_.planes.size());
    const double vectors = static_cast<double>(tiles) * planes + 2.0 * static_cast<double>(panels);
    return vectors / static_cast<double>(2 * panels * cl_ * tiles / tiles_ * area() + 1);
  }

  // The cut of tiles and panels that packs least among those whose sums stay in the cache.
  void make_regions() {
    int64_t tile_parts = tiles_, panel_parts = panels_;
    double best = packing(1, 1) + 1;
    for (int64_t t = 1; t <= tiles_; t++) {
      for (int64_t p = 1; p <= panels_; p++) {
        const int64_t tiles = divide_up(tiles_, t), panels = divide_up(panels_, p);
        if (tiles * panels > 1 && tiles * panels * area() * tile_bytes() > SUM_BYTES) continue;
        const double cost = packing(tiles, panels);
        if (cost >= best) continue;
        best = cost;
        tile_parts = t;
        panel_parts = p;
        break;
      }
    }
    for (int64_t group = 0; group < s_.groups; group++)
      for (int64_t p = 0; p < panel_parts; p++)
        for (int64_t t = 0; t < tile_parts; t++) {
          const Region region = {group,
                                 tiles_ * t / tile_parts,
                                 tiles_ * (t + 1) / tile_parts,
                                 panels_ * p / panel_parts,
                                 panels_ * (p + 1) / panel_parts,
                                 chunk_bytes_};
          regions_.push_back(region);
          chunk_bytes_ += sum_bytes(region);
        }
    const int64_t planes = static_cast<int64_t>(h_.planes.size() * w_.planes.size());
    const int64_t bytes =
        (divide_up(tiles_, tile_parts) * planes * e_.a_pitch + divide_up(panels_, panel_parts) * e_.lanes) *
        e_.accumulator_bytes;
    block_rows_ = rows_once_ * std::max<int64_t>(1, PACKED_BYTES / (bytes * rows_once_ * width_));
    block_rows_ = std::min(block_rows_, std::max<int64_t>(1, rows()));
  }

  void cut_chunks() {
    blocks_ = divide_up(rows(), block_rows_) * pieces_;
    const int64_t positions = rows() * s_.ws;
    chunks_ = std::min(divide_up(WANTED_TASKS, static_cast<int64_t>(regions_.size())), positions / CHUNK_POSITIONS);
    chunks_ = std::min(chunks_, PARTIAL_BYTES / std::max<int64_t>(chunk_bytes_, 1));
    chunks_ = std::max<int64_t>(1, chunks_);
    // Blocks are made smaller where a chunk would have none, or one chunk two and another one.
    if (chunks_ > 1 && blocks_ < 4 * chunks_) {
      block_rows_ = std::max<int64_t>(1, std::min(block_rows_, divide_up(rows() * pieces_, chunks_)));
      blocks_ = divide_up(rows(), block_rows_) * pieces_;
      chunks_ = std::min(chunks_, std::max<int64_t>(1, blocks_));
    }
  }

  void run_task(const Region& region, int64_t chunk) const {
    static thread_local Work work;
    char* c = nullptr;
    if (chunks_ > 1) {
      c = partial_ + chunk * chunk_bytes_ + region.at;
    } else {
      c = static_cast<char*>(scratch(SCRATCH_ITEM_A, sum_bytes(region)));
    }
    const int64_t begin = blocks_ * chunk / chunks_, end = blocks_ * (chunk + 1) / chunks_;
    if (begin == end || s_.ws == 0) std::memset(c, 0, sum_bytes(region));
    if (begin < end) plan(begin, work.next);
    for (int64_t i = begin; i < end && s_.ws > 0; i++) {
      std::swap(work.block, work.next);
      work.ahead.clear();
      work.ahead_at = 0;
      if (i + 1 < end) {
        plan(i + 1, work.next);
        look_ahead(region, work);
      }
      run_block(region, work, c, i > begin);
    }
    if (chunks_ == 1) store(region, c, region.panel0, region.panel1, work);
  }

  void plan(int64_t i, WgradBlock& block) const {
    const int64_t row0 = i / pieces_ * block_rows_, piece = i % pieces_;
    plan_block(h_, w_, row0, std::min(row0 + block_rows_, rows()), s_.ws * piece / pieces_,
               s_.ws * (piece + 1) / pieces_, block);
  }

  // What the next block will read.
  void look_ahead(const Region& region, Work& work) const {
    const WgradBlock& next = work.next;
    const int64_t s0 = region.panel0 * e_.lanes, s1 = std::min(cs_, region.panel1 * e_.lanes);
    const int64_t l0 = tile_begin(region.tile0), l1 = tile_begin(region.tile1);
    for (const Band& band : next.bands) {
      add_ahead(work, call_.first, small_, band.n, region.group * cs_ + s0, s1 - s0, band.i0, band.i1, next.j0,
                next.j1);
      const int64_t h0 = band.i0 * s_.sh - s_.ph, h1 = (band.i1 - 1) * s_.sh - s_.ph + (s_.r - 1) * s_.dh + 1;
      const int64_t w0 = next.j0 * s_.sw - s_.pw, w1 = (next.j1 - 1) * s_.sw - s_.pw + (s_.s - 1) * s_.dw + 1;
      add_ahead(work, call_.second, large_, band.n, region.group * cl_ + l0, l1 - l0, std::max<int64_t>(0, h0),
                std::min(s_.hl, h1), std::max<int64_t>(0, w0), std::min(s_.wl, w1));
    }
    int64_t lines = 0;
    for (const Ahead& piece : work.ahead) lines += piece.lines();
    const int64_t products = (region.panel1 - region.panel0) * (region.tile1 - region.tile0) * area() *
                             divide_up(work.block.row1 - work.block.row0, rows_once_);
    work.quota = divide_up(lines, products);
  }

  void add_ahead(Work& work, const void* data, const Pitches& pitch, int64_t n, int64_t c0, int64_t channels,
                 int64_t h0, int64_t h1, int64_t w0, int64_t w1) const {
    if (pitch.c != 1) return;
    const int64_t b = e_.storage_bytes;
    const void* const from = element(data, n * pitch.n + c0 + h0 * pitch.h + w0 * pitch.w, b);
    Ahead piece;
    if (channels == pitch.w) {
      piece.start(from, 1, 0, h1 - h0, pitch.h * b, (w1 - w0) * pitch.w * b);
    } else {
      piece.start(from, w1 - w0, pitch.w * b, h1 - h0, pitch.h * b, channels * b);
    }
    work.ahead.push_back(piece);
  }

  static void fetch_ahead(Work& work) {
    for (int64_t i = 0; i < work.quota && work.ahead_at < work.ahead.size(); i++) {
      Ahead& piece = work.ahead[work.ahead_at];
      if (piece.done()) {
        work.ahead_at++;
      } else {
        piece.next();
      }
    }
  }

  void run_block(const Region& region, Work& work, char* c, bool more) const {
    const WgradBlock& block = work.block;
    const int64_t tiles = region.tile1 - region.tile0, panels = region.panel1 - region.panel0;
    const int64_t a_bytes = block.positions * e_.a_pitch * e_.accumulator_bytes;
    const int64_t b_bytes = (block.row1 - block.row0) * block.width() * e_.lanes * e_.accumulator_bytes;
    char* const a = static_cast<char*>(scratch(SCRATCH_ITEM_B, tiles * a_bytes));
    char* const b = static_cast<char*>(scratch(SCRATCH_ITEM_C, panels * b_bytes));
    for (int64_t p = 0; p < panels; p++) pack_small(region, region.panel0 + p, block, b + p * b_bytes);
    for (int64_t t = 0; t < tiles; t++) pack_large(region, region.tile0 + t, block, a + t * a_bytes);
    for (int64_t row = 0; row < block.row1 - block.row0; row += rows_once_, more = true) {
      find_segments(work, row, std::min(row + rows_once_, block.row1 - block.row0));
      multiply(region, work, a, a_bytes, b, b_bytes, c, more);
    }
  }

  void find_segments(Work& work, int64_t row0, int64_t row1) const {
    work.segments.clear();
    work.begin.assign(1, 0);
    for (int64_t h = 0; h < s_.r; h++)
      for (int64_t w = 0; w < s_.s; w++) {
        add_segments(h_, w_, work.block, h, w, row0, row1, e_, work.segments);
        work.begin.push_back(work.segments.size());
      }
  }

  // Sums lie by panel, tap, tile.
  void multiply(const Region& region, Work& work, const char* a, int64_t a_bytes, const char* b, int64_t b_bytes,
                char* c, bool more) const {
    for (int64_t p = region.panel0; p < region.panel1; p++, b += b_bytes) {
      const bool all = cs_ - p * e_.lanes > e_.half_lanes;
      for (int64_t tap = 0; tap < area(); tap++) {
        const int64_t count = static_cast<int64_t>(work.begin[tap + 1] - work.begin[tap]);
        const Segment* const segments = work.segments.data() + work.begin[tap];
        for (int64_t t = region.tile0; t < region.tile1; t++, c += tile_bytes()) {
          if (count == 0 && more) continue;
          const SegmentsMicro micro = e_.micro[all][tile_begin(t + 1) - tile_begin(t) - 1];
          micro(segments, count, a + (t - region.tile0) * a_bytes, b, c, more);
          fetch_ahead(work);
        }
      }
    }
  }

  void pack_small(const Region& region, int64_t panel, const WgradBlock& block, char* to) const {
    const int64_t c0 = panel * e_.lanes, channels = std::min<int64_t>(e_.lanes, cs_ - c0);
    for (const Band& band : block.bands) {
      const int64_t from =
          band.n * small_.n + (region.group * cs_ + c0) * small_.c + band.i0 * small_.h + block.j0 * small_.w;
      e_.pack({element(call_.first, from, e_.storage_bytes), small_.c, small_.h, small_.w, channels, band.i1 - band.i0,
               block.width(), e_.lanes},
              to + band.row * block.width() * e_.lanes * e_.accumulator_bytes);
    }
  }

  void pack_large(const Region& region, int64_t tile, const WgradBlock& block, char* to) const {
    const int64_t c0 = tile_begin(tile), channels = tile_begin(tile + 1) - c0;
    const int64_t planes_h = static_cast<int64_t>(h_.planes.size()), planes_w = static_cast<int64_t>(w_.planes.size());
    for (size_t b = 0; b < block.bands.size(); b++)
      for (int64_t ph = 0; ph < planes_h; ph++)
        for (int64_t pw = 0, together = 1; pw < planes_w; pw += together) {
          const PlaneRange &rows = block.rows[b * planes_h + ph], &columns = block.columns[pw];
          together = large_.c == 1 ? 1 : planes_together(block, pw);
          if (rows.count == 0 || columns.count == 0) continue;
          const int64_t h = rows.first * s_.sh + h_.planes[ph].residue,
                        w = columns.first * s_.sw + w_.planes[pw].residue;
          const int64_t from =
              block.bands[b].n * large_.n + (region.group * cl_ + c0) * large_.c + h * large_.h + w * large_.w;
          const int64_t* const plane = &block.plane_at[ph * planes_w + pw];
          const int64_t at = plane[0] + rows.at * columns.count;
          const int64_t pitch_plane = together > 1 ? (plane[1] - plane[0]) * e_.a_pitch : 0;
          e_.pack({element(call_.second, from, e_.storage_bytes), large_.c, s_.sh * large_.h, s_.sw * large_.w,
                   channels, rows.count, columns.count, e_.a_pitch, together, pitch_plane},
                  to + at * e_.a_pitch * e_.accumulator_bytes);
        }
  }

  // Planes of columns from `plane` on that are packed with it: of as many columns, and neighbours in memory.
  int64_t planes_together(const WgradBlock& block, int64_t plane) const {
    const int64_t end = std::min<int64_t>(w_.planes.size(), plane + MAX_PACKED_PLANES);
    const PlaneRange& columns = block.columns[plane];
    int64_t next = plane + 1;
    while (next < end && w_.planes[next].residue == w_.planes[plane].residue + next - plane &&
           block.columns[next].first == columns.first && block.columns[next].count == columns.count) {
      next++;
    }
    return next - plane;
  }

  // Sums of all chunks of a panel of each region, in order.
  void add_chunks() const {
    std::vector<std::pair<const Region*, int64_t>> items;
    for (const Region& region : regions_)
      for (int64_t p = region.panel0; p < region.panel1; p++) items.push_back({&region, p});
    parallel_for(static_cast<int64_t>(items.size()), [&](int64_t i) {
      static thread_local Work work;
      const Region& region = *items[i].first;
      const int64_t panel = items[i].second, bytes = sum_bytes(region) / (region.panel1 - region.panel0);
      char* const sum = partial_ + region.at + (panel - region.panel0) * bytes;
      for (int64_t chunk = 1; chunk < chunks_; chunk++) {
        e_.add(sum + chunk * chunk_bytes_, bytes / e_.accumulator_bytes, sum);
      }
      store(region, sum, panel, panel + 1, work);
    });
  }

  void store(const Region& region, const char* c, int64_t panel0, int64_t panel1, Work& work) const {
    const int64_t tiles = region.tile1 - region.tile0;
    work.columns.clear();
    for (int64_t t = region.tile0; t < region.tile1; t++)
      for (int64_t row = 0; row < tile_begin(t + 1) - tile_begin(t); row++)
        for (int64_t tap = 0; tap < area(); tap++) {
          work.columns.push_back((tap * tiles + t - region.tile0) * tile_elements() + row * e_.lanes);
        }
    const int64_t pitch = cl_ * area();
    for (int64_t p = panel0; p < panel1; p++, c += area() * tiles * tile_bytes()) {
      const int64_t c0 = p * e_.lanes;
      const StoreColumns what = {c, work.columns.data(), static_cast<int64_t>(work.columns.size()),
                                 std::min<int64_t>(e_.lanes, cs_ - c0), pitch};
      const int64_t to = (region.group * cs_ + c0) * pitch + tile_begin(region.tile0) * area();
      e_.store(what, element(call_.output, to, e_.storage_bytes));
    }
  }

  const ConvCall& call_;
  const ConvShape& s_;
  const WgradEngine& e_;
  Pitches small_, large_;
  WgradAxis h_, w_;
  int64_t cs_, cl_, panels_, tiles_, pieces_ = 1, width_ = 1, rows_once_ = 1, block_rows_ = 1, blocks_ = 0, chunks_ = 1;
  int64_t chunk_bytes_ = 0;
  char* partial_ = nullptr;
  std::vector<Region> regions_;
};

}  // namespace

void conv_wgrad(void** params, const WgradEngine& engine, ConvLayout layout) {
  const ConvCall call = read_wgrad_call(params);
  if (wgrad_by_patches(call, engine, layout) || wgrad_by_columns(call, engine, layout)) return;
  WgradRun(call, engine, layout).run();
}

}  // namespace fracstride
