// contract and wgrad of small sides with few positions: products with the weight's matrix where it lies, read or
// written once. See conv_point.h.
#include "conv_point.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

#include "conv_args.h"
#include "conv_plan.h"
#include "team.h"

namespace fracstride {
namespace {

// Rows of A and of W of one task of contract.
constexpr int64_t CONTRACT_ROWS = 64, CONTRACT_CHANNELS = 4;
// Most columns of W of one task of wgrad, whose panels of A take half of a first-level cache where rows are few, and
// channels worth packing them for.
constexpr int64_t WGRAD_COLUMNS = 1024, PANELS_BYTES = 16 * 1024, WGRAD_CHANNELS = 128;

PointTensor tensor_of(ConvLayout layout, const void* data, int64_t c, int64_t h, int64_t w) {
  const Pitches pitch = pitches_of(layout, c, h, w);
  return {const_cast<void*>(data), c, h * w, pitch.n, pitch.c, pitch.w};
}

class PointRun {
 public:
  PointRun(const ConvCall& call, const PointEngine& engine, ConvLayout layout, const void* small, const void* large)
      : e_(engine) {
    const ConvShape& s = call.shape;
    if (s.groups != 1)
      throw std::invalid_argument("groups of a point kernel must be 1, got " + std::to_string(s.groups));
    form_.small = tensor_of(layout, small, s.cs, s.hs, s.ws);
    form_.large = tensor_of(layout, large, s.cl, s.hl, s.wl);
    form_.rows = s.n * s.hs * s.ws;
    form_.taps = s.r * s.s;
    form_.depth = s.cl * form_.taps;
    // No multiple of a page, so that rows fall into different cache sets.
    form_.pitch = divide_up(form_.depth, e_.lanes) * e_.lanes + e_.lanes;
    form_.weight = call.second;
    form_.bias = call.bias;
    form_.activation = call.activation;
    form_.slope = call.slope;
    for (int64_t q = 0; q < s.hs * s.ws; q++) {
      for (int64_t tap = 0; tap < form_.taps; tap++) {
        const int64_t h = q / s.ws * s.sh - s.ph + tap / s.s * s.dh, w = q % s.ws * s.sw - s.pw + tap % s.s * s.dw;
        at_.push_back(h < 0 || h >= s.hl || w < 0 || w >= s.wl ? -1 : h * s.wl + w);
      }
    }
    form_.at = at_.data();
    form_.in_order = form_.small.positions == 1;
    for (int64_t tap = 0; tap < form_.taps; tap++) form_.in_order = form_.in_order && at_[tap] == tap;
  }

  void contract() {
    const void* const large = gather_large();
    const int64_t blocks = divide_up(form_.small.channels, CONTRACT_CHANNELS);
    const int64_t parts = divide_up(form_.rows, CONTRACT_ROWS);
    parallel_for(blocks * parts, [&](int64_t i) {
      const int64_t m = i / blocks * CONTRACT_ROWS, c = i % blocks * CONTRACT_CHANNELS;
      e_.contract(form_, large, m, std::min(m + CONTRACT_ROWS, form_.rows), c,
                  std::min(c + CONTRACT_CHANNELS, form_.small.channels));
    });
  }

  void wgrad(void* weight) {
    const void* large = form_.large.data;
    if (lies_as_multiplied()) {
      form_.pitch = form_.large.pitch_n;
    } else {
      large = gather_large();
    }
    const int64_t cs = form_.small.channels;
    void* const small = scratch(SCRATCH_CALL_B, (form_.rows * cs + e_.rows) * e_.accumulator_bytes);
    e_.gather_small(form_, cs, 1, small);
    const bool padded = std::find(at_.begin(), at_.end(), -1) != at_.end();
    const PointSums what = {small, large, weight, padded && !e_.all_finite(small, form_.rows * cs)};
    const int64_t fitting =
        PANELS_BYTES / (std::max<int64_t>(1, form_.rows) * e_.lanes * e_.accumulator_bytes) * e_.lanes;
    const int64_t columns = std::min(WGRAD_COLUMNS, std::max<int64_t>(e_.lanes, fitting));
    const int64_t parts = divide_up(cs, WGRAD_CHANNELS), panels = divide_up(form_.depth, columns);
    parallel_for(parts * panels, [&](int64_t i) {
      const int64_t c = cs * (i % parts) / parts, c1 = cs * (i % parts + 1) / parts, k = i / parts * columns;
      void* const room = scratch(SCRATCH_ITEM_A, form_.rows * columns * e_.accumulator_bytes);
      e_.wgrad(form_, what, c, c1, k, std::min(k + columns, form_.depth), room);
    });
  }

 private:
  // Whether the large side is A as it is, in whole panels.
  bool lies_as_multiplied() const {
    const PointTensor& l = form_.large;
    return form_.in_order && l.pitch_q == 1 && l.pitch_c == form_.taps && l.pitch_n == form_.depth &&
           form_.depth % e_.lanes == 0 && e_.storage_bytes == e_.accumulator_bytes;
  }

  const void* gather_large() {
    char* const large = static_cast<char*>(scratch(SCRATCH_CALL_A, form_.rows * form_.pitch * e_.accumulator_bytes));
    parallel_for(form_.rows,
                 [&](int64_t m) { e_.gather_large(form_, m, large + m * form_.pitch * e_.accumulator_bytes); });
    return large;
  }

  const PointEngine& e_;
  PointForm form_ = {};
  std::vector<int64_t> at_;
};

}  // namespace

void point_contract(void** params, const PointEngine& engine, ConvLayout layout) {
  const ConvCall call = read_product_call(params);
  PointRun(call, engine, layout, call.output, call.first).contract();
}

void point_wgrad(void** params, const PointEngine& engine, ConvLayout layout) {
  const ConvCall call = read_wgrad_call(params);
  PointRun(call, engine, layout, call.first, call.second).wgrad(call.output);
}

}  // namespace fracstride
