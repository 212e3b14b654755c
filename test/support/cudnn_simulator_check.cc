// Drives a cuDNN library on a CUDA driver library as a program does, one scenario a run: cudnn_simulator_check LIBCUDA
// LIBCUDNN SCENARIO, or all of them without SCENARIO. Prints what was not as expected, and "ok" when nothing was. Uses
// cuDNN's and CUDA's entries only, beside the control of both stand-ins.
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#define SIMULATOR_TYPES_ONLY
#include "simulator/cudnn_api.h"

using namespace simulator::cudnn;
namespace cu = simulator::driver;

namespace {

struct CudaCalls {
  cu::Result (*init)(unsigned) = nullptr;
  cu::Result (*retain)(cu::ContextHandle*, cu::DeviceId) = nullptr;
  cu::Result (*reset)(cu::DeviceId) = nullptr;
  cu::Result (*set_current)(cu::ContextHandle) = nullptr;
  cu::Result (*stream_create)(cu::StreamHandle*, unsigned) = nullptr;
  cu::Result (*stream_destroy)(cu::StreamHandle) = nullptr;
  cu::Result (*stream_synchronize)(cu::StreamHandle) = nullptr;
  cu::Result (*allocate)(cu::Pointer*, size_t) = nullptr;
  cu::Result (*free)(cu::Pointer) = nullptr;
  cu::Result (*copy_in)(cu::Pointer, const void*, size_t) = nullptr;
  cu::Result (*copy_out)(void*, cu::Pointer, size_t) = nullptr;
  cu::Result (*fill)(cu::Pointer, unsigned char, size_t, cu::StreamHandle) = nullptr;
  cu::Result (*begin_capture)(cu::StreamHandle, cu::Enum) = nullptr;
  cu::Result (*end_capture)(cu::StreamHandle, cu::GraphHandle*) = nullptr;
  cu::Result (*instantiate)(cu::GraphExecHandle*, cu::GraphHandle, unsigned long long) = nullptr;
  cu::Result (*graph_launch)(cu::GraphExecHandle, cu::StreamHandle) = nullptr;
} cuda;

struct CudnnCalls {
#define FIELD(name, since, parameters) Status(*name) parameters = nullptr;
  SIM_CUDNN_ENTRIES(FIELD)
#undef FIELD
#define FIELD(name, since, result, parameters) result(*name) parameters = nullptr;
  SIM_CUDNN_PLAIN_ENTRIES(FIELD)
#undef FIELD
} dnn;

using Control = const char* (*)(const char*, const char*);
Control cuda_control = nullptr, dnn_control = nullptr;
std::atomic<int> failures{0};

template <class A, class B>
void expect(int line, const char* what, const A& got, const B& wanted) {
  if (got == A(wanted)) return;
  failures += 1;
  std::printf("line %d: %s must be %lld, got %lld\n", line, what, (long long)wanted, (long long)got);
  if (dnn_control != nullptr) std::printf("  last fault: %s\n", dnn_control("lastFault", ""));
}

#define IS(call, wanted) expect(__LINE__, #call, call, wanted)
#define OK(call) expect(__LINE__, #call, call, 0)
#define HOLDS(condition) expect(__LINE__, #condition, bool(condition), true)

// The call is refused with this status, and the reason has these words.
void refused(int line, const char* what, Status got, Status wanted, const char* words) {
  expect(line, what, got, wanted);
  const std::string fault = dnn_control("lastFault", "");
  if (fault.find(words) != std::string::npos) return;
  failures += 1;
  std::printf("line %d: the reason of %s must have '%s', got %s\n", line, what, words, fault.c_str());
}
#define REFUSED(call, status, words) refused(__LINE__, #call, call, status, words)

// A number of each type, and back, by formulas of our own.
double round_to(Enum type, double value) {
  if (type == kDouble) return value;
  if (type == kFloat) return float(value);
  if (value == 0 || !std::isfinite(value)) return value;
  const int bits = type == kHalf ? 10 : 7, least = type == kHalf ? -14 : -126;
  int exponent = 0;
  std::frexp(value, &exponent);
  const double unit = std::ldexp(1.0, std::max(exponent - 1, least) - bits);
  const double rounded = std::nearbyint(value / unit) * unit;
  const double largest = type == kHalf ? 65504 : 3.3895313892515355e38;
  return std::fabs(rounded) > largest ? std::copysign(INFINITY, value) : rounded;
}

size_t width_of(Enum type) {
  return type == kDouble ? 8 : type == kFloat ? 4 : 2;
}

uint16_t half_bits(double value) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const double size = std::fabs(value);
  if (size != size) return 0x7e00;
  if (std::isinf(size)) return sign | 0x7c00;
  if (size < 0x1p-14) return uint16_t(sign | int(size / 0x1p-24));
  int exponent = 0;
  const double fraction = std::frexp(size, &exponent);
  return uint16_t(sign | (exponent + 14) << 10 | (int(fraction * 2048) - 1024));
}

double half_value(uint16_t half) {
  const int exponent = half >> 10 & 31, fraction = half & 1023;
  const double size = exponent == 31  ? (fraction == 0 ? INFINITY : NAN)
                      : exponent == 0 ? fraction * 0x1p-24
                                      : std::ldexp(1024 + fraction, exponent - 25);
  return half & 0x8000 ? -size : size;
}

void encode(Enum type, double value, unsigned char* to) {
  const double rounded = round_to(type, value);
  const float narrow = float(rounded);
  uint32_t bits;
  std::memcpy(&bits, &narrow, 4);
  const uint16_t half = type == kHalf ? half_bits(rounded) : uint16_t(bits >> 16);
  const void* from = type == kDouble  ? static_cast<const void*>(&rounded)
                     : type == kFloat ? static_cast<const void*>(&bits)
                                      : &half;
  std::memcpy(to, from, width_of(type));
}

double decode(Enum type, const unsigned char* from) {
  double wide = 0;
  float narrow = 0;
  uint16_t half = 0;
  std::memcpy(type == kDouble  ? static_cast<void*>(&wide)
              : type == kFloat ? static_cast<void*>(&narrow)
                               : &half,
              from, width_of(type));
  if (type == kDouble) return wide;
  if (type == kFloat) return narrow;
  if (type == kHalf) return half_value(half);
  const uint32_t bits = uint32_t(half) << 16;
  std::memcpy(&narrow, &bits, 4);
  return narrow;
}

uint32_t random_state = 1;
uint32_t random_bits() {
  random_state = random_state * 1664525u + 1013904223u;
  return random_state >> 8;
}
// Of many magnitudes up to 2, with every bit of a double in use: sums of products are exact in no type.
double random_value() {
  const double fraction = (random_bits() * 0x1p-24 + random_bits()) * 0x1p-23 - 1;
  return std::ldexp(fraction, int(random_bits() % 12) - 10);
}

// A tensor (n c h w) or filter (k c r s) on the device, with what is in it.
struct Array {
  Enum type = kFloat, format = kNchw;
  int extents[4] = {0, 0, 0, 0};
  std::vector<double> values;  // in the order n c h w
  cu::Pointer at = 0;

  Array(Enum type_, Enum format_, int a, int b, int c, int d) : type(type_), format(format_), extents{a, b, c, d} {
    values.resize(size_t(a) * size_t(b) * size_t(c) * size_t(d));
    OK(cuda.allocate(&at, bytes()));
    for (double& value : values) value = round_to(type, random_value());
    upload();
  }
  ~Array() {
    if (at != 0) cuda.free(at);
  }
  Array(const Array&) = delete;

