// Depthwise expand and contract on NCHW: out[n, c, q] = Σ_taps in[n, c, q·step + delta(tap)] · W[c, tap], plane by
// plane. A task stages the rows of a strip of output positions with zeros around them, and runs an unrolled kernel over
// it, or lists of taps line by line. A weight that is not finite must not meet such a zero: then only taps that exist
// are listed.
#include <algorithm>
#include <cstring>
#include <vector>

#include "conv_args.h"
#include "conv_depthwise_run.h"
#include "team.h"

namespace fracstride {
namespace {

// Staged rows of a strip stay in a first-level cache, beside what is written.
constexpr int64_t STAGE_BYTES = 24 * 1024;

int64_t floor_divide(int64_t a, int64_t b) {
  return a >= 0 ? a / b : -((-a + b - 1) / b);
}

struct Reach {
  int64_t first, last;
};

// The least and the greatest delta of an axis.
Reach reach_of(const Axis& axis) {
  Reach reach = {0, 0};
  bool found = false;
  for (const AxisPhase& phase : axis.phases)
    for (const AxisTap& tap : phase.taps) {
      reach.first = found ? std::min(reach.first, tap.delta) : tap.delta;
      reach.last = found ? std::max(reach.last, tap.delta) : tap.delta;
      found = true;
    }
  return reach;
}

int64_t most_positions(const Axis& axis) {
  int64_t most = 0;
  for (const AxisPhase& phase : axis.phases) most = std::max(most, phase.count);
  return most;
}

class PlanesRun {
 public:
  PlanesRun(const DepthwiseProduct& product, const DepthwiseEngine& engine) : p_(product), e_(engine) {
    shape_ = find_shape();
    h_ = reach_of(p_.h);
    w_ = reach_of(p_.w);
    rows_ = most_positions(p_.h);
    columns_ = most_positions(p_.w);
    if (shape_ != nullptr) set_window();
    const int64_t spread = (w_.last - w_.first) / p_.w.input_step;
    pitch_ = divide_up(divide_up(columns_, e_.width) * e_.width + spread, e_.width) * e_.width + e_.width;
    row_pitch_ = pitch_ * p_.w.input_step;
    const int64_t fit = STAGE_BYTES / (row_pitch_ * e_.accumulator_bytes) - (h_.last - h_.first);
    strip_ = divide_up(rows_, divide_up(rows_, std::max<int64_t>(fit / p_.h.input_step, 8)));
    if (shape_ != nullptr) strip_ = divide_up(strip_, lines_a_block()) * lines_a_block();
  }

  void run() {
    if (rows_ == 0 || columns_ == 0) return;
    load_weights();
    make_lists();
    const int64_t strips = divide_up(rows_, strip_);
    parallel_for(p_.n * p_.channels * strips,
                 [&](int64_t i) { run_strip(i / strips, i % strips * strip_, shape_ != nullptr && finite_); });
  }

 private:
  bool unit_expand() const { return p_.expand && p_.h.step == 1 && p_.w.step == 1; }

  // The unrolled kernel for this shape, or null.
  const DepthwiseShape* find_shape() const {
    const ConvShape& s = p_.shape;
    if (s.r != s.s || s.sh != s.sw || s.dh != 1 || s.dw != 1) return nullptr;
    const bool expand = p_.expand && s.sh > 1;
    for (int i = 0; i < e_.shape_count; i++) {
      const DepthwiseShape& shape = e_.shapes[i];
      if (shape.expand != expand || shape.kernel != s.r || shape.stride != s.sh) continue;
      if (!expand || (s.ph % s.sh == shape.padding && s.pw % s.sw == shape.padding)) return &shape;
    }
    return nullptr;
  }

  // What an unrolled kernel reads for its first position: see codegen/cpu_depthwise.ts.
  void set_window() {
    const ConvShape& s = p_.shape;
    const auto window = [&](int64_t stride, int64_t padding, int64_t kernel) {
      if (!p_.expand) return Reach{-padding, kernel - 1 - padding};
      const int64_t base = floor_divide(padding, stride) - (divide_up(kernel, stride) - 1);
      return Reach{base, base + divide_up(kernel, stride) - 1 + (padding % stride > 0 ? 1 : 0)};
    };
    h_ = window(s.sh, s.ph, s.r);
    w_ = window(s.sw, s.pw, s.s);
  }

  // Positions of a phase that a block of an unrolled kernel covers.
  int64_t lines_a_block() const { return shape_->lines / p_.h.step; }

  void load_weights() {
    const int64_t area = p_.shape.r * p_.shape.s;
    weight_ = static_cast<char*>(scratch(SCRATCH_CALL_A, p_.channels * area * e_.accumulator_bytes));
    e_.load(p_.weight, 1, p_.channels * area, weight_);
    finite_ = e_.all_finite(weight_, p_.channels * area);
    if (shape_ == nullptr || !unit_expand() || !finite_) return;
    turned_.resize(area);
    for (int64_t t = 0; t < area; t++) turned_[t] = area - 1 - t;
  }

