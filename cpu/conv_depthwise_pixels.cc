// Depthwise expand and contract on NHWC: lanes are channels. Positions that have all their taps are computed by
// unrolled blocks where there is one for the shape: a pixel is loaded once for all sums of a block. Elsewhere pixels of
// a line that have the same taps are summed together; taps that read outside the input are in none of these lists.
#include <algorithm>
#include <vector>

#include "conv_args.h"
#include "conv_depthwise_run.h"
#include "team.h"

namespace fracstride {
namespace {

class PixelsRun {
 public:
  PixelsRun(const DepthwiseProduct& product, const DepthwiseEngine& engine) : p_(product), e_(engine) {
    vectors_ = divide_up(p_.channels, e_.width);
    for (const AxisPhase& phase : p_.w.phases) parts_.push_back(exact_intervals(p_.w, phase));
    find_block();
  }

  void run() {
    if (p_.h.output == 0 || p_.w.output == 0 || p_.channels == 0) return;
    load_weights();
    // Lines before the blocks, blocks, lines behind them.
    const int64_t blocks = block_ == nullptr ? 0 : (h_.last - h_.first) / block_->rows;
    const int64_t before = blocks == 0 ? p_.h.output : output(h_.first, p_.shape.sh, p_.shape.ph);
    const int64_t behind = blocks == 0 ? p_.h.output : output(h_.last, p_.shape.sh, p_.shape.ph);
    const int64_t units = p_.h.output - (behind - before) + blocks;
    parallel_for(p_.n * units, [&](int64_t i) {
      const int64_t n = i / units, unit = i % units, block = unit - before;
      if (block < 0) {
        run_line(n, unit, {0, 0});
      } else if (block < blocks) {
        const int64_t q = h_.first + block * block_->rows;
        run_rows(n, q, block + 1 < blocks ? q + block_->rows : h_.last);
      } else {
        run_line(n, behind + block - blocks, {0, 0});
      }
      if (p_.finish.stream) e_.fence();
    });
  }

 private:
  int64_t scale(int64_t stride) const { return p_.expand ? stride : 1; }
  int64_t output(int64_t position, int64_t stride, int64_t padding) const {
    return p_.expand ? position * stride - padding : position;
  }

  void find_block() {
    const ConvShape& s = p_.shape;
    const DepthwisePixelShape* const shape = pixel_shape(s, p_.channels, e_);
    if (shape == nullptr) return;
    const DepthwisePixelBlock& block = p_.expand ? shape->expand : shape->contract;
    const int64_t extent = p_.expand ? s.sh : s.r, first = p_.expand ? divide_up(s.r, s.sh) - 1 : 0;
    h_ = whole_positions(s.hs, s.hl, extent, s.sh, s.ph, first);
    w_ = whole_positions(s.ws, s.wl, extent, s.sw, s.pw, first);
    if (h_.last - h_.first >= block.rows && w_.last - w_.first >= block.columns) block_ = &block;
  }

  // As T, [vector][tap][lane], and behind them the bias.
  void load_weights() {
    const int64_t area = p_.shape.r * p_.shape.s, bytes = e_.accumulator_bytes;
    const int64_t count = vectors_ * (area + 1) * e_.width;
    weight_ = static_cast<char*>(scratch(SCRATCH_CALL_A, count * bytes));
    std::fill_n(weight_, count * bytes, 0);
    char* const bias = weight_ + vectors_ * area * e_.width * bytes;
    const int64_t lanes = std::min<int64_t>(p_.channels, e_.width);
    for (int64_t v = 0; v < vectors_; v++) {
      const int64_t c = first_channel(v, p_.channels, e_.width);
      for (int64_t t = 0; t < area; t++) {
        e_.load(element(p_.weight, c * area + t, e_.storage_bytes), area, lanes,
                weight_ + (v * area + t) * e_.width * bytes);
      }
    }
    if (p_.finish.bias != nullptr) e_.load(p_.finish.bias, 1, p_.channels, bias);
    finish_ = p_.finish;
    if (finish_.bias != nullptr) finish_.bias = bias;
  }

  const void* input(int64_t n, int64_t row, int64_t column) const {
    return element(p_.from, ((n * p_.h.input + row) * p_.w.input + column) * p_.channels, e_.storage_bytes);
  }
  void* output_at(int64_t n, int64_t line, int64_t column) const {
    return element(p_.to, ((n * p_.h.output + line) * p_.w.output + column) * p_.channels, e_.storage_bytes);
  }

