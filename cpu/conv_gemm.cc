// expand and contract as one matrix product each, where the small side is one position an image and the large side's
// elements are its taps in order:
//
//   L[n][j] = Σ_c S[n][c] · W[c][j]        S[n][c] = Σ_j L[n][j] · W[c][j]
//
// j counts an image of L as it lies in memory, so both tensors are matrices as they are. Only the weight is packed, in
// tiles of outputs, in each its inputs in order; of L in NHWC, j is (tap, channel). The lanes are outputs, or images
// where contract has too few outputs to fill them. The tasks are tiles of outputs × chunks of inputs, whose sums are
// added in order.
#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "conv_args.h"
#include "conv_plan.h"
#include "team.h"

namespace fracstride {
namespace {

// Tiles of the weight that share inputs packed by one task, and tasks that are wanted at least.
constexpr int64_t GROUP_TILES = 16, WANTED_TASKS = 8;
// Sums of all chunks.
constexpr int64_t CHUNK_BYTES = 8 * 1024 * 1024;
// Panels of a weight that lie side by side in its rows and are packed together.
constexpr int64_t PACKED_PANELS = 16;

class GemmRun {
 public:
  GemmRun(const ConvCall& call, const ConvEngine& engine, ConvLayout layout, ConvLanes lanes, bool expand)
      : call_(call), e_(engine), expand_(expand), px_(lanes == LANES_PX), n_(call.shape.n) {
    const ConvShape& s = call.shape;
    row_ = s.cl * s.r * s.s;
    taps_ = layout == NHWC && s.cl > 1 ? s.r * s.s : 1;
    inputs_ = expand ? s.cs : row_;
    outputs_ = expand ? row_ : s.cs;
    // Tiles of a run of outputs do not reach into the next one: taps of NHWC are packed each alone.
    run_ = expand ? row_ / taps_ : outputs_;
    run_tiles_ = divide_up(run_, px_ ? e_.rows : e_.lanes);
    tiles_ = outputs_ / run_ * run_tiles_;
    pitch_ = px_ ? e_.a_pitch : e_.lanes;
    depth_ = e_.k_pitch - e_.half_lanes;
    blocks_ = divide_up(inputs_, depth_);
    image_tiles_ = divide_up(n_, px_ ? e_.lanes : e_.rows);
    groups_ = divide_up(tiles_, GROUP_TILES);
    const int64_t most = std::max<int64_t>(1, CHUNK_BYTES / (tiles_ * image_tiles_ * tile_bytes()));
    chunks_ = std::min({blocks_, divide_up(WANTED_TASKS, groups_), most});
  }

  void run() {
    const int64_t bytes = tiles_ * weight_bytes();
    packed_ = reinterpret_cast<char*>(&packed_header(call_, bytes) + 1);
    packed_weight(call_, bytes, [this](char*) { return pack_weights(); });
    spread_bias();
    if (chunks_ > 1) {
      sums_ = static_cast<char*>(scratch(SCRATCH_CALL_A, chunks_ * tiles_ * image_tiles_ * tile_bytes()));
    }
    parallel_for(groups_ * chunks_, [&](int64_t i) { run_task(i % groups_, i / groups_); });
    if (chunks_ > 1) parallel_for(tiles_, [&](int64_t w) { add_chunks(w); });
  }

 private:
  struct Range {
    int64_t begin, end;
    int64_t count() const { return end - begin; }
  };

  int64_t tile_bytes() const { return e_.rows * e_.lanes * e_.accumulator_bytes; }
  int64_t weight_bytes() const { return inputs_ * pitch_ * e_.accumulator_bytes; }
  char* weight_at(int64_t tile, int64_t k) const {
    return packed_ + tile * weight_bytes() + k * pitch_ * e_.accumulator_bytes;
  }

  // Outputs of a tile within its run; rows are shared out evenly.
  Range outputs_of(int64_t tile) const {
    const int64_t t = tile % run_tiles_;
    if (px_) return {run_ * t / run_tiles_, run_ * (t + 1) / run_tiles_};
    return {t * e_.lanes, std::min(run_, (t + 1) * e_.lanes)};
  }

  Range images_of(int64_t i) const {
    if (px_) return {i * e_.lanes, std::min(n_, (i + 1) * e_.lanes)};
    return {n_ * i / image_tiles_, n_ * (i + 1) / image_tiles_};
  }

  // A matrix as a tensor whose positions are its rows and whose channels are neighbours.
  Source rows_of(const void* data, int64_t rows, int64_t pitch) const { return {data, 0, 1, 0, pitch, 1, rows, 1, 1}; }

