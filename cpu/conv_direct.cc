// expand and contract with output positions in the lanes and inputs read where they lie:
//
//   out[n, co, position q] = Σ_taps Σ_ci in[n, ci, q·step + delta(tap)] · W(ci, co, tap)
//
// Phases whose taps read the same inputs are merged: their outputs are rows of one product, so that a vector of inputs
// is loaded once for all of them. Positions of an image count row by row with the pitch of the input's rows, so that
// lanes are neighbours in memory across rows too. An input that is not made of such rows (strided, channels last, 16
// bits) is copied, task by task, into planes: one a residue of the step on each axis.
#include <algorithm>
#include <vector>

#include "conv_direct_plan.h"
#include "conv_plan.h"
#include "team.h"

namespace fracstride {
namespace {

// Planes that a task copies should stay in a second-level cache.
constexpr int64_t PLANES_BYTES = 512 * 1024;
// Channels summed for one tap before the next tap's.
constexpr int64_t CHANNEL_BLOCK = 64;
constexpr int64_t TASKS_A_THREAD = 4;

// Where the inputs of a task lie: element (c, u, q) of the plane of residues (fh, fw) at
// data[c · pitch_c + (fh · residues_w + fw) · pitch_plane + (u − first) · pitch + q].
struct Planes {
  const char* data;
  int64_t pitch_c, pitch_plane, first, pitch;
};

class DirectRun : DirectPlan {
 public:
  DirectRun(const ConvForm& form, const PixelEngine& engine) : DirectPlan(form, engine) {}

  void run(const ConvCall& call) {
    if (empty()) return;
    const int64_t bytes = packed_elements_ * e_.accumulator_bytes;
    packed_ = reinterpret_cast<char*>(&packed_header(call, bytes) + 1);
    packed_weight(call, bytes, [this](char*) { return pack_weights(); });
    make_tasks();
    parallel_for(static_cast<int64_t>(tasks_.size()), [&](int64_t i) { run_task(tasks_[i]); });
  }

 private:
  struct Task {
    const Block* block;
    int64_t n, group, first, last;
    double cost;
  };

  // Bands of rows: several a thread, and no larger than what their copied inputs leave room for.
  void make_tasks() {
    const int64_t threads = team_threads(), wanted = threads == 1 ? 1 : TASKS_A_THREAD * threads;
    const int64_t images = std::max<int64_t>(1, p_.n * p_.groups * static_cast<int64_t>(blocks_.size()));
    const int64_t bands = divide_up(wanted, images);
    for (int64_t n = 0; n < p_.n; n++)
      for (int64_t group = 0; group < p_.groups; group++)
        for (const Block& block : blocks_) {
          const int64_t rows = block.h->last - block.h->first;
          const int64_t parts = std::min(rows, std::max(bands, divide_up(rows, rows_that_fit())));
          for (int64_t i = 0; i < parts; i++) {
            const int64_t first = block.h->first + rows * i / parts, last = block.h->first + rows * (i + 1) / parts;
            const double cost = static_cast<double>(last - first) * (block.h->size() * block.h->deltas.size() + 1);
            tasks_.push_back({&block, n, group, first, last, cost});
          }
        }
    std::stable_sort(tasks_.begin(), tasks_.end(), [](const Task& a, const Task& b) { return a.cost > b.cost; });
  }

  int64_t rows_that_fit() const {
    if (in_place_) return p_.h.output;
    const int64_t row = p_.ci * p_.h.input_step * p_.w.input_step * pitch_ * e_.accumulator_bytes;
    return std::max<int64_t>(4, PLANES_BYTES / row);
  }

  // Lanes [lane, lane + length) of a vector: positions (u, q), (u, q + 1), …
  struct Piece {
    int64_t vector, lane, length, u, q;
  };

  // What a task works with; kept by each thread.
  struct Work {
    std::vector<Run> runs;
    std::vector<Piece> pieces;
    std::vector<uint32_t> lanes_h, lanes_w;
    // Of all register tiles, in each of all parts; where those of each end.
    std::vector<PixelTap> taps;
    std::vector<int64_t> tap_end;
  };

  void run_task(const Task& task) const {
    static thread_local Work work;
    const Planes planes = in_place_ ? planes_in_place(task) : copy_planes(task, work);
    const Block& block = *task.block;
    const int64_t rows = block.channels.front().count * rows_each(block);
    char* const tile = static_cast<char*>(scratch(SCRATCH_ITEM_A, rows * block.pitch * e_.accumulator_bytes));
    const int64_t positions = (task.last - task.first) * pitch_, at_once = block.tiles * lanes(block);
    for (int64_t at = 0; at < positions; at += at_once) {
      const int64_t count = std::min(at_once, positions - at);
      select_taps(task, planes, at, count, work);
      for (const Channels& channels : block.channels) {
        multiply(task, planes, work, at, channels, tile);
        store(task, work.pieces, channels, tile);
      }
    }
  }

