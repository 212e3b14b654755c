// expand where few channels are summed or few are written: see conv_scatter.h. A task takes a band of one image from
// top to bottom, some rows of S at a time; their products stay in a ring of rows until all rows of L that they reach
// are stored.
#include "conv_scatter.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "conv_args.h"
#include "conv_plan.h"
#include "team.h"

namespace fracstride {
namespace {

// Positions that are multiplied at once, about; what the products of a part take, a share of a second-level cache.
constexpr int64_t POSITIONS = 256, PRODUCTS_BYTES = 256 * 1024;
// An output that no cache keeps is written past them.
constexpr int64_t STREAM_BYTES = 16 * 1024 * 1024;
constexpr int64_t TASKS_A_THREAD = 4;
// A band has so many times the rows that it shares with its neighbours.
constexpr int64_t LEAST_BAND = 16;

// Row classes [f0, f1) of L, and channels [c0, c0 + channels) of a group, whose columns are multiplied together.
struct Part {
  size_t f0, f1;
  int64_t c0, channels, taps, weight, pitch;
};

struct Task {
  int64_t n, group;
  const Part* part;
  // Positions of the row classes.
  int64_t u0, u1;
};

class ScatterRun {
 public:
  ScatterRun(const ConvCall& call, const ScatterEngine& engine, ConvLayout layout)
      : call_(call),
        s_(call.shape),
        e_(engine),
        planes_(layout == NCHW),
        ci_(s_.cs / s_.groups),
        co_(s_.cl / s_.groups),
        from_(pitches_of(layout, s_.cs, s_.hs, s_.ws)),
        to_(pitches_of(layout, s_.cl, s_.hl, s_.wl)),
        h_(expand_axis(s_.hs, s_.hl, s_.r, s_.sh, s_.ph, s_.dh)),
        w_(expand_axis(s_.ws, s_.wl, s_.s, s_.sw, s_.pw, s_.dw)) {}

  void run() {
    if (s_.n == 0 || co_ == 0 || s_.hl == 0 || s_.wl == 0) return;
    const int64_t bytes = s_.n * s_.cl * s_.hl * s_.wl * e_.storage_bytes;
    finish_ = {nullptr, call_.activation, call_.slope, bytes >= STREAM_BYTES};
    set_ring();
    make_parts();
    pack_weights();
    list_lanes();
    make_tasks();
    parallel_for(static_cast<int64_t>(tasks_.size()), [&](int64_t i) { run_task(tasks_[i]); });
  }

 private:
  void set_ring() {
    bool found = false;
    for (const AxisPhase& phase : h_.phases)
      for (const AxisTap& tap : phase.taps) {
        first_delta_ = found ? std::min(first_delta_, tap.delta) : tap.delta;
        last_delta_ = found ? std::max(last_delta_, tap.delta) : tap.delta;
        found = true;
      }
    const int64_t width = std::max<int64_t>(1, s_.ws), height = std::max<int64_t>(1, s_.hs);
    // Of the fewest columns that one part may have.
    const int64_t columns = taps_of(0, h_.phases.size()) * (planes_ ? 1 : co_) / static_cast<int64_t>(h_.phases.size());
    const int64_t fitting = PRODUCTS_BYTES / 2 / (std::max<int64_t>(1, columns) * e_.accumulator_bytes);
    chunk_ = divide_up(height, divide_up(height, std::max<int64_t>(1, std::min(POSITIONS, fitting) / width)));
    ring_ = chunk_ * (1 + divide_up(last_delta_ - first_delta_, chunk_));
  }

  int64_t taps_of(size_t f0, size_t f1) const {
    int64_t taps = 0;
    for (size_t f = f0; f < f1; f++) taps += static_cast<int64_t>(h_.phases[f].taps.size()) * s_.s;
    return taps;
  }

  // All row classes, if their products fit; else one by one, and of planes some channels.
  void make_parts() {
    const int64_t fitting = PRODUCTS_BYTES / (std::max<int64_t>(1, ring_ * s_.ws) * e_.accumulator_bytes);
    const size_t count = h_.phases.size(), together = taps_of(0, count) * co_ <= fitting ? count : 1;
    for (size_t f = 0; f < count; f += together) {
      const int64_t taps = taps_of(f, f + together);
      const int64_t most = planes_ ? std::max<int64_t>(1, fitting / std::max<int64_t>(1, taps)) : co_;
      const int64_t blocks = divide_up(co_, most);
      for (int64_t i = 0; i < blocks; i++) {
        const int64_t c0 = co_ * i / blocks;
        add_part({f, f + together, c0, co_ * (i + 1) / blocks - c0, taps, 0, 0});
      }
    }
  }

