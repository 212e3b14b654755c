// The weight gradient with positions in the lanes: with columns q = (k, tap), neighbours in the weight (columns.h),
//
//   W[c, q] = Σ_{n, i, j} S[n, c, i, j] · X[q][n, i, j]
//
// Sums are vectors of positions, added up in the end. Columns are read where they lie in the planes of L; so are the
// rows of S, where they are whole vectors of T, and else copies of them with zeros between, as far apart as the rows of
// planes. A task sums over some blocks of positions for some channels of L. A zero that stands for a position that does
// not exist makes a sum NaN when it meets something that is not finite: then nothing is written and the caller sums
// over existing positions only. The number of tasks depends on the problem alone.
#include <algorithm>
#include <cstring>
#include <vector>

#include "columns.h"
#include "conv_plan.h"
#include "team.h"
#include "wgrad_chunks.h"
#include "wgrad_columns.h"
#include "wgrad_patches.h"

namespace fracstride {
namespace {

// Least channels c and columns for which this is the faster way, and channels of L that are few; least taps where they
// are not.
constexpr int64_t LEAST_ROWS = 8, LEAST_COLUMNS = 4, FEW_CHANNELS = 5, LEAST_TAPS = 16;
// Positions of a block: adding up lanes is then a small part.
constexpr int64_t MOST_POSITIONS = 1024;
// Planes of a task, in a second-level cache, those that a first-level cache holds, and channels c copied at once.
constexpr int64_t PLANES_BYTES = 256 << 10, NEAR_BYTES = 48 << 10, COPIED_CHANNELS = 64;

// Many channels of L: where channels c would leave lanes empty, and neither L need be turned nor S be copied.
bool better_in_place(const ConvShape& s, const WgradEngine& e, ConvLayout layout) {
  return layout == NCHW && e.storage_bytes == e.accumulator_bytes && s.ws % e.patches.lines.width == 0 &&
         s.r * s.s >= LEAST_TAPS && few_rows(s, e);
}

class ColumnsRun {
 public:
  ColumnsRun(const ConvCall& call, const WgradEngine& engine, ConvLayout layout)
      : call_(call),
        s_(call.shape),
        e_(engine),
        small_(pitches_of(layout, s_.cs, s_.hs, s_.ws)),
        cs_(s_.cs / s_.groups),
        cl_(s_.cl / s_.groups),
        columns_(s_, pitches_of(layout, s_.cl, s_.hl, s_.wl), e_.patches.lines, MOST_POSITIONS, 1),
        chunks_(e_, s_.groups, cs_ * count()) {
    if (!fits()) return;
    const int64_t planes = std::max<int64_t>(1, PLANES_BYTES / columns_.channel_bytes());
    parts_ = divide_up(cl_, planes);
    chunks_.cut(s_.groups * parts_, columns_.blocks());
  }

  bool fits() const {
    return cs_ >= LEAST_ROWS && count() >= LEAST_COLUMNS && s_.ws > 0 && columns_.blocks() > 0 && columns_.fits() &&
           chunks_.fits();
  }

  bool run() {
    const int64_t chunks = chunks_.count();
    chunks_.allocate();
    parallel_for(s_.groups * parts_ * chunks, [&](int64_t i) {
      const int64_t group = i / (parts_ * chunks), part = i / chunks % parts_, chunk = i % chunks;
      run_task(group, part, chunk, chunks_.at(group, chunk));
    });
    if (!chunks_.add()) return false;
    for (int64_t group = 0; group < s_.groups; group++) {
      void* const to = element(call_.output, group * cs_ * count(), e_.storage_bytes);
      e_.store_line(chunks_.at(group, 0), cs_ * count(), to);
    }
    return true;
  }

 private:
  static constexpr int64_t CHANNELS_AHEAD = 4;

  // Rows of S as the sums read them: `runs` of `length` whole vectors, of channels `pitch` apart.
  struct Lines {
    const char* data;
    int64_t pitch, runs, length, step;
  };
  // What a task multiplies: channels [k0, k0 + channels) of L.
  struct Part {
    int64_t group, k0, channels;
  };

  int64_t count() const { return columns_.count(); }
  static int64_t part(int64_t whole, int64_t parts, int64_t i) { return whole * i / parts; }

  const void* small_at(int64_t group, int64_t c, const ColumnsBlock& block) const {
    const int64_t at = block.n * small_.n + (group * cs_ + c) * small_.c + block.i0 * small_.h + block.j0 * small_.w;
    return element(call_.first, at, e_.storage_bytes);
  }

  bool in_place(const ColumnsBlock& block) const {
    return small_.w == 1 && e_.storage_bytes == e_.accumulator_bytes && block.width() % e_.patches.lines.width == 0;
  }

  void run_task(int64_t group, int64_t i, int64_t chunk, char* sums) const {
    const Part what = {group, part(cl_, parts_, i), part(cl_, parts_, i + 1) - part(cl_, parts_, i)};
    const int64_t begin = part(columns_.blocks(), chunks_.count(), chunk),
                  end = part(columns_.blocks(), chunks_.count(), chunk + 1);
    const int64_t area = s_.r * s_.s, bytes = e_.accumulator_bytes;
    char* const first = sums + what.k0 * area * bytes;
    for (int64_t c = 0; c < cs_; c++) std::memset(first + c * count() * bytes, 0, what.channels * area * bytes);
    for (int64_t b = begin; b < end; b++) {
      const ColumnsBlock block = columns_.block(b), next = columns_.block(std::min(b + 1, end - 1));
      const char* const planes = columns_.stage(call_.second, group, block, what.k0, what.channels);
      const int64_t copied = in_place(block) ? cs_ : COPIED_CHANNELS;
      for (int64_t c = 0; c < cs_; c += copied) {
        const int64_t channels = std::min(copied, cs_ - c);
        multiply(what, block, next, c, channels, planes, first + c * count() * bytes);
      }
    }
  }

