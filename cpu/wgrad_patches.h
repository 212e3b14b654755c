// The weight gradient of few channels k, or few c: elements of patches, (r, s, k), are the lanes.
#pragma once

#include "conv_args.h"
#include "wgrad.h"

namespace fracstride {

// False when it is not for this problem, or a sum is not finite and has to be taken over existing positions only.
bool wgrad_by_patches(const ConvCall& call, const WgradEngine& engine, ConvLayout layout);

// Whether channels c of a group are so few that other lanes hold more.
bool few_rows(const ConvShape& shape, const WgradEngine& engine);

}  // namespace fracstride
