// expand and contract as one contraction from an input to an output tensor: what its drivers share.
#pragma once

#include <cstdint>

#include "conv_args.h"
#include "conv_plan.h"

namespace fracstride {

struct ConvForm {
  int64_t n, groups;
  // Channels of a group.
  int64_t ci, co;
  Source source;
  Sink sink;
  Axis h, w;
  // Element (ci, co, kh, kw) of group g at g · ci · co · kernel_area + ci · weight_pitch_c + co · weight_pitch_co +
  // kh · kernel_w + kw.
  const void* weight;
  int64_t weight_pitch_c, weight_pitch_co, kernel_w, kernel_area;
};

ConvForm expand_form(const ConvCall& call, ConvLayout layout);
ConvForm contract_form(const ConvCall& call, ConvLayout layout);

// Of a form that another call of the same problem left: this call's tensors and activation.
void rebind(ConvForm& form, const ConvCall& call);

}  // namespace fracstride
