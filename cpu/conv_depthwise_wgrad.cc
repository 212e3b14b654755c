// The weight gradient of a depthwise convolution: W[c, tap] = Σ_{n, i, j} S[n, c, i, j] · L[n, c, (i, j)·stride +
// delta(tap)]. Positions are cut into pieces whose number depends on the problem alone; each sums on its own, and the
// pieces are added in order. NCHW: lanes are positions, both planes are staged, L with zeros around it; where a sum
// of a piece is not finite, taps are summed over the positions that exist for them. NHWC: lanes are channels,
// nothing is padded.
#include <algorithm>
#include <cstring>
#include <vector>

#include "conv_args.h"
#include "conv_depthwise.h"
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
    pitch_ = count_ + divide_up((s.s - 1) * s.dw / s.sw + 1, e.width) * e.width;
    row_pitch_ = pitch_ * s.sw;
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
        e.store_sums(sums + c * pieces * piece_bytes, pieces, area * e.width, area, e.width, e.width,
                     element(call.output, c * area, e.storage_bytes), 1);
      }
    });
  }

 private:
  void run_piece(int64_t channel, int64_t n, int64_t q0, char* to) const {
    const ConvShape& s = call.shape;
    const int64_t rows = std::min(strip_, s.hs - q0), plane = n * channels + channel;
    const int64_t large_rows = (rows - 1) * s.sh + (s.r - 1) * s.dh + 1;
    char* const small =
        static_cast<char*>(scratch(SCRATCH_ITEM_A, (rows * count_ + large_rows * row_pitch_) * e.accumulator_bytes));
    char* const large = small + rows * count_ * e.accumulator_bytes;
    e.stage({element(call.first, plane * s.hs * s.ws, e.storage_bytes), s.hs, s.ws, q0, rows, 0, 1, count_, small});
    e.stage({element(call.second, plane * s.hl * s.wl, e.storage_bytes), s.hl, s.wl, q0 * s.sh - s.ph, large_rows,
             -s.pw, s.sw, pitch_, large});
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
    const int64_t column = tap % s.s * s.dw;
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

  // Positions of a staged row of S; pitches of L.
  int64_t count_, pitch_, row_pitch_, strip_, strips_;
};

class PixelSums : Sums {
 public:
  PixelSums(const ConvCall& call, const DepthwiseEngine& engine) : Sums(call, engine) {
    pitch_ = divide_up(channels, e.width) * e.width;
    lines_ = call.shape.n * call.shape.hs;
    pieces_ = std::min(lines_, PIECES);
    parts_ = exact_intervals(w, w.phases[0]);
  }

  void run() {
    const int64_t piece_bytes = area * pitch_ * e.accumulator_bytes;
    sums = static_cast<char*>(scratch(SCRATCH_CALL_A, pieces_ * piece_bytes));
    parallel_for(pieces_, [&](int64_t i) {
      std::memset(sums + i * piece_bytes, 0, piece_bytes);
      for (int64_t line = lines_ * i / pieces_; line < lines_ * (i + 1) / pieces_; line++) {
        run_line(line / call.shape.hs, line % call.shape.hs, sums + i * piece_bytes);
      }
    });
    for (int64_t tap = 0; tap < area; tap++) {
      e.store_sums(sums + tap * pitch_ * e.accumulator_bytes, pieces_, area * pitch_, channels, 1, 1,
                   element(call.output, tap, e.storage_bytes), area);
    }
  }

 private:
  void run_line(int64_t n, int64_t q, char* to) const {
    const ConvShape& s = call.shape;
    static thread_local std::vector<int64_t> at, weight_at;
    for (const Interval& part : parts_) {
      at.clear();
      weight_at.clear();
      for (const AxisTap& a : h.phases[0].taps) {
        const int64_t row = q * s.sh + a.delta;
        if (row < 0 || row >= s.hl) continue;
        for (int64_t t = part.t0; t < part.t1; t++) {
          at.push_back(((n * s.hl + row) * s.wl + w.phases[0].taps[t].delta) * channels);
          weight_at.push_back((a.k * s.s + w.phases[0].taps[t].k) * pitch_);
        }
      }
      for (int64_t i = part.q0; i < part.q1; i += PIXELS) {
        const int64_t small = ((n * s.hs + q) * s.ws + i) * channels;
        e.sum_pixels({element(call.first, small, e.storage_bytes),
                      element(call.second, i * s.sw * channels, e.storage_bytes), channels, s.sw * channels,
                      std::min(PIXELS, part.q1 - i), channels, at.data(), weight_at.data(),
                      static_cast<int64_t>(at.size()), to});
      }
    }
  }

  int64_t pitch_, lines_, pieces_;
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
