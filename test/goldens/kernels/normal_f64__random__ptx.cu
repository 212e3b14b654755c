// normal_f64__random__ptx
//
// Specification: {"operation":"normal","type":"f64"}
// Made by: fracstride render normal_f64__random__ptx
//
// Random numbers by Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011),
// the same stream on every device: element i takes word i mod 4 of the block with counter offset + i / 4 and the seed as
// key; float64 takes a second block, whose third counter word is 1, for its low bits. A thread makes one block's numbers.

typedef double stored;

// Element types: what is stored, and what it is computed in; conversions round to the nearest, ties to even.
struct F64 {
  typedef double Stored;
  typedef double Real;
  static __device__ __forceinline__ double load(double x) { return x; }
  static __device__ __forceinline__ double store(double x) { return x; }
  static __device__ __forceinline__ double from_double(double x) { return x; }
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

typedef F64 S;

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

// In (0, 1).
static __device__ __forceinline__ double unit(unsigned high, unsigned low) {
  return ((double)(((unsigned long long)high << 32 | low) >> 11) + 0.5) * 1.1102230246251565e-16;
}

extern "C" __global__ void __launch_bounds__(256) normal_f64__random__ptx(
    stored* out, long long count, long long seed, long long offset, double a, double b) {
  const bool together = packed<stored, 4>(out);
  const wide blocks = (count + 3) / 4;
  for (wide at = (wide)blockIdx.x * 256 + threadIdx.x; at < blocks; at += (wide)gridDim.x * 256) {
    const Block high = philox(seed, (unsigned long long)offset + at, 0);
    const Block low = philox(seed, (unsigned long long)offset + at, 1);
    Pack<stored, 4> pack;
    // Two normal numbers of two uniform ones (Box and Muller), in double.
#pragma unroll
    for (int v = 0; v < 4; v += 2) {
      const double radius = sqrt(-2.0 * log(unit(high.word[v], low.word[v])));
      double sine, cosine;
      sincospi(2.0 * unit(high.word[v + 1], low.word[v + 1]), &sine, &cosine);
      pack.at[v] = S::from_double(fma(b, radius * cosine, a));
      pack.at[v + 1] = S::from_double(fma(b, radius * sine, a));
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