  size_t bytes() const { return values.size() * width_of(type); }
  void* pointer() const { return reinterpret_cast<void*>(at); }
  size_t index(int a, int b, int c, int d) const {
    return size_t(((a * extents[1] + b) * extents[2] + c) * extents[3] + d);
  }
  size_t place(int a, int b, int c, int d) const {
    return format == kNchw ? index(a, b, c, d) : size_t(((a * extents[2] + c) * extents[3] + d) * extents[1] + b);
  }
  template <class Visit>
  void each(Visit visit) const {
    for (int a = 0; a < extents[0]; ++a)
      for (int b = 0; b < extents[1]; ++b)
        for (int c = 0; c < extents[2]; ++c)
          for (int d = 0; d < extents[3]; ++d) visit(index(a, b, c, d), place(a, b, c, d));
  }
  void upload() {
    std::vector<unsigned char> raw(bytes());
    each([&](size_t from, size_t to) { encode(type, values[from], raw.data() + to * width_of(type)); });
    OK(cuda.copy_in(at, raw.data(), raw.size()));
  }
  std::vector<unsigned char> raw() const {
    std::vector<unsigned char> raw(bytes());
    OK(cuda.copy_out(raw.data(), at, raw.size()));
    return raw;
  }
  void fill(double value) {
    for (double& each : values) each = value;
    upload();
  }
};

// A device with a stream and a handle on it.
struct Bench {
  cu::ContextHandle context = nullptr;
  cu::StreamHandle stream = nullptr;
  Handle handle = nullptr;

  Bench() {
    OK(cuda.init(0));
    OK(cuda.retain(&context, 0));
    OK(cuda.set_current(context));
    OK(cuda.stream_create(&stream, 1));
    OK(dnn.cudnnCreate(&handle));
    OK(dnn.cudnnSetStream(handle, stream));
  }
  void wait() { OK(cuda.stream_synchronize(stream)); }
};

struct Setup {
  int n = 2, c = 4, h = 5, w = 6, k = 6, r = 3, s = 2;
  int pad[2] = {1, 0}, stride[2] = {2, 1}, dilation[2] = {1, 2};
  int groups = 2;
  Enum type = kFloat, format = kNchw, math = kFma, mode = kCrossCorrelate;

  int out(int axis) const {
    const int extent = axis == 0 ? h : w, taps = axis == 0 ? r : s;
    return (extent + 2 * pad[axis] - ((taps - 1) * dilation[axis] + 1)) / stride[axis] + 1;
  }
};

enum class Form { kForward, kData, kFilter };

// A convolution with its descriptors and operands.
struct Case {
  Setup setup;
  Array x, w, y;
  TensorDescriptor x_desc = nullptr, y_desc = nullptr;
  FilterDescriptor w_desc = nullptr;
  ConvolutionDescriptor desc = nullptr;

  explicit Case(const Setup& given)
      : setup(given),
        x(given.type, given.format, given.n, given.c, given.h, given.w),
        w(given.type, given.format, given.k, given.c / given.groups, given.r, given.s),
        y(given.type, given.format, given.n, given.k, given.out(0), given.out(1)) {
    OK(dnn.cudnnCreateTensorDescriptor(&x_desc));
    OK(dnn.cudnnCreateTensorDescriptor(&y_desc));
    OK(dnn.cudnnCreateFilterDescriptor(&w_desc));
    OK(dnn.cudnnCreateConvolutionDescriptor(&desc));
    describe();
  }
  ~Case() {
    OK(dnn.cudnnDestroyTensorDescriptor(x_desc));
    OK(dnn.cudnnDestroyTensorDescriptor(y_desc));
    OK(dnn.cudnnDestroyFilterDescriptor(w_desc));
    OK(dnn.cudnnDestroyConvolutionDescriptor(desc));
  }
  Case(const Case&) = delete;

  void describe(TensorDescriptor to, const Array& array) const {
    const auto& [n, c, h, w] = array.extents;
    const bool nchw = setup.format == kNchw;
    OK(dnn.cudnnSetTensor4dDescriptorEx(to, setup.type, n, c, h, w, c * h * w, nchw ? h * w : 1, nchw ? w : w * c,
                                        nchw ? 1 : c));
  }
  void describe() const {
    describe(x_desc, x);
    describe(y_desc, y);
    OK(dnn.cudnnSetFilter4dDescriptor(w_desc, setup.type, setup.format, w.extents[0], w.extents[1], setup.r, setup.s));
    OK(dnn.cudnnSetConvolution2dDescriptor(desc, setup.pad[0], setup.pad[1], setup.stride[0], setup.stride[1],
                                           setup.dilation[0], setup.dilation[1], setup.mode,
                                           setup.type == kDouble ? kDouble : kFloat));
    OK(dnn.cudnnSetConvolutionGroupCount(desc, setup.groups));
    OK(dnn.cudnnSetConvolutionMathType(desc, setup.math));
  }

  Array& result(Form form) { return form == Form::kForward ? y : form == Form::kData ? x : w; }

  Status workspace(Handle handle, Form form, Enum algo, size_t* bytes) const {
    switch (form) {
      case Form::kForward:
        return dnn.cudnnGetConvolutionForwardWorkspaceSize(handle, x_desc, w_desc, desc, y_desc, algo, bytes);
      case Form::kData:
        return dnn.cudnnGetConvolutionBackwardDataWorkspaceSize(handle, w_desc, y_desc, desc, x_desc, algo, bytes);
      default:
        return dnn.cudnnGetConvolutionBackwardFilterWorkspaceSize(handle, x_desc, y_desc, desc, w_desc, algo, bytes);
    }
  }

  Status run(Handle handle, Form form, Enum algo, void* space, size_t bytes, double alpha = 1, double beta = 0) const {
    const float narrow[] = {float(alpha), float(beta)};
    const double wide[] = {alpha, beta};
    const void* a = setup.type == kDouble ? static_cast<const void*>(wide) : narrow;
    const void* b = setup.type == kDouble ? static_cast<const void*>(wide + 1) : narrow + 1;
    switch (form) {
      case Form::kForward:
        return dnn.cudnnConvolutionForward(handle, a, x_desc, x.pointer(), w_desc, w.pointer(), desc, algo, space,
                                           bytes, b, y_desc, y.pointer());
      case Form::kData:
        return dnn.cudnnConvolutionBackwardData(handle, a, w_desc, w.pointer(), y_desc, y.pointer(), desc, algo, space,
                                                bytes, b, x_desc, x.pointer());
      default:
        return dnn.cudnnConvolutionBackwardFilter(handle, a, x_desc, x.pointer(), y_desc, y.pointer(), desc, algo,
                                                  space, bytes, b, w_desc, w.pointer());
    }
  }

  // By the definition, over every combination of indices.
  std::vector<double> reference(Form form, const std::function<double(double)>& input) const {
    const Array& result = form == Form::kForward ? y : form == Form::kData ? x : w;
    std::vector<double> sums(result.values.size());
    const int per_group = setup.c / setup.groups, outputs = setup.k / setup.groups;
    for (int n = 0; n < setup.n; ++n)
      for (int k = 0; k < setup.k; ++k)
        for (int c = 0; c < per_group; ++c)
          for (int r = 0; r < setup.r; ++r)
            for (int s = 0; s < setup.s; ++s)
              for (int p = 0; p < y.extents[2]; ++p)
                for (int q = 0; q < y.extents[3]; ++q) {
                  const int h = p * setup.stride[0] - setup.pad[0] + r * setup.dilation[0];
                  const int v = q * setup.stride[1] - setup.pad[1] + s * setup.dilation[1];
                  if (h < 0 || h >= setup.h || v < 0 || v >= setup.w) continue;
                  const bool turned = setup.mode == kConvolve;
                  const size_t xi = x.index(n, k / outputs * per_group + c, h, v);
                  const size_t wi = w.index(k, c, turned ? setup.r - 1 - r : r, turned ? setup.s - 1 - s : s);
                  const size_t yi = y.index(n, k, p, q);
                  if (form == Form::kForward) sums[yi] += input(x.values[xi]) * input(w.values[wi]);
                  if (form == Form::kData) sums[xi] += input(y.values[yi]) * input(w.values[wi]);
                  if (form == Form::kFilter) sums[wi] += input(x.values[xi]) * input(y.values[yi]);
                }
    return sums;
  }
};

