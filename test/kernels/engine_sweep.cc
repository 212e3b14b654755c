// Random problems through every convolution kernel of every instruction set of this machine, against the definition of
// the bilinear form by direct loops; built with sanitizers by scripts/sanitize.mjs, by itself without Node.
//
// The operands are small integers, so that every sum is exact in the accumulator and results must agree to the last
// bit, but for tanh and sigmoid; some hold infinities and NaN. Buffers have exactly the size of their tensor, so that
// the address sanitizer sees every access outside; results must be the same bits for any number of threads.
//
// usage: engine_sweep <problems> <first seed>; compiled with ONLY_BASELINE it needs no other instruction set's files.
#include <algorithm>
#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

// Defines FOR_EACH_FAMILY_avx2(use): use(igemm_float_avx2) and so on, for every table of convolutions, and so for each
// instruction set.
#include "families.h"
#include "kernel.h"
#include "team.h"

#define DECLARE_TABLE(name) extern const CpuKernelTable fracstride_table_##name;
#define LIST_TABLE(name) &fracstride_table_##name,

namespace fracstride {
#if defined(__x86_64__) && !defined(ONLY_BASELINE)
FOR_EACH_FAMILY_avx512(DECLARE_TABLE) FOR_EACH_FAMILY_avx2(DECLARE_TABLE)
#endif
    FOR_EACH_FAMILY_baseline(DECLARE_TABLE)
}  // namespace fracstride

