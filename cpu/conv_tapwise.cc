// expand and contract of few positions, tap by tap:
//
//   out[position(tap, j), co] += Σ_ci in[position'(tap, j), ci] · W(ci, co, tap)
//
// With few positions the weight's way through the caches is the time that a layer takes. So it is packed in the order
// in which it is read, [group][co / lanes][tap][ci][lanes], each element is read once for all positions that its tap
// serves, and a tap is multiplied with the positions that exist for it and with no others. The tasks are ranges of
// output channels × images.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "conv_args.h"
#include "conv_form.h"
#include "conv_plan.h"
#include "plan_cache.h"
#include "team.h"

namespace fracstride {
namespace {

// Sums of a task stay in a second-level cache.
constexpr int64_t SUMS_BYTES = 256 * 1024;

// Positions of one image that a tap reads and writes, and rows of packed inputs that hold what it reads.
struct TapRows {
  std::vector<int64_t> from, to;
  int64_t packed = 0;
  // Whether what is written are neighbours.
  bool joined = false;
};

bool are_neighbours(const std::vector<int64_t>& positions) {
  for (size_t i = 1; i < positions.size(); i++)
    if (positions[i] != positions[i - 1] + 1) return false;
  return true;
}

class TapwiseRun {
 public:
  TapwiseRun(ConvForm form, const ConvEngine& engine)
      : p_(std::move(form)),
        e_(engine),
        inputs_(p_.source.h * p_.source.w),
        outputs_(p_.h.output * p_.w.output),
        panels_(divide_up(p_.co, engine.lanes)),
        depth_(engine.k_pitch - engine.half_lanes) {
    find_rows();
    const int64_t image = outputs_ * e_.lanes * e_.accumulator_bytes;
    images_ = std::min<int64_t>(p_.n, std::max<int64_t>(1, SUMS_BYTES / std::max<int64_t>(1, image)));
  }

  void run(const ConvCall& call) {
    rebind(p_, call);
    if (p_.n == 0 || p_.co == 0 || outputs_ == 0) return;
    const int64_t bytes = p_.groups * panels_ * p_.kernel_area * panel_elements() * e_.accumulator_bytes;
    packed_ = reinterpret_cast<char*>(&packed_header(call, bytes) + 1);
    packed_weight(call, bytes, [this](char*) { return pack_weights(); });
    pack_inputs();
    const int64_t blocks = divide_up(p_.n, images_);
    parallel_for(p_.groups * panels_ * blocks, [&](int64_t i) {
      const int64_t n = i % blocks * images_;
      run_task(i / blocks / panels_, i / blocks % panels_, n, std::min(n + images_, p_.n));
    });
  }

 private:
  int64_t panel_elements() const { return p_.ci * e_.lanes; }
  int64_t row_bytes() const { return e_.k_pitch * e_.accumulator_bytes; }
  int64_t blocks() const { return divide_up(p_.ci, depth_); }

  // Output q · step + first of an axis is read by tap k of its phase from q · input_step + delta.
  void find_rows() {
    rows_.resize(p_.kernel_area);
    for (const AxisPhase& h : p_.h.phases)
      for (const AxisPhase& w : p_.w.phases)
        for (const AxisTap& th : h.taps)
          for (const AxisTap& tw : w.taps) {
            TapRows& rows = rows_[th.k * p_.kernel_w + tw.k];
            for (int64_t qh = 0; qh < h.count; qh++) {
              const int64_t ih = qh * p_.h.input_step + th.delta;
              if (ih < 0 || ih >= p_.source.h) continue;
              for (int64_t qw = 0; qw < w.count; qw++) {
                const int64_t iw = qw * p_.w.input_step + tw.delta;
                if (iw < 0 || iw >= p_.source.w) continue;
                rows.from.push_back(ih * p_.source.w + iw);
                rows.to.push_back((h.first + qh * p_.h.step) * p_.w.output + w.first + qw * p_.w.step);
              }
            }
          }
    // Inputs that are no neighbours are packed once more, as neighbours; taps that read the same share them.
    packed_rows_ = inputs_;
    for (size_t tap = 0; tap < rows_.size(); tap++) {
      TapRows& rows = rows_[tap];
      if (rows.from.empty()) continue;
      rows.joined = are_neighbours(rows.to);
      const auto same =
          std::find_if(rows_.begin(), rows_.begin() + tap, [&](const TapRows& r) { return r.from == rows.from; });
      if (are_neighbours(rows.from)) {
        rows.packed = rows.from.front();
      } else if (same != rows_.begin() + tap) {
        rows.packed = same->packed;
      } else {
        rows.packed = packed_rows_;
        packed_rows_ += static_cast<int64_t>(rows.from.size());
        copied_.push_back(tap);
      }
    }
  }