double largest_error(const Array& got, const std::vector<double>& wanted) {
  const std::vector<unsigned char> raw = got.raw();
  double worst = 0;
  got.each([&](size_t from, size_t to) {
    const double value = decode(got.type, raw.data() + to * width_of(got.type));
    const double error = std::fabs(value - round_to(got.type, wanted[from]));
    if (!(error <= worst)) worst = error != error ? INFINITY : error;
  });
  return worst;
}

struct Space {
  cu::Pointer at = 0;
  size_t bytes = 0;
  explicit Space(size_t wanted) : bytes(wanted) {
    if (wanted != 0) OK(cuda.allocate(&at, wanted));
  }
  ~Space() {
    if (at != 0) cuda.free(at);
  }
  Space(const Space&) = delete;
  void* pointer() const { return reinterpret_cast<void*>(at); }
};

const Form kForms[] = {Form::kForward, Form::kData, Form::kFilter};
const Enum kTypes[] = {kFloat, kDouble, kHalf, kBfloat16};

std::vector<Setup> setups() {
  const Setup plain;
  Setup deconvolution;  // k4 s2 p1, as a generator's layer
  deconvolution.n = 1, deconvolution.c = 3, deconvolution.h = deconvolution.w = 8, deconvolution.k = 5;
  deconvolution.r = deconvolution.s = 4, deconvolution.groups = 1;
  deconvolution.pad[0] = deconvolution.pad[1] = 1;
  deconvolution.stride[0] = deconvolution.stride[1] = 2;
  deconvolution.dilation[0] = deconvolution.dilation[1] = 1;
  Setup depthwise = plain;
  depthwise.c = depthwise.k = depthwise.groups = 4;
  depthwise.stride[0] = depthwise.stride[1] = 3;
  Setup turned = plain;
  turned.mode = kConvolve;
  Setup square = deconvolution;  // what every algorithm takes
  square.r = square.s = 3, square.stride[0] = square.stride[1] = 1;
  Setup single;
  single.n = single.c = single.h = single.w = single.k = single.r = single.s = single.groups = 1;
  single.pad[0] = 0, single.dilation[1] = 1, single.stride[0] = 1;
  return {plain, deconvolution, depthwise, turned, square, single};
}

// The definition's results by every algorithm that takes the problem.
void numerics() {
  Bench bench;
  int ran = 0, not_taken = 0;
  for (Setup setup : setups()) {
    for (const Enum type : kTypes) {
      for (const Enum format : {kNchw, kNhwc}) {
        setup.type = type, setup.format = format;
        Case each(setup);
        // Sums in float by some algorithms: their last bits.
        const double slack = type == kDouble ? 1e-13 : type == kFloat ? 3e-5 : type == kHalf ? 0.04 : 0.3;
        for (const Form form : kForms) {
          const auto wanted = each.reference(form, [](double value) { return value; });
          const std::vector<double> before = each.result(form).values;
          std::vector<double> blended(wanted.size());
          for (size_t i = 0; i < wanted.size(); ++i) blended[i] = 0.5 * wanted[i] - 2 * before[i];
          for (Enum algo = 0; algo < 8; ++algo) {
            size_t bytes = 0;
            const Status status = each.workspace(bench.handle, form, algo, &bytes);
            if (status != 0) {
              not_taken += 1;
              HOLDS(each.run(bench.handle, form, algo, nullptr, 0) == status);
              continue;
            }
            ran += 1;
            const Space space(bytes);
            // What was there before is not read, and then it is.
            each.result(form).fill(NAN);
            OK(each.run(bench.handle, form, algo, space.pointer(), bytes));
            bench.wait();
            HOLDS(largest_error(each.result(form), wanted) <= slack);
            each.result(form).values = before;
            each.result(form).upload();
            OK(each.run(bench.handle, form, algo, space.pointer(), bytes, 0.5, -2));
            bench.wait();
            HOLDS(largest_error(each.result(form), blended) <= slack);
            each.result(form).upload();
          }
        }
      }
    }
  }
  HOLDS(ran > 250);
  HOLDS(not_taken > 250);
}

// One operation with its workspace.
struct Operation {
  Case& operands;
  Form form;
  Enum algo;
  size_t bytes = 0;
  Space space;

  Operation(Bench& bench, Case& of, Form form_, Enum algo_)
      : operands(of), form(form_), algo(algo_), bytes(asked(bench, of, form_, algo_)), space(bytes) {}
  static size_t asked(Bench& bench, Case& of, Form form, Enum algo) {
    size_t bytes = 0;
    OK(of.workspace(bench.handle, form, algo, &bytes));
    return bytes;
  }
  Status run(Bench& bench) const { return operands.run(bench.handle, form, algo, space.pointer(), bytes); }
  std::vector<unsigned char> result(Bench& bench) const {
    OK(run(bench));
    bench.wait();
    return operands.result(form).raw();
  }
};

Setup larger(Enum type, Enum format = kNchw) {
  Setup setup;
  setup.n = 3, setup.c = 16, setup.h = setup.w = 12, setup.k = 24, setup.r = setup.s = 3, setup.groups = 1;
  setup.pad[0] = setup.pad[1] = 1;
  setup.stride[0] = setup.stride[1] = 1;
  setup.dilation[0] = setup.dilation[1] = 1;
  setup.type = type, setup.format = format;
  return setup;
}

// Whether an algorithm says of itself that it is deterministic.
bool promised(Bench& bench, Case& of, Form form, Enum algo) {
  Performance rows[16];
  int count = 0;
  switch (form) {
    case Form::kForward:
      OK(dnn.cudnnGetConvolutionForwardAlgorithm_v7(bench.handle, of.x_desc, of.w_desc, of.desc, of.y_desc, 16, &count,
                                                    rows));
      break;
    case Form::kData:
      OK(dnn.cudnnGetConvolutionBackwardDataAlgorithm_v7(bench.handle, of.w_desc, of.y_desc, of.desc, of.x_desc, 16,
                                                         &count, rows));
      break;
    default:
      OK(dnn.cudnnGetConvolutionBackwardFilterAlgorithm_v7(bench.handle, of.x_desc, of.y_desc, of.desc, of.w_desc, 16,
                                                           &count, rows));
  }
  for (int i = 0; i < count; ++i) {
    if (rows[i].algo == algo) return rows[i].determinism == kDeterministic;
  }
  HOLDS(!"an algorithm is missing");
  return false;
}