namespace {

using namespace fracstride;

struct Problem {
  int32_t size[16];  // n cs hs ws cl hl wl r s sh sw ph pw dh dw groups
  bool nhwc, bias;
  int32_t activation;
  int special;  // 0 none, else which operand holds infinities and NaN
};

enum Size { N, CS, HS, WS, CL, HL, WL, R, S, SH, SW, PH, PW, DH, DW, G };

// Element types: their bits as doubles and back, rounded to nearest even.
struct Dtype {
  std::string name;
  size_t bytes;
};

float float_of(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

double load(const Dtype& type, const void* data, size_t i) {
  if (type.name == "f64") return static_cast<const double*>(data)[i];
  if (type.name == "f32") return static_cast<const float*>(data)[i];
  const uint32_t h = static_cast<const uint16_t*>(data)[i];
  if (type.name == "bf16") return float_of(h << 16);
  const int exponent = h >> 10 & 31, fraction = h & 1023;
  double size = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  if (exponent == 31) size = fraction == 0 ? HUGE_VAL : NAN;
  return h & 0x8000 ? -size : size;
}

// Nearest number with `fraction` bits after the leading one, the least exponent `low`, infinity from 2^high on.
double round_to(double x, int fraction, int low, int high) {
  if (x == 0 || !std::isfinite(x)) return x;
  const int exponent = std::max(std::ilogb(x), low);
  const double unit = std::ldexp(1.0, exponent - fraction), rounded = std::nearbyint(x / unit) * unit;
  return std::fabs(rounded) >= std::ldexp(1.0, high) ? std::copysign(HUGE_VAL, x) : rounded;
}

double rounded(const Dtype& type, double x) {
  if (type.name == "f16") return round_to(x, 10, -14, 16);
  if (type.name == "bf16") return round_to(x, 7, -126, 128);
  return type.name == "f32" ? static_cast<float>(x) : x;
}

void store(const Dtype& type, void* data, size_t i, double value) {
  if (type.name == "f64") {
    static_cast<double*>(data)[i] = value;
  } else if (type.name == "f32") {
    static_cast<float*>(data)[i] = static_cast<float>(value);
  } else {
    // The operands are small integers, infinities and NaN: search the few candidates.
    uint16_t* const to = static_cast<uint16_t*>(data) + i;
    if (type.name == "bf16") {
      const float f = static_cast<float>(value);
      uint32_t bits;
      std::memcpy(&bits, &f, 4);
      *to = static_cast<uint16_t>(bits >> 16);
    } else {
      const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
      const double size = std::fabs(value);
      if (std::isnan(value))
        *to = 0x7e00;
      else if (std::isinf(value))
        *to = static_cast<uint16_t>(sign | 0x7c00);
      else if (size == 0)
        *to = sign;
      else
        *to = static_cast<uint16_t>(sign | (std::ilogb(size) + 15) << 10 |
                                    (static_cast<int>(std::ldexp(size, 10 - std::ilogb(size))) & 1023));
    }
  }
}

// One tensor: values in [n][c][h][w] order and the stored bytes in the problem's layout.
struct Tensor {
  size_t n, c, h, w;
  bool nhwc;
  std::vector<double> value;

  Tensor(size_t n, size_t c, size_t h, size_t w, bool nhwc)
      : n(n), c(c), h(h), w(w), nhwc(nhwc), value(n * c * h * w) {}

  size_t place(size_t i) const {
    if (!nhwc) return i;
    const size_t x = i % w, y = i / w % h, k = i / (w * h) % c, b = i / (w * h * c);
    return ((b * h + y) * w + x) * c + k;
  }
  std::vector<char> bytes(const Dtype& type) const {
    std::vector<char> out(value.size() * type.bytes);
    for (size_t i = 0; i < value.size(); i++) store(type, out.data(), place(i), value[i]);
    out.shrink_to_fit();
    return out;
  }
};

struct Operands {
  Tensor small, large, weight, bias;
};

void fill(Tensor& t, std::mt19937& random, bool special) {
  for (double& x : t.value) x = static_cast<double>(static_cast<int>(random() % 7)) - 3;
  if (!special || t.value.empty()) return;
  const double specials[] = {HUGE_VAL, -HUGE_VAL, std::numeric_limits<double>::quiet_NaN()};
  for (unsigned i = 0; i < 1 + random() % 3; i++) t.value[random() % t.value.size()] = specials[random() % 3];
}

int pick(std::mt19937& random, int low, int high) {
  return low + static_cast<int>(random() % (high - low + 1));
}

// Both axes alike: kernels for common shapes take no others.
void make_square(Problem& p, std::mt19937& random) {
  int32_t* v = p.size;
  v[S] = v[R] = std::max(2, v[R] + (random() % 4 == 0 ? 2 : 0));
  v[SH] = v[SW] = pick(random, 1, 2);
  v[DH] = v[DW] = 1;
  v[PW] = v[PH];
  for (int axis = 0; axis < 2; axis++) {
    const int reach = (v[HS + axis] - 1) * v[SH] + v[R];
    v[HL + axis] = std::max(1, reach - 2 * v[PH] + pick(random, -1, 2));
  }
}

Problem random_problem(std::mt19937& random) {
  Problem p = {};
  int32_t* v = p.size;
  const bool wide = random() % 8 == 0;
  v[G] = random() % 3 == 0 ? pick(random, 2, 4) : 1;
  v[N] = random() % 20 == 0 ? 0 : pick(random, 1, 4);
  v[CS] = v[G] * (wide ? pick(random, 30, 90) : pick(random, 1, 9));
  v[CL] = v[G] * (wide ? pick(random, 14, 70) : pick(random, 1, 9));
  if (random() % 3 == 0) {
    v[G] = wide ? pick(random, 20, 40) : pick(random, 1, 9);
    v[CS] = v[CL] = v[G];
  }
  v[R] = pick(random, 1, 5);
  v[S] = random() % 30 == 0 ? 40 : pick(random, 1, 5);
  for (int axis = 0; axis < 2; axis++) {
    v[SH + axis] = pick(random, 1, 4);
    v[DH + axis] = random() % 2 ? 1 : pick(random, 1, 3);
    v[HS + axis] = random() % 10 == 0 ? 1 : pick(random, 1, 11);
    v[PH + axis] = pick(random, 0, 3);
    const int reach = (v[HS + axis] - 1) * v[SH + axis] + v[DH + axis] * (v[R + axis] - 1) + 1;
    // The exact size, cropped, or with rows that nothing reaches.
    v[HL + axis] = std::max(random() % 40 == 0 ? 0 : 1, reach - 2 * v[PH + axis] + pick(random, -1, 3));
  }
  if (random() % 3 == 0) make_square(p, random);
  p.nhwc = random() % 2;
  p.bias = random() % 2;
  p.activation = pick(random, 0, 4);
  p.special = random() % 4 == 0 ? pick(random, 1, 3) : 0;
  return p;
}

template <class Visit>
void each_term(const int32_t* v, const Visit& visit) {
  const int64_t cg = v[CS] / v[G], kg = v[CL] / v[G];
  for (int64_t n = 0; n < v[N]; n++)
    for (int64_t c = 0; c < v[CS]; c++)
      for (int64_t o = 0; o < kg; o++)
        for (int64_t i = 0; i < v[HS]; i++)
          for (int64_t a = 0; a < v[R]; a++) {
            const int64_t y = i * v[SH] - v[PH] + a * v[DH], k = c / cg * kg + o;
            if (y < 0 || y >= v[HL]) continue;
            for (int64_t j = 0; j < v[WS]; j++)
              for (int64_t b = 0; b < v[S]; b++) {
                const int64_t x = j * v[SW] - v[PW] + b * v[DW];
                if (x < 0 || x >= v[WL]) continue;
                visit(((n * v[CS] + c) * v[HS] + i) * v[WS] + j, ((n * v[CL] + k) * v[HL] + y) * v[WL] + x,
                      ((c * kg + o) * v[R] + a) * v[S] + b);
              }
          }
}

double activated(double x, int activation) {
  switch (activation) {
    case 1:
      return x < 0 ? 0 : x;
    case 2:
      return x > 0 ? x : x * 0.25;
    case 3:
      return std::tanh(x);
    case 4:
      return 1 / (1 + std::exp(-x));
    default:
      return x;
  }
}

// The expected output of a pass.
Tensor expected(const std::string& pass, const Problem& p, const Operands& in) {
  if (pass == "bgrad") {
    Tensor out(1, in.large.c, 1, 1, false);
    for (size_t i = 0; i < in.large.value.size(); i++)
      out.value[i / (in.large.h * in.large.w) % in.large.c] += in.large.value[i];
    return out;
  }
  Tensor out = pass == "fwd" ? in.large : pass == "dgrad" ? in.small : in.weight;
  for (double& x : out.value) x = 0;
  each_term(p.size, [&](int64_t s, int64_t l, int64_t w) {
    if (pass == "fwd") out.value[l] += in.small.value[s] * in.weight.value[w];
    if (pass == "dgrad") out.value[s] += in.large.value[l] * in.weight.value[w];
    if (pass == "wgrad") out.value[w] += in.small.value[s] * in.large.value[l];
  });
  if (pass == "wgrad") return out;
  for (size_t i = 0; i < out.value.size(); i++) {
    const double bias = p.bias ? in.bias.value[i / (out.h * out.w) % out.c] : 0;
    out.value[i] = activated(out.value[i] + bias, p.activation);
  }
  return out;
}

bool close(const Dtype& type, double got, double want, bool exact) {
  if (std::isnan(want) || std::isnan(got)) return std::isnan(want) && std::isnan(got);
  if (std::isinf(want) || exact) return got == rounded(type, want);
  const double tolerance = type.name == "f64" ? 1e-12 : type.name == "f32" ? 2e-6 : type.name == "f16" ? 1e-3 : 8e-3;
  return std::fabs(got - want) <= tolerance;
}

bool is_winograd(const std::string& name) {
  return name.find("__winograd") != std::string::npos;
}

// More than transformed filters take: channels rounded up, for all points of all pairs of phases.
int64_t filter_bytes(const Problem& p) {
  const int32_t* v = p.size;
  const int64_t points_h = v[SH] * 8, points_w = v[SW] * 8, channels = (v[CS] / v[G] + 32) * (v[CL] / v[G] + 32);
  return static_cast<int64_t>(sizeof(float)) * v[G] * channels * points_h * points_w;
}

std::vector<char> launch(const CpuKernelRow& row, const std::string& pass, const Problem& p, const Operands& in,
                         const Dtype& type, size_t elements) {
  std::vector<char> small = in.small.bytes(type), large = in.large.bytes(type), weight = in.weight.bytes(type);
  std::vector<char> bias = in.bias.bytes(type), out(elements * type.bytes, static_cast<char>(0xff));
  out.shrink_to_fit();
  void* first = pass == "dgrad" || pass == "bgrad" ? large.data() : small.data();
  void* second = pass == "wgrad" ? large.data() : weight.data();
  void* third = p.bias ? bias.data() : nullptr;
  void* output = out.data();
  int32_t size[16], activation = p.activation;
  std::memcpy(size, p.size, sizeof size);
  int32_t planes[3] = {size[N], size[CL], size[HL] * size[WL]};
  double slope = 0.25;
  // Room for panels of any variant, of a weight that was not packed before.
  int64_t packed_bytes = 64 + static_cast<int64_t>(sizeof(double)) * 64 * (in.weight.value.size() + 64), stamp = 1;
  if (is_winograd(row.name)) packed_bytes += filter_bytes(p);
  std::unique_ptr<char[]> room(new char[packed_bytes + 64]());
  void* packed = room.get() + 64 - reinterpret_cast<uintptr_t>(room.get()) % 64;
  std::vector<void*> params;
  if (pass == "bgrad") {
    params = {&first, &output, &planes[0], &planes[1], &planes[2]};
  } else {
    params = {&first, &second};
    if (pass != "wgrad") params.push_back(&third);
    params.push_back(&output);
    const bool packs = std::count(row.kinds, row.kinds + std::strlen(row.kinds), 'p') == 5;
    if (packs) params.push_back(&packed);
    for (int32_t& v : size) params.push_back(&v);
    if (pass != "wgrad") params.insert(params.end(), {&activation, &slope});
    if (packs) params.insert(params.end(), {&packed_bytes, &stamp});
  }
  if (params.size() != std::strlen(row.kinds)) throw std::runtime_error("the argument list has changed");
  row.entry(params.data());
  return out;
}

std::string part(const std::string& name, int index) {
  size_t from = 0;
  for (int i = 0; i < index; i++) from = name.find('_', from) + 1;
  return name.substr(from, name.find('_', from) - from);
}

// Whether minimal filtering takes an axis, with no other factors than 1 and ½ in its transforms: results are exact.
bool winograd_takes(const int32_t* v, int axis, int outputs, bool shared) {
  const int kernel = v[R + axis], stride = v[SH + axis], taps = (kernel + stride - 1) / stride;
  if (shared && kernel % stride != 0) return false;
  if (stride > kernel || v[HL + axis] < stride) return false;
  // A dilation whose residues are maps alike.
  const int d = v[DH + axis];
  const bool alike = stride == 1 && v[PH + axis] % d == 0 && v[HS + axis] % d == 0 && v[HL + axis] % d == 0;
  if (kernel > 1 && d > 1 && !alike) return false;
  return taps == 1 || (taps <= 3 && outputs + taps - 1 <= 4);
}

// Whether there is a pattern of shifts for the width of the kernel and the stride.
bool slide_takes(const int32_t* v) {
  const std::vector<int> widths[] = {{3, 5, 7, 9}, {2, 3, 4, 5, 6}, {3, 6, 9}, {4, 8}};
  if (v[DW] != 1 || v[SW] > 4 || v[WL] < v[SW]) return false;
  const std::vector<int>& taken = widths[v[SW] - 1];
  return std::find(taken.begin(), taken.end(), v[S]) != taken.end();
}

// Whether an image of the large side is the taps of its only position, in order.
bool is_matrix(const int32_t* v) {
  if (v[N] * v[CS] * v[CL] == 0 || v[HS] * v[WS] != 1 || v[PH] + v[PW] != 0 || v[N] > 1024) return false;
  return v[HL] == v[R] && v[WL] == v[S] && (v[R] == 1 || v[DH] == 1) && (v[S] == 1 || v[DW] == 1);
}

// What the catalogue calls legal (codegen/variants_*.ts).
bool takes(const std::string& name, const Problem& p) {
  const int32_t* v = p.size;
  if (name.find("__depthwise") != std::string::npos) return v[CS] == v[G] && v[CL] == v[G];
  if (name.find("_nhwc__scatter") != std::string::npos) return v[S] == 1 || v[DW] == 1;
  if (name.find("__slide") != std::string::npos) return slide_takes(v);
  if (name.find("__gemm") != std::string::npos) return v[G] == 1 && is_matrix(v);
  if (name.find("__point") != std::string::npos) return v[G] == 1;
  if (is_winograd(name)) {
    const size_t at = name.find("__winograd_f") + 12;
    const int outputs = name[at] - '0';
    const bool shared = name[at + 1] == 's', empty = v[N] == 0 || v[HL] == 0 || v[WL] == 0;
    return !empty && winograd_takes(v, 0, outputs, shared) && winograd_takes(v, 1, outputs, shared);
  }
  if (name.find("__tapwise") != std::string::npos) return v[N] * v[HS] * v[WS] <= 1024;
  return true;
}

int failures = 0;
int64_t runs = 0;

// `known` keeps what each pass should give: all kernels of a pass are compared with the same.
void check(const CpuKernelRow& row, const Problem& p, const Operands& in, std::map<std::string, Tensor>& known,
           uint32_t seed) {
  const std::string name = row.name, pass = part(name, 1), layout = part(name, 3);
  if ((layout == "nhwc") != p.nhwc || !takes(name, p)) return;
  const Dtype type = {part(name, 2), part(name, 2) == "f64" ? 8u : part(name, 2) == "f32" ? 4u : 2u};
  if (known.count(pass) == 0) known.emplace(pass, expected(pass, p, in));
  const Tensor& want = known.at(pass);
  const bool exact = p.activation < 3 || pass == "wgrad" || pass == "bgrad";
  std::vector<char> before;
  for (int threads : {1, 2, 3, 5}) {
    set_team_threads(threads);
    const std::vector<char> got = launch(row, pass, p, in, type, want.value.size());
    runs++;
    if (before.empty()) {
      before = got;
    } else if (before != got) {
      std::printf("seed %u: %s gives other bits with %d threads\n", seed, row.name, threads);
      failures++;
    }
    for (size_t i = 0; i < want.value.size(); i++) {
      const double value = load(type, got.data(), want.place(i));
      if (close(type, value, want.value[i], exact)) continue;
      std::printf("seed %u: %s element %zu is %g, expected %g (special %d)\n", seed, row.name, i, value, want.value[i],
                  p.special);
      failures++;
      break;
    }
  }
}

std::vector<const CpuKernelTable*> tables() {
  std::vector<const CpuKernelTable*> list = {FOR_EACH_FAMILY_baseline(LIST_TABLE)};
#if defined(__x86_64__) && !defined(ONLY_BASELINE)
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    list.insert(list.end(), {FOR_EACH_FAMILY_avx2(LIST_TABLE)});
  }
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq")) {
    list.insert(list.end(), {FOR_EACH_FAMILY_avx512(LIST_TABLE)});
  }
#endif
  return list;
}

}  // namespace