  bool pack_weights() const {
    if (expand_ && taps_ == 1) {
      parallel_ranges(tiles_, PACKED_PANELS, [&](int64_t begin, int64_t end) { copy_panels(begin, end); });
    } else {
      parallel_for(run_tiles_, [&](int64_t tile) { turn_weights(tile); });
    }
    return true;
  }

  // Outputs are neighbours in a row of the weight.
  void copy_panels(int64_t begin, int64_t end) const {
    const int64_t first = begin * e_.lanes, last = std::min(outputs_, end * e_.lanes);
    const Run run = {0, last - first, 0, 0, first};
    PackInput what = {};
    what.source = {call_.second, 0, row_, 0, 1, 1, row_, 1, 1};
    what.runs = {&run, 1};
    what.channels = inputs_;
    what.positions = run.count;
    what.pitch_channel = what.fill = e_.lanes;
    what.pitch_position = 1;
    what.pitch_panel = e_.lanes * inputs_;
    e_.pack_input(what, weight_at(begin, 0));
  }

  // Outputs are rows of the weight, or channels of several taps of it.
  void turn_weights(int64_t tile) const {
    const Range range = outputs_of(tile);
    const int64_t channels = row_ / taps_;
    std::vector<void*> to;
    for (int64_t tap = 0; tap < taps_; tap++) {
      to.push_back(expand_ ? weight_at(tap * run_tiles_ + tile, 0) : weight_at(tile, tap * channels));
    }
    const int64_t pitch_c = expand_ ? row_ : taps_, pitch_lane = expand_ ? taps_ : row_;
    e_.pack_weight({element(call_.second, range.begin * pitch_lane, e_.storage_bytes), pitch_c, pitch_lane,
                    expand_ ? inputs_ : channels, range.count(), pitch_, taps_, to.data()});
  }

  // One element of bias for each output. Only outputs that are several taps of a channel in turn have fewer.
  void spread_bias() {
    bias_ = static_cast<const char*>(call_.bias);
    const int64_t bytes = e_.storage_bytes, taps = expand_ ? row_ / call_.shape.cl / taps_ : 1;
    if (bias_ == nullptr || taps == 1) return;
    char* const to = static_cast<char*>(scratch(SCRATCH_CALL_B, row_ * bytes));
    for (int64_t j = 0; j < row_; j++) std::memcpy(to + j * bytes, bias_ + j / taps * bytes, bytes);
    bias_ = to;
  }

  void pack_inputs(int64_t k, int64_t depth, void* to) const {
    const Run run = {0, n_, 0, 0, 0};
    PackInput what = {};
    what.source = rows_of(call_.first, n_, inputs_);
    what.runs = {&run, 1};
    what.c0 = k;
    what.channels = depth;
    what.positions = n_;
    what.pitch_channel = px_ ? e_.lanes : 1;
    what.pitch_position = px_ ? 1 : e_.k_pitch;
    what.fill = px_ ? divide_up(n_, e_.half_lanes) * e_.half_lanes : depth;
    what.pitch_panel = px_ && image_tiles_ > 1 ? e_.lanes * depth_ : 0;
    e_.pack_input(what, to);
  }

  void run_task(int64_t group, int64_t chunk) const {
    const Range tiles = {tiles_ * group / groups_, tiles_ * (group + 1) / groups_};
    const Range blocks = {blocks_ * chunk / chunks_, blocks_ * (chunk + 1) / chunks_};
    // With one block of K there is never more than one tile that waits.
    const int64_t pitch = blocks.count() > 1 || chunks_ > 1 ? tile_bytes() : 0;
    const int64_t inputs = px_ ? image_tiles_ * e_.lanes * depth_ : n_ * e_.k_pitch;
    void* const packed = scratch(SCRATCH_ITEM_A, inputs * e_.accumulator_bytes);
    char* const sums = chunks_ > 1 ? sums_at(chunk, tiles.begin) : item_sums(pitch == 0 ? 1 : tiles.count());
    for (int64_t b = blocks.begin; b < blocks.end; b++) {
      const int64_t k = b * depth_, depth = std::min(depth_, inputs_ - k);
      pack_inputs(k, depth, packed);
      multiply(tiles, {k, depth, b > blocks.begin, chunks_ == 1 && b + 1 == blocks.end}, packed, sums, pitch);
    }
  }

  char* sums_at(int64_t chunk, int64_t tile) const {
    return sums_ + (chunk * tiles_ + tile) * image_tiles_ * tile_bytes();
  }
  char* item_sums(int64_t tiles) const {
    return static_cast<char*>(scratch(SCRATCH_ITEM_B, tiles * image_tiles_ * tile_bytes()));
  }

  struct Block {
    int64_t k, depth;
    bool accumulate, last;
  };