// Over 20 runs: the same bits from those that promise it, others from those that do not.
void determinism() {
  Bench bench;
  int varying = 0, steady = 0;
  for (const Enum type : kTypes) {
    for (const Enum math : {kFma, kTensorOp}) {
      Setup setup = larger(type);
      setup.math = math;
      Case each(setup);
      for (const Form form : kForms) {
        for (Enum algo = 0; algo < 8; ++algo) {
          size_t bytes = 0;
          if (each.workspace(bench.handle, form, algo, &bytes) != 0) continue;
          const bool said = promised(bench, each, form, algo);
          HOLDS(said == !((form == Form::kData && algo == 0) || (form == Form::kFilter && (algo == 0 || algo == 3))));
          const std::vector<double> before = each.result(form).values;
          const Operation operation(bench, each, form, algo);
          std::set<std::vector<unsigned char>> results;
          for (int i = 0; i < 20; ++i) results.insert(operation.result(bench));
          if (said) IS(results.size(), 1);
          if (!said) HOLDS(results.size() > (type == kFloat || type == kDouble ? 15 : 1));
          (said ? steady : varying) += 1;
          each.result(form).values = before;
          each.result(form).upload();
        }
      }
    }
  }
  HOLDS(steady > 50);
  IS(varying, 3 * 4 * 2);
}

// A digest of what a non-deterministic algorithm gave, to be compared between processes.
void digest() {
  Bench bench;
  Case each(larger(kFloat));
  uint64_t hash = 1469598103934665603ull;
  for (const unsigned char byte : Operation(bench, each, Form::kData, 0).result(bench)) {
    hash = (hash ^ byte) * 1099511628211ull;
  }
  std::printf("digest %llx\n", (unsigned long long)hash);
}

double to_tf32(double value) {
  if (value == 0) return 0;
  int exponent = 0;
  std::frexp(value, &exponent);
  const double unit = std::ldexp(1.0, exponent - 11);
  return std::copysign(std::floor(std::fabs(value) / unit + 0.5) * unit, value);
}

// TF32 where the math type lets it, and nowhere else.
void math_types() {
  cuda_control("configure", "arch=80");
  Bench bench;
  for (const Enum math : {kDefaultMath, kTensorOp, kConvert, kFma}) {
    Setup setup = larger(kFloat);
    setup.math = math;
    Case each(setup);
    for (const Form form : kForms) {
      const auto exact = each.reference(form, [](double value) { return value; });
      const auto narrow = each.reference(form, to_tf32);
      const auto before = each.result(form).values;
      Operation(bench, each, form, 1).result(bench);
      const bool tf32 = math != kFma;
      HOLDS(largest_error(each.result(form), tf32 ? narrow : exact) < 2e-4);
      HOLDS(largest_error(each.result(form), tf32 ? exact : narrow) > 1e-3);
      // Algorithm 0 has no kernel for tensor cores.
      each.result(form).values = before;
      each.result(form).upload();
      Operation(bench, each, form, 0).result(bench);
      HOLDS(largest_error(each.result(form), exact) < 2e-4);
      each.result(form).values = before;
      each.result(form).upload();
    }
  }
  // Before Ampere: no TF32, halves when the math type lets data be converted, and no bfloat16.
  cuda_control("configure", "arch=75");
  for (const Enum math : {kDefaultMath, kTensorOp, kConvert}) {
    Setup setup = larger(kFloat);
    setup.math = math;
    Case each(setup);
    const auto exact = each.reference(Form::kData, [](double value) { return value; });
    const auto halves = each.reference(Form::kData, [](double value) { return round_to(kHalf, value); });
    Operation(bench, each, Form::kData, 1).result(bench);
    HOLDS(largest_error(each.x, math == kConvert ? halves : exact) < 2e-4);
    HOLDS(largest_error(each.x, math == kConvert ? exact : halves) > 1e-3);
  }
  Case wide(larger(kBfloat16));
  size_t bytes = 0;
  REFUSED(wide.workspace(bench.handle, Form::kData, 1, &bytes), kNOT_SUPPORTED_ARCH_MISMATCH,
          "device must be of compute capability 8.0 or later for bfloat16, got algorithm 1");
}

std::vector<Performance> guesses(Bench& bench, Case& of) {
  std::vector<Performance> rows(12);
  int count = 0;
  OK(dnn.cudnnGetConvolutionBackwardDataAlgorithmMaxCount(bench.handle, &count));
  IS(count, 12);
  OK(dnn.cudnnGetConvolutionBackwardDataAlgorithm_v7(bench.handle, of.w_desc, of.y_desc, of.desc, of.x_desc, 12, &count,
                                                     rows.data()));
  rows.resize(size_t(count));
  return rows;
}

// What the heuristics answer, and that the answer depends on what is asked.
void heuristics() {
  Bench bench;
  Setup setup = larger(kFloat);
  setup.math = kDefaultMath;
  Case small(setup);
  std::set<Enum> algorithms;
  std::set<size_t> sizes;
  bool failed = false;
  for (const Performance& row : guesses(bench, small)) {
    algorithms.insert(row.algo);
    sizes.insert(row.memory);
    HOLDS(row.time == -1);
    // All that fail come last.
    HOLDS(!failed || row.status != 0);
    failed = row.status != 0;
    if (row.status != 0) continue;
    Setup chosen = setup;
    chosen.math = row.math;
    Case each(chosen);
    IS(Operation::asked(bench, each, Form::kData, row.algo), row.memory);
  }
  IS(algorithms.size(), 6);
  HOLDS(sizes.size() >= 6);
  // Few and small: what starts quickly. Much: tensor cores. Large filters: FFT.
  Setup tiny = larger(kFloat);
  tiny.n = 1, tiny.c = tiny.k = 2, tiny.h = tiny.w = 4;
  Case tiny_case(tiny);
  IS(guesses(bench, tiny_case)[0].algo, 0);
  Setup much = larger(kHalf);
  much.n = 4, much.c = much.k = 256, much.h = much.w = 32, much.math = kTensorOp;
  much.stride[0] = much.stride[1] = 2;
  Case much_case(much);
  IS(guesses(bench, much_case)[0].algo, 1);
  IS(guesses(bench, much_case)[0].math, kTensorOp);
  Setup wide = larger(kFloat);
  wide.n = 8, wide.c = wide.k = 128, wide.h = wide.w = 64, wide.r = wide.s = 9;
  wide.pad[0] = wide.pad[1] = 4;
  Case wide_case(wide);
  const Enum first = guesses(bench, wide_case)[0].algo;
  HOLDS(first == 2 || first == 3);
  // Only FMA kernels when FMA is asked for.
  for (const Performance& row : guesses(bench, wide_case)) IS(row.math, kFma);
  // As many as are asked for.
  Performance one;
  int count = 0;
  OK(dnn.cudnnGetConvolutionBackwardDataAlgorithm_v7(bench.handle, small.w_desc, small.y_desc, small.desc, small.x_desc,
                                                     1, &count, &one));
  IS(count, 1);
  // A workspace that is larger than it has to be.
  dnn_control("configure", "workspace=2G");
  for (const Performance& row : guesses(bench, small)) HOLDS(row.memory == 0 || row.memory == size_t(2) << 30);
  dnn_control("configure", "workspace=0");
}

Status find_data(Bench& bench, Case& of, const Space& space, std::vector<Performance>& rows) {
  rows.assign(12, {});
  int count = 0;
  const Status status = dnn.cudnnFindConvolutionBackwardDataAlgorithmEx(
      bench.handle, of.w_desc, of.w.pointer(), of.y_desc, of.y.pointer(), of.desc, of.x_desc, of.x.pointer(), 12,
      &count, rows.data(), space.pointer(), space.bytes);
  rows.resize(size_t(count));
  return status;
}

