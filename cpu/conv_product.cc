// expand and contract as matrix products over the phases of their output:
//
//   out[n, co, position q] = Σ_taps Σ_ci in[n, ci, q·step + delta(tap)] · W(ci, co, tap)
//
// One operand is the weight, packed when it has changed; the other is the input, packed by each task. The tasks are
// rectangles of positions × ranges of output channels; each sums over all of K in an order that does not depend on the
// task.
#include <algorithm>
#include <cstring>

#include "conv_args.h"
#include "product_plan.h"
#include "team.h"

namespace fracstride {
namespace {

// Outputs that no cache keeps until somebody reads them are written past the caches.
constexpr int64_t STREAMED_BYTES = 8 * 1024 * 1024;

class ProductRun {
 public:
  explicit ProductRun(const Product& product) : p_(product), e_(product.engine), plan_(product) {}

  void run(const ConvCall& call) {
    if (p_.n == 0 || p_.co == 0 || plan_.phases().empty()) return;
    const int64_t bytes = plan_.packed_elements() * e_.accumulator_bytes;
    const auto pack = [&](char* to) { return pack_product_weights(p_, plan_, to); };
    bool finite = false;
    if (call.packed == nullptr) {
      packed_ = static_cast<char*>(scratch(SCRATCH_CALL_A, bytes));
      finite = pack(packed_);
    } else {
      packed_ = reinterpret_cast<char*>(&packed_header(call, bytes) + 1);
      finite = packed_weight(call, bytes, pack).finite;
    }
    const std::vector<Task>& tasks = plan_.cut(finite);
    parallel_for(static_cast<int64_t>(tasks.size()), [&](int64_t i) { run_task(tasks[i]); });
  }

 private:
  const char* packed_at(const Phase& phase, int64_t group, int64_t tile) const {
    return packed_ + p_.packed_begin(phase, group, tile) * e_.accumulator_bytes;
  }

  // Calls visit(first channel, channels, first tap, taps, first k) for the blocks of K in order.
  template <class Visit>
  void each_block(const Depth& depth, const Visit& visit) const {
    for (int64_t c = 0; c < depth.channels; c += depth.channel_block) {
      const int64_t channels = std::min(depth.channel_block, depth.channels - c);
      for (int64_t t = 0; t < depth.taps; t += depth.tap_block) {
        visit(c, channels, t, std::min(depth.tap_block, depth.taps - t), c * depth.taps + t * channels);
      }
    }
  }

  // Neighbouring taps of the phase: packed weights from tap `weight` of the block on, inputs from tap `input` on.
  struct Segment {
    int64_t weight, input, taps;
  };

  // A tile of input positions inside a task: its runs, from number `run` of the task's on.
  struct InputTile {
    int64_t run, runs, positions;
  };

  // A block of K that has taps of the task's region.
  struct Block {
    int64_t c0, channels, t0, taps, k;
  };

  // What a task works with; kept by each thread.
  struct Work {
    // Of each tile, and of the whole task.
    std::vector<Run> runs, all_runs;
    std::vector<InputTile> inputs;
    std::vector<Block> blocks;
    std::vector<Tap> taps;
    std::vector<Segment> segments;
    Sink sink;
    Runs runs_of(const InputTile& input) const { return {&runs[input.run], input.runs}; }
  };

  void run_task(const Task& task) const {
    static thread_local Work work;
    make_inputs(task, work);
    work.sink = sink_of(task);
    if (task.region->direct) {
      run_direct(task, work);
    } else {
      run_packed(task, work);
    }
    if (work.sink.stream) e_.stream_fence();
  }

  int64_t all_tiles_bytes(const Task& task) const {
    return (task.tile1 - task.tile0) * (task.weight1 - task.weight0) * p_.tile_elements() * e_.accumulator_bytes;
  }

  void run_direct(const Task& task, Work& work) const {
    char* const c = static_cast<char*>(scratch(SCRATCH_ITEM_A, all_tiles_bytes(task)));
    std::memset(c, 0, all_tiles_bytes(task));
    each_block(task.region->phase->depth, [&](int64_t c0, int64_t channels, int64_t t0, int64_t count, int64_t k) {
      select_taps(*task.region, t0, count, work);
      multiply_direct(task, work, c0, channels, k, c);
    });
    const char* tile = c;
    for (int64_t w = task.weight0; w < task.weight1; w++) {
      for (const InputTile& input : work.inputs) {
        store_tile(task, work, w, input, tile);
        tile += p_.tile_elements() * e_.accumulator_bytes;
      }
    }
  }

