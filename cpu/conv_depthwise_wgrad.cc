// The weight gradient of a depthwise convolution: W[c, tap] = Σ_{n, i, j} S[n, c, i, j] · L[n, c, (i, j)·stride +
// delta(tap)]. Positions are cut into pieces whose number depends on the problem alone; each sums on its own, and the
// pieces are added in order. NCHW: lanes are positions, both planes are staged, L with zeros around it; where a sum
// of a piece is not finite, taps are summed over the positions that exist for them. NHWC: lanes are channels,
// nothing is padded.
#include <algorithm>
#include <cstring>
#include <vector>

#include "conv_args.h"
#include "conv_depthwise_run.h"
#include "conv_plan.h"
#include "team.h"

namespace fracstride {
namespace {

// Staged rows of a piece stay in a first-level cache; pixels that are summed between loading sums and storing them;
// pieces on NHWC.
constexpr int64_t STAGE_BYTES = 24 * 1024, PIXELS = 16, PIECES = 32;

// W from the pieces' sums.
struct Sums {
  const ConvCall& call;
  const DepthwiseEngine& e;
  Axis h, w;
  int64_t area, channels;
  char* sums = nullptr;

  Sums(const ConvCall& call, const DepthwiseEngine& engine)
      : call(call),
        e(engine),
        h(axis(call.shape.hl, call.shape.hs, call.shape.r, call.shape.sh, call.shape.ph, call.shape.dh)),
        w(axis(call.shape.wl, call.shape.ws, call.shape.s, call.shape.sw, call.shape.pw, call.shape.dw)),
        area(call.shape.r * call.shape.s),
        channels(call.shape.groups) {}

  // One phase, even without positions.
  static Axis axis(int64_t large, int64_t small, int64_t kernel, int64_t stride, int64_t padding, int64_t dilation) {
    Axis axis = contract_axis(large, std::max<int64_t>(small, 1), kernel, stride, padding, dilation);
    axis.output = axis.phases[0].count = small;
    return axis;
  }
};

class PlaneSums : Sums {
 public:
  PlaneSums(const ConvCall& call, const DepthwiseEngine& engine) : Sums(call, engine) {
    const ConvShape& s = call.shape;
    count_ = divide_up(s.ws, e.width) * e.width;
    // Rows that begin with a line of the caches are staged from such a line on.
    const int64_t vectors = e.width * s.sw;
    first_ = s.wl % vectors == 0 ? divide_up(s.pw, vectors) * vectors : s.pw;
    pitch_ = count_ + divide_up((first_ - s.pw + (s.s - 1) * s.dw) / s.sw + 1, e.width) * e.width;
    row_pitch_ = pitch_ * s.sw;
    in_place_ = s.ws == count_ && e.storage_bytes == e.accumulator_bytes;
    const int64_t fit = STAGE_BYTES / e.accumulator_bytes / (count_ + row_pitch_ * s.sh + 1);
    strip_ = divide_up(s.hs, divide_up(s.hs, std::max<int64_t>(fit, 8)) + (s.hs == 0));
    strips_ = strip_ == 0 ? 0 : divide_up(s.hs, strip_);
  }

  void run() {
    const int64_t pieces = call.shape.n * strips_, piece_bytes = area * e.width * e.accumulator_bytes;
    sums = static_cast<char*>(scratch(SCRATCH_CALL_A, channels * pieces * piece_bytes));
    parallel_for(channels * pieces, [&](int64_t i) {
      run_piece(i / pieces, i % pieces / strips_, i % pieces % strips_ * strip_, sums + i * piece_bytes);
    });
    parallel_ranges(channels, 16, [&](int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; c++) {
        e.store_sums(sums + c * pieces * piece_bytes, pieces, area * e.width, area,
                     element(call.output, c * area, e.storage_bytes));
      }
    });
  }

