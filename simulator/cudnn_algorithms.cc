// What the algorithms of the stand-in for libcudnn take, ask for and promise. Their speeds are a model's, without
// noise: README.md describes it.
#include <algorithm>
#include <cmath>

#include "cudnn_problem.h"

namespace simulator::cudnn {

namespace {

enum class Method {
  kGemm,
  kPrecomputed,
  kExplicit,
  kDirect,
  kFft,
  kFftTiles,
  kWinograd,
  kWinogradParts,
  kAtomics,
  kSplit
};

struct Algorithm {
  Method method;
  bool deterministic;
  bool cores;         // has a kernel for tensor cores
  double efficiency;  // share of the arithmetic peak
  double latency;     // milliseconds before anything happens
};

const Algorithm kForward[] = {
    {Method::kGemm, true, false, 0.45, 0.004},     {Method::kPrecomputed, true, true, 0.75, 0.006},
    {Method::kExplicit, true, false, 0.6, 0.012},  {Method::kDirect, true, false, 0.5, 0.004},
    {Method::kFft, true, false, 0.4, 0.03},        {Method::kFftTiles, true, false, 0.4, 0.025},
    {Method::kWinograd, true, false, 0.55, 0.008}, {Method::kWinogradParts, true, true, 0.5, 0.015},
};
const Algorithm kBackwardData[] = {
    {Method::kAtomics, false, false, 0.4, 0.004},  {Method::kPrecomputed, true, true, 0.7, 0.007},
    {Method::kFft, true, false, 0.4, 0.03},        {Method::kFftTiles, true, false, 0.4, 0.025},
    {Method::kWinograd, true, false, 0.55, 0.008}, {Method::kWinogradParts, true, true, 0.5, 0.015},
};
const Algorithm kBackwardFilter[] = {
    {Method::kAtomics, false, false, 0.4, 0.004}, {Method::kPrecomputed, true, true, 0.7, 0.009},
    {Method::kFft, true, false, 0.4, 0.03},       {Method::kSplit, false, false, 0.5, 0.006},
    {Method::kDirect, true, false, 0.5, 0.004},   {Method::kWinogradParts, true, true, 0.5, 0.015},
    {Method::kFftTiles, true, false, 0.4, 0.025},
};

const Algorithm& algorithm(Form form, Enum algo) {
  const Algorithm* const tables[] = {kForward, kBackwardData, kBackwardFilter};
  return tables[int(form)][algo];
}

bool winograd(Method method) {
  return method == Method::kWinograd || method == Method::kWinogradParts;
}

bool fourier(Method method) {
  return method == Method::kFft || method == Method::kFftTiles;
}

bool half(Enum type) {
  return type == kHalf || type == kBfloat16;
}

bool both(const int (&pair)[2], int value) {
  return pair[0] == value && pair[1] == value;
}

uint64_t up(uint64_t n, uint64_t to) {
  return (n + to - 1) / to * to;
}

int power_of_two(int n) {
  int power = 1;
  while (power < n) power *= 2;
  return power;
}

// Transformed maps of the three operands, by points of one map and maps of an image.
uint64_t transformed(const Problem& p, uint64_t point_bytes, uint64_t points, uint64_t tiles) {
  const uint64_t images = uint64_t(p.images()) * tiles;
  const uint64_t maps = images * (uint64_t(p.x.extents[1]) + uint64_t(p.y.extents[1])) +
                        uint64_t(p.w.extents[0]) * uint64_t(p.w.extents[1]);
  return maps * points * point_bytes;
}

uint64_t tiles(const Problem& p, int outputs) {
  const uint64_t rows = uint64_t((p.y.extents[2] + outputs - 1) / outputs);
  return rows * uint64_t((p.y.extents[3] + outputs - 1) / outputs);
}

uint64_t asked(const Problem& p, Method method, bool cores) {
  const uint64_t all = p.x.bytes() + p.w.bytes() + p.y.bytes();
  const uint64_t taps = uint64_t(p.kernel(0)) * uint64_t(p.kernel(1));
  switch (method) {
    case Method::kPrecomputed: {
      // A table of offsets, copies with channels last for tensor cores, partial sums of a filter.
      const uint64_t table = up(4 * taps * uint64_t(p.inputs()), 256) + 1024;
      const uint64_t partial = p.form == Form::kFilter ? uint64_t(p.w.elements()) * 4 * 8 : 0;
      return table + (cores && !p.nhwc ? up(all, 256) : 0) + partial;
    }
    case Method::kExplicit:
      return uint64_t(p.y.extents[2]) * uint64_t(p.y.extents[3]) * taps * uint64_t(p.inputs()) *
             uint64_t(element_bytes(p.type()));
    case Method::kFft: {
      const int rows = power_of_two(p.x.extents[2] + 2 * p.pad[0]);
      const int columns = power_of_two(p.x.extents[3] + 2 * p.pad[1]);
      return transformed(p, 8, uint64_t(rows) * uint64_t(columns / 2 + 1), 1);
    }
    case Method::kFftTiles:
      return transformed(p, 8, 32 * 17, tiles(p, std::max(1, 33 - std::max(p.kernel(0), p.kernel(1)))));
    case Method::kWinograd:
      return uint64_t(p.w.extents[0]) * uint64_t(p.w.extents[1]) * 16 * 4;
    case Method::kWinogradParts:
      return p.kernel(0) == 3 ? transformed(p, 4, 36, tiles(p, 4)) : transformed(p, 4, 64, tiles(p, 4));
    case Method::kAtomics:
      // Halves are summed in float beside the result.
      return half(p.type()) ? uint64_t((p.form == Form::kFilter ? p.w : p.x).elements()) * 4 : 0;
    case Method::kSplit:
      return up(uint64_t(p.w.elements()) * 4 * 2, 256) + 65536;
    default:
      return 0;
  }
}

// Multiplications that are left of those that the definition has.
double left_of_work(const Problem& p, Method method) {
  const double taps = double(p.kernel(0)) * p.kernel(1);
  if (method == Method::kWinograd) return 1 / 2.25;
  if (method == Method::kWinogradParts) return p.kernel(0) == 3 ? 1 / 4.0 : 1 / 6.25;
  if (fourier(method)) return std::min(1.5, 6 / taps + 0.05);
  return 1;
}

// In milliseconds. The heuristics do not see what memory a workspace and atomics cost.
double duration(const Problem& p, Enum algo, bool cores, int arch, uint64_t workspace_bytes, bool measured) {
  const Algorithm& a = algorithm(p.form, algo);
  const double taps = double(p.kernel(0)) * p.kernel(1);
  const double operations = 2 * double(p.y.elements()) * taps * p.inputs() * left_of_work(p, a.method);
  const double peak = cores ? (half(p.type()) ? 700e9 : 350e9) : p.type() == kDouble ? 30e9 : 50e9;  // a millisecond
  const double width = std::min(1.0, std::min(p.inputs(), p.outputs()) / (cores ? 32.0 : 8.0));
  const double older = arch >= 90 ? 1 : arch >= 80 ? 0.4 : 0.15;
  double bytes = double(p.x.bytes() + p.w.bytes() + p.y.bytes());
  if (measured) {
    bytes += 2 * double(workspace_bytes);
    if (a.method == Method::kAtomics) bytes += 2 * double((p.form == Form::kFilter ? p.w : p.x).bytes());
  }
  const double arithmetic = operations / (peak * older * a.efficiency * std::max(width, 0.05));
  return a.latency + std::max(arithmetic, bytes / (3e9 * older));
}

// Whether the math type lets data of this type reach tensor cores.
bool permitted(const Problem& p, int arch) {
  switch (p.type()) {
    case kHalf:
      return p.math == kTensorOp || p.math == kConvert;
    case kBfloat16:
      return arch >= 80 && (p.math == kTensorOp || p.math == kConvert);
    case kFloat:
      return arch >= 80 ? p.math != kFma : p.math == kConvert;
    default:
      return false;
  }
}

// What a kernel without tensor cores says its math type is.
Enum plain_math(const Problem& p) {
  if (p.type() == kFloat || p.math == kFma) return kFma;
  return kDefaultMath;
}

Verdict legal_winograd(const Problem& p, Method method) {
  if (!both(p.stride, 1)) return {kNOT_SUPPORTED, "stride of a Winograd algorithm must be 1"};
  if (!both(p.dilation, 1)) return {kNOT_SUPPORTED, "dilation of a Winograd algorithm must be 1"};
  if (p.nhwc) return {kNOT_SUPPORTED_LAYOUT, "layout of a Winograd algorithm must be NCHW"};
  const bool three = p.kernel(0) == 3 && p.kernel(1) == 3, five = p.kernel(0) == 5 && p.kernel(1) == 5;
  const bool taken = three || (five && method == Method::kWinogradParts && p.type() == kFloat);
  if (!taken) return {kNOT_SUPPORTED_SHAPE, "filter of a Winograd algorithm must be 3x3 (5x5 in parts and in float)"};
  if (p.pad[0] >= p.kernel(0) || p.pad[1] >= p.kernel(1)) {
    return {kNOT_SUPPORTED_SHAPE, "padding of a Winograd algorithm must be less than the filter"};
  }
  if (p.type() == kDouble) return {kNOT_SUPPORTED_DATA_TYPE, "data of a Winograd algorithm must not be double"};
  return {};
}

Verdict legal_fourier(const Problem& p, Method method) {
  if (!both(p.stride, 1)) return {kNOT_SUPPORTED, "stride of an FFT algorithm must be 1"};
  if (!both(p.dilation, 1)) return {kNOT_SUPPORTED, "dilation of an FFT algorithm must be 1"};
  if (p.nhwc) return {kNOT_SUPPORTED_LAYOUT, "layout of an FFT algorithm must be NCHW"};
  if (p.type() == kDouble || p.type() == kBfloat16) {
    return {kNOT_SUPPORTED_DATA_TYPE, "data of an FFT algorithm must be float or half"};
  }
  for (int axis = 0; axis < 2; ++axis) {
    if (p.pad[axis] >= p.kernel(axis)) {
      return {kNOT_SUPPORTED_SHAPE, "padding of an FFT algorithm must be less than the filter"};
    }
    if (method == Method::kFft && p.x.extents[2 + axis] + 2 * p.pad[axis] > 256) {
      return {kNOT_SUPPORTED_SHAPE, "padded map of the FFT algorithm must be at most 256 wide and high"};
    }
    if (method == Method::kFftTiles && p.kernel(axis) > 32) {
      return {kNOT_SUPPORTED_SHAPE, "filter of the tiled FFT algorithm must be at most 32 wide and high"};
    }
  }
  return {};
}

}  // namespace

bool deterministic(Form form, Enum algo) {
  return algorithm(form, algo).deterministic;
}

bool tensor_cores(const Problem& problem, Enum algo, int arch) {
  return algorithm(problem.form, algo).cores && permitted(problem, arch);
}

uint64_t workspace(const Problem& problem, Enum algo, int arch, uint64_t least) {
  const uint64_t bytes = asked(problem, algorithm(problem.form, algo).method, tensor_cores(problem, algo, arch));
  return bytes == 0 ? 0 : std::max(bytes, least);
}

Verdict legal(const Problem& p, Enum algo, int arch) {
  if (algo < 0 || algo >= kAlgorithms[int(p.form)]) {
    return {kBAD_PARAM, "algorithm must be one of 0 to " + std::to_string(kAlgorithms[int(p.form)] - 1)};
  }
  const Method method = algorithm(p.form, algo).method;
  if (p.type() == kBfloat16 && arch < 80) {
    return {kNOT_SUPPORTED_ARCH_MISMATCH, "device must be of compute capability 8.0 or later for bfloat16"};
  }
  if (p.nhwc && p.type() == kDouble) return {kNOT_SUPPORTED_LAYOUT, "layout of double data must be NCHW"};
  if (method == Method::kDirect) return {kNOT_SUPPORTED, "algorithm must be one that is implemented"};
  if (winograd(method)) return legal_winograd(p, method);
  if (fourier(method)) return legal_fourier(p, method);
  if (method == Method::kExplicit || method == Method::kSplit) {
    if (!both(p.dilation, 1)) return {kNOT_SUPPORTED, "dilation of this algorithm must be 1"};
    if (p.nhwc) return {kNOT_SUPPORTED_LAYOUT, "layout of this algorithm must be NCHW"};
  }
  return {};
}

std::vector<Performance> ranked(const Problem& problem, int arch, uint64_t least, bool measured) {
  struct Row {
    Performance performance;
    double expected;
  };
  std::vector<Row> rows;
  for (Enum algo = 0; algo < kAlgorithms[int(problem.form)]; ++algo) {
    Problem plain = problem;
    if (tensor_cores(problem, algo, arch)) plain.math = kFma;
    const Enum maths[] = {problem.math, plain_math(plain)};
    for (int second = tensor_cores(problem, algo, arch) ? 0 : 1; second < 2; ++second) {
      Problem chosen = problem;
      chosen.math = maths[second];
      // Halves without tensor cores are the default, not a restriction.
      if (second == 1 && half(problem.type()) && problem.math != kFma) chosen.math = kDefaultMath;
      Row row{};
      row.performance.algo = algo;
      row.performance.status = legal(chosen, algo, arch).status;
      row.performance.determinism = deterministic(problem.form, algo) ? kDeterministic : kNonDeterministic;
      row.performance.math = chosen.math;
      row.performance.time = -1;
      row.expected = INFINITY;
      if (row.performance.status == kSUCCESS) {
        const uint64_t bytes = workspace(chosen, algo, arch, least);
        row.performance.memory = size_t(bytes);
        row.expected = duration(chosen, algo, tensor_cores(chosen, algo, arch), arch, bytes, measured);
        if (measured) row.performance.time = float(row.expected);
      }
      rows.push_back(row);
    }
  }
  std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.expected < b.expected; });
  std::vector<Performance> found;
  for (const Row& row : rows) found.push_back(row.performance);
  return found;
}

}  // namespace simulator::cudnn
