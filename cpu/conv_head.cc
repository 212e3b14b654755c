// contract where the large side has few channels, block by block of positions. See conv_head.h.
#include "conv_head.h"

#include <algorithm>
#include <vector>

#include "conv_plan.h"
#include "team.h"

namespace fracstride {
namespace {

// Positions of a block, and what the planes of channels that are added at once take of a second-level cache.
constexpr int64_t MOST_POSITIONS = 512, PLANES_BYTES = 256 * 1024;
// Channels that are turned together where they are neighbours: half a line of a cache.
constexpr int64_t TURNED_CHANNELS = 8;
// An output that no cache keeps is written past them.
constexpr int64_t STREAM_BYTES = 16 * 1024 * 1024;

// Sums of the positions of a block, and of what lies between its rows, in pairs of vectors; not a power of two.
int64_t sums_pitch_of(const Columns& columns, const ColumnsBlock& block, const HeadEngine& e) {
  const int64_t pairs = divide_up(columns.reach(block), e.lanes);
  return pairs * e.lanes + e.columns.width;
}

}  // namespace

void head_contract(void** params, const HeadEngine& engine, ConvLayout layout) {
  const ConvCall call = read_product_call(params);
  const ConvShape& s = call.shape;
  const int64_t bytes = engine.columns.storage_bytes, cs = s.cs / s.groups, cl = s.cl / s.groups;
  const Columns columns(s, pitches_of(layout, s.cl, s.hl, s.wl), engine.columns, MOST_POSITIONS,
                        layout == NCHW ? 1 : std::min(cl, TURNED_CHANNELS));
  if (cs == 0 || columns.blocks() == 0 || s.ws == 0) return;
  const int64_t fitting = std::max(layout == NCHW ? 1 : TURNED_CHANNELS, PLANES_BYTES / columns.channel_bytes());
  const int64_t together = std::max<int64_t>(1, std::min(cl, fitting));
  const bool channel_rows = layout == NCHW || together < cl || cs <= engine.lanes / 2;
  const HeadForm form = {s,
                         call.first,
                         call.second,
                         call.bias,
                         call.output,
                         pitches_of(layout, s.cl, s.hl, s.wl),
                         pitches_of(layout, s.cs, s.hs, s.ws),
                         cs,
                         columns.count(),
                         call.activation,
                         call.slope,
                         channel_rows};
  const auto group_of = [&](int64_t group) {
    HeadForm part = form;
    part.large = element(form.large, group * cl * form.pitch_large.c, bytes);
    part.weight = element(form.weight, group * cs * form.columns, bytes);
    part.bias = element(form.bias, group * cs, bytes);
    part.small = element(form.small, group * cs * form.pitch_small.c, bytes);
    return part;
  };
  const int64_t across = form.channel_rows ? engine.rows : engine.lanes, area = s.r * s.s;
  const int64_t weight_bytes = form.columns * divide_up(cs, across) * across * engine.columns.accumulator_bytes;
  char* const weight = static_cast<char*>(scratch(SCRATCH_CALL_A, s.groups * weight_bytes));
  bool finite = true;
  for (int64_t group = 0; group < s.groups; group++) {
    finite = engine.turn_weight(group_of(group), weight + group * weight_bytes) && finite;
  }
  const bool stream = s.n * s.cs * s.hs * s.ws * bytes >= STREAM_BYTES;
  parallel_for(columns.blocks() * s.groups, [&](int64_t i) {
    const int64_t group = i % s.groups;
    const ColumnsBlock block = columns.block(i / s.groups);
    const int64_t sums_pitch = sums_pitch_of(columns, block, engine);
    void* const sums =
        channel_rows ? scratch(SCRATCH_ITEM_A, cs * sums_pitch * engine.columns.accumulator_bytes) : nullptr;
    for (int64_t k = 0; k == 0 || k < cl; k += together) {
      const int64_t channels = std::min(together, cl - k);
      const char* const planes = columns.stage(call.first, group, block, k, channels);
      engine.contract(group_of(group),
                      {block, planes, columns.at(), k * area, channels * area, columns.pitch(),
                       weight + group * weight_bytes, sums, sums_pitch, k == 0, k + channels == cl, finite, stream});
    }
  });
}

}  // namespace fracstride