  void multiply(const Range& tiles, const Block& block, const void* packed, char* sums, int64_t pitch) const {
    const int64_t line = block.depth * LINE_BYTES;
    for (int64_t w = tiles.begin; w < tiles.end; w++) {
      const char* const weight = weight_at(w, block.k);
      const char* const next = weight_at(w + 1 < tiles.end ? w + 1 : w, block.k);
      const int64_t outputs = outputs_of(w).count();
      for (int64_t i = 0; i < image_tiles_; i++, sums += pitch) {
        const Range images = images_of(i);
        const int64_t from = px_ ? i * e_.lanes * depth_ : images.begin * e_.k_pitch;
        const void* const input = element(packed, from, e_.accumulator_bytes);
        const int64_t rows = px_ ? outputs : images.count(), lanes = px_ ? images.count() : outputs;
        // Each product asks for a line of what the next tile reads for each k, as long as there are some.
        const bool more = i * LINE_BYTES < pitch_ * e_.accumulator_bytes;
        const void* const ahead = more ? next + i * line : weight;
        const Micro micro = e_.micro[!px_][lanes > e_.half_lanes][rows - 1];
        void* const place = block.last && !block.accumulate ? place_of(w, images) : nullptr;
        micro(block.depth, px_ ? weight : input, px_ ? input : weight, place == nullptr ? sums : place,
              place == nullptr ? e_.lanes : outputs_, block.accumulate, ahead);
        if (block.last && place == nullptr) store(w, images, sums);
      }
    }
  }

  // Where a tile's sums belong, if they are the results and can be written there by whole vectors.
  void* place_of(int64_t w, const Range& images) const {
    if (px_ || bias_ != nullptr || call_.activation != 0 || e_.storage_bytes != e_.accumulator_bytes) return nullptr;
    const Range range = outputs_of(w);
    const int64_t at = images.begin * outputs_ + w / run_tiles_ * run_ + range.begin;
    void* const place = element(call_.output, at, e_.storage_bytes);
    const uintptr_t begins = reinterpret_cast<uintptr_t>(place) | static_cast<uintptr_t>(outputs_ * e_.storage_bytes);
    const int64_t vector = e_.half_lanes * e_.accumulator_bytes;
    return range.count() == e_.lanes && begins % vector == 0 ? place : nullptr;
  }

  void add_chunks(int64_t w) const {
    const int64_t count = image_tiles_ * e_.rows * e_.lanes;
    char* const sums = sums_at(0, w);
    for (int64_t chunk = 1; chunk < chunks_; chunk++) e_.add(sums_at(chunk, w), count, sums);
    for (int64_t i = 0; i < image_tiles_; i++) store(w, images_of(i), sums + i * tile_bytes());
  }

  void store(int64_t w, const Range& images, const char* sums) const {
    const Range range = outputs_of(w);
    const int64_t first = w / run_tiles_ * run_;
    const Run run = {0, images.count(), 0, 0, images.begin};
    // Channels of NHWC have the same bias in every run.
    const Sink sink = {
        element(call_.output, first, e_.storage_bytes), bias_, 0, 1, 0, outputs_, call_.activation, call_.slope};
    const auto store_tile = px_ ? e_.store_channel_rows : e_.store_channel_lanes;
    store_tile(sums, {&run, 1}, range.begin, range.count(), sink);
  }

  const ConvCall& call_;
  const ConvEngine& e_;
  const bool expand_, px_;
  int64_t n_, row_, taps_, inputs_, outputs_, run_, run_tiles_, tiles_, pitch_, depth_, blocks_, image_tiles_, groups_,
      chunks_;
  char* packed_ = nullptr;
  char* sums_ = nullptr;
  const char* bias_ = nullptr;
};

void run_gemm(void** params, const ConvEngine& engine, ConvLayout layout, ConvLanes lanes, bool expand) {
  const ConvCall call = read_packing_call(params);
  const ConvShape& s = call.shape;
  if (s.groups != 1 || s.hs * s.ws != 1 || s.ph != 0 || s.pw != 0 || s.hl != s.r || s.wl != s.s ||
      (s.dh != 1 && s.r > 1) || (s.dw != 1 && s.s > 1)) {
    throw std::invalid_argument("a gemm kernel must be of one position whose taps are the large side, got another");
  }
  if (s.n * s.cs * s.cl > 0) GemmRun(call, engine, layout, lanes, expand).run();
}

}  // namespace

void conv_gemm_expand(void** params, const ConvEngine& engine, ConvLayout layout, ConvLanes lanes) {
  run_gemm(params, engine, layout, lanes, true);
}

void conv_gemm_contract(void** params, const ConvEngine& engine, ConvLayout layout, ConvLanes lanes) {
  run_gemm(params, engine, layout, lanes, false);
}

}  // namespace fracstride