  void make_inputs(const Task& task, Work& work) const {
    const Region& region = *task.region;
    work.runs.clear();
    work.all_runs.clear();
    work.inputs.clear();
    for (int64_t tile = task.tile0; tile < task.tile1; tile++) {
      const int64_t begin = p_.input_begin(region, tile), end = p_.input_begin(region, tile + 1);
      const int64_t run = static_cast<int64_t>(work.runs.size());
      add_runs(region.grid, begin, end, work.runs);
      work.inputs.push_back({run, static_cast<int64_t>(work.runs.size()) - run, end - begin});
    }
    if (p_.px())
      add_runs(region.grid, p_.input_begin(region, task.tile0), p_.input_begin(region, task.tile1), work.all_runs);
  }

  // Tiles are stored as soon as they are summed; with one block of K there is never more than one of them.
  void run_packed(const Task& task, Work& work) const {
    work.blocks.clear();
    each_block(task.region->phase->depth, [&](int64_t c0, int64_t channels, int64_t t0, int64_t count, int64_t k) {
      select_taps(*task.region, t0, count, work);
      if (!work.taps.empty()) work.blocks.push_back({c0, channels, t0, count, k});
    });
    const int64_t blocks = static_cast<int64_t>(work.blocks.size());
    const int64_t tile_bytes = p_.tile_elements() * e_.accumulator_bytes;
    char* const c = static_cast<char*>(scratch(SCRATCH_ITEM_A, blocks > 1 ? all_tiles_bytes(task) : tile_bytes));
    const int64_t input_bytes = p_.input_tile_elements() * e_.accumulator_bytes;
    char* const packed = static_cast<char*>(scratch(SCRATCH_ITEM_B, (task.tile1 - task.tile0) * input_bytes));
    for (int64_t b = 0; b < blocks; b++) {
      const Block& block = work.blocks[b];
      select_taps(*task.region, block.t0, block.taps, work);
      pack_inputs(task, work, block, packed);
      multiply(task, work, block, packed, {c, blocks > 1 ? tile_bytes : 0, b > 0, b == blocks - 1});
    }
    if (blocks == 0) store_nothing(task, work, c);
  }

  // Sums over no taps at all.
  void store_nothing(const Task& task, const Work& work, char* c) const {
    std::memset(c, 0, p_.tile_elements() * e_.accumulator_bytes);
    for (int64_t w = task.weight0; w < task.weight1; w++)
      for (const InputTile& input : work.inputs) store_tile(task, work, w, input, c);
  }

  // The region's taps among [t0, t0 + count) of its phase.
  void select_taps(const Region& region, int64_t t0, int64_t count, Work& work) const {
    std::vector<Segment>& segments = work.segments;
    work.taps.clear();
    segments.clear();
    const Phase& phase = *region.phase;
    for (int64_t t = t0; t < t0 + count; t++) {
      const int64_t th = t / phase.taps_w(), tw = t % phase.taps_w();
      if (th < region.h.t0 || th >= region.h.t1 || tw < region.w.t0 || tw >= region.w.t1) continue;
      if (!segments.empty() && segments.back().weight + segments.back().taps == t - t0) {
        segments.back().taps++;
      } else {
        segments.push_back({t - t0, static_cast<int64_t>(work.taps.size()), 1});
      }
      work.taps.push_back({phase.h->taps[th].delta, phase.w->taps[tw].delta});
    }
  }

  // The block's input tiles, each with its taps one after the other.
  void pack_inputs(const Task& task, const Work& work, const Block& block, char* to) const {
    if (p_.px()) {
      const int64_t begin = p_.input_begin(*task.region, task.tile0), end = p_.input_begin(*task.region, task.tile1);
      const Runs runs = {work.all_runs.data(), static_cast<int64_t>(work.all_runs.size())};
      pack_taps(task, work, block, runs, end - begin, to);
      return;
    }
    for (const InputTile& input : work.inputs) {
      pack_taps(task, work, block, work.runs_of(input), input.positions, to);
      to += p_.input_tile_elements() * e_.accumulator_bytes;
    }
  }