  Planes planes_in_place(const Task& task) const {
    const Source& s = p_.source;
    const int64_t from = task.n * s.pitch_n + task.group * p_.ci * s.pitch_c;
    const void* const data = element(s.data, from, e_.storage_bytes);
    return {static_cast<const char*>(data), s.pitch_c, 0, 0, pitch_};
  }

  // Rows of every residue that the task's taps read.
  Planes copy_planes(const Task& task, Work& work) const {
    const int64_t step_h = p_.h.input_step, step_w = p_.w.input_step;
    int64_t first = task.first, last = task.last;
    for (const Read& read : task.block->h->reads) {
      first = std::min(first, task.first + read.shift);
      last = std::max(last, task.last + read.shift);
    }
    first = std::max<int64_t>(first, 0);
    last = std::max(first, std::min(last, divide_up(p_.source.h, step_h)));
    const int64_t rows = last - first, plane = rows * pitch_, pitch_c = step_h * step_w * plane + 2 * e_.width;
    char* const data = static_cast<char*>(scratch(SCRATCH_ITEM_B, (p_.ci * pitch_c + 1) * e_.accumulator_bytes));
    work.runs.clear();
    for (int64_t u = first; u < last; u++) work.runs.push_back({(u - first) * pitch_, pitch_, task.n, u, 0});
    PackInput what = {};
    what.source = p_.source;
    what.source.data = element(p_.source.data, task.group * p_.ci * p_.source.pitch_c, e_.storage_bytes);
    what.runs = {work.runs.data(), rows};
    what.channels = p_.ci;
    what.positions = what.fill = plane;
    what.pitch_channel = pitch_c;
    what.pitch_position = 1;
    for (int64_t h = 0; rows > 0 && h < step_h; h++)
      for (int64_t w = 0; w < step_w; w++) {
        what.tap = {h, w};
        e_.pack_input(what, data + (h * step_w + w) * plane * e_.accumulator_bytes);
      }
    return {data, pitch_c, plane, first, pitch_};
  }

  // The pieces of rows that positions [at, at + count) are made of.
  void cut_rows(const Task& task, int64_t at, int64_t count, std::vector<Piece>& pieces) const {
    int64_t u = task.first + at / pitch_, q = at % pitch_;
    pieces.clear();
    for (int64_t i = 0; i < count;) {
      const int64_t vector = i / e_.width, lane = i % e_.width;
      const int64_t length = std::min({e_.width - lane, pitch_ - q, count - i});
      pieces.push_back({vector, lane, length, u, q});
      i += length;
      q += length;
      if (q == pitch_) {
        q = 0;
        u++;
      }
    }
  }

  // The lanes of each of `vectors` vectors whose inputs exist under each tap of an axis: [tap][vector].
  void select_lanes(const Task& task, int64_t vectors, Work& work) const {
    work.lanes_h.clear();
    for (const Read& read : task.block->h->reads) {
      uint32_t* const lanes = append(work.lanes_h, vectors);
      for (const Piece& piece : work.pieces) {
        if (piece.u < read.low || piece.u >= read.high) continue;
        lanes[piece.vector] |= lane_bits(piece.lane, piece.lane + piece.length);
      }
    }
    work.lanes_w.clear();
    for (const Merged& w : merged_w_)
      for (const Read& read : w.reads) {
        uint32_t* const lanes = append(work.lanes_w, vectors);
        for (const Piece& piece : work.pieces) {
          const int64_t first = std::max<int64_t>(0, read.low - piece.q);
          const int64_t last = std::min(piece.length, read.high - piece.q);
          lanes[piece.vector] |= lane_bits(piece.lane + first, piece.lane + last);
        }
      }
  }

  static uint32_t* append(std::vector<uint32_t>& to, int64_t count) {
    to.resize(to.size() + count, 0);
    return to.data() + to.size() - count;
  }

  // The taps that some lane of each register tile needs, part by part.
  void select_taps(const Task& task, const Planes& planes, int64_t at, int64_t count, Work& work) const {
    const int64_t each = int64_t{1} << task.block->log_vectors, tiles = divide_up(count, lanes(*task.block));
    cut_rows(task, at, count, work.pieces);
    select_lanes(task, tiles * each, work);
    work.taps.clear();
    work.tap_end.clear();
    for (int64_t tile = 0; tile < tiles; tile++) {
      const uint32_t* lanes_w = work.lanes_w.data() + tile * each;
      for (const Merged& w : merged_w_) {
        const uint32_t* lanes_h = work.lanes_h.data() + tile * each;
        int64_t index = 0;
        for (const Read& read : task.block->h->reads) {
          const int64_t row = (task.first + read.shift - planes.first) * planes.pitch;
          for (size_t j = 0; j < w.reads.size(); j++, index++) {
            const int64_t residue = read.residue * p_.w.input_step + w.reads[j].residue;
            // The next tile lies behind this one: each tap asks for another line of it.
            PixelTap tap = {residue * planes.pitch_plane + row + w.reads[j].shift,
                            index,
                            (each + index % each) * e_.width,
                            {},
                            true};
            if (set_lanes(lanes_h, lanes_w + j * tiles * each, each, tap)) work.taps.push_back(tap);
          }
          lanes_h += tiles * each;
        }
        lanes_w += w.reads.size() * tiles * each;
        work.tap_end.push_back(static_cast<int64_t>(work.taps.size()));
      }
    }
  }

