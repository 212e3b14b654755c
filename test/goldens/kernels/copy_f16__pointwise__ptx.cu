// copy_f16__pointwise__ptx
//
// Specification: {"operation":"copy","type":"f16"}
// Made by: fracstride render copy_f16__pointwise__ptx
//
// out = x0, element by element over strided tensors. Where the dimension that is contiguous in x0 is not the one that is
// in out (a change of layout), tiles pass through shared memory, so that reads and writes are of neighbours alike.
typedef unsigned short stored;

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

constexpr int OPERANDS = 2, DIMS = 6, WIDTH = 8;

typedef Pack<stored, WIDTH> Packed;

// 64-bit divisions take a hundred instructions: they are left out where both numbers have 31 bits.
static __device__ __forceinline__ wide quotient(wide a, wide b, bool narrow) {
  return narrow ? (wide)((unsigned)a / (unsigned)b) : a / b;
}

// A strided tensor as rows along its innermost dimension. Loops over dimensions are unrolled: no array is in memory.
struct Rows {
  wide size, step[OPERANDS];  // elements of a row, and how far apart they lie in each operand
  wide count;
  wide packs;  // of a row, which every operand has in memory, or one value for the row; 0 where one has neither
  bool narrow;
};

static __device__ __forceinline__ Rows rows_of(
    int ndim, const wide (&shape)[DIMS], const wide (&strides)[OPERANDS][DIMS], const stored* const (&operands)[OPERANDS]) {
  Rows rows = {1, {}, 1, 0, false};
#pragma unroll
  for (int d = 0; d < DIMS; ++d) {
    if (d >= ndim) break;
    if (d > 0) rows.count *= rows.size;
    rows.size = shape[d];
    for (int t = 0; t < OPERANDS; ++t) rows.step[t] = strides[t][d];
  }
  bool together = rows.step[0] == 1;
#pragma unroll
  for (int t = 0; t < OPERANDS; ++t) {
    if (t > 0 && rows.step[t] == 0) continue;
    together = together && rows.step[t] == 1 && packed<stored, WIDTH>(operands[t]);
    for (int d = 0; d < DIMS - 1; ++d) {
      if (d >= ndim - 1) break;
      together = together && strides[t][d] % WIDTH == 0;
    }
  }
  rows.packs = together ? rows.size / WIDTH : 0;
  rows.narrow = rows.count * rows.size < 0x7fffffff;
  return rows;
}

struct Place {
  wide at[OPERANDS];
};

// Where item `index` lies: `items` of a row, the first at `start`, `each` elements apart.
static __device__ __forceinline__ Place place_of(
    const Rows& rows, int ndim, const wide (&shape)[DIMS], const wide (&strides)[OPERANDS][DIMS], wide index, wide items, wide start, wide each) {
  Place place;
  wide row = ndim > 1 ? quotient(index, items, rows.narrow) : 0;
  const wide column = start + (index - row * items) * each;
#pragma unroll
  for (int t = 0; t < OPERANDS; ++t) place.at[t] = column * rows.step[t];
  if (ndim <= 1) return place;
#pragma unroll
  for (int d = DIMS - 2; d >= 0; --d) {
    if (d >= ndim - 1) continue;
    const wide next = d > 0 ? quotient(row, shape[d], rows.narrow) : 0, at = row - next * shape[d];
    for (int t = 0; t < OPERANDS; ++t) place.at[t] += at * strides[t][d];
    row = next;
  }
  return place;
}

// An operand's elements there: neighbours, or one value for all.
static __device__ __forceinline__ Packed load_pack(const stored* at, wide step) {
  if (step == 1) return *(const Packed*)at;
  const stored value = *at;
  Packed pack;
#pragma unroll
  for (int v = 0; v < WIDTH; ++v) pack.at[v] = value;
  return pack;
}

constexpr int TILE_BITS = 10, TILE = 1 << TILE_BITS;

// A dimension whose elements are neighbours in one tensor; `step` is how far apart they lie in the other. −1: there is none.
struct Line {
  int dimension;
  wide size, step;
};

static __device__ __forceinline__ Line line_of(int ndim, const wide (&shape)[DIMS], const wide (&strides)[DIMS], const wide (&other)[DIMS]) {
  Line line = {-1, 0, 0};
#pragma unroll
  for (int d = 0; d < DIMS; ++d)
    if (d < ndim && shape[d] > 1 && strides[d] == 1) line = {d, shape[d], other[d]};
  return line;
}