  void pack_taps(const Task& task, const Work& work, const Block& block, const Runs& runs, int64_t positions,
                 char* to) const {
    PackInput what = {};
    what.source = p_.source;
    what.source.data = element(p_.source.data, task.group * p_.ci * p_.source.pitch_c, e_.storage_bytes);
    what.runs = runs;
    what.c0 = block.c0;
    what.channels = block.channels;
    what.positions = positions;
    what.pitch_channel = p_.by_row() ? 1 : p_.input_pitch();
    what.pitch_position = p_.by_row() ? e_.k_pitch : 1;
    what.fill = p_.by_row() ? block.channels : p_.input_pitch();
    what.pitch_panel = p_.px() ? p_.input_tile_elements() : 0;
    const int64_t tap_elements = p_.by_row() ? block.channels : block.channels * p_.input_pitch();
    what.pitch_tap = tap_elements;
    for (size_t t = 0; t < work.taps.size(); t += what.taps) {
      what.tap = work.taps[t];
      what.taps = p_.px() ? taps_together(*task.region, work.taps, t) : 1;
      e_.pack_input(what, to);
      to += what.taps * tap_elements * e_.accumulator_bytes;
    }
  }

  // Taps from number t on that read neighbours in the tensor, for every position of the region.
  int64_t taps_together(const Region& region, const std::vector<Tap>& taps, size_t t) const {
    const Source& source = p_.source;
    size_t end = t;
    while (end < taps.size() && taps[end].dh == taps[t].dh &&
           taps[end].dw == taps[t].dw + static_cast<int64_t>(end - t) &&
           region.w.q0 * source.step_w + taps[end].dw >= 0 &&
           (region.w.q1 - 1) * source.step_w + taps[end].dw < source.w) {
      end++;
    }
    return source.step_w > 1 ? std::max<int64_t>(1, end - t) : 1;
  }

  // Where C tiles lie, what they hold, and whether they are complete after this block of K.
  struct Sums {
    char* c;
    int64_t pitch;
    bool accumulate, last;
  };

  void multiply(const Task& task, const Work& work, const Block& block, const char* packed, const Sums& sums) const {
    const int64_t bytes = e_.accumulator_bytes, tiles = static_cast<int64_t>(work.inputs.size());
    const Phase& phase = *task.region->phase;
    char* c = sums.c;
    for (int64_t w = task.weight0; w < task.weight1; w++) {
      const char* const weight = packed_at(phase, task.group, w) + block.k * p_.weight_pitch() * bytes;
      const int64_t co = p_.weight_tile(phase, w).channels * phase.tiling.interleave;
      const int64_t next_w = w + 1 < task.weight1 ? w + 1 : w;
      const char* const next_weight = packed_at(phase, task.group, next_w) + block.k * p_.weight_pitch() * bytes;
      for (int64_t i = 0; i < tiles; i++, c += sums.pitch) {
        const char* const input = packed + i * p_.input_tile_elements() * bytes;
        const char* const next_input = i + 1 < tiles ? input + p_.input_tile_elements() * bytes : packed;
        const char* const ahead = i == (p_.px() ? 0 : tiles - 1) ? next_weight : next_input;
        const int64_t rows = p_.px() ? co : work.inputs[i].positions, lanes = p_.px() ? work.inputs[i].positions : co;
        const Micro micro = e_.micro[p_.by_row()][lanes > e_.half_lanes][rows - 1];
        bool more = sums.accumulate;
        for (const Segment& segment : work.segments) {
          const char* const from_weight = weight + segment.weight * block.channels * p_.weight_pitch() * bytes;
          const char* const from_input =
              input + segment.input * block.channels * (p_.by_row() ? 1 : p_.input_pitch()) * bytes;
          micro(segment.taps * block.channels, p_.px() ? from_weight : from_input, p_.px() ? from_input : from_weight,
                c, e_.lanes, more, ahead);
          more = true;
        }
        if (sums.last) store_tile(task, work, w, work.inputs[i], c);
      }
    }
  }