  // Rows [q0, q1) of positions, as many as a block has or fewer than twice as many: then some are computed twice.
  void run_rows(int64_t n, int64_t q0, int64_t q1) const {
    const ConvShape& s = p_.shape;
    const int64_t first = output(w_.first, s.sw, s.pw), count = w_.last - w_.first;
    run_block(n, q0);
    if (q1 - q0 > block_->rows) run_block(n, q1 - block_->rows);
    for (int64_t line = output(q0, s.sh, s.ph); line < output(q1, s.sh, s.ph); line++) {
      run_line(n, line, {first, first + count * scale(s.sw)});
    }
  }

  void run_block(int64_t n, int64_t q) const {
    const ConvShape& s = p_.shape;
    const auto from = [&](int64_t position, int64_t stride, int64_t padding, int64_t kernel) {
      return p_.expand ? position - (divide_up(kernel, stride) - 1) : position * stride - padding;
    };
    block_->run({input(n, from(q, s.sh, s.ph, s.r), from(w_.first, s.sw, s.pw, s.s)), weight_, p_.w.input * p_.channels,
                 p_.w.output * p_.channels, w_.last - w_.first, p_.channels,
                 output_at(n, output(q, s.sh, s.ph), output(w_.first, s.sw, s.pw)), finish_});
  }

  // But for columns that are `done`.
  void run_line(int64_t n, int64_t line, const Span& done) const {
    for (size_t i = 0; i < parts_.size(); i++) {
      const AxisPhase& w = p_.w.phases[i];
      const auto position = [&](int64_t column) {
        return column <= w.first ? 0 : divide_up(column - w.first, p_.w.step);
      };
      const Span positions = {position(done.first), position(done.last)};
      for (const Interval& part : parts_[i]) {
        for_the_rest(part, positions, [&](const Interval& rest) { run_part(n, line, w, rest); });
      }
    }
  }

  void run_part(int64_t n, int64_t line, const AxisPhase& w, const Interval& part) const {
    static thread_local std::vector<int64_t> from_at, weight_at;
    const PixelTaps taps = {p_.h, p_.w, p_.shape.s, p_.channels, e_.width};
    taps.list(p_.h.phases[line % p_.h.step], w, part, line / p_.h.step, from_at, weight_at);
    DepthwisePixels what = {};
    what.from = input(n, 0, 0);
    what.weight = weight_;
    what.weight_pitch = p_.shape.r * p_.shape.s * e_.width;
    what.channels = p_.channels;
    what.from_step = p_.w.input_step * p_.channels;
    what.to_step = p_.w.step * p_.channels;
    what.finish = finish_;
    what.from_at = from_at.data();
    what.weight_at = weight_at.data();
    what.taps = static_cast<int64_t>(from_at.size());
    what.count = part.q1 - part.q0;
    what.to = output_at(n, line, w.first + part.q0 * p_.w.step);
    e_.pixels(what);
  }

  const DepthwiseProduct& p_;
  const DepthwiseEngine& e_;
  const DepthwisePixelBlock* block_ = nullptr;
  // Positions that blocks may have.
  Span h_ = {0, 0}, w_ = {0, 0};
  int64_t vectors_;
  char* weight_ = nullptr;
  LineFinish finish_ = {};
  std::vector<std::vector<Interval>> parts_;
};

}  // namespace

const DepthwisePixelShape* pixel_shape(const ConvShape& shape, int64_t channels, const DepthwiseEngine& engine) {
  const bool square = shape.r == shape.s && shape.sh == shape.sw && shape.dh == 1 && shape.dw == 1;
  if (!square || channels < engine.width) return nullptr;
  for (int i = 0; i < engine.pixel_shape_count; i++) {
    const DepthwisePixelShape& each = engine.pixel_shapes[i];
    if (each.kernel == shape.r && each.stride == shape.sh) return &each;
  }
  return nullptr;
}

Span whole_positions(int64_t small, int64_t large, int64_t extent, int64_t stride, int64_t padding, int64_t first) {
  const int64_t q0 = std::max(first, divide_up(padding, stride));
  const int64_t q1 = std::min(small, floor_divide(large - extent + padding, stride) + 1);
  return {q0, std::max(q0, q1)};
}

void run_pixels(const DepthwiseProduct& product, const DepthwiseEngine& engine) {
  PixelsRun(product, engine).run();
}

}  // namespace fracstride
