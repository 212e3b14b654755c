// The weight gradient with elements of patches q = (r, s, k) in the lanes (patches.h):
//
//   W[c, q] = Σ_{n, i, j} S[n, c, i, j] · X[n, i, j][q]
//
// Some vectors of a block's patches are copied once for all channels c, or read where they were staged; sums of some
// channels and these vectors are in registers, and elements of S are read one by one where they lie, unless they are
// stored as another type than T. A task sums over some blocks of positions for a slab of the patches. A zero that
// stands for a position that does not exist makes a sum NaN when it meets something that is not finite: then nothing is
// written and the caller sums over existing positions only. The number of tasks depends on the problem alone.
#include <algorithm>
#include <cstring>
#include <vector>

#include "conv_plan.h"
#include "patches.h"
#include "team.h"
#include "wgrad_chunks.h"
#include "wgrad_patches.h"

namespace fracstride {
namespace {

// Least channels c for which this is the faster way; channels of L that are few, and most channels c where they are
// not.
constexpr int64_t LEAST_ROWS = 8, FEW_CHANNELS = 5, MOST_ROWS = 24;
// Least part of the lanes that must hold something: sums of positions in the lanes (conv_wgrad_columns.cc) waste none.
// Their planes of so many positions stay in a first-level cache, and their sums of lanes are nothing if images are not
// small. Copies of patches pay for this many channels c, and for so few lanes where S would be turned; for many
// channels of L an image has so many positions at least.
constexpr double LEAST_FILLED = 0.9;
constexpr int64_t PLANE_POSITIONS = 1024, NEAR_BYTES = 48 << 10, SMALL_IMAGE = 256;
constexpr int64_t SHARED_ROWS = 32, FEW_LANES = 96, LEAST_IMAGE = 128;
// Positions of a block: three vectors of patches are then in a first-level cache. Least positions of a row for which
// their sums are loaded and stored, and channels c copied at once.
constexpr int64_t MOST_POSITIONS = 256, LEAST_POSITIONS = 32, COPIED_CHANNELS = 64;

class PatchesRun {
 public:
  PatchesRun(const ConvCall& call, const WgradEngine& engine, ConvLayout layout)
      : call_(call),
        s_(call.shape),
        e_(engine),
        small_(pitches_of(layout, s_.cs, s_.hs, s_.ws)),
        cs_(s_.cs / s_.groups),
        cl_(s_.cl / s_.groups),
        patches_(s_, pitches_of(layout, s_.cl, s_.hl, s_.wl), e_.patches, MOST_POSITIONS),
        slab_lanes_(divide_up(patches_.lanes(), e_.patches.lines.width) * e_.patches.lines.width),
        pitch_(patches_.slabs() * slab_lanes_),
        chunks_(e_, s_.groups, cs_ * pitch_) {
    if (fits()) chunks_.cut(s_.groups * patches_.slabs(), patches_.blocks());
  }

  bool fits() const {
    return cs_ >= LEAST_ROWS && filled() && better() && s_.ws > 0 && patches_.blocks() > 0 && patches_.fits() &&
           chunks_.fits();
  }

  bool run() {
    const int64_t slabs = patches_.slabs(), chunks = chunks_.count();
    chunks_.allocate();
    parallel_for(s_.groups * slabs * chunks, [&](int64_t i) {
      const int64_t group = i / (slabs * chunks), slab = i / chunks % slabs, chunk = i % chunks;
      run_task(group, slab, chunk, chunks_.at(group, chunk));
    });
    if (!chunks_.add()) return false;
    parallel_for(s_.groups * cs_, [&](int64_t i) { store(i / cs_, i % cs_); });
    return true;
  }

 private:
  static constexpr int64_t CHANNELS_AHEAD = 4;

  // Elements of S as sums read them: of channels `pitch` apart and positions `step` apart.
  struct Elements {
    const char* data;
    int64_t pitch, step;
  };
  // What sums ask for meanwhile, in bytes.
  struct Lines {
    const char* data;
    int64_t pitch, step;
  };