int main(int argc, char** argv) {
  const int problems = argc > 1 ? std::atoi(argv[1]) : 100;
  const uint32_t first = argc > 2 ? static_cast<uint32_t>(std::atoi(argv[2])) : 1;
  for (uint32_t seed = first; seed < first + problems && failures < 20; seed++) {
    std::mt19937 random(seed);
    const Problem p = random_problem(random);
    const int32_t* v = p.size;
    Operands in = {Tensor(v[N], v[CS], v[HS], v[WS], p.nhwc), Tensor(v[N], v[CL], v[HL], v[WL], p.nhwc),
                   Tensor(v[CS], v[CL] / v[G], v[R], v[S], false), Tensor(1, std::max(v[CS], v[CL]), 1, 1, false)};
    fill(in.small, random, p.special == 1);
    fill(in.large, random, p.special == 2);
    fill(in.weight, random, p.special == 3);
    fill(in.bias, random, false);
    std::map<std::string, Tensor> known;
    for (const CpuKernelTable* table : tables())
      for (size_t i = 0; i < table->count; i++) check(table->rows[i], p, in, known, seed);
  }
  std::printf("%d problems from seed %u, %" PRId64 " launches, %d failures\n", problems, first, runs, failures);
  return failures == 0 ? 0 : 1;
}
