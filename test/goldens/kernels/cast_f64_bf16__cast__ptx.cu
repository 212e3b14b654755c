// cast_f64_bf16__cast__ptx
//
// Specification: {"operation":"cast_f64","type":"bf16"}
// Made by: fracstride render cast_f64_bf16__cast__ptx
//
// out[i] = in[i] in another element type, rounded once: to the nearest, ties to even. A thread converts 4 neighbours
// at once.

typedef unsigned short stored;

// Element types: what is stored, and what it is computed in; conversions round to the nearest, ties to even.
// A double as a float that lies on the same side of every 16-bit number and every tie between two of them (round to odd).
static __device__ __forceinline__ float to_odd(double value) {
  const float near = (float)value;
  const double back = near;
  if (back == value || value != value) return near;
  const unsigned bits = __float_as_uint(near);
  return __uint_as_float(((fabs(back) > fabs(value)) ? bits - 1 : bits) | 1u);
}

struct F64 {
  typedef double Stored;
  typedef double Real;
  static __device__ __forceinline__ double load(double x) { return x; }
  static __device__ __forceinline__ double store(double x) { return x; }
  static __device__ __forceinline__ double from_double(double x) { return x; }
};

// The upper half of a float; no NaN becomes an infinity.
struct BF16 {
  typedef unsigned short Stored;
  typedef float Real;
  static __device__ __forceinline__ float load(Stored half) { return __uint_as_float((unsigned)half << 16); }
  static __device__ __forceinline__ Stored store(float value) {
    const unsigned bits = __float_as_uint(value);
    const unsigned nearest = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return (Stored)((bits & 0x7fffffffu) > 0x7f800000u ? bits >> 16 | 0x40u : nearest);
  }
  static __device__ __forceinline__ Stored from_double(double x) { return store(to_odd(x)); }
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

typedef F64 From;
typedef BF16 To;

static __device__ __forceinline__ stored converted(From::Stored x) {
  // By way of double, which holds every source exactly.
  return To::from_double((double)From::load(x));
}

extern "C" __global__ void __launch_bounds__(256) cast_f64_bf16__cast__ptx(
    stored* out, const double* in, long long count) {
  constexpr int WIDTH = 4;
  const wide first = (wide)blockIdx.x * 256 + threadIdx.x, all = (wide)gridDim.x * 256;
  const wide packs = packed<stored, WIDTH>(out) && packed<From::Stored, WIDTH>(in) ? count / WIDTH : 0;
  for (wide i = first; i < packs; i += all) {
    const Pack<From::Stored, WIDTH> source = ((const Pack<From::Stored, WIDTH>*)in)[i];
    Pack<stored, WIDTH> pack;
#pragma unroll
    for (int v = 0; v < WIDTH; ++v) pack.at[v] = converted(source.at[v]);
    ((Pack<stored, WIDTH>*)out)[i] = pack;
  }
  for (wide i = packs * WIDTH + first; i < count; i += all) out[i] = converted(in[i]);
}