  bool filled() const {
    return static_cast<double>(patches_.lanes()) >= LEAST_FILLED * static_cast<double>(slab_lanes_);
  }
  // Beside sums of positions in the lanes, or for many channels of L beside matrix products of each tap.
  bool better() const {
    const int64_t image = s_.hs * s_.ws, width = e_.patches.lines.width, lanes = patches_.lanes();
    if (cl_ > FEW_CHANNELS) return small_.c != 1 || image >= LEAST_IMAGE;
    if (small_.c != 1 && (s_.ws % width != 0 || image <= SMALL_IMAGE)) return true;
    if (small_.c == 1 || !in_place()) return cs_ >= SHARED_ROWS || lanes <= FEW_LANES;
    const int64_t planes = cl_ * s_.sh * s_.sw * std::min(image, PLANE_POSITIONS) * e_.accumulator_bytes;
    return cs_ >= SHARED_ROWS && lanes > width && planes >= NEAR_BYTES;
  }
  int64_t area() const { return s_.r * s_.s; }
  static int64_t part(int64_t whole, int64_t parts, int64_t i) { return whole * i / parts; }

  const void* small_at(int64_t group, int64_t c, const ColumnsBlock& block) const {
    const int64_t at = block.n * small_.n + (group * cs_ + c) * small_.c + block.i0 * small_.h + block.j0 * small_.w;
    return element(call_.first, at, e_.storage_bytes);
  }

  bool in_place() const { return e_.storage_bytes == e_.accumulator_bytes; }

  void run_task(int64_t group, int64_t i, int64_t chunk, char* sums) const {
    const Slab slab = patches_.slab(i);
    const int64_t begin = part(patches_.blocks(), chunks_.count(), chunk),
                  end = part(patches_.blocks(), chunks_.count(), chunk + 1);
    const int64_t bytes = e_.accumulator_bytes;
    char* const first = sums + i * slab_lanes_ * bytes;
    for (int64_t c = 0; c < cs_; c++) std::memset(first + c * pitch_ * bytes, 0, slab_lanes_ * bytes);
    for (int64_t b = begin; b < end; b++) {
      const ColumnsBlock block = patches_.block(b), next = patches_.block(std::min(b + 1, end - 1));
      const char* const staged = patches_.stage(call_.second, group, block, slab);
      const int64_t together = in_place() ? cs_ : COPIED_CHANNELS;
      for (int64_t c = 0; c < cs_; c += together) {
        const int64_t channels = std::min(together, cs_ - c);
        const Elements ahead = {static_cast<const char*>(small_at(group, c, next)), small_.c, small_.w};
        multiply(block, elements(group, c, channels, block), channels, staged, first + c * pitch_ * bytes, ahead);
      }
    }
  }

  // Some vectors of patches meet all channels c in turn.
  void multiply(const ColumnsBlock& block, const Elements& small, int64_t channels, const char* staged, char* sums,
                const Elements& next) const {
    const int64_t width = e_.patches.lines.width, bytes = e_.accumulator_bytes, lanes = patches_.lanes();
    const int64_t vectors = divide_up(lanes, width), panels = divide_up(vectors, e_.sum_vectors);
    const int64_t tiles = divide_up(channels, e_.sum_rows);
    char* const copy = static_cast<char*>(scratch(SCRATCH_ITEM_A, block.positions() * e_.sum_vectors * width * bytes));
    for (int64_t p = 0; p < panels; p++) {
      const int64_t first = part(vectors, panels, p), some = part(vectors, panels, p + 1) - first;
      const int64_t q = first * width, count = std::min(some * width, lanes - q);
      const int64_t apart = block.width() < LEAST_POSITIONS ? 0 : patches_.apart(q, count);
      const bool in_place = apart > 0;
      if (!in_place) patches_.copy(staged, block, q, count, some * width, copy);
      const int64_t runs = in_place ? block.rows() : 1, depth = block.positions() / runs;
      for (int64_t t = 0, row = 0; t < tiles; t++) {
        const int64_t next_row = part(channels, tiles, t + 1), rows = next_row - row;
        for (int64_t run = 0; run < runs; run++) {
          const char* const x = small.data + (row * small.pitch + run * depth * small.step) * bytes;
          const Lines ahead = p == 0 ? lines_ahead(next, t, row, rows, run * depth) : Lines{x, 0, 0};
          e_.patch_sums[some - 1][rows - 1]({x, in_place ? patches_.at(staged, run, q) : copy, small.pitch, small.step,
                                             depth, in_place ? patches_.step() : some * width, in_place ? apart : width,
                                             sums + (row * pitch_ + q) * bytes, pitch_, ahead.data, ahead.pitch,
                                             ahead.step});
        }
        row = next_row;
      }
    }
  }