static __device__ __forceinline__ int bits_for(wide size) {
  int bits = 0;
  while ((1 << bits) < size) ++bits;
  return bits;
}

extern "C" __global__ void __launch_bounds__(256, 3) copy_f16__pointwise__ptx(
    stored* out, const stored* x0, int ndim, long long shape0, long long shape1, long long shape2,
    long long shape3, long long shape4, long long shape5, long long out_stride0, long long out_stride1,
    long long out_stride2, long long out_stride3, long long out_stride4, long long out_stride5,
    long long x0_stride0, long long x0_stride1, long long x0_stride2, long long x0_stride3, long long x0_stride4,
    long long x0_stride5) {
  const stored* const operands[OPERANDS] = {out, x0};
  const wide shape[DIMS] = {shape0, shape1, shape2, shape3, shape4, shape5};
  const wide strides[OPERANDS][DIMS] = {
      {out_stride0, out_stride1, out_stride2, out_stride3, out_stride4, out_stride5},
      {x0_stride0, x0_stride1, x0_stride2, x0_stride3, x0_stride4, x0_stride5}};
  const Line a = line_of(ndim, shape, strides[0], strides[1]), b = line_of(ndim, shape, strides[1], strides[0]);

  if (a.dimension >= 0 && b.dimension >= 0 && a.dimension != b.dimension && a.step != 0) {
    // A tile is square, or as narrow as the shorter of the two lines and as much longer. Its rows have one element more, so
    // that its columns lie in different banks.
    const int half = TILE_BITS / 2;
    const int bits_a = a.size < 1 << half ? bits_for(a.size) : b.size < 1 << half ? TILE_BITS - bits_for(b.size) : half;
    const int bits_b = TILE_BITS - bits_a, high = 1 << bits_a, across = 1 << bits_b;
    __shared__ stored staged[TILE + TILE / 2];
    const wide tiles_a = (a.size + high - 1) >> bits_a, tiles_b = (b.size + across - 1) >> bits_b;
    wide tiles = tiles_a * tiles_b;
#pragma unroll
    for (int d = 0; d < DIMS; ++d)
      if (d < ndim && d != a.dimension && d != b.dimension) tiles *= shape[d];
    const bool narrow = tiles < 0x7fffffff;

    for (wide tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
      const wide upper = quotient(tile, tiles_b, narrow), from_b = (tile - upper * tiles_b) << bits_b;
      wide rest = quotient(upper, tiles_a, narrow);
      const wide from_a = (upper - rest * tiles_a) << bits_a;
      const stored* source = x0 + from_a * a.step + from_b;
      stored* target = out + from_b * b.step + from_a;
#pragma unroll
      for (int d = DIMS - 1; d >= 0; --d) {
        if (d >= ndim || d == a.dimension || d == b.dimension) continue;
        const wide next = quotient(rest, shape[d], narrow), at = rest - next * shape[d];
        source += at * strides[1][d];
        target += at * strides[0][d];
        rest = next;
      }
#pragma unroll
      for (int k = threadIdx.x; k < TILE; k += 256) {
        const int i = k >> bits_b, j = k & (across - 1);
        if (from_a + i < a.size && from_b + j < b.size) staged[i * (across + 1) + j] = source[i * a.step + j];
      }
      __syncthreads();
#pragma unroll
      for (int k = threadIdx.x; k < TILE; k += 256) {
        const int i = k & (high - 1), j = k >> bits_a;
        if (from_a + i < a.size && from_b + j < b.size) target[j * b.step + i] = staged[i * (across + 1) + j];
      }
      __syncthreads();
    }
    return;
  }

  const Rows rows = rows_of(ndim, shape, strides, operands);
  const wide first = (wide)blockIdx.x * 256 + threadIdx.x, all = (wide)gridDim.x * 256;
  for (wide i = first; i < rows.count * rows.packs; i += all) {
    const Place place = place_of(rows, ndim, shape, strides, i, rows.packs, 0, WIDTH);
    *(Packed*)(out + place.at[0]) = load_pack(x0 + place.at[1], rows.step[1]);
  }
  const wide start = rows.packs * WIDTH, singles = rows.size - start;
  for (wide i = first; i < rows.count * singles; i += all) {
    const Place place = place_of(rows, ndim, shape, strides, i, singles, start, 1);
    out[place.at[0]] = x0[place.at[1]];
  }
}
