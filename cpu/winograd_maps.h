// Dilation with unit stride, for Winograd's filtering. Positions meet those that are a multiple of the dilation away
// and no others, so an image is as many maps as its positions have residues, each convolved without dilation by the
// same kernel. With a padding and sizes that are multiples of the dilation, all of these maps are alike.
#pragma once

#include <cstdint>

#include "conv.h"
#include "conv_args.h"

namespace fracstride {

struct ResidueMaps {
  int64_t h, w;

  // A single tap is nowhere apart from others.
  explicit ResidueMaps(const ConvShape& s) : h(s.r > 1 ? s.dh : 1), w(s.s > 1 ? s.dw : 1) {}

  // The problem with every map an image of its own.
  ConvShape shape(ConvShape s) const {
    s.n *= h * w;
    s.hs /= h;
    s.hl /= h;
    s.ph /= h;
    s.ws /= w;
    s.wl /= w;
    s.pw /= w;
    s.dh = s.dw = 1;
    return s;
  }

  // Map number `map` of a tensor that is a Source or Sink with the pitches of one position of a map to the next.
  template <class Tensor>
  Tensor map_of(Tensor tensor, int64_t map, int storage_bytes) const {
    const int64_t at =
        map / (h * w) * tensor.pitch_n + map / w % h * (tensor.pitch_h / h) + map % w * (tensor.pitch_w / w);
    tensor.data = element(tensor.data, at, storage_bytes);
    tensor.pitch_n = 0;
    return tensor;
  }
};

}  // namespace fracstride