  void add_part(Part part) {
    const int64_t columns = part.taps * part.channels, across = planes_ ? e_.rows : e_.lanes;
    const int64_t neighbours = planes_ ? ring_ * s_.ws : columns, vectors = divide_up(neighbours, e_.width);
    // An odd number of vectors, so that neighbours do not share one set of a cache.
    part.pitch = (vectors + 1 - vectors % 2) * e_.width;
    part.weight = weight_elements_;
    weight_elements_ += s_.groups * divide_up(columns, across) * across * ci_;
    parts_.push_back(part);
  }

  char* weight_of(const Part& part, int64_t group) const {
    const int64_t columns = part.taps * part.channels, across = planes_ ? e_.rows : e_.lanes;
    return weight_ + (part.weight + group * divide_up(columns, across) * across * ci_) * e_.accumulator_bytes;
  }

  // Columns are (channel, tap) of planes and (tap, channel) of pixels.
  void pack_weights() {
    weight_ = static_cast<char*>(scratch(SCRATCH_CALL_A, weight_elements_ * e_.accumulator_bytes));
    const int64_t parts = static_cast<int64_t>(parts_.size()), area = s_.r * s_.s;
    parallel_for(parts * s_.groups, [&](int64_t i) {
      const Part& part = parts_[i % parts];
      const int64_t group = i / parts;
      std::vector<int64_t> offset(part.taps * part.channels);
      int64_t tap = 0;
      for (size_t f = part.f0; f < part.f1; f++)
        for (const AxisTap& row : h_.phases[f].taps)
          for (int64_t s = 0; s < s_.s; s++, tap++)
            for (int64_t c = 0; c < part.channels; c++) {
              offset[planes_ ? c * part.taps + tap : tap * part.channels + c] = (part.c0 + c) * area + row.k * s_.s + s;
            }
      const void* const data = element(call_.second, group * ci_ * co_ * area, e_.storage_bytes);
      e_.pack[planes_ ? 0 : 1]({data, offset.data(), part.taps * part.channels, ci_, co_ * area},
                               weight_of(part, group));
    });
  }

  // The lanes of each vector of positions that a tap of a column class has an input for, or that a part of a block has.
  void list_lanes() {
    const int64_t parts = divide_up(s_.s, s_.sw), length = s_.sw * co_;
    vectors_ = divide_up(planes_ ? w_.phases.front().count : length, e_.width);
    if (planes_) {
      for (const AxisPhase& phase : w_.phases)
        for (const AxisTap& tap : phase.taps) add_lanes(-tap.delta, std::min(phase.count, s_.ws - tap.delta));
    } else {
      for (int64_t t = 0; t < parts; t++) add_lanes(0, std::min(length, (s_.s - t * s_.sw) * co_));
    }
  }

  void add_lanes(int64_t first, int64_t last) {
    for (int64_t v = 0; v < vectors_; v++) {
      const int64_t before = v * e_.width;
      lanes_.push_back(lane_bits(std::max<int64_t>(first - before, 0), std::min<int64_t>(last - before, e_.width)));
    }
  }

  void make_tasks() {
    int64_t rows = 0;
    for (const AxisPhase& phase : h_.phases) rows = std::max(rows, phase.count);
    const int64_t threads = team_threads(), wanted = threads == 1 ? 1 : TASKS_A_THREAD * threads;
    const int64_t most = std::max<int64_t>(1, rows / (LEAST_BAND * std::max<int64_t>(1, last_delta_ - first_delta_)));
    const int64_t bands = std::min(most, divide_up(wanted, s_.n * s_.groups * static_cast<int64_t>(parts_.size())));
    for (int64_t n = 0; n < s_.n; n++)
      for (int64_t group = 0; group < s_.groups; group++)
        for (const Part& part : parts_)
          for (int64_t i = 0; i < bands; i++) {
            tasks_.push_back({n, group, &part, rows * i / bands, rows * (i + 1) / bands});
          }
  }

