// The arguments of the convolution kernels, read from a launch and checked.
#pragma once

#include <cstdint>

#include "conv.h"

namespace fracstride {

struct ConvCall {
  const void* first;
  const void* second;
  const void* bias;
  void* output;
  ConvShape shape;
  int activation;
  double slope;
  // The buffer for the re-ordered weight, and the name of what it should hold.
  void* packed;
  int64_t packed_bytes, stamp;
};

// What a packed weight begins with; its contents follow.
struct alignas(64) PackedHeader {
  int64_t stamp;
  bool finite;
};

// Arguments of the `packing` and `general` tables of codegen/passes.ts.
ConvCall read_packing_call(void** params);
ConvCall read_product_call(void** params);
ConvCall read_wgrad_call(void** params);

// The call's packed weight, of `bytes` bytes besides the header; refuses a buffer that is too small for it.
PackedHeader& packed_header(const ConvCall& call, int64_t bytes);

// The contents of the call's packed weight. Unless an earlier call has left them there, pack(contents) makes them and
// says whether every weight is finite.
template <class Pack>
const PackedHeader& packed_weight(const ConvCall& call, int64_t bytes, const Pack& pack) {
  PackedHeader& header = packed_header(call, bytes);
  if (header.stamp == call.stamp) return header;
  header.stamp = 0;
  header.finite = pack(reinterpret_cast<char*>(&header + 1));
  header.stamp = call.stamp;
  return header;
}

// The contractions as direct products (conv_product.cc). Where the call has no buffer for the packed weight, it is
// packed into scratch memory.
void expand_product(const ConvCall& call, const ConvEngine& engine, ConvLayout layout, ConvLanes lanes);
void contract_product(const ConvCall& call, const ConvEngine& engine, ConvLayout layout, ConvLanes lanes);

// Pitches of a [n, c, h, w] tensor in a layout, for positions one step apart.
struct Pitches {
  int64_t n, c, h, w;
};
Pitches pitches_of(ConvLayout layout, int64_t c, int64_t h, int64_t w);

inline const void* element(const void* data, int64_t index, int bytes) {
  return data == nullptr ? nullptr : static_cast<const char*>(data) + index * bytes;
}
inline void* element(void* data, int64_t index, int bytes) {
  return static_cast<char*>(data) + index * bytes;
}

}  // namespace fracstride