  void make_lists() {
    for (const AxisPhase& phase : p_.w.phases) {
      const std::vector<Interval> exact = exact_intervals(p_.w, phase);
      parts_.push_back(finite_ ? whole_interval(exact) : exact);
    }
  }

  void run_strip(int64_t plane, int64_t q0, bool unrolled) const {
    const int64_t count = std::min(strip_, rows_ - q0);
    const int64_t whole = unrolled ? divide_up(count, lines_a_block()) * lines_a_block() : count;
    const int64_t staged_rows = (whole - 1) * p_.h.input_step + h_.last - h_.first + 1;
    void* const staged = scratch(SCRATCH_ITEM_A, staged_rows * row_pitch_ * e_.accumulator_bytes);
    const Axis &h = p_.h, &w = p_.w;
    e_.stage({element(p_.from, plane * h.input * w.input, e_.storage_bytes), h.input, w.input,
              q0 * h.input_step + h_.first, staged_rows, w_.first, w.input_step, pitch_, staged});
    if (unrolled) {
      run_blocks(plane, q0, count, staged);
    } else {
      for (const AxisPhase& phase : h.phases)
        for (int64_t q = q0; q < std::min(q0 + count, phase.count); q++) run_line(plane, phase, q, q - q0, staged);
    }
    if (p_.finish.stream) e_.fence();
  }

  LineFinish finish_of(int64_t channel) const {
    LineFinish finish = p_.finish;
    finish.bias = element(finish.bias, channel, e_.storage_bytes);
    return finish;
  }

  // Whole vectors go straight to the output where it holds what sums are, the last one ending with the line; lines that
  // are shorter or no whole positions go through lines of T.
  void run_blocks(int64_t plane, int64_t q0, int64_t count, const void* staged) const {
    const int64_t channel = plane % p_.channels, area = p_.shape.r * p_.shape.s, width = p_.w.output;
    const int64_t first = q0 * p_.h.step, lines = std::min(count * p_.h.step, p_.h.output - first);
    const int64_t vector = e_.width * shape_->columns, room = divide_up(width, vector) * vector;
    const bool plain = p_.finish.activation == 0 && e_.storage_bytes == e_.accumulator_bytes;
    const int64_t straight = plain ? width / vector * e_.width : 0;
    char* const spare =
        static_cast<char*>(scratch(SCRATCH_ITEM_B, ((shape_->lines + 1) * room + area) * sizeof(double)));
    const char* weight = weight_ + channel * area * e_.accumulator_bytes;
    if (!turned_.empty()) weight = turn(weight, spare + (shape_->lines + 1) * room * sizeof(double));
    DepthwiseBlocks what = {};
    what.staged = staged;
    what.pitch = pitch_;
    what.row_pitch = row_pitch_;
    what.block_pitch = row_pitch_ * p_.h.input_step * lines_a_block();
    what.weight = weight;
    what.bias = bias_of(channel);
    what.spare = spare;
    char* const to = static_cast<char*>(element(p_.to, (plane * p_.h.output + first) * width, e_.storage_bytes));
    if (straight > 0) {
      what.to = to;
      what.to_pitch = width;
      what.lines = lines;
      what.positions = straight;
      what.stream = p_.finish.stream && width % vector == 0 && reinterpret_cast<uintptr_t>(to) % LINE_BYTES == 0;
      shape_->run(what);
    }
    if (straight * shape_->columns == width) return;
    if (straight > 0 && width % shape_->columns == 0) return run_last(what, to);
    run_rest(what, straight, lines, to, spare);
  }

  // The last vector of each line, some of which is there already.
  void run_last(DepthwiseBlocks what, char* to) const {
    const int64_t q = p_.w.output / shape_->columns - e_.width;
    what.staged = static_cast<const char*>(what.staged) + q * e_.accumulator_bytes;
    what.to = to + q * shape_->columns * e_.storage_bytes;
    what.positions = e_.width;
    what.stream = false;
    shape_->run(what);
  }

  // The positions from `q` on, block by block.
  void run_rest(DepthwiseBlocks what, int64_t q, int64_t lines, char* to, char* spare) const {
    const int64_t vector = e_.width * shape_->columns, width = p_.w.output, done = q * shape_->columns;
    const char* const staged = static_cast<const char*>(what.staged) + q * e_.accumulator_bytes;
    what.to_pitch = divide_up(width - done, vector) * vector;
    what.positions = what.to_pitch / shape_->columns;
    what.to = spare + what.to_pitch * sizeof(double);
    what.stream = false;
    for (int64_t line = 0; line < lines; line += shape_->lines) {
      what.staged = staged + line / shape_->lines * what.block_pitch * e_.accumulator_bytes;
      what.lines = std::min<int64_t>(shape_->lines, lines - line);
      shape_->run(what);
      for (int64_t i = 0; i < what.lines; i++) {
        e_.finish_line(element(what.to, i * what.to_pitch, e_.accumulator_bytes), width - done, p_.finish,
                       to + ((line + i) * width + done) * e_.storage_bytes);
      }
    }
  }