  void run_task(const Task& task) const {
    const Part& part = *task.part;
    const int64_t first = std::clamp<int64_t>(task.u0 + first_delta_, 0, s_.hs);
    const int64_t last = std::clamp<int64_t>(task.u1 + last_delta_, first, s_.hs);
    const int64_t lines = planes_ ? part.taps * part.channels : ring_ * s_.ws;
    char* const products =
        static_cast<char*>(scratch(SCRATCH_ITEM_A, (lines * part.pitch + 2 * e_.width) * e_.accumulator_bytes));
    int64_t stored = task.u0;
    for (int64_t i = first;; i += chunk_) {
      const int64_t end = std::min(i + chunk_, last);
      if (end > i) multiply(task, i, end, (i - first) % ring_, products);
      const int64_t ready = end == last ? task.u1 : std::min(task.u1, end - last_delta_);
      for (; stored < ready; stored++)
        for (size_t f = part.f0; f < part.f1; f++) {
          if (stored < h_.phases[f].count) store_row(task, f, stored, first, products);
        }
      if (end == last) break;
    }
    if (finish_.stream) e_.fence();
  }

  // Rows [i0, i1) of S, which begin at a slot of the ring.
  void multiply(const Task& task, int64_t i0, int64_t i1, int64_t slot, char* products) const {
    const Part& part = *task.part;
    const int64_t bytes = e_.accumulator_bytes, positions = (i1 - i0) * s_.ws, at = slot * s_.ws;
    const int64_t begin = task.n * from_.n + task.group * ci_ * from_.c + i0 * from_.h;
    const void* small = element(call_.first, begin, e_.storage_bytes);
    int64_t pitch = planes_ ? from_.c : from_.w, readable = (s_.hs - i0) * s_.ws;
    if (e_.storage_bytes != bytes) {
      small = load(small, positions);
      pitch = planes_ ? positions : ci_;
      readable = positions;
    }
    e_.multiply[planes_ ? 0 : 1]({small, weight_of(part, task.group), pitch, ci_, positions, readable,
                                  part.taps * part.channels, products + (planes_ ? at : at * part.pitch) * bytes,
                                  part.pitch, scratch(SCRATCH_ITEM_C, ci_ * e_.lanes * bytes)});
  }

  // Neighbouring positions as T, [c][position] or [position][c].
  const void* load(const void* small, int64_t positions) const {
    const int64_t lines = planes_ ? ci_ : positions, length = planes_ ? positions : ci_;
    char* const to = static_cast<char*>(scratch(SCRATCH_ITEM_B, lines * length * e_.accumulator_bytes));
    for (int64_t i = 0; i < lines; i++) {
      e_.load(element(small, i * (planes_ ? from_.c : from_.w), e_.storage_bytes), length,
              to + i * length * e_.accumulator_bytes);
    }
    return to;
  }

  // Row `u` of class f, all of whose products are there.
  void store_row(const Task& task, size_t f, int64_t u, int64_t first, const char* products) const {
    static thread_local std::vector<int64_t> rows;
    const Part& part = *task.part;
    const AxisPhase& phase = h_.phases[f];
    rows.clear();
    int64_t tap = taps_of(part.f0, f);
    for (const AxisTap& row : phase.taps) {
      const int64_t i = u + row.delta, slot = (i - first) % ring_ * s_.ws;
      if (i >= 0 && i < s_.hs && s_.ws > 0) {
        rows.push_back(planes_ ? tap * part.pitch + slot : slot * part.pitch + tap * part.channels);
      }
      tap += s_.s;
    }
    const int64_t channel = task.group * co_ + part.c0;
    const int64_t at = task.n * to_.n + channel * to_.c + (phase.first + u * s_.sh) * to_.h;
    LineFinish finish = finish_;
    finish.bias = element(call_.bias, channel, e_.storage_bytes);
    void* const to = element(call_.output, at, e_.storage_bytes);
    static thread_local Sources sources;
    sources.at.clear();
    sources.lanes.clear();
    if (planes_) {
      store_planes(part, rows, products, to, finish, sources);
    } else {
      store_pixels(part, rows, products, to, finish, sources);
    }
  }

