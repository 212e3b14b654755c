// Depthwise expand and contract on NHWC: lanes are channels. Pixels of a line that have the same taps are summed
// together; taps that read outside the input are in none of these lists.
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
    pitch_ = divide_up(p_.channels, e_.width) * e_.width;
    for (const AxisPhase& phase : p_.w.phases) parts_.push_back(exact_intervals(p_.w, phase));
  }

  void run() {
    if (p_.h.output == 0 || p_.w.output == 0 || p_.channels == 0) return;
    load_weights();
    parallel_for(p_.n * p_.h.output, [&](int64_t i) { run_line(i / p_.h.output, i % p_.h.output); });
  }

 private:
  // As T, [tap][channel], and behind them the bias.
  void load_weights() {
    const int64_t area = p_.shape.r * p_.shape.s, bytes = e_.accumulator_bytes;
    weight_ = static_cast<char*>(scratch(SCRATCH_CALL_A, (area + 1) * pitch_ * bytes));
    std::fill_n(weight_, (area + 1) * pitch_ * bytes, 0);
    for (int64_t t = 0; t < area; t++) {
      e_.load(element(p_.weight, t, e_.storage_bytes), area, p_.channels, weight_ + t * pitch_ * bytes);
    }
    if (p_.finish.bias != nullptr) e_.load(p_.finish.bias, 1, p_.channels, weight_ + area * pitch_ * bytes);
  }

  void run_line(int64_t n, int64_t line) const {
    const AxisPhase& h = p_.h.phases[line % p_.h.step];
    const int64_t q = line / p_.h.step, area = p_.shape.r * p_.shape.s;
    static thread_local std::vector<int64_t> from_at, weight_at;
    DepthwisePixels what = {};
    what.from = element(p_.from, n * p_.h.input * p_.w.input * p_.channels, e_.storage_bytes);
    what.weight = weight_;
    what.channels = p_.channels;
    what.from_step = p_.w.input_step * p_.channels;
    what.to_step = p_.w.step * p_.channels;
    what.finish = p_.finish;
    if (p_.finish.bias != nullptr) what.finish.bias = weight_ + area * pitch_ * e_.accumulator_bytes;
    for (size_t i = 0; i < parts_.size(); i++) {
      for (const Interval& part : parts_[i]) {
        list_taps(h, p_.w.phases[i], part, q, from_at, weight_at);
        what.from_at = from_at.data();
        what.weight_at = weight_at.data();
        what.taps = static_cast<int64_t>(from_at.size());
        what.count = part.q1 - part.q0;
        const int64_t column = p_.w.phases[i].first + part.q0 * p_.w.step;
        const int64_t to = ((n * p_.h.output + line) * p_.w.output + column) * p_.channels;
        what.to = element(p_.to, to, e_.storage_bytes);
        e_.pixels(what);
      }
    }
    if (p_.finish.stream) e_.fence();
  }

  void list_taps(const AxisPhase& h, const AxisPhase& w, const Interval& part, int64_t q, std::vector<int64_t>& from_at,
                 std::vector<int64_t>& weight_at) const {
    from_at.clear();
    weight_at.clear();
    for (const AxisTap& a : h.taps) {
      const int64_t row = q * p_.h.input_step + a.delta;
      if (row < 0 || row >= p_.h.input) continue;
      for (int64_t t = part.t0; t < part.t1; t++) {
        const int64_t column = part.q0 * p_.w.input_step + w.taps[t].delta;
        from_at.push_back((row * p_.w.input + column) * p_.channels);
        weight_at.push_back((a.k * p_.shape.s + w.taps[t].k) * pitch_);
      }
    }
  }

  const DepthwiseProduct& p_;
  const DepthwiseEngine& e_;
  int64_t pitch_;
  char* weight_ = nullptr;
  std::vector<std::vector<Interval>> parts_;
};

}  // namespace

void run_pixels(const DepthwiseProduct& product, const DepthwiseEngine& engine) {
  PixelsRun(product, engine).run();
}

}  // namespace fracstride
