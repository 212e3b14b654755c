// contract where the large side has few channels, block by block of positions. See conv_head.h.
#include "conv_head.h"

#include <algorithm>
#include <vector>

#include "conv_plan.h"
#include "team.h"

namespace fracstride {
namespace {

// What the columns of a block take, a part of a second-level cache, and its most positions.
constexpr int64_t BLOCK_BYTES = 64 * 1024, MOST_POSITIONS = 512;
// An output that no cache keeps is written past them.
constexpr int64_t STREAM_BYTES = 16 * 1024 * 1024;

int64_t depth_of(const ConvShape& s, const HeadEngine& e) {
  const int64_t columns = std::max<int64_t>(1, s.cl / s.groups * s.r * s.s);
  const int64_t fitting = BLOCK_BYTES / (columns * e.columns.accumulator_bytes) / e.lanes * e.lanes;
  return std::min(MOST_POSITIONS, std::max<int64_t>(e.lanes, fitting));
}

}  // namespace

void head_contract(void** params, const HeadEngine& engine, ConvLayout layout) {
  const ConvCall call = read_product_call(params);
  const ConvShape& s = call.shape;
  const int64_t bytes = engine.columns.storage_bytes, cs = s.cs / s.groups, cl = s.cl / s.groups;
  const Columns columns(s, pitches_of(layout, s.cl, s.hl, s.wl), engine.columns, depth_of(s, engine));
  if (cs == 0 || columns.blocks() == 0 || s.ws == 0) return;
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
                         layout == NCHW};
  const auto group_of = [&](int64_t group) {
    HeadForm part = form;
    part.large = element(form.large, group * cl * form.pitch_large.c, bytes);
    part.weight = element(form.weight, group * cs * form.columns, bytes);
    part.bias = element(form.bias, group * cs, bytes);
    part.small = element(form.small, group * cs * form.pitch_small.c, bytes);
    return part;
  };
  const int64_t across = form.channel_rows ? engine.rows : engine.lanes, pitch = columns.pitch();
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
    void* const x = scratch(SCRATCH_ITEM_A, form.columns * pitch * engine.columns.accumulator_bytes);
    columns.gather(call.first, group, block, x, pitch);
    engine.contract(group_of(group), {block, x, weight + group * weight_bytes, pitch, finite, stream});
  });
}

}  // namespace fracstride