void finding() {
  Bench bench;
  Case each(larger(kFloat));
  const auto wanted = each.reference(Form::kData, [](double value) { return value; });
  const Space space(size_t(64) << 20), none(0);
  std::vector<Performance> rows, less;
  each.x.fill(NAN);
  OK(find_data(bench, each, space, rows));
  HOLDS(largest_error(each.x, wanted) < 1e-4);
  IS(rows.size(), 6);
  for (size_t i = 0; i < rows.size(); ++i) {
    HOLDS(rows[i].status != 0 || rows[i].time > 0);
    HOLDS(i == 0 || rows[i].status != 0 || rows[i].time >= rows[i - 1].time);
  }
  // What asks for no workspace alone when there is none.
  OK(find_data(bench, each, none, less));
  IS(less[0].status, 0);
  IS(less[0].algo, 0);
  IS(less[1].status, kINTERNAL_ERROR_DEVICE_ALLOCATION_FAILED);
  HOLDS(less[1].time == -1);
  // Another problem has another winner.
  Setup other = larger(kFloat);
  other.n = 8, other.c = other.k = 64, other.h = other.w = 32;
  other.stride[0] = other.stride[1] = 2;
  Case strided(other);
  std::vector<Performance> changed;
  OK(find_data(bench, strided, space, changed));
  HOLDS(changed[0].algo != rows[0].algo);
  // The heuristics do not see what a workspace costs.
  Setup narrow = larger(kHalf);
  narrow.n = 1, narrow.c = narrow.k = 256, narrow.h = narrow.w = 8, narrow.math = kTensorOp;
  Case doubtful(narrow);
  OK(find_data(bench, doubtful, space, changed));
  IS(changed[0].algo, 0);
  IS(guesses(bench, doubtful)[0].algo, 1);
  // It waits, so it cannot be captured.
  OK(cuda.begin_capture(bench.stream, 0));
  IS(find_data(bench, each, space, rows), kEXECUTION_FAILED);
  cu::GraphHandle graph = nullptr;
  IS(cuda.end_capture(bench.stream, &graph), cu::kERROR_STREAM_CAPTURE_INVALIDATED);
}

void sums() {
  Bench bench;
  for (const Enum type : kTypes) {
    for (const Enum format : {kNchw, kNhwc}) {
      Setup setup;
      setup.type = type, setup.format = format;
      Case each(setup);
      Array bias(type, kNchw, 1, setup.k, 1, 1), gradient(type, kNchw, 1, setup.k, 1, 1);
      TensorDescriptor desc = nullptr;
      OK(dnn.cudnnCreateTensorDescriptor(&desc));
      OK(dnn.cudnnSetTensor4dDescriptor(desc, kNchw, type, 1, setup.k, 1, 1));
      const double wide[] = {2, 0, -1};
      const float narrow[] = {2, 0, -1};
      const auto number = [&](int i) { return type == kDouble ? static_cast<const void*>(wide + i) : narrow + i; };
      std::vector<double> sum(size_t(setup.k)), added(each.y.values.size());
      for (int n = 0; n < setup.n; ++n)
        for (int k = 0; k < setup.k; ++k)
          for (int p = 0; p < setup.out(0); ++p)
            for (int q = 0; q < setup.out(1); ++q) {
              const size_t at = each.y.index(n, k, p, q);
              sum[size_t(k)] += 2 * each.y.values[at];
              added[at] = 2 * bias.values[size_t(k)] - each.y.values[at];
            }
      gradient.fill(NAN);
      OK(dnn.cudnnConvolutionBackwardBias(bench.handle, number(0), each.y_desc, each.y.pointer(), number(1), desc,
                                          gradient.pointer()));
      OK(dnn.cudnnAddTensor(bench.handle, number(0), desc, bias.pointer(), number(2), each.y_desc, each.y.pointer()));
      bench.wait();
      HOLDS(largest_error(gradient, sum) <= (type == kDouble ? 1e-13 : 0));
      HOLDS(largest_error(each.y, added) == 0);
      REFUSED(dnn.cudnnAddTensor(bench.handle, number(0), each.x_desc, each.x.pointer(), number(2), each.y_desc,
                                 each.y.pointer()),
              kBAD_PARAM_SHAPE_MISMATCH, "A must be 1 or as large as C along each axis");
      REFUSED(dnn.cudnnConvolutionBackwardBias(bench.handle, number(0), each.x_desc, each.x.pointer(), number(1), desc,
                                               gradient.pointer()),
              kBAD_PARAM_SHAPE_MISMATCH, "db must be [1, 4, 1, 1], got [1, 6, 1, 1]");
      REFUSED(dnn.cudnnConvolutionBackwardBias(bench.handle, number(0), each.y_desc, each.y.pointer(), number(1), desc,
                                               nullptr),
              kBAD_PARAM_NULL_POINTER, "db must not be null");
      OK(dnn.cudnnDestroyTensorDescriptor(desc));
    }
  }
}