  // Tiles of one row each, with the inputs where they lie: lanes that do not exist are masked, not packed as zeros.
  void multiply_direct(const Task& task, const Work& work, int64_t c0, int64_t channels, int64_t k, char* c) const {
    const int64_t bytes = e_.accumulator_bytes;
    for (int64_t w = task.weight0; w < task.weight1; w++) {
      const char* const weight = packed_at(*task.region->phase, task.group, w) + k * p_.weight_pitch() * bytes;
      const int64_t co = p_.weight_tile(*task.region->phase, w).channels * task.region->phase->tiling.interleave;
      for (const InputTile& input : work.inputs) {
        const Run& run = work.runs[input.run];
        const DirectMicro micro = e_.direct[run.count > e_.half_lanes][co - 1];
        for (const Segment& segment : work.segments) {
          for (int64_t t = 0; t < segment.taps; t++) {
            const Tap& tap = work.taps[segment.input + t];
            const int64_t h = run.qh * p_.source.step_h + tap.dh, at = run.qw + tap.dw;
            const int64_t first = std::max<int64_t>(0, -at), last = std::min(run.count, p_.source.w - at);
            if (h < 0 || h >= p_.source.h || first >= last) continue;
            const int64_t from =
                run.n * p_.source.pitch_n + (task.group * p_.ci + c0) * p_.source.pitch_c + h * p_.source.pitch_h + at;
            micro(channels, weight + (segment.weight + t) * channels * p_.weight_pitch() * bytes,
                  element(p_.source.data, from, e_.storage_bytes), p_.source.pitch_c, first, last, c);
          }
        }
        c += p_.tile_elements() * bytes;
      }
    }
  }

  // The sink of the first row and column of the task's phases.
  Sink sink_of(const Task& task) const {
    const Phase& phase = *task.region->phase;
    Sink sink = p_.sink;
    const int64_t first = phase.h->first * sink.pitch_h + phase.w->first * sink.pitch_w;
    sink.data = element(p_.sink.data, task.group * p_.co * sink.pitch_c + first, e_.storage_bytes);
    sink.bias = element(p_.sink.bias, task.group * p_.co, e_.storage_bytes);
    sink.pitch_column = sink.pitch_w;
    sink.pitch_h *= p_.h.step;
    sink.pitch_w *= p_.w.step;
    sink.interleave = phase.tiling.interleave;
    const int64_t written = p_.n * p_.groups * p_.co * p_.h.output * p_.w.output * e_.storage_bytes;
    sink.stream = written >= STREAMED_BYTES;
    return sink;
  }

  void store_tile(const Task& task, const Work& work, int64_t w, const InputTile& input, const char* c) const {
    const WeightTile tile = p_.weight_tile(*task.region->phase, w);
    Sink sink = work.sink;
    sink.data = element(sink.data, tile.row * p_.sink.pitch_h + tile.column * p_.sink.pitch_w, e_.storage_bytes);
    const auto store = p_.px() ? e_.store_channel_rows : e_.store_channel_lanes;
    store(c, work.runs_of(input), tile.co, tile.channels, sink);
  }

  const Product& p_;
  const ConvEngine& e_;
  ProductPlan plan_;
  char* packed_ = nullptr;
};

}  // namespace

void expand_product(const ConvCall& call, const ConvEngine& engine, ConvLayout layout, ConvLanes lanes) {
  const Product product = {expand_form(call, layout), engine, layout, lanes};
  ProductRun(product).run(call);
}

void contract_product(const ConvCall& call, const ConvEngine& engine, ConvLayout layout, ConvLanes lanes) {
  const Product product = {contract_form(call, layout), engine, layout, lanes};
  ProductRun(product).run(call);
}

void conv_expand(void** params, const ConvEngine& engine, ConvLayout layout, ConvLanes lanes) {
  expand_product(read_packing_call(params), engine, layout, lanes);
}

void conv_contract(void** params, const ConvEngine& engine, ConvLayout layout, ConvLanes lanes) {
  contract_product(read_packing_call(params), engine, layout, lanes);
}

}  // namespace fracstride