  // What rows of outputs are sums of.
  struct Sources {
    std::vector<int64_t> at, begin;
    std::vector<const uint32_t*> lanes;
    std::vector<ScatterPart> parts;
    int64_t count() const { return static_cast<int64_t>(at.size()); }
  };

  void store_planes(const Part& part, const std::vector<int64_t>& rows, const char* products, void* to,
                    const LineFinish& finish, Sources& sources) const {
    const uint32_t* lanes = lanes_.data();
    sources.begin.assign(1, 0);
    for (const AxisPhase& phase : w_.phases) {
      for (const int64_t row : rows)
        for (size_t t = 0; t < phase.taps.size(); t++) {
          sources.at.push_back(row + phase.taps[t].k * part.pitch + phase.taps[t].delta);
          sources.lanes.push_back(lanes + static_cast<int64_t>(t) * vectors_);
        }
      lanes += static_cast<int64_t>(phase.taps.size()) * vectors_;
      sources.begin.push_back(sources.count());
    }
    const int64_t phases = static_cast<int64_t>(w_.phases.size()), tile_pitch = vectors_ * e_.width;
    void* const tile = scratch(SCRATCH_ITEM_C, phases * tile_pitch * e_.accumulator_bytes);
    e_.store_planes({products, sources.at.data(), sources.lanes.data(), sources.begin.data(), phases, vectors_, s_.wl,
                     part.channels, part.taps * part.pitch, tile, tile_pitch, to, to_.c, finish});
  }

  void store_pixels(const Part& part, const std::vector<int64_t>& rows, const char* products, void* to,
                    const LineFinish& finish, Sources& sources) const {
    const int64_t bytes = e_.accumulator_bytes, length = s_.sw * co_, pieces = divide_up(s_.s, s_.sw);
    const int64_t first = s_.pw / s_.sw, last = divide_up(s_.wl + s_.pw, s_.sw);
    sources.parts.clear();
    for (int64_t b = first; b < last;) {
      // Piece t of a block comes from position b - t.
      const int64_t t0 = std::max<int64_t>(0, b - s_.ws + 1), t1 = std::min(pieces, b + 1);
      const int64_t end = t0 == 0 && t1 == pieces ? std::min(last, s_.ws) : b + 1, begin = sources.count();
      for (const int64_t row : rows)
        for (int64_t t = t0; t < t1; t++) {
          sources.at.push_back(row + t * (length - part.pitch));
          sources.lanes.push_back(lanes_.data() + t * vectors_);
        }
      sources.parts.push_back({b, end, begin, sources.count()});
      b = end;
    }
    const int64_t room = length + e_.width;
    char* const bias = static_cast<char*>(scratch(SCRATCH_ITEM_C, (room + length * (last - first) + e_.width) * bytes));
    std::fill_n(bias, room * bytes, 0);
    for (int64_t i = 0; finish.bias != nullptr && i < s_.sw; i++) e_.load(finish.bias, co_, bias + i * co_ * bytes);
    e_.store_pixels({products, sources.at.data(), sources.lanes.data(), sources.parts.data(),
                     static_cast<int64_t>(sources.parts.size()), length, part.pitch, first, s_.s % s_.sw != 0, bias,
                     bias + room * bytes, (s_.pw - first * s_.sw) * co_, s_.wl, co_, to, to_.w, finish});
  }

  const ConvCall& call_;
  const ConvShape& s_;
  const ScatterEngine& e_;
  const bool planes_;
  const int64_t ci_, co_;
  const Pitches from_, to_;
  const Axis h_, w_;
  LineFinish finish_ = {};
  // Deltas of rows; rows that are multiplied at once, and that are kept.
  int64_t first_delta_ = 0, last_delta_ = 0, chunk_ = 1, ring_ = 1;
  int64_t weight_elements_ = 0, vectors_ = 0;
  char* weight_ = nullptr;
  std::vector<Part> parts_;
  std::vector<Task> tasks_;
  std::vector<uint32_t> lanes_;
};

}  // namespace

void scatter_expand(void** params, const ScatterEngine& engine, ConvLayout layout) {
  const ConvCall call = read_product_call(params);
  ScatterRun(call, engine, layout).run();
}

}  // namespace fracstride
