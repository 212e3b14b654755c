#include "conv_direct_plan.h"

#include <algorithm>
#include <utility>

#include "team.h"

namespace fracstride {
namespace {

// A tile of outputs should stay in a second-level cache.
constexpr int64_t TILE_BYTES = 128 * 1024;
// Positions of a tile of outputs.
constexpr int64_t MOST_LANES = 512;
// An output that does not stay in a cache is written past it when its rows are whole lines.
constexpr int64_t STREAM_BYTES = 16 * 1024 * 1024;
// Outputs below which phases are merged that read the same inputs but for a shift.
constexpr int64_t FEW_OUTPUTS = 5;

}  // namespace

DirectPlan::DirectPlan(const ConvForm& form, const PixelEngine& engine) : p_(form), e_(engine) {
  positions_w_ = p_.w.phases.empty() ? 0 : p_.w.phases.front().count;
  pitch_ = std::max(positions_w_, divide_up(p_.source.w, p_.w.input_step));
  in_place_ = p_.source.pitch_w == 1 && e_.storage_bytes == e_.accumulator_bytes && p_.h.input_step == 1 &&
              p_.w.input_step == 1 && p_.source.w == pitch_;
  const int64_t row_bytes = p_.w.output * e_.storage_bytes;
  stream_ = row_bytes % LINE_BYTES == 0 && p_.n * p_.groups * p_.co * p_.h.output * row_bytes >= STREAM_BYTES;
  merged_h_ = merge_phases(p_.h, p_.h.phases.size() > 1 && p_.co < FEW_OUTPUTS);
  merged_w_ = merge_phases(p_.w, false);
  if (!empty()) make_blocks();
}

void DirectPlan::make_blocks() {
  for (const Merged& h : merged_h_) {
    Block block = {&h, vectors_for(h), 1, 0, {}};
    const int64_t row_bytes = lanes(block) * e_.accumulator_bytes, at_once = channels_at_once(h, row_bytes);
    block.tiles = std::max<int64_t>(1, TILE_BYTES / 2 / (at_once * rows_each(block) * row_bytes));
    block.tiles = std::min(block.tiles, MOST_LANES / lanes(block));
    block.pitch = block.tiles * lanes(block) + e_.width;
    for (int64_t c = 0; c < p_.co; c += at_once) {
      block.channels.push_back(make_channels(block, c, std::min(at_once, p_.co - c)));
    }
    blocks_.push_back(std::move(block));
  }
}

int64_t DirectPlan::channels_at_once(const Merged& h, int64_t row_bytes) const {
  const int64_t fitting = std::max<int64_t>(1, TILE_BYTES / (h.size() * phases_w() * row_bytes));
  return divide_up(p_.co, divide_up(p_.co, fitting));
}

int DirectPlan::vectors_for(const Merged& h) const {
  int64_t rows = 1;
  for (const Merged& w : merged_w_) rows = std::max(rows, p_.co * h.size() * w.size());
  int best = 0;
  double least = 0;
  for (int v = 0; v < PIXEL_TILES; v++) {
    const int64_t vectors = int64_t{1} << v;
    const double each = static_cast<double>(rows) / divide_up(rows, e_.rows[v]);
    const double cost = std::max(1.0, (4.0 * vectors + each) / (vectors * each)) + 1.0 / (vectors * each);
    if (v == 0 || cost < least) {
      best = v;
      least = cost;
    }
  }
  return best;
}

DirectPlan::Channels DirectPlan::make_channels(const Block& block, int64_t first, int64_t count) {
  Channels channels = {first, count, {}};
  for (const Merged& w : merged_w_) {
    const int64_t taps = static_cast<int64_t>(block.h->deltas.size() * w.deltas.size());
    const int64_t rows = count * block.h->size() * w.size(), tiles = divide_up(rows, e_.rows[block.log_vectors]);
    Part part = {&w, taps, {}};
    for (int64_t i = 0; i < tiles; i++) {
      const int64_t begin = rows * i / tiles, end = rows * (i + 1) / tiles;
      RowTile tile = {packed_elements_, end - begin, {}};
      for (int64_t r = begin; r < end; r++) {
        tile.at[r - begin] = (r / w.size() * phases_w() + w.members[r % w.size()].index) * block.pitch;
      }
      part.tiles.push_back(tile);
      packed_elements_ += p_.groups * (end - begin) * taps * p_.ci;
    }
    channels.parts.push_back(std::move(part));
  }
  return channels;
}

char* DirectPlan::packed_at(const Part& part, const RowTile& tile, int64_t group) const {
  return packed_ + (tile.packed + group * tile.rows * part.taps * p_.ci) * e_.accumulator_bytes;
}

bool DirectPlan::pack_weights() const {
  parallel_for(static_cast<int64_t>(blocks_.size()) * p_.groups, [&](int64_t i) {
    const Block& block = blocks_[i / p_.groups];
    for (const Channels& channels : block.channels)
      for (const Part& part : channels.parts) pack_part(block, channels, part, i % p_.groups);
  });
  return true;
}

void DirectPlan::pack_part(const Block& block, const Channels& channels, const Part& part, int64_t group) const {
  const int64_t w_taps = static_cast<int64_t>(part.w->deltas.size());
  const void* const data = element(p_.weight, group * p_.ci * p_.co * p_.kernel_area, e_.storage_bytes);
  int64_t row = channels.first * block.h->size() * part.w->size();
  for (const RowTile& tile : part.tiles) {
    char* to = packed_at(part, tile, group);
    for (int64_t t = 0; t < part.taps; t++, to += tile.rows * p_.ci * e_.accumulator_bytes) {
      int64_t offset[MAX_PIXEL_ROWS];
      for (int64_t r = 0; r < tile.rows; r++) {
        const int64_t w = (row + r) % part.w->size(), rest = (row + r) / part.w->size();
        const int64_t h = rest % block.h->size(), co = rest / block.h->size();
        offset[r] = co * p_.weight_pitch_co + block.h->members[h].phase->taps[t / w_taps].k * p_.kernel_w +
                    part.w->members[w].phase->taps[t % w_taps].k;
      }
      e_.pack_rows(data, offset, tile.rows, p_.ci, p_.weight_pitch_c, to);
    }
    row += tile.rows;
  }
}

}  // namespace fracstride
