// uniform_f32__random__ptx
//
// Specification: {"operation":"uniform","type":"f32"}
// Made by: fracstride render uniform_f32__random__ptx
//
// Random numbers by Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011),
// the same stream on every device: element i takes word i mod 4 of the block with counter offset + i / 4 and the seed as
// key; float64 takes a second block, whose third counter word is 1, for its low bits. A thread makes one block's numbers.

typedef float stored;
typedef float real;

// Element types: what is stored, and what it is computed in; conversions round to the nearest, ties to even.
struct F32 {
  typedef float Stored;
  typedef float Real;
  static __device__ __forceinline__ float load(float x) { return x; }
  static __device__ __forceinline__ float store(float x) { return x; }
  static __device__ __forceinline__ float from_double(double x) { return (float)x; }
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

typedef F32 S;

struct Block {
  unsigned word[4];
};

static __device__ __forceinline__ Block philox(unsigned long long seed, unsigned long long counter, unsigned third) {
  unsigned c0 = (unsigned)counter, c1 = (unsigned)(counter >> 32), c2 = third, c3 = 0;
  unsigned k0 = (unsigned)seed, k1 = (unsigned)(seed >> 32);
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const unsigned long long a = 0xD2511F53ull * c0, b = 0xCD9E8D57ull * c2;
    c0 = (unsigned)(b >> 32) ^ c1 ^ k0;
    c1 = (unsigned)b;
    c2 = (unsigned)(a >> 32) ^ c3 ^ k1;
    c3 = (unsigned)a;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// A multiple of 2^-BITS in [0, 1), as many bits as the type holds exactly.
static __device__ __forceinline__ real unit(unsigned high, unsigned low) {
  return (float)(int)(high >> 8) * 5.9604644775390625e-8f;
}

static __device__ __forceinline__ stored step_down(stored x) {
  const unsigned bits = __float_as_uint(x);
  return __uint_as_float(x > 0 ? bits - 1 : x < 0 ? bits + 1 : 0x80000001u);
}

// The largest stored number below the limit.
static __device__ __forceinline__ stored below(double limit) {
  stored value = S::from_double(limit);
  while ((double)S::load(value) >= limit) value = step_down(value);
  return value;
}

extern "C" __global__ void __launch_bounds__(256) uniform_f32__random__ptx(
    stored* out, long long count, long long seed, long long offset, double a, double b) {
  const real from = (real)a, range = (real)(b - a);
  const bool open = a < b;
  const stored last = open ? below(b) : (stored)0;
  const real limit = S::load(last);
  const bool together = packed<stored, 4>(out);
  const wide blocks = (count + 3) / 4;
  for (wide at = (wide)blockIdx.x * 256 + threadIdx.x; at < blocks; at += (wide)gridDim.x * 256) {
    const Block high = philox(seed, (unsigned long long)offset + at, 0);
    const Block low = high;
    Pack<stored, 4> pack;
#pragma unroll
    for (int v = 0; v < 4; ++v) {
      const stored drawn = S::store(fmaf(unit(high.word[v], low.word[v]), range, from));
      pack.at[v] = open && S::load(drawn) > limit ? last : drawn;
    }
    const wide index = at * 4;
    if (together && index + 4 <= count) {
      *(Pack<stored, 4>*)(out + index) = pack;
    } else {
#pragma unroll
      for (int v = 0; v < 4; ++v)
        if (index + v < count) out[index + v] = pack.at[v];
    }
  }
}