  // What tile t, of `rows` channels, asks for from `position` on: the lines of its own channels in the next block.
  // Tiles whose channels share lines ask for every so many of them.
  Lines lines_ahead(const Elements& next, int64_t t, int64_t row, int64_t rows, int64_t position) const {
    const int64_t bytes = e_.storage_bytes, positions = LINE_BYTES / e_.accumulator_bytes;
    const int64_t sharing = next.pitch == 1 ? divide_up(positions, rows) : 1;
    const int64_t at = row * next.pitch + (position + t % sharing) * next.step;
    return {next.data + at * bytes, (next.pitch == 1 ? sharing * next.step : next.pitch) * bytes,
            positions * next.step * bytes};
  }

  Elements elements(int64_t group, int64_t c, int64_t channels, const ColumnsBlock& block) const {
    const char* const from = static_cast<const char*>(small_at(group, c, block));
    if (in_place()) return {from, small_.c, small_.w};
    const int64_t vector = e_.patches.lines.width, bytes = e_.accumulator_bytes;
    const int64_t count = small_.c == 1 ? channels : block.positions(),
                  lines = small_.c == 1 ? block.positions() : channels;
    // Not a power of two, and room for a vector behind the last element.
    const int64_t vectors = divide_up(count, vector), pitch = (vectors + 1 + vectors % 2) * vector;
    char* const to = static_cast<char*>(scratch(SCRATCH_ITEM_B, (lines * pitch + vector) * bytes));
    const int64_t step = small_.c == 1 ? small_.w : small_.c;
    for (int64_t i = 0; i < lines; i++) {
      const char* const line = from + i * step * e_.storage_bytes;
      ask_for(line + CHANNELS_AHEAD * step * e_.storage_bytes, count * e_.storage_bytes);
      e_.patches.lines.load_line({line, 1, count}, to + i * pitch * bytes);
    }
    return small_.c == 1 ? Elements{to, 1, pitch} : Elements{to, pitch, 1};
  }

  void store(int64_t group, int64_t c) const {
    const char* const sums = chunks_.at(group, 0) + c * pitch_ * e_.accumulator_bytes;
    for (int64_t i = 0; i < patches_.slabs(); i++) {
      const Slab slab = patches_.slab(i);
      const int64_t to = ((group * cs_ + c) * cl_ + slab.k0) * area() + slab.r0 * s_.s;
      e_.store_patch(sums + i * slab_lanes_ * e_.accumulator_bytes, {slab.rows * s_.s, slab.channels, area()},
                     element(call_.output, to, e_.storage_bytes));
    }
  }

  const ConvCall& call_;
  const ConvShape& s_;
  const WgradEngine& e_;
  Pitches small_;
  int64_t cs_, cl_;
  Patches patches_;
  // Sums of a chunk: [c][slab][lane], in whole vectors.
  const int64_t slab_lanes_, pitch_;
  WgradChunks chunks_;
};

}  // namespace

// Where channels c would leave lanes empty.
bool few_rows(const ConvShape& s, const WgradEngine& e) {
  const int64_t rows = s.cs / s.groups, lanes = divide_up(rows, e.half_lanes) * e.half_lanes;
  return rows <= MOST_ROWS && 4 * rows < 3 * lanes;
}

bool wgrad_by_patches(const ConvCall& call, const WgradEngine& engine, ConvLayout layout) {
  const ConvShape& s = call.shape;
  if (s.cl < s.groups || s.cs < s.groups || s.r * s.s > 1 << 15) return false;
  if (s.cl / s.groups > FEW_CHANNELS && !few_rows(s, engine)) return false;
  PatchesRun run(call, engine, layout);
  return run.fits() && run.run();
}

}  // namespace fracstride