void refusals() {
  Bench bench;
  Setup setup;
  Case each(setup);
  size_t bytes = 0;
  const Operation operation(bench, each, Form::kData, 1);
  const auto run = [&] { return operation.run(bench); };
  OK(run());

  // Handles.
  Handle second = nullptr;
  OK(dnn.cudnnCreate(&second));
  OK(dnn.cudnnDestroy(second));
  REFUSED(dnn.cudnnDestroy(second), kBAD_PARAM, "handle must be one that cudnnCreate made and that lives");
  REFUSED(each.run(second, Form::kData, 0, nullptr, 0), kBAD_PARAM, "handle must be one that cudnnCreate made");
  REFUSED(dnn.cudnnCreate(nullptr), kBAD_PARAM_NULL_POINTER, "must not be null");
  cu::StreamHandle stream = nullptr;
  OK(cuda.stream_create(&stream, 1));
  OK(dnn.cudnnSetStream(bench.handle, stream));
  OK(cuda.stream_destroy(stream));
  REFUSED(run(), kBAD_PARAM_STREAM_MISMATCH, "stream of the handle must live, got one that was destroyed");
  REFUSED(dnn.cudnnSetStream(bench.handle, stream), kBAD_PARAM_STREAM_MISMATCH, "stream must be one of the current");
  OK(dnn.cudnnSetStream(bench.handle, bench.stream));
  std::thread([&] {
    REFUSED(run(), kNOT_INITIALIZED, "the thread must have a current context");
    REFUSED(dnn.cudnnCreate(&second), kNOT_INITIALIZED, "the thread must have a current context");
    cu::ContextHandle other = nullptr;
    OK(cuda.retain(&other, 1));
    OK(cuda.set_current(other));
    REFUSED(run(), kBAD_PARAM, "handle must be used in the context that it was made in");
  }).join();

  // Descriptors.
  const auto set_x = [&](Enum type, int n, int c, int h, int w, int sn, int sc, int sh, int sw) {
    return dnn.cudnnSetTensor4dDescriptorEx(each.x_desc, type, n, c, h, w, sn, sc, sh, sw);
  };
  REFUSED(set_x(kFloat, 0, 4, 5, 6, 120, 30, 6, 1), kBAD_PARAM, "extents must be positive, got 0");
  REFUSED(set_x(kFloat, 2, 4, 5, 6, 120, 30, 0, 1), kBAD_PARAM, "strides must be positive, got 0");
  REFUSED(set_x(3, 2, 4, 5, 6, 120, 30, 6, 1), kNOT_SUPPORTED_DATA_TYPE, "data type must be float (0)");
  REFUSED(set_x(kFloat, 65536, 65536, 1, 1, 65536, 1, 1, 1), kNOT_SUPPORTED, "elements must be at most 2^31");
  OK(set_x(kFloat, 2, 4, 5, 6, 240, 60, 12, 2));
  REFUSED(run(), kNOT_SUPPORTED_LAYOUT, "dx must lie densely in NCHW or NHWC");
  OK(set_x(kFloat, 2, 4, 5, 6, 120, 1, 24, 4));
  REFUSED(run(), kNOT_SUPPORTED_LAYOUT, "dx must be NCHW as the filter is");
  OK(set_x(kHalf, 2, 4, 5, 6, 120, 30, 6, 1));
  REFUSED(run(), kBAD_PARAM, "data types of map and filter must be the same");
  // Two rows more: what output_padding = stride would ask for.
  OK(set_x(kFloat, 2, 4, 7, 6, 168, 42, 6, 1));
  REFUSED(run(), kBAD_PARAM_SHAPE_MISMATCH, "dy must be [2, 6, 4, 4] by the others, got [2, 6, 3, 4]");
  // One row more, which the stride swallows, is another problem, and right.
  OK(set_x(kFloat, 2, 4, 6, 6, 144, 36, 6, 1));
  OK(each.workspace(bench.handle, Form::kData, 1, &bytes));
  each.describe();
  OK(dnn.cudnnSetConvolutionGroupCount(each.desc, 3));
  REFUSED(run(), kBAD_PARAM, "groups must divide the channels, got 3 groups of 4 and 6");
  OK(dnn.cudnnSetConvolutionGroupCount(each.desc, 1));
  REFUSED(run(), kBAD_PARAM_SHAPE_MISMATCH, "filter must have as many channels as a group of the map, got 2 of 4");
  REFUSED(dnn.cudnnSetConvolutionGroupCount(each.desc, 0), kBAD_PARAM, "groups must be positive, got 0");
  REFUSED(dnn.cudnnSetConvolutionMathType(each.desc, 4), kBAD_PARAM, "math type must be 0 to 3, got 4");
  REFUSED(dnn.cudnnSetConvolution2dDescriptor(each.desc, -1, 0, 1, 1, 1, 1, 1, kFloat), kBAD_PARAM,
          "padding must not be negative");
  REFUSED(dnn.cudnnSetConvolution2dDescriptor(each.desc, 0, 0, 0, 1, 1, 1, 1, kFloat), kBAD_PARAM,
          "stride must be positive");
  REFUSED(dnn.cudnnSetConvolution2dDescriptor(each.desc, 0, 0, 1, 1, 0, 1, 1, kFloat), kBAD_PARAM,
          "dilation must be positive");
  REFUSED(dnn.cudnnSetConvolution2dDescriptor(each.desc, 0, 0, 1, 1, 1, 1, 2, kFloat), kBAD_PARAM, "mode must be");
  REFUSED(dnn.cudnnSetConvolution2dDescriptor(each.desc, 0, 0, 1, 1, 1, 1, 1, kHalf), kNOT_SUPPORTED_DATA_TYPE,
          "compute type must be float (0) or double (1)");
  OK(dnn.cudnnSetConvolution2dDescriptor(each.desc, 1, 0, 2, 1, 1, 2, 1, kDouble));
  OK(dnn.cudnnSetConvolutionGroupCount(each.desc, 2));
  REFUSED(run(), kNOT_SUPPORTED_DATA_TYPE, "compute type must be double for double data and float for others");
  each.describe();
  OK(dnn.cudnnSetFilter4dDescriptor(each.w_desc, kFloat, kNchw, 6, 2, 30, 2));
  REFUSED(run(), kBAD_PARAM_SHAPE_MISMATCH, "filter must not reach beyond the padded map, got 30 on 7");
  REFUSED(dnn.cudnnSetFilter4dDescriptor(each.w_desc, kFloat, 2, 6, 2, 3, 2), kNOT_SUPPORTED_LAYOUT,
          "format must be NCHW (0) or NHWC (1)");
  each.describe();
  TensorDescriptor fresh = nullptr;
  OK(dnn.cudnnCreateTensorDescriptor(&fresh));
  std::swap(fresh, each.x_desc);
  REFUSED(run(), kBAD_PARAM, "dx descriptor must be set");
  OK(dnn.cudnnDestroyTensorDescriptor(each.x_desc));
  REFUSED(run(), kBAD_PARAM, "dx descriptor must be one that was made and that lives");
  REFUSED(dnn.cudnnDestroyTensorDescriptor(each.x_desc), kBAD_PARAM, "descriptor must be one that was made");
  std::swap(fresh, each.x_desc);

  // Algorithms.
  REFUSED(each.run(bench.handle, Form::kData, 6, nullptr, 0), kBAD_PARAM, "algorithm must be one of 0 to 5");
  REFUSED(each.run(bench.handle, Form::kData, -1, nullptr, 0), kBAD_PARAM, "algorithm must be one of 0 to 5");
  REFUSED(each.run(bench.handle, Form::kData, 4, nullptr, 0), kNOT_SUPPORTED, "stride of a Winograd algorithm");
  REFUSED(each.run(bench.handle, Form::kData, 3, nullptr, 0), kNOT_SUPPORTED, "stride of an FFT algorithm must be 1");
  REFUSED(each.run(bench.handle, Form::kForward, 2, nullptr, 0), kNOT_SUPPORTED, "dilation of this algorithm");
  REFUSED(each.run(bench.handle, Form::kForward, 3, nullptr, 0), kNOT_SUPPORTED, "that is implemented");
  REFUSED(each.run(bench.handle, Form::kFilter, 4, nullptr, 0), kNOT_SUPPORTED, "that is implemented");
  {
    Setup doubled = setup;
    doubled.type = kDouble, doubled.format = kNhwc;
    Case last(doubled);
    REFUSED(last.run(bench.handle, Form::kForward, 0, nullptr, 0), kNOT_SUPPORTED_LAYOUT,
            "layout of double data must be NCHW");
  }

  // Pointers.
  const float one = 1, zero = 0;
  const auto data = [&](const void* alpha, const void* w, const void* dy, void* space, size_t size, void* dx) {
    return dnn.cudnnConvolutionBackwardData(bench.handle, alpha, each.w_desc, w, each.y_desc, dy, each.desc, 1, space,
                                            size, &zero, each.x_desc, dx);
  };
  void *x = each.x.pointer(), *w = each.w.pointer(), *y = each.y.pointer(), *space = operation.space.pointer();
  const size_t size = operation.bytes;
  OK(data(&one, w, y, space, size, x));
  const auto past = [](void* pointer, size_t by) { return static_cast<void*>(static_cast<char*>(pointer) + by); };
  REFUSED(data(nullptr, w, y, space, size, x), kBAD_PARAM_NULL_POINTER, "alpha must not be null");
  REFUSED(data(&one, nullptr, y, space, size, x), kBAD_PARAM_NULL_POINTER, "w must not be null");
  REFUSED(data(&one, w, y, space, size, past(x, 2)), kBAD_PARAM_MISALIGNED_POINTER, "dx must be aligned to 4 bytes");
  REFUSED(data(&one, w, y, space, size, past(x, 4)), kBAD_PARAM, "dx must have 960 bytes in one allocation of the");
  float here[240];
  REFUSED(data(&one, w, here, space, size, x), kBAD_PARAM, "got a pointer far from every allocation");
  REFUSED(data(&one, w, x, space, size, x), kBAD_PARAM, "must not overlap");
  cu::Pointer gone = 0;
  OK(cuda.allocate(&gone, 960));
  OK(cuda.free(gone));
  REFUSED(data(&one, w, y, space, size, reinterpret_cast<void*>(gone)), kBAD_PARAM, "that was freed");
  REFUSED(data(&one, w, y, space, size - 1, x), kBAD_PARAM_SIZE_INSUFFICIENT, "workspace must have");
  REFUSED(data(&one, w, y, nullptr, size, x), kBAD_PARAM_NULL_POINTER, "workspace must not be null");
  REFUSED(data(&one, w, y, past(space, 4), size, x), kBAD_PARAM_MISALIGNED_POINTER, "workspace must be aligned to 16");
  REFUSED(data(&one, w, y, space, size + 1, x), kBAD_PARAM, "in one allocation of the device");
  {
    const Space both(size + 1024);
    REFUSED(data(&one, w, y, both.pointer(), size, past(both.pointer(), (size - 4) / 16 * 16)), kBAD_PARAM,
            "workspace and dx must not overlap");
  }
  bench.wait();
  OK(run());
  bench.wait();
  // A handle goes with its context.
  OK(cuda.reset(0));
  OK(cuda.retain(&bench.context, 0));
  REFUSED(dnn.cudnnSetStream(bench.handle, nullptr), kBAD_PARAM, "got one that was reset since");
  OK(dnn.cudnnDestroy(bench.handle));
}