  double bias_of(int64_t channel) const {
    if (p_.finish.bias == nullptr) return 0;
    double bias[1];
    e_.load(element(p_.finish.bias, channel, e_.storage_bytes), 1, 1, bias);
    if (e_.accumulator_bytes == sizeof(double)) return bias[0];
    float value;
    std::memcpy(&value, bias, sizeof value);
    return value;
  }

  const char* turn(const char* weight, void* to) const {
    const int bytes = e_.accumulator_bytes;
    for (size_t t = 0; t < turned_.size(); t++) {
      std::copy_n(weight + turned_[t] * bytes, bytes, static_cast<char*>(to) + t * bytes);
    }
    return static_cast<const char*>(to);
  }

  void run_line(int64_t plane, const AxisPhase& h, int64_t q, int64_t staged_q, const void* staged) const {
    const int64_t channel = plane % p_.channels, area = p_.shape.r * p_.shape.s, step = p_.w.step;
    static thread_local std::vector<int64_t> from, weight;
    for (size_t i = 0; i < p_.w.phases.size(); i++) {
      const AxisPhase& w = p_.w.phases[i];
      for (const Interval& part : parts_[i]) {
        from.clear();
        weight.clear();
        for (const AxisTap& a : h.taps) {
          const int64_t row = q * p_.h.input_step + a.delta;
          if (row < 0 || row >= p_.h.input) continue;
          const int64_t staged_row = staged_q * p_.h.input_step + a.delta - h_.first;
          for (int64_t t = part.t0; t < part.t1; t++) {
            const int64_t column = w.taps[t].delta - w_.first;
            from.push_back(staged_row * row_pitch_ + column % p_.w.input_step * pitch_ + column / p_.w.input_step +
                           part.q0);
            weight.push_back(a.k * p_.shape.s + w.taps[t].k);
          }
        }
        const int64_t to = (plane * p_.h.output + h.first + q * p_.h.step) * p_.w.output + w.first + part.q0 * step;
        e_.line({staged, weight_ + channel * area * e_.accumulator_bytes, from.data(), weight.data(),
                 static_cast<int64_t>(from.size()), part.q1 - part.q0, element(p_.to, to, e_.storage_bytes), step,
                 finish_of(channel)});
      }
    }
  }

  const DepthwiseProduct& p_;
  const DepthwiseEngine& e_;
  const DepthwiseShape* shape_;
  // Deltas that staged rows and columns cover.
  Reach h_, w_;
  int64_t rows_, columns_, pitch_, row_pitch_, strip_;
  char* weight_ = nullptr;
  bool finite_ = true;
  std::vector<int64_t> turned_;
  std::vector<std::vector<Interval>> parts_;
};

// Outputs that are larger than this are written past the caches: they do not stay there until they are read, or keep
// what is read from staying. Several threads that write planes line by line are faster with a last-level cache between.
constexpr int64_t STREAM_BYTES = 8 << 20, STREAM_PLANES_BYTES = 24 << 20;

int64_t stream_bytes(bool planes) {
  return planes && team_threads() > 1 ? STREAM_PLANES_BYTES : STREAM_BYTES;
}

void run_product(const ConvCall& call, const DepthwiseEngine& engine, ConvLayout layout, bool expand, Axis h, Axis w) {
  const ConvShape& s = call.shape;
  const int64_t bytes = s.n * s.groups * h.output * w.output * engine.storage_bytes;
  if (bytes == 0) return;
  const bool planes = in_planes(s, layout);
  const LineFinish finish = {call.bias, call.activation, call.slope, bytes >= stream_bytes(planes)};
  const DepthwiseProduct product = {s,          expand,      s.n,         s.groups, std::move(h), std::move(w),
                                    call.first, call.second, call.output, finish};
  if (planes) {
    PlanesRun(product, engine).run();
  } else {
    run_pixels(product, engine);
  }
}

}  // namespace

void depthwise_expand(void** params, const DepthwiseEngine& engine, ConvLayout layout) {
  const ConvCall call = read_product_call(params);
  const ConvShape& s = call.shape;
  run_product(call, engine, layout, true, expand_axis(s.hs, s.hl, s.r, s.sh, s.ph, s.dh),
              expand_axis(s.ws, s.wl, s.s, s.sw, s.pw, s.dw));
}

void depthwise_contract(void** params, const DepthwiseEngine& engine, ConvLayout layout) {
  const ConvCall call = read_product_call(params);
  const ConvShape& s = call.shape;
  run_product(call, engine, layout, false, contract_axis(s.hl, s.hs, s.r, s.sh, s.ph, s.dh),
              contract_axis(s.wl, s.ws, s.s, s.sw, s.pw, s.dw));
}

}  // namespace fracstride
