// A convolution as its descriptors say it, and what the algorithms make of it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cudnn_api.h"

namespace simulator::cudnn {

enum class Form { kForward, kData, kFilter };

// Four extents with the distance of neighbours along each, in elements: n c h w of a tensor, k c r s of a filter.
struct Shape {
  Enum type = kFloat;
  int extents[4] = {0, 0, 0, 0};
  int64_t strides[4] = {0, 0, 0, 0};

  int64_t elements() const { return int64_t(extents[0]) * extents[1] * extents[2] * extents[3]; }
  uint64_t bytes() const;
};

int element_bytes(Enum type);

// y[n, k, p, q] = Σ x[n, c, p·stride − pad + r·dilation, …] w[k, c, r, s], whichever of the three is asked for.
struct Problem {
  Form form = Form::kForward;
  Shape x, w, y;
  int pad[2] = {0, 0}, stride[2] = {1, 1}, dilation[2] = {1, 1};
  bool flipped = false;  // CUDNN_CONVOLUTION
  int groups = 1;
  bool nhwc = false;
  Enum math = kDefaultMath;

  Enum type() const { return x.type; }
  int images() const { return x.extents[0]; }
  int kernel(int axis) const { return w.extents[2 + axis]; }
  // Channels of a group.
  int inputs() const { return x.extents[1] / groups; }
  int outputs() const { return y.extents[1] / groups; }
};

// cudnn_algorithms.cc
constexpr int kAlgorithms[] = {8, 6, 7};  // of the forms
struct Verdict {
  Status status = kSUCCESS;
  std::string rule;  // what the problem must be
};
Verdict legal(const Problem& problem, Enum algo, int arch);
bool deterministic(Form form, Enum algo);
// Whether it multiplies with tensor cores: the algorithm can, and the data, the device and the math type let it.
bool tensor_cores(const Problem& problem, Enum algo, int arch);
uint64_t workspace(const Problem& problem, Enum algo, int arch, uint64_t least);
// Every algorithm with every math type it may take; those that can run first, the fastest first. `measured`: as
// Find*Ex orders them, with times; else as the heuristics guess.
std::vector<Performance> ranked(const Problem& problem, int arch, uint64_t least, bool measured);

// cudnn_contract.cc
enum class Sum { kExact, kFloat, kShuffled };  // float64; float32 in order; float32 in another order each time
enum class Rounded { kNot, kTf32, kHalf };     // what inputs are rounded to before they are multiplied
struct Arithmetic {
  Sum sum = Sum::kExact;
  Rounded rounded = Rounded::kNot;
};
Arithmetic arithmetic(const Problem& problem, Enum algo, int arch);
// out = alpha · contraction(a, b) + beta · out: x and w, w and dy, or x and dy by form.
void contract(const Problem& problem, Arithmetic how, uint64_t seed, const void* a, const void* b, double alpha,
              double beta, void* out);
// out[c] = alpha · Σ y[n, c, h, w] + beta · out[c]
void sum_to_bias(const Shape& y, const void* from, double alpha, double beta, const Shape& bias, void* out);
// out = alpha · a, broadcast, + beta · out
void add(const Shape& a, const void* from, double alpha, double beta, const Shape& c, void* out);

}  // namespace simulator::cudnn
