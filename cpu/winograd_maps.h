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

  // The place of map number `map` in a tensor that is a Source or Sink of its maps.
  template <class Tensor>
  int64_t place_of(const Tensor& tensor, int64_t map) const {
    if (h * w == 1) return map * tensor.pitch_n;
    return map / (h * w) * tensor.pitch_n + map / w % h * (tensor.pitch_h / h) + map % w * (tensor.pitch_w / w);
  }

  // Map number `map` of a tensor that is a Source or Sink with the pitches of one position of a map to the next.
  template <class Tensor>
  Tensor map_of(Tensor tensor, int64_t map, int storage_bytes) const {
    tensor.data = element(tensor.data, place_of(tensor, map), storage_bytes);
    tensor.pitch_n = 0;
    return tensor;
  }

  // Whether the lines of a strip of `columns` positions are worth asking for: hardware follows long rows by itself.
  static bool is_short(const Source& source, int64_t columns, int storage_bytes) {
    constexpr int64_t SHORT_BYTES = 256;
    return source.pitch_c == 1 || columns * storage_bytes <= SHORT_BYTES;
  }

  // How far behind the strip of tiles `from` of a tensor the strip `to` is; a tile further is `step_h` or `step_w`
  // positions further.
  template <class Tensor>
  int64_t distance(const Tensor& tensor, const Run& from, const Run& to, int64_t step_h, int64_t step_w) const {
    const int64_t maps = to.n == from.n ? 0 : place_of(tensor, to.n) - place_of(tensor, from.n);
    return maps + (to.qh - from.qh) * step_h * tensor.pitch_h + (to.qw - from.qw) * step_w * tensor.pitch_w;
  }
};

}  // namespace fracstride
