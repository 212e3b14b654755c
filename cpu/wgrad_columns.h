// The weight gradient of few channels k: positions are the lanes, and pairs (k, tap) columns of them.
#pragma once

#include "conv_args.h"
#include "wgrad.h"

namespace fracstride {

// False when it is not for this problem, or a sum is not finite and has to be taken over existing positions only.
bool wgrad_by_columns(const ConvCall& call, const WgradEngine& engine, ConvLayout layout);

}  // namespace fracstride