  char* panel_at(int64_t group, int64_t panel, int64_t tap) const {
    return packed_ + ((group * panels_ + panel) * p_.kernel_area + tap) * panel_elements() * e_.accumulator_bytes;
  }

  bool pack_weights() const {
    std::atomic<bool> finite{true};
    parallel_for(p_.groups * panels_, [&](int64_t i) {
      std::vector<void*> to;
      for (int64_t tap = 0; tap < p_.kernel_area; tap++) to.push_back(panel_at(i / panels_, i % panels_, tap));
      const int64_t co = i % panels_ * e_.lanes;
      const int64_t from = i / panels_ * p_.ci * p_.co * p_.kernel_area + co * p_.weight_pitch_co;
      if (!e_.pack_weight({element(p_.weight, from, e_.storage_bytes), p_.weight_pitch_c, p_.weight_pitch_co, p_.ci,
                           std::min<int64_t>(e_.lanes, p_.co - co), e_.lanes, p_.kernel_area, to.data()})) {
        finite = false;
      }
    });
    return finite;
  }

  // Row (position, image) of a block of input channels of a group.
  char* inputs_at(int64_t group, int64_t block, int64_t row) const {
    return packed_inputs_ + ((group * blocks() + block) * packed_rows_ * p_.n + row) * row_bytes();
  }

  void pack_inputs() {
    const int64_t bytes = p_.groups * blocks() * packed_rows_ * p_.n * row_bytes();
    packed_inputs_ = static_cast<char*>(scratch(SCRATCH_CALL_A, bytes));
    parallel_for(p_.groups * blocks(), [&](int64_t i) {
      const int64_t group = i / blocks(), block = i % blocks(), c = block * depth_;
      PackInput what = {};
      what.source = p_.source;
      what.source.data = element(p_.source.data, group * p_.ci * p_.source.pitch_c, e_.storage_bytes);
      // The positions of an image in one row.
      what.source.h = what.source.step_h = what.source.step_w = 1;
      what.source.w = inputs_;
      what.c0 = c;
      what.channels = what.fill = std::min(depth_, p_.ci - c);
      what.positions = inputs_;
      what.pitch_channel = 1;
      what.pitch_position = p_.n * e_.k_pitch;
      for (int64_t n = 0; n < p_.n; n++) {
        const Run run = {0, inputs_, n, 0, 0};
        what.runs = {&run, 1};
        e_.pack_input(what, inputs_at(group, block, n));
      }
      for (const size_t tap : copied_)
        for (size_t j = 0; j < rows_[tap].from.size(); j++) {
          std::memcpy(inputs_at(group, block, (rows_[tap].packed + j) * p_.n),
                      inputs_at(group, block, rows_[tap].from[j] * p_.n), p_.n * row_bytes());
        }
    });
  }

  // Sums of `lanes` channels of images [n0, n1): [position][image][lane].
  void run_task(int64_t group, int64_t panel, int64_t n0, int64_t n1) const {
    const int64_t images = n1 - n0, tile = e_.lanes * e_.accumulator_bytes, bytes = outputs_ * images * tile;
    char* const sums = static_cast<char*>(scratch(SCRATCH_ITEM_A, bytes));
    char* const beside = static_cast<char*>(scratch(SCRATCH_ITEM_B, e_.rows * tile));
    std::memset(sums, 0, bytes);
    const int64_t channels = std::min<int64_t>(e_.lanes, p_.co - panel * e_.lanes);
    for (int64_t tap = 0; tap < p_.kernel_area; tap++) {
      const TapRows& rows = rows_[tap];
      const char* weight = panel_at(group, panel, tap);
      for (int64_t block = 0; block < blocks(); block++) {
        const int64_t depth = std::min(depth_, p_.ci - block * depth_);
        multiply({rows, group, block, n0, images, depth, channels}, weight, sums, beside);
        weight += depth * tile;
      }
    }
    store(group, panel * e_.lanes, channels, n0, images, sums);
  }

