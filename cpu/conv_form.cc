#include "conv_form.h"

#include <utility>

namespace fracstride {
namespace {

struct Side {
  int64_t c, h, w;
};

// How far apart in the weight neighbouring input channels and neighbouring output channels are.
struct WeightPitches {
  int64_t ci, co;
};

ConvForm make_form(const ConvCall& call, ConvLayout layout, const Side& in, const Side& out, Axis h, Axis w,
                   WeightPitches weight) {
  const ConvShape& s = call.shape;
  const Pitches from = pitches_of(layout, in.c, in.h, in.w), to = pitches_of(layout, out.c, out.h, out.w);
  const Source source = {call.first, from.n, from.c, from.h, from.w, in.h, in.w, h.input_step, w.input_step};
  const Sink sink = {call.output, call.bias, to.n, to.c, to.h, to.w, call.activation, call.slope};
  return {s.n,          s.groups,    in.c / s.groups, out.c / s.groups, source, sink,     std::move(h),
          std::move(w), call.second, weight.ci,       weight.co,        s.s,    s.r * s.s};
}

}  // namespace

ConvForm expand_form(const ConvCall& call, ConvLayout layout) {
  const ConvShape& s = call.shape;
  return make_form(call, layout, {s.cs, s.hs, s.ws}, {s.cl, s.hl, s.wl}, expand_axis(s.hs, s.hl, s.r, s.sh, s.ph, s.dh),
                   expand_axis(s.ws, s.wl, s.s, s.sw, s.pw, s.dw), {s.cl / s.groups * s.r * s.s, s.r * s.s});
}

ConvForm contract_form(const ConvCall& call, ConvLayout layout) {
  const ConvShape& s = call.shape;
  return make_form(call, layout, {s.cl, s.hl, s.wl}, {s.cs, s.hs, s.ws},
                   contract_axis(s.hl, s.hs, s.r, s.sh, s.ph, s.dh), contract_axis(s.wl, s.ws, s.s, s.sw, s.pw, s.dw),
                   {s.r * s.s, s.cl / s.groups * s.r * s.s});
}

void rebind(ConvForm& form, const ConvCall& call) {
  form.source.data = call.first;
  form.weight = call.second;
  form.sink.data = call.output;
  form.sink.bias = call.bias;
  form.sink.activation = call.activation;
  form.sink.slope = call.slope;
}

}  // namespace fracstride