// A graph replays what was recorded; what a replay points to has to live then.
void capture() {
  Bench bench;
  Case each(larger(kFloat));
  const auto wanted = each.reference(Form::kData, [](double value) { return value; });
  const Operation steady(bench, each, Form::kData, 1), varying(bench, each, Form::kData, 0);
  const auto record = [&](const Operation& operation) {
    OK(cuda.begin_capture(bench.stream, 0));
    OK(operation.run(bench));
    cu::GraphHandle graph = nullptr;
    cu::GraphExecHandle made = nullptr;
    OK(cuda.end_capture(bench.stream, &graph));
    OK(cuda.instantiate(&made, graph, 0));
    return made;
  };
  each.x.fill(NAN);
  const cu::GraphExecHandle same = record(steady), other = record(varying);
  bench.wait();
  HOLDS(std::isnan(decode(kFloat, each.x.raw().data())));
  std::set<std::vector<unsigned char>> one, many;
  for (int i = 0; i < 10; ++i) {
    OK(cuda.graph_launch(same, bench.stream));
    bench.wait();
    one.insert(each.x.raw());
    HOLDS(largest_error(each.x, wanted) < 1e-4);
    OK(cuda.graph_launch(other, bench.stream));
    bench.wait();
    many.insert(each.x.raw());
  }
  IS(one.size(), 1);
  HOLDS(many.size() > 5);
  OK(cuda.free(each.w.at));
  each.w.at = 0;
  OK(cuda.graph_launch(same, bench.stream));
  IS(cuda.stream_synchronize(bench.stream), cu::kERROR_ILLEGAL_ADDRESS);
  const std::string fault = dnn_control("lastFault", "");
  HOLDS(fault.find("cudnnConvolutionBackwardData: w pointed") != std::string::npos);
  HOLDS(fault.find("that was freed when it ran") != std::string::npos);
  // The context stays failed.
  IS(steady.run(bench), kEXECUTION_FAILED);
}

void streams() {
  Bench bench;
  Case one(larger(kFloat)), two(larger(kFloat));
  const Operation first(bench, one, Form::kData, 1), second(bench, two, Form::kData, 1);
  const auto wanted = one.reference(Form::kData, [](double value) { return value; });
  const auto also = two.reference(Form::kData, [](double value) { return value; });
  cu::StreamHandle stream = nullptr, got = nullptr;
  Handle handle = nullptr;
  OK(cuda.stream_create(&stream, 1));
  OK(dnn.cudnnCreate(&handle));
  OK(dnn.cudnnSetStream(handle, stream));
  OK(dnn.cudnnGetStream(handle, &got));
  HOLDS(got == stream);
  // Each in the order of its stream: the fill waits for the slow launch before it.
  cuda_control("configure", "slow_launch=50ms");
  OK(first.run(bench));
  OK(cuda.fill(one.w.at, 0, one.w.bytes(), bench.stream));
  OK(two.run(handle, Form::kData, 1, second.space.pointer(), second.bytes));
  bench.wait();
  cuda_control("configure", "slow_launch=0");
  HOLDS(largest_error(one.x, wanted) < 1e-4);
  OK(cuda.stream_synchronize(stream));
  HOLDS(largest_error(two.x, also) < 1e-4);
  // A workspace that two streams use at once: found sooner or later.
  bool found = false;
  for (int i = 0; i < 2000 && !found; ++i) {
    found = first.run(bench) != 0 || two.run(handle, Form::kData, 1, first.space.pointer(), first.bytes) != 0 ||
            cuda.stream_synchronize(bench.stream) != 0 || cuda.stream_synchronize(stream) != 0;
  }
  HOLDS(found);
  HOLDS(std::string(cuda_control("lastFault", "")).find("workspace was written by others") != std::string::npos);
}

void threads() {
  Bench bench;
  std::atomic<bool> refused_once{false};
  const auto hammer = [&] {
    cuda.set_current(bench.context);
    for (int i = 0; i < 1000000 && !refused_once; ++i) {
      int count = 0;
      if (dnn.cudnnGetConvolutionForwardAlgorithmMaxCount(bench.handle, &count) != 0) refused_once = true;
    }
  };
  std::thread one(hammer), two(hammer);
  one.join();
  two.join();
  HOLDS(refused_once);
  HOLDS(std::string(dnn_control("lastFault", "")).find("one thread at a time") != std::string::npos);
}

void injected() {
  Bench bench;
  Case each(larger(kFloat));
  const Operation operation(bench, each, Form::kForward, 1);
  HOLDS(std::string(dnn_control("configure", "status=cudnnConvolutionForward:3000@2")) == "null");
  dnn_control("counters", "reset");
  OK(operation.run(bench));
  REFUSED(operation.run(bench), 3000, "cudnnConvolutionForward was made to return 3000");
  OK(operation.run(bench));
  dnn_control("configure", "status=cudnnConvolutionForward:5000,cudnnSetStream:1001");
  IS(operation.run(bench), 5000);
  IS(operation.run(bench), 5000);
  IS(dnn.cudnnSetStream(bench.handle, bench.stream), 1001);
  dnn_control("configure", "status=none");
  OK(operation.run(bench));
  bench.wait();
  const std::string counters = dnn_control("counters", "");
  HOLDS(counters.find(R"("cudnnConvolutionForward":{"calls":6,"refused":3,"algorithms":{"1":3}})") !=
        std::string::npos);
  HOLDS(std::string(dnn_control("memory", "")) == R"({"handles":1,"tensors":2,"filters":1,"convolutions":1})");
  for (const char* wrong :
       {"status=cudnnNothing:3000", "status=cudnnCreate:0", "workspace=3", "version=1", "colour=1", "status"}) {
    HOLDS(dnn_control("configure", wrong)[0] == '!');
  }
  // Faults of launches befall these too.
  cuda_control("fault", "launch_error@1");
  IS(operation.run(bench), kEXECUTION_FAILED);
  cuda_control("fault", "launch@1");
  OK(operation.run(bench));
  IS(cuda.stream_synchronize(bench.stream), cu::kERROR_LAUNCH_FAILED);
  IS(operation.run(bench), kEXECUTION_FAILED);
}