  // Columns that a first-level cache holds meet all channels c in turn; of more, some columns meet all channels first.
  void multiply(const Part& what, const ColumnsBlock& block, const ColumnsBlock& next, int64_t c, int64_t channels,
                const char* planes, char* sums) const {
    const Lines lines =
        in_place(block) ? lines_in_place(what.group, c, block) : copy_lines(what.group, c, channels, block);
    const int64_t columns = what.channels * s_.r * s_.s;
    const int64_t tiles = divide_up(channels, e_.dot_rows), panels = divide_up(columns, e_.dot_columns);
    const auto tile = [&](int64_t t, int64_t p) {
      const int64_t row = part(channels, tiles, t), rows = part(channels, tiles, t + 1) - row;
      const int64_t q = part(columns, panels, p), some = part(columns, panels, p + 1) - q;
      e_.dots[rows - 1][some - 1]({lines.data + row * lines.pitch * e_.accumulator_bytes, planes, columns_.at() + q,
                                   lines.pitch, lines.runs, lines.length, lines.step, columns_.pitch(),
                                   sums + (row * count() + q) * e_.accumulator_bytes, count()});
    };
    if (what.channels * columns_.channel_bytes() > NEAR_BYTES) {
      for (int64_t p = 0; p < panels; p++)
        for (int64_t t = 0; t < tiles; t++) tile(t, p);
      return;
    }
    for (int64_t t = 0; t < tiles; t++)
      for (int64_t p = 0; p < panels; p++) {
        const bool last = t + 1 == tiles;
        if (in_place(block)) fetch(what.group, last ? 0 : part(channels, tiles, t + 1), last ? next : block, p, panels);
        tile(t, p);
      }
  }

  // Asks for a part of the rows that the next tile reads.
  void fetch(int64_t group, int64_t c, const ColumnsBlock& block, int64_t p, int64_t panels) const {
    const char* const from = static_cast<const char*>(small_at(group, c, block));
    const int64_t bytes = block.positions() * e_.storage_bytes,
                  first = part(bytes, panels, p) / LINE_BYTES * LINE_BYTES;
    for (int64_t row = 0; row < e_.dot_rows; row++)
      for (int64_t at = first; at < part(bytes, panels, p + 1); at += LINE_BYTES) {
        __builtin_prefetch(from + row * small_.c * e_.storage_bytes + at);
      }
  }

  Lines lines_in_place(int64_t group, int64_t c, const ColumnsBlock& block) const {
    return {static_cast<const char*>(small_at(group, c, block)), small_.c, block.rows(), block.width(), small_.h};
  }

  Lines copy_lines(int64_t group, int64_t c, int64_t channels, const ColumnsBlock& block) const {
    const int64_t vector = e_.patches.lines.width, bytes = e_.accumulator_bytes;
    const int64_t length = divide_up(columns_.reach(block), vector) * vector;
    // Not a power of two, and room for a vector behind the last row.
    const int64_t pitch = length + (length / vector % 2 == 0 ? vector : 2 * vector);
    char* const lines = static_cast<char*>(scratch(SCRATCH_ITEM_B, channels * pitch * bytes));
    std::memset(lines, 0, channels * pitch * bytes);
    for (int64_t i = 0; i < block.rows(); i++) {
      const char* const from = static_cast<const char*>(small_at(group, c, block)) + i * small_.h * e_.storage_bytes;
      char* const to = lines + i * columns_.pitch() * bytes;
      if (small_.c == 1) {
        e_.patches.lines.turn_lines({from, small_.w, block.width(), channels, pitch}, to);
        continue;
      }
      for (int64_t k = 0; k < channels; k++) {
        ask_for(from + (k + CHANNELS_AHEAD) * small_.c * e_.storage_bytes, block.width() * e_.storage_bytes);
        e_.patches.lines.load_line({from + k * small_.c * e_.storage_bytes, small_.w, block.width()},
                                   to + k * pitch * bytes);
      }
    }
    return {lines, pitch, 1, length, 0};
  }

  const ConvCall& call_;
  const ConvShape& s_;
  const WgradEngine& e_;
  Pitches small_;
  int64_t cs_, cl_;
  Columns columns_;
  // [c][q]
  WgradChunks chunks_;
  int64_t parts_ = 1;
};

}  // namespace

bool wgrad_by_columns(const ConvCall& call, const WgradEngine& engine, ConvLayout layout) {
  const ConvShape& s = call.shape;
  if (s.cl < s.groups || s.cs < s.groups || s.r * s.s > 1 << 15) return false;
  if (s.cl / s.groups > FEW_CHANNELS && !better_in_place(s, engine, layout)) return false;
  ColumnsRun run(call, engine, layout);
  return run.fits() && run.run();
}

}  // namespace fracstride
