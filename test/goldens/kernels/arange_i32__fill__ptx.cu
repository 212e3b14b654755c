// arange_i32__fill__ptx
//
// Specification: {"operation":"arange","type":"i32"}
// Made by: fracstride render arange_i32__fill__ptx
//
// out[i] = start + i · step, in double and rounded once. A thread writes 4 neighbours at once.

typedef int stored;

// Element types: what is stored, and what it is computed in; conversions round to the nearest, ties to even.
// Integers are computed with as doubles, which hold them all; what does not fit becomes the nearest end, NaN becomes 0.
struct I32 {
  typedef int Stored;
  typedef double Real;
  static __device__ __forceinline__ double load(int x) { return x; }
  static __device__ __forceinline__ int store(double x) {
    const double low = x < -2147483648.0 ? -2147483648.0 : x;
    const double inside = low > 2147483647.0 ? 2147483647.0 : low;
    return (int)(x != x ? 0.0 : inside);
  }
  static __device__ __forceinline__ int from_double(double x) { return store(x); }
};

typedef long long wide;

// `COUNT` neighbours in memory, read or written by accesses of up to 16 bytes.
template <class Element, int COUNT>
struct __align__(COUNT * sizeof(Element) < 16 ? COUNT * sizeof(Element) : 16) Pack {
  Element at[COUNT];
};

// Whether a Pack may be read or written there.
template <class Element, int COUNT>
static __device__ __forceinline__ bool packed(const Element* at) {
  return (unsigned long long)at % sizeof(Pack<Element, COUNT>) % 16 == 0;
}

typedef I32 S;

struct Values {
  double start, step;
  __device__ __forceinline__ Values(double start, double step) : start(start), step(step) {}
  __device__ __forceinline__ stored at(wide i) const { return S::from_double(fma((double)i, step, start)); }
};

extern "C" __global__ void __launch_bounds__(256) arange_i32__fill__ptx(
    stored* out, long long count, double start, double step) {
  constexpr int WIDTH = 4;
  const Values values(start, step);
  const wide first = (wide)blockIdx.x * 256 + threadIdx.x, all = (wide)gridDim.x * 256;
  const wide packs = packed<stored, WIDTH>(out) ? count / WIDTH : 0;
  for (wide i = first; i < packs; i += all) {
    Pack<stored, WIDTH> pack;
#pragma unroll
    for (int v = 0; v < WIDTH; ++v) pack.at[v] = values.at(i * WIDTH + v);
    ((Pack<stored, WIDTH>*)out)[i] = pack;
  }
  for (wide i = packs * WIDTH + first; i < count; i += all) out[i] = values.at(i);
}