 private:
  void run_piece(int64_t channel, int64_t n, int64_t q0, char* to) const {
    const ConvShape& s = call.shape;
    const int64_t rows = std::min(strip_, s.hs - q0), plane = n * channels + channel;
    const int64_t large_rows = (rows - 1) * s.sh + (s.r - 1) * s.dh + 1;
    char* const large =
        static_cast<char*>(scratch(SCRATCH_ITEM_A, (rows * count_ + large_rows * row_pitch_) * e.accumulator_bytes));
    const char* small = static_cast<const char*>(element(call.first, (plane * s.hs + q0) * s.ws, e.storage_bytes));
    if (!in_place_) {
      char* const staged = large + large_rows * row_pitch_ * e.accumulator_bytes;
      e.stage({element(call.first, plane * s.hs * s.ws, e.storage_bytes), s.hs, s.ws, q0, rows, 0, 1, count_, staged});
      small = staged;
    }
    e.stage({element(call.second, plane * s.hl * s.wl, e.storage_bytes), s.hl, s.wl, q0 * s.sh - s.ph, large_rows,
             -first_, s.sw, pitch_, large});
    static thread_local std::vector<int64_t> at;
    at.clear();
    for (int64_t tap = 0; tap < area; tap++) at.push_back(large_at(tap));
    std::memset(to, 0, area * e.width * e.accumulator_bytes);
    e.sum_planes({small, large, count_, row_pitch_ * s.sh, rows, count_, at.data(), area, to});
    // What is not finite shows in every sum that it is part of, times zero or not.
    if (e.all_finite(to, area * e.width)) return;
    std::memset(to, 0, area * e.width * e.accumulator_bytes);
    for (int64_t tap = 0; tap < area; tap++) sum_existing(tap, q0, rows, small, large, to);
  }

  int64_t large_at(int64_t tap) const {
    const ConvShape& s = call.shape;
    const int64_t column = tap % s.s * s.dw + first_ - s.pw;
    return tap / s.s * s.dh * row_pitch_ + column % s.sw * pitch_ + column / s.sw;
  }

  // One tap over the positions that exist for it, one by one: rows of vectors of which one lane holds something.
  void sum_existing(int64_t tap, int64_t q0, int64_t rows, const char* small, const char* large, char* to) const {
    const ConvShape& s = call.shape;
    const int64_t bytes = e.accumulator_bytes;
    std::vector<char> one(2 * e.width * bytes);
    for (int64_t q = 0; q < rows; q++) {
      const int64_t row = (q0 + q) * s.sh - s.ph + tap / s.s * s.dh;
      if (row < 0 || row >= s.hl) continue;
      for (int64_t i = 0; i < s.ws; i++) {
        const int64_t column = i * s.sw - s.pw + tap % s.s * s.dw;
        if (column < 0 || column >= s.wl) continue;
        std::memcpy(one.data(), small + (q * count_ + i) * bytes, bytes);
        std::memcpy(one.data() + e.width * bytes, large + (large_at(tap) + q * s.sh * row_pitch_ + i) * bytes, bytes);
        const int64_t first = 0;
        e.sum_planes(
            {one.data(), one.data() + e.width * bytes, 0, 0, 1, e.width, &first, 1, to + tap * e.width * bytes});
      }
    }
  }

  // Positions of a row of S; columns that are staged before L's; pitches of L.
  int64_t count_, first_, pitch_, row_pitch_, strip_, strips_;
  // Whether rows of S are read where they lie.
  bool in_place_;
};

class PixelSums : Sums {
 public:
  PixelSums(const ConvCall& call, const DepthwiseEngine& engine) : Sums(call, engine) {
    const ConvShape& s = call.shape;
    vectors_ = divide_up(channels, e.width);
    parts_ = exact_intervals(w, w.phases[0]);
    shape_ = pixel_shape(s, channels, e);
    const Span rows = whole_positions(s.hs, s.hl, s.r, s.sh, s.ph, 0);
    columns_ = whole_positions(s.ws, s.wl, s.s, s.sw, s.pw, 0);
    if (shape_ != nullptr && rows.first < rows.last && columns_.first < columns_.last) {
      rows_ = rows;
      blocks_ = divide_up(rows.last - rows.first, shape_->sum_rows);
    }
    units_ = s.hs - (rows_.last - rows_.first) + blocks_;
    pieces_ = std::min(s.n * units_, PIECES);
  }

