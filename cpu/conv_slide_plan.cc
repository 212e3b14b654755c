#include "conv_slide_plan.h"

#include <algorithm>
#include <atomic>
#include <stdexcept>

#include "conv_plan.h"
#include "team.h"

namespace fracstride {
namespace {

// Sums of a position from which on a row phase fills tiles alone. Phases with fewer are merged, though those that are
// shifted against each other then need a row more at the edges.
constexpr int64_t FEW_SUMS = 6;

}  // namespace

SlidePlan::SlidePlan(const ConvCall& call, const SlideEngine& engine, ConvLayout layout)
    : call_(call),
      s_(call.shape),
      e_(engine),
      planes_(layout == NCHW),
      ci_(s_.cs / s_.groups),
      co_(s_.cl / s_.groups),
      from_(pitches_of(layout, s_.cs, s_.hs, s_.ws)),
      to_(pitches_of(layout, s_.cl, s_.hl, s_.wl)),
      h_(expand_axis(s_.hs, s_.hl, s_.r, s_.sh, s_.ph, s_.dh)),
      w_(expand_axis(s_.ws, s_.wl, s_.s, s_.sw, s_.pw, s_.dw)) {
  if (empty()) return;
  find_pattern();
  make_blocks();
  set_ring();
}

void SlidePlan::find_pattern() {
  int64_t high = 0;
  bool found = false;
  for (const AxisPhase& phase : w_.phases)
    for (const AxisTap& tap : phase.taps) {
      low_ = found ? std::min(low_, tap.delta) : tap.delta;
      high = found ? std::max(high, tap.delta) : tap.delta;
      found = true;
    }
  const SlidePattern* const end = e_.patterns + e_.pattern_count;
  pattern_ = std::find_if(e_.patterns, end, [this](const SlidePattern& p) { return matches(p); });
  if (pattern_ == end) throw std::invalid_argument("no kernel slides over rows with this width, stride and padding");
  vectors_ = divide_up(divide_up(s_.wl, s_.sw), e_.width);
  line_ = vectors_ * e_.width;
  gap_ = divide_up(std::max<int64_t>({-low_, high, 1}), e_.width) * e_.width;
  columns_ = std::min(s_.ws, line_ + std::max<int64_t>(0, high));
  pitch_ = divide_up(std::max(line_, columns_), e_.width) * e_.width + gap_;
}

bool SlidePlan::matches(const SlidePattern& pattern) const {
  if (pattern.phases != static_cast<int>(w_.phases.size())) return false;
  for (int f = 0; f < pattern.phases; f++) {
    const std::vector<AxisTap>& taps = w_.phases[f].taps;
    if (static_cast<int>(taps.size()) != pattern.taps[f]) return false;
    // Deltas fall as taps rise, one by one without dilation.
    if (taps.back().delta - low_ != pattern.first[f] || taps.front().delta - taps.back().delta != pattern.taps[f] - 1) {
      return false;
    }
  }
  return true;
}

void SlidePlan::make_blocks() {
  merged_ = merge_phases(h_, co_ * pattern_->phases < FEW_SUMS);
  first_ = merged_.front().first;
  last_ = merged_.front().last;
  for (const Merged& h : merged_) {
    add_blocks(h);
    first_ = std::min(first_, h.first);
    last_ = std::max(last_, h.last);
    for (const int64_t delta : h.deltas) {
      low_h_ = has_taps_ ? std::min(low_h_, delta) : delta;
      high_h_ = has_taps_ ? std::max(high_h_, delta) : delta;
      has_taps_ = true;
    }
  }
}

void SlidePlan::add_blocks(const Merged& h) {
  const int64_t most = pattern_->rows, channels = std::min(co_, most), members = std::min(h.size(), most / channels);
  const int64_t parts = divide_up(co_, channels), groups = divide_up(h.size(), members);
  for (int64_t i = 0; i < parts; i++)
    for (int64_t j = 0; j < groups; j++) {
      const int64_t c0 = co_ * i / parts, m0 = h.size() * j / groups;
      const Block block = {&h, c0, co_ * (i + 1) / parts - c0, m0, h.size() * (j + 1) / groups - m0, weights_};
      weights_ += s_.groups * block.taps() * tap_weights(block);
      blocks_.push_back(block);
    }
}

// Rows that are computed together fill whole tiles where they can.
void SlidePlan::set_ring() {
  const int64_t tile = tile_of(blocks_.front());
  while (chunk_ < tile && (chunk_ * vectors_ < tile || chunk_ * vectors_ % tile != 0)) chunk_++;
  copies_ = planes_ && e_.storage_bytes == e_.accumulator_bytes && columns_ % e_.width == 0;
  slots_ = (copies_ ? 2 : 1) * chunk_ + high_h_ - low_h_;
  for (int64_t v = 0; v < chunk_ * vectors_; v++) {
    const int64_t column = v % vectors_ * e_.width;
    chunk_vectors_.push_back({v / vectors_, (column + low_) * e_.accumulator_bytes, v / vectors_ * line_ + column});
  }
}

bool SlidePlan::pack_weights() {
  weight_ = static_cast<char*>(scratch(SCRATCH_CALL_A, (weights_ + 1) * e_.accumulator_bytes));
  std::atomic<bool> finite{true};
  const int64_t blocks = static_cast<int64_t>(blocks_.size()), area = s_.r * s_.s;
  parallel_for(blocks * s_.groups, [&](int64_t i) {
    const Block& block = blocks_[i % blocks];
    const int64_t group = i / blocks;
    const void* const data = element(call_.second, group * ci_ * co_ * area, e_.storage_bytes);
    std::vector<int64_t> offset;
    for (int64_t tap = 0; tap < block.taps(); tap++) {
      list_weights(block, tap, offset);
      char* const to = weight_ + weight_at(block, group, tap) * e_.accumulator_bytes;
      if (!e_.pack_weight({data, co_ * area, offset.data(), static_cast<int64_t>(offset.size()), ci_, to})) {
        finite = false;
      }
    }
  });
  return finite;
}

// Places of a channel's weights of one tap along h, in the order [shift][phase][row].
void SlidePlan::list_weights(const Block& block, int64_t tap, std::vector<int64_t>& offset) const {
  offset.clear();
  for (int64_t shift = 0; shift < pattern_->window; shift++)
    for (const AxisPhase& phase : w_.phases)
      for (const AxisTap& column : phase.taps) {
        if (column.delta - low_ != shift) continue;
        for (int64_t row = 0; row < block.rows(); row++) {
          const Merged::Member& member = block.h->members[block.m0 + row / block.channels];
          const int64_t c = block.c0 + row % block.channels;
          offset.push_back((c * s_.r + member.phase->taps[tap].k) * s_.s + column.k);
        }
      }
}

}  // namespace fracstride