  // False when there are none.
  bool set_lanes(const uint32_t* h, const uint32_t* w, int64_t vectors, PixelTap& tap) const {
    const uint32_t all = lane_bits(0, e_.width);
    uint32_t any = 0, every = all;
    for (int64_t v = 0; v < vectors; v++) {
      tap.lanes[v] = h[v] & w[v];
      any |= tap.lanes[v];
      every &= tap.lanes[v];
    }
    tap.whole = every == all;
    return any != 0;
  }

  // Rows of the tile of outputs: [co][phase of h][phase of w].
  void multiply(const Task& task, const Planes& planes, const Work& work, int64_t at, const Channels& channels,
                char* to) const {
    const Block& block = *task.block;
    const int64_t bytes = e_.accumulator_bytes;
    int64_t first = 0;
    for (size_t i = 0; i < work.tap_end.size(); i++) {
      const Part& part = channels.parts[i % channels.parts.size()];
      const int64_t lane = static_cast<int64_t>(i / channels.parts.size()) * lanes(block);
      PixelProduct what = {work.taps.data() + first,
                           work.tap_end[i] - first,
                           p_.ci,
                           CHANNEL_BLOCK,
                           planes.data + (at + lane) * bytes,
                           planes.pitch_c,
                           nullptr,
                           to + lane * bytes,
                           nullptr};
      for (const RowTile& tile : part.tiles) {
        what.weights = packed_at(part, tile, task.group);
        what.at = tile.at;
        e_.micro[block.log_vectors][tile.rows - 1](what);
      }
      first = work.tap_end[i];
    }
  }

  void store(const Task& task, const std::vector<Piece>& pieces, const Channels& channels, char* tile) const {
    const int64_t bytes = e_.accumulator_bytes, first = task.group * p_.co + channels.first;
    e_.finish(tile, channels.count, rows_each(*task.block) * task.block->pitch,
              element(p_.sink.bias, first, e_.storage_bytes), p_.sink.activation, p_.sink.slope);
    for (size_t i = 0; i < pieces.size();) {
      const Piece& piece = pieces[i];
      const int64_t lane = piece.vector * e_.width + piece.lane;
      int64_t length = 0;
      while (i < pieces.size() && pieces[i].u == piece.u) length += pieces[i++].length;
      store_row(task, piece, length, first, channels.count, tile + lane * bytes);
    }
  }

  // `length` neighbouring positions of one row, of every phase and of channels [first, first + channels).
  void store_row(const Task& task, const Piece& from, int64_t length, int64_t first, int64_t channels,
                 const char* tile) const {
    const Block& block = *task.block;
    const int64_t pitch_h = phases_w() * block.pitch;
    const int64_t column = from.q * phases_w(), end = std::min(p_.w.output, column + length * phases_w());
    for (int64_t h = 0; h < block.h->size() && column < end; h++) {
      const Merged::Member& member = block.h->members[h];
      const int64_t qh = from.u - member.shift;
      if (qh < 0 || qh >= member.phase->count) continue;
      const int64_t to = task.n * p_.sink.pitch_n + first * p_.sink.pitch_c +
                         (member.phase->first + qh * p_.h.step) * p_.sink.pitch_h + column * p_.sink.pitch_w;
      e_.store({tile + h * pitch_h * e_.accumulator_bytes, block.h->size() * pitch_h, block.pitch, channels, phases_w(),
                end - column, element(p_.sink.data, to, e_.storage_bytes), p_.sink.pitch_c, p_.sink.pitch_w, stream_});
    }
  }

  std::vector<Task> tasks_;
};

}  // namespace

void conv_direct_expand(void** params, const PixelEngine& engine, ConvLayout layout) {
  const ConvCall call = read_packing_call(params);
  const ConvForm form = expand_form(call, layout);
  DirectRun(form, engine).run(call);
}

void conv_direct_contract(void** params, const PixelEngine& engine, ConvLayout layout) {
  const ConvCall call = read_packing_call(params);
  const ConvForm form = contract_form(call, layout);
  DirectRun(form, engine).run(call);
}

}  // namespace fracstride
