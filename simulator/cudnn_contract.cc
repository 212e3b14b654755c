// The arithmetic of the stand-in for libcudnn: plain loops with channels innermost.
#include <algorithm>
#include <numeric>
#include <random>

#include "cudnn_problem.h"
#include "floats.h"

namespace simulator::cudnn {

namespace {

double load(Enum type, const void* from, int64_t at) {
  switch (type) {
    case kDouble:
      return static_cast<const double*>(from)[at];
    case kHalf:
      return to_float(static_cast<const Half*>(from)[at]);
    case kBfloat16:
      return to_float(static_cast<const Bf16*>(from)[at]);
    default:
      return static_cast<const float*>(from)[at];
  }
}

void store(Enum type, void* to, int64_t at, double value) {
  switch (type) {
    case kDouble:
      static_cast<double*>(to)[at] = value;
      return;
    case kHalf:
      static_cast<Half*>(to)[at] = to_half(value);
      return;
    case kBfloat16:
      static_cast<Bf16*>(to)[at] = to_bf16(value);
      return;
    default:
      static_cast<float*>(to)[at] = float(value);
  }
}

// beta = 0 leaves what was there unread.
void blend(Enum type, void* to, int64_t at, double sum, double alpha, double beta) {
  const double value = alpha * sum;
  store(type, to, at, beta == 0 ? value : value + beta * load(type, to, at));
}

double rounded_input(double value, Rounded rounded) {
  if (rounded == Rounded::kHalf) return to_float(to_half(value));
  if (rounded == Rounded::kTf32 && std::isfinite(value)) {
    const auto bits = std::bit_cast<uint32_t>(float(value));
    return std::bit_cast<float>((bits + 0x1000u) & ~0x1fffu);
  }
  return value;
}

// A tensor's elements with the channels innermost: [n][h][w][c].
template <class T>
std::vector<T> channels_last(const Shape& shape, const void* from, Rounded rounded) {
  const auto& [n, c, h, w] = shape.extents;
  std::vector<T> made(size_t(shape.elements()));
  size_t next = 0;
  for (int a = 0; a < n; ++a) {
    for (int y = 0; y < h; ++y) {
      for (int x = 0; x < w; ++x) {
        const int64_t at = a * shape.strides[0] + y * shape.strides[2] + x * shape.strides[3];
        for (int b = 0; b < c; ++b) {
          made[next++] = T(rounded_input(load(shape.type, from, at + b * shape.strides[1]), rounded));
        }
      }
    }
  }
  return made;
}

// The weight of a tap as it is stored: a convolution in the mathematician's sense turns it round.
int64_t tap_at(const Problem& p, int r, int s) {
  const int y = p.flipped ? p.kernel(0) - 1 - r : r, x = p.flipped ? p.kernel(1) - 1 - s : s;
  return y * p.w.strides[2] + x * p.w.strides[3];
}

// [group][r][s][summed][kept]: what the inner loop runs along is innermost.
template <class T>
std::vector<T> weights(const Problem& p, bool keep_outputs, const void* from, Rounded rounded) {
  const int inputs = p.inputs(), outputs = p.outputs();
  std::vector<T> made(size_t(p.w.elements()));
  size_t next = 0;
  for (int g = 0; g < p.groups; ++g) {
    for (int r = 0; r < p.kernel(0); ++r) {
      for (int s = 0; s < p.kernel(1); ++s) {
        for (int i = 0; i < (keep_outputs ? inputs : outputs); ++i) {
          for (int j = 0; j < (keep_outputs ? outputs : inputs); ++j) {
            const int k = g * outputs + (keep_outputs ? j : i), c = keep_outputs ? i : j;
            const int64_t at = k * p.w.strides[0] + c * p.w.strides[1] + tap_at(p, r, s);
            made[next++] = T(rounded_input(load(p.w.type, from, at), rounded));
          }
        }
      }
    }
  }
  return made;
}

// Where along an axis the output of the gather at `at` finds its operand for a tap; -1: nowhere.
int source(const Problem& p, int axis, int at, int tap) {
  const int offset = tap * p.dilation[axis] - p.pad[axis];
  if (p.form == Form::kForward) {
    const int from = at * p.stride[axis] + offset;
    return from >= 0 && from < p.x.extents[2 + axis] ? from : -1;
  }
  const int scaled = at - offset;
  if (scaled < 0 || scaled % p.stride[axis] != 0) return -1;
  return scaled / p.stride[axis] < p.y.extents[2 + axis] ? scaled / p.stride[axis] : -1;
}

std::vector<int> sources(const Problem& p, int axis, int extent) {
  std::vector<int> made;
  for (int at = 0; at < extent; ++at) {
    for (int tap = 0; tap < p.kernel(axis); ++tap) made.push_back(source(p, axis, at, tap));
  }
  return made;
}

std::vector<int> order_of(int64_t count, Sum sum, uint64_t seed) {
  std::vector<int> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  if (sum == Sum::kShuffled) std::shuffle(order.begin(), order.end(), std::mt19937_64(seed));
  return order;
}

// Forward, and backward by data: each element of the result gathers a tap and a channel at a time.
template <class T>
void gather(const Problem& p, Arithmetic how, uint64_t seed, const void* a, const void* b, double alpha, double beta,
            void* out) {
  const bool forward = p.form == Form::kForward;
  const Shape& from = forward ? p.x : p.y;
  const Shape& to = forward ? p.y : p.x;
  const int summed = forward ? p.inputs() : p.outputs(), kept = forward ? p.outputs() : p.inputs();
  const std::vector<T> operand = channels_last<T>(from, forward ? a : b, how.rounded);
  const std::vector<T> weight = weights<T>(p, forward, forward ? b : a, how.rounded);
  const int kernel_w = p.kernel(1), taps = p.kernel(0) * kernel_w;
  const std::vector<int> terms = order_of(int64_t(taps) * summed, how.sum, seed);
  const std::vector<int> rows = sources(p, 0, to.extents[2]), columns = sources(p, 1, to.extents[3]);
  std::vector<T> sums(static_cast<size_t>(kept));
  for (int n = 0; n < to.extents[0]; ++n) {
    for (int y = 0; y < to.extents[2]; ++y) {
      for (int x = 0; x < to.extents[3]; ++x) {
        for (int g = 0; g < p.groups; ++g) {
          std::fill(sums.begin(), sums.end(), T(0));
          for (const int term : terms) {
            const int tap = term / summed, channel = term % summed;
            const int row = rows[size_t(y * p.kernel(0) + tap / kernel_w)];
            const int column = columns[size_t(x * kernel_w + tap % kernel_w)];
            if (row < 0 || column < 0) continue;
            const int64_t pixel = (int64_t(n) * from.extents[2] + row) * from.extents[3] + column;
            const T value = operand[size_t(pixel * from.extents[1] + g * summed + channel)];
            const T* factors = weight.data() + (int64_t(g) * taps * summed + term) * kept;
            for (int i = 0; i < kept; ++i) sums[size_t(i)] += value * factors[i];
          }
          const int64_t at = n * to.strides[0] + y * to.strides[2] + x * to.strides[3];
          for (int i = 0; i < kept; ++i) {
            blend(to.type, out, at + (g * kept + i) * to.strides[1], double(sums[size_t(i)]), alpha, beta);
          }
        }
      }
    }
  }
}

// Backward by filter: each weight sums over pixels.
template <class T>
void scatter(const Problem& p, Arithmetic how, uint64_t seed, const void* a, const void* b, double alpha, double beta,
             void* out) {
  const std::vector<T> x = channels_last<T>(p.x, a, how.rounded), y = channels_last<T>(p.y, b, how.rounded);
  const int inputs = p.inputs(), outputs = p.outputs();
  const int height = p.y.extents[2], width = p.y.extents[3];
  const std::vector<int> pixels = order_of(int64_t(p.images()) * height * width, how.sum, seed);
  std::vector<T> sums(size_t(inputs) * size_t(outputs));
  for (int r = 0; r < p.kernel(0); ++r) {
    for (int s = 0; s < p.kernel(1); ++s) {
      for (int g = 0; g < p.groups; ++g) {
        std::fill(sums.begin(), sums.end(), T(0));
        for (const int pixel : pixels) {
          const int n = pixel / (height * width), row = pixel / width % height, column = pixel % width;
          const int h = row * p.stride[0] - p.pad[0] + r * p.dilation[0];
          const int w = column * p.stride[1] - p.pad[1] + s * p.dilation[1];
          if (h < 0 || h >= p.x.extents[2] || w < 0 || w >= p.x.extents[3]) continue;
          const int64_t place = (int64_t(n) * p.x.extents[2] + h) * p.x.extents[3] + w;
          const T* values = x.data() + place * p.x.extents[1] + g * inputs;
          const T* factors = y.data() + int64_t(pixel) * p.y.extents[1] + g * outputs;
          for (int k = 0; k < outputs; ++k) {
            T* to = sums.data() + size_t(k) * size_t(inputs);
            for (int c = 0; c < inputs; ++c) to[c] += factors[k] * values[c];
          }
        }
        for (int k = 0; k < outputs; ++k) {
          for (int c = 0; c < inputs; ++c) {
            const int64_t at = (g * outputs + k) * p.w.strides[0] + c * p.w.strides[1] + tap_at(p, r, s);
            blend(p.w.type, out, at, double(sums[size_t(k) * size_t(inputs) + size_t(c)]), alpha, beta);
          }
        }
      }
    }
  }
}

}  // namespace

int element_bytes(Enum type) {
  return type == kDouble ? 8 : type == kFloat ? 4 : 2;
}

uint64_t Shape::bytes() const {
  return uint64_t(elements()) * uint64_t(element_bytes(type));
}

Arithmetic arithmetic(const Problem& problem, Enum algo, int arch) {
  const bool cores = tensor_cores(problem, algo, arch);
  Arithmetic how;
  if (!deterministic(problem.form, algo)) {
    how.sum = Sum::kShuffled;
  } else if (cores) {
    how.sum = Sum::kFloat;
  }
  // Before Ampere, float data reach tensor cores as halves.
  if (cores && problem.type() == kFloat) how.rounded = arch >= 80 ? Rounded::kTf32 : Rounded::kHalf;
  return how;
}

void contract(const Problem& problem, Arithmetic how, uint64_t seed, const void* a, const void* b, double alpha,
              double beta, void* out) {
  const bool wide = how.sum == Sum::kExact || problem.type() == kDouble;
  if (problem.form == Form::kFilter) {
    (wide ? scatter<double> : scatter<float>)(problem, how, seed, a, b, alpha, beta, out);
  } else {
    (wide ? gather<double> : gather<float>)(problem, how, seed, a, b, alpha, beta, out);
  }
}

void sum_to_bias(const Shape& y, const void* from, double alpha, double beta, const Shape& bias, void* out) {
  const auto& [n, c, h, w] = y.extents;
  for (int channel = 0; channel < c; ++channel) {
    double sum = 0;
    for (int a = 0; a < n; ++a) {
      for (int i = 0; i < h; ++i) {
        const int64_t at = a * y.strides[0] + channel * y.strides[1] + i * y.strides[2];
        for (int j = 0; j < w; ++j) sum += load(y.type, from, at + j * y.strides[3]);
      }
    }
    blend(bias.type, out, channel * bias.strides[1], sum, alpha, beta);
  }
}

void add(const Shape& a, const void* from, double alpha, double beta, const Shape& c, void* out) {
  int64_t step[4];
  for (int axis = 0; axis < 4; ++axis) step[axis] = a.extents[axis] == 1 ? 0 : a.strides[axis];
  for (int i = 0; i < c.extents[0]; ++i) {
    for (int j = 0; j < c.extents[1]; ++j) {
      for (int k = 0; k < c.extents[2]; ++k) {
        for (int l = 0; l < c.extents[3]; ++l) {
          const double value = load(a.type, from, i * step[0] + j * step[1] + k * step[2] + l * step[3]);
          const int64_t at = i * c.strides[0] + j * c.strides[1] + k * c.strides[2] + l * c.strides[3];
          blend(c.type, out, at, value, alpha, beta);
        }
      }
    }
  }
}

}  // namespace simulator::cudnn