  struct Product {
    const TapRows& rows;
    int64_t group, block, n0, images, depth, channels;
  };

  // Rows are (position, image). All images of a position are neighbours; where a task has some of them, its rows are
  // those of one position.
  void multiply(const Product& what, const char* weight, char* sums, char* beside) const {
    const int64_t positions = static_cast<int64_t>(what.rows.from.size());
    const bool whole = what.images == p_.n;
    const int64_t spans = whole ? 1 : positions, span = whole ? positions * what.images : what.images;
    for (int64_t s = 0; s < spans; s++) {
      const int64_t row = (what.rows.packed + s) * p_.n + what.n0, tiles = divide_up(span, e_.rows);
      for (int64_t i = 0; i < tiles; i++) {
        const int64_t first = span * i / tiles, last = span * (i + 1) / tiles;
        const char* const input = inputs_at(what.group, what.block, row + first);
        multiply_tile(what, s * span + first, s * span + last, input, weight, sums, beside);
      }
    }
  }

  void multiply_tile(const Product& what, int64_t first, int64_t last, const char* input, const char* weight,
                     char* sums, char* beside) const {
    const int64_t tile = e_.lanes * e_.accumulator_bytes;
    const Micro micro = e_.micro[1][what.channels > e_.half_lanes][last - first - 1];
    const auto sum_of = [&](int64_t r) {
      return sums + (what.rows.to[r / what.images] * what.images + r % what.images) * tile;
    };
    if (what.rows.joined || first / what.images == (last - 1) / what.images)
      return micro(what.depth, input, weight, sum_of(first), e_.lanes, true, weight);
    for (int64_t r = first; r < last; r++) std::memcpy(beside + (r - first) * tile, sum_of(r), tile);
    micro(what.depth, input, weight, beside, e_.lanes, true, weight);
    for (int64_t r = first; r < last; r++) std::memcpy(sum_of(r), beside + (r - first) * tile, tile);
  }

  void store(int64_t group, int64_t co, int64_t channels, int64_t n0, int64_t images, const char* sums) const {
    Sink sink = p_.sink;
    sink.data = element(p_.sink.data, group * p_.co * sink.pitch_c, e_.storage_bytes);
    sink.bias = element(p_.sink.bias, group * p_.co, e_.storage_bytes);
    for (int64_t i = 0; i < images; i++) {
      e_.store_plane(sums + i * e_.lanes * e_.accumulator_bytes, images * e_.lanes, {0, outputs_, n0 + i, 0, 0}, co,
                     channels, sink);
    }
  }

  ConvForm p_;
  const ConvEngine& e_;
  int64_t inputs_, outputs_, panels_, depth_, images_ = 1, packed_rows_ = 0;
  std::vector<TapRows> rows_;
  std::vector<size_t> copied_;
  char* packed_ = nullptr;
  char* packed_inputs_ = nullptr;
};

using MakeForm = ConvForm (*)(const ConvCall& call, ConvLayout layout);

void run_tapwise(void** params, const ConvEngine& engine, ConvLayout layout, MakeForm form, int64_t setting) {
  static thread_local PlanCache<TapwiseRun> plans;
  const ConvCall call = read_packing_call(params);
  const auto make = [&] { return std::make_unique<TapwiseRun>(form(call, layout), engine); };
  plans.find({call.shape, &engine, layout, setting}, make).run(call);
}

}  // namespace

void conv_tapwise_expand(void** params, const ConvEngine& engine, ConvLayout layout) {
  run_tapwise(params, engine, layout, expand_form, 0);
}

void conv_tapwise_contract(void** params, const ConvEngine& engine, ConvLayout layout) {
  run_tapwise(params, engine, layout, contract_form, 1);
}

}  // namespace fracstride