void entries() {
  IS(dnn.cudnnGetVersion(), 91002);
  IS(dnn.cudnnGetCudartVersion(), 12090);
#define PRESENT(name, since, ...) HOLDS(dnn.name != nullptr);
  SIM_CUDNN_ENTRIES(PRESENT)
  SIM_CUDNN_PLAIN_ENTRIES(PRESENT)
#undef PRESENT
  HOLDS(std::string(dnn.cudnnGetErrorString(0)) == "CUDNN_STATUS_SUCCESS");
  HOLDS(std::string(dnn.cudnnGetErrorString(3000)) == "CUDNN_STATUS_NOT_SUPPORTED");
  HOLDS(std::string(dnn.cudnnGetErrorString(2008)) == "CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH");
  int parts[3];
  for (int i = 0; i < 3; ++i) OK(dnn.cudnnGetProperty(i, &parts[i]));
  HOLDS(parts[0] == 9 && parts[1] == 10 && parts[2] == 2);
  Bench bench;
  Setup setup;
  setup.format = kNhwc;
  Case each(setup);
  int n, c, h, w, sn, sc, sh, sw, type, format;
  OK(dnn.cudnnGetTensor4dDescriptor(each.x_desc, &type, &n, &c, &h, &w, &sn, &sc, &sh, &sw));
  HOLDS(type == kFloat && n == 2 && c == 4 && h == 5 && w == 6 && sn == 120 && sc == 1 && sh == 24 && sw == 4);
  OK(dnn.cudnnGetFilter4dDescriptor(each.w_desc, &type, &format, &n, &c, &h, &w));
  HOLDS(type == kFloat && format == kNhwc && n == 6 && c == 2 && h == 3 && w == 2);
  OK(dnn.cudnnGetConvolution2dForwardOutputDim(each.desc, each.x_desc, each.w_desc, &n, &c, &h, &w));
  HOLDS(n == 2 && c == 6 && h == setup.out(0) && w == setup.out(1));
  int ph, pw, dh, dw, mode, compute, groups, math;
  OK(dnn.cudnnGetConvolution2dDescriptor(each.desc, &ph, &pw, &sh, &sw, &dh, &dw, &mode, &compute));
  HOLDS(ph == 1 && pw == 0 && sh == 2 && sw == 1 && dh == 1 && dw == 2 && mode == kCrossCorrelate);
  HOLDS(compute == kFloat);
  OK(dnn.cudnnGetConvolutionGroupCount(each.desc, &groups));
  OK(dnn.cudnnGetConvolutionMathType(each.desc, &math));
  HOLDS(groups == 2 && math == kFma);
  IS(dnn.cudnnDestroy(nullptr), kBAD_PARAM);
  char text[128];
  dnn.cudnnGetLastErrorString(text, sizeof text);
  HOLDS(std::string(text).find("cudnnDestroy: handle must be one") == 0);
}

// With version=8907 without=cudnnFindConvolutionForwardAlgorithmEx.
void old_version() {
  IS(dnn.cudnnGetVersion(), 8907);
  HOLDS(dnn.cudnnGetLastErrorString == nullptr);
  HOLDS(dnn.cudnnFindConvolutionForwardAlgorithmEx == nullptr);
  HOLDS(dnn.cudnnFindConvolutionBackwardDataAlgorithmEx != nullptr);
  IS(dnn.cudnnDestroy(nullptr), 3);
  HOLDS(std::string(dnn.cudnnGetErrorString(3)) == "CUDNN_STATUS_BAD_PARAM");
  HOLDS(std::string(dnn.cudnnGetErrorString(9)) == "CUDNN_STATUS_NOT_SUPPORTED");
  int major = 0;
  OK(dnn.cudnnGetProperty(0, &major));
  IS(major, 8);
  Bench bench;
  Case each(Setup{});
  size_t bytes = 0;
  IS(each.workspace(bench.handle, Form::kData, 4, &bytes), 9);
}

// On a driver that is not the simulator's: nothing but a sentence.
void foreign_driver() {
  Handle handle = nullptr;
  REFUSED(dnn.cudnnCreate(&handle), kNOT_INITIALIZED, "libcuda of the process must be the simulator's");
  HOLDS(handle == nullptr);
  IS(dnn.cudnnGetVersion(), 91002);
}

struct Scenario {
  const char* name;
  void (*run)();
  const char* cuda = "";   // how the simulator is set up for it
  const char* cudnn = "";  // and the stand-in for libcudnn
};
const Scenario kScenarios[] = {
    {"numerics", numerics},
    {"determinism", determinism},
    {"math_types", math_types},
    {"heuristics", heuristics},
    {"finding", finding},
    {"sums", sums},
    {"refusals", refusals, "devices=2"},
    {"capture", capture},
    {"streams", streams},
    {"threads", threads},
    {"injected", injected},
    {"entries", entries},
    {"digest", digest},
    {"old_version", old_version, "", "version=8907 without=cudnnFindConvolutionForwardAlgorithmEx"},
};

template <class F>
void bind(void* library, const char* name, F& function) {
  function = reinterpret_cast<F>(dlsym(library, name));
}

void load(const char* cuda_path, const char* dnn_path) {
  void* driver = dlopen(cuda_path, RTLD_NOW | RTLD_LOCAL);
  void* library = dlopen(dnn_path, RTLD_NOW | RTLD_GLOBAL);
  if (driver == nullptr || library == nullptr) {
    std::printf("%s\n", dlerror());
    std::exit(1);
  }
  bind(driver, "cuInit", cuda.init);
  bind(driver, "cuDevicePrimaryCtxRetain", cuda.retain);
  bind(driver, "cuDevicePrimaryCtxReset_v2", cuda.reset);
  bind(driver, "cuCtxSetCurrent", cuda.set_current);
  bind(driver, "cuStreamCreate", cuda.stream_create);
  bind(driver, "cuStreamDestroy_v2", cuda.stream_destroy);
  bind(driver, "cuStreamSynchronize", cuda.stream_synchronize);
  bind(driver, "cuMemAlloc_v2", cuda.allocate);
  bind(driver, "cuMemFree_v2", cuda.free);
  bind(driver, "cuMemcpyHtoD_v2", cuda.copy_in);
  bind(driver, "cuMemcpyDtoH_v2", cuda.copy_out);
  bind(driver, "cuMemsetD8Async", cuda.fill);
  bind(driver, "cuStreamBeginCapture_v2", cuda.begin_capture);
  bind(driver, "cuStreamEndCapture", cuda.end_capture);
  bind(driver, "cuGraphInstantiateWithFlags", cuda.instantiate);
  bind(driver, "cuGraphLaunch", cuda.graph_launch);
  bind(driver, "simulatorControl", cuda_control);
#define BIND(name, since, parameters) bind(library, #name, dnn.name);
  SIM_CUDNN_ENTRIES(BIND)
#undef BIND
#define BIND(name, since, result, parameters) bind(library, #name, dnn.name);
  SIM_CUDNN_PLAIN_ENTRIES(BIND)
#undef BIND
  bind(library, "simulatorCudnnControl", dnn_control);
}

}  // namespace

// Each scenario as a process of its own, with what the stand-ins are told.
int run_all(char** arguments) {
  bool failed = false;
  for (const Scenario& scenario : kScenarios) {
    setenv("CUDA_SIMULATOR", scenario.cuda, 1);
    setenv("CUDNN_SIMULATOR", scenario.cudnn, 1);
    std::printf("%s: ", scenario.name);
    std::fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
      execl("/proc/self/exe", arguments[0], arguments[1], arguments[2], scenario.name, nullptr);
      std::_Exit(127);
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (status != 0) std::printf("ended with %d\n", status);
    failed = failed || status != 0;
  }
  return failed ? 1 : 0;
}

int main(int count, char** arguments) {
  if (count < 3) return 2;
  if (count == 3) return run_all(arguments);
  load(arguments[1], arguments[2]);
  const std::string name = arguments[3];
  bool known = name == "foreign_driver";
  if (known) foreign_driver();
  for (const Scenario& scenario : kScenarios) {
    if (name != scenario.name) continue;
    known = true;
    scenario.run();
  }
  if (!known) return 2;
  if (failures == 0) std::printf("ok\n");
  std::fflush(stdout);
  std::_Exit(failures == 0 ? 0 : 1);
}
