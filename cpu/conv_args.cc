#include "conv_args.h"

#include <cstring>
#include <stdexcept>
#include <string>

namespace fracstride {
namespace {

template <class Value>
Value value_of(void** params, int index) {
  Value value;
  std::memcpy(&value, params[index], sizeof value);
  return value;
}

ConvShape read_shape(void** params, int at) {
  int64_t v[16];
  for (int i = 0; i < 16; i++) v[i] = value_of<int32_t>(params, at + i);
  for (int i = 0; i < 16; i++) {
    const bool positive = i == 7 || i == 8 || i == 9 || i == 10 || i == 13 || i == 14 || i == 15;
    if (v[i] < (positive ? 1 : 0)) {
      throw std::invalid_argument("size " + std::to_string(i) + " of a convolution must be at least " +
                                  (positive ? "1" : "0") + ", got " + std::to_string(v[i]));
    }
  }
  const ConvShape s = {v[0], v[1], v[2],  v[3],  v[4],  v[5],  v[6],  v[7],
                       v[8], v[9], v[10], v[11], v[12], v[13], v[14], v[15]};
  if (s.cs % s.groups != 0 || s.cl % s.groups != 0) {
    throw std::invalid_argument("channels of a convolution must be divisible by " + std::to_string(s.groups) +
                                " groups, got " + std::to_string(s.cs) + " and " + std::to_string(s.cl));
  }
  return s;
}

}  // namespace

ConvCall read_packing_call(void** params) {
  // A pointer more, behind the operands: what follows is one place further on.
  void* const packed = value_of<void*>(params, 4);
  void* rest[22];
  for (int i = 0; i < 22; i++) rest[i] = params[i < 4 ? i : i + 1];
  ConvCall call = read_product_call(rest);
  call.packed = packed;
  call.packed_bytes = value_of<int64_t>(params, 23);
  call.stamp = value_of<int64_t>(params, 24);
  return call;
}

PackedHeader& packed_header(const ConvCall& call, int64_t bytes) {
  const int64_t needed = bytes + static_cast<int64_t>(sizeof(PackedHeader));
  if (call.packed_bytes < needed) {
    throw std::invalid_argument("the buffer for a packed weight must have " + std::to_string(needed) + " bytes, got " +
                                std::to_string(call.packed_bytes));
  }
  if (reinterpret_cast<uintptr_t>(call.packed) % alignof(PackedHeader) != 0) {
    throw std::invalid_argument(
        "the buffer for a packed weight must begin at a multiple of 64 bytes, got another address");
  }
  return *static_cast<PackedHeader*>(call.packed);
}

ConvCall read_product_call(void** params) {
  ConvCall call = {};
  call.first = value_of<void*>(params, 0);
  call.second = value_of<void*>(params, 1);
  call.bias = value_of<void*>(params, 2);
  call.output = value_of<void*>(params, 3);
  call.shape = read_shape(params, 4);
  call.activation = value_of<int32_t>(params, 20);
  call.slope = value_of<double>(params, 21);
  return call;
}

ConvCall read_wgrad_call(void** params) {
  ConvCall call = {};
  call.first = value_of<void*>(params, 0);
  call.second = value_of<void*>(params, 1);
  call.output = value_of<void*>(params, 2);
  call.shape = read_shape(params, 3);
  return call;
}

Pitches pitches_of(ConvLayout layout, int64_t c, int64_t h, int64_t w) {
  if (layout == NCHW) return {c * h * w, h * w, w, 1};
  return {h * w * c, 1, w * c, c};
}

}  // namespace fracstride