  void run() {
    const int64_t pitch = vectors_ * area * e.width, units = call.shape.n * units_;
    sums = static_cast<char*>(scratch(SCRATCH_CALL_A, pieces_ * pitch * e.accumulator_bytes));
    parallel_for(pieces_, [&](int64_t i) {
      char* const to = sums + i * pitch * e.accumulator_bytes;
      std::memset(to, 0, pitch * e.accumulator_bytes);
      for (int64_t u = units * i / pieces_; u < units * (i + 1) / pieces_; u++) run_unit(u / units_, u % units_, to);
    });
    parallel_for(vectors_, [&](int64_t v) {
      const int64_t c = v * e.width, again = c - first_channel(v, channels, e.width);
      e.store_lane_sums(sums + (v * area * e.width + again) * e.accumulator_bytes, pieces_, pitch, area,
                        std::min<int64_t>(channels - c, e.width), element(call.output, c * area, e.storage_bytes));
    });
  }

 private:
  // Lines before the blocks, blocks, lines behind them.
  void run_unit(int64_t n, int64_t unit, char* to) const {
    const ConvShape& s = call.shape;
    const int64_t block = unit - rows_.first;
    if (block < 0) return run_line(n, unit, {0, 0}, to);
    if (block >= blocks_) return run_line(n, rows_.last + block - blocks_, {0, 0}, to);
    const int64_t q = rows_.first + block * shape_->sum_rows;
    const int64_t count = std::min<int64_t>(shape_->sum_rows, rows_.last - q);
    shape_->sum({small_at(n, q, columns_.first), large_at(n, q * s.sh - s.ph, columns_.first * s.sw - s.pw),
                 s.ws * channels, s.wl * channels, count, columns_.last - columns_.first, channels, to});
    for (int64_t line = q; line < q + count; line++) run_line(n, line, columns_, to);
  }

  const void* small_at(int64_t n, int64_t row, int64_t column) const {
    const ConvShape& s = call.shape;
    return element(call.first, ((n * s.hs + row) * s.ws + column) * channels, e.storage_bytes);
  }
  const void* large_at(int64_t n, int64_t row, int64_t column) const {
    const ConvShape& s = call.shape;
    return element(call.second, ((n * s.hl + row) * s.wl + column) * channels, e.storage_bytes);
  }

  // But for positions that are `done`.
  void run_line(int64_t n, int64_t q, const Span& done, char* to) const {
    for (const Interval& part : parts_) {
      for_the_rest(part, done, [&](const Interval& rest) { run_part(n, q, rest, to); });
    }
  }

  void run_part(int64_t n, int64_t q, const Interval& part, char* to) const {
    const ConvShape& s = call.shape;
    static thread_local std::vector<int64_t> at, weight_at;
    const PixelTaps taps = {h, w, s.s, channels, e.width};
    taps.list(h.phases[0], w.phases[0], part, q, at, weight_at);
    for (int64_t i = part.q0; i < part.q1; i += PIXELS) {
      e.sum_pixels({small_at(n, q, i), large_at(n, 0, (i - part.q0) * s.sw), channels, s.sw * channels,
                    std::min(PIXELS, part.q1 - i), channels, at.data(), weight_at.data(),
                    static_cast<int64_t>(at.size()), area * e.width, to});
    }
  }

  int64_t vectors_, units_, pieces_, blocks_ = 0;
  // The blocks for this shape or null, and their positions of S.
  const DepthwisePixelShape* shape_;
  Span rows_ = {0, 0}, columns_;
  std::vector<Interval> parts_;
};

}  // namespace

void depthwise_wgrad(void** params, const DepthwiseEngine& engine, ConvLayout layout) {
  const ConvCall call = read_wgrad_call(params);
  if (in_planes(call.shape, layout)) {
    PlaneSums(call, engine).run();
  } else {
    PixelSums(call, engine).run();
  }
}

}  // namespace fracstride
