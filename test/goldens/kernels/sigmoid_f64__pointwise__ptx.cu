// sigmoid_f64__pointwise__ptx
//
// Specification: {"operation":"sigmoid","type":"f64"}
// Made by: fracstride render sigmoid_f64__pointwise__ptx
//
// out = fs_sigmoid(x0), element by element over strided tensors; out may be one of the operands.
// Stored elements are `double`, sums are `double`. This text needs no header and no library.
typedef double stored;
typedef double real;

static __device__ __forceinline__ real load(stored value) { return value; }
static __device__ __forceinline__ stored store(real value) { return value; }

// Elementary functions as templates/lib/math.cpp.njk defines them: the same special values, a few units in the last place.
#define FS_FUNCTION __device__ __forceinline__
FS_FUNCTION real fs_exp(real x) { return exp(x); }
FS_FUNCTION real fs_abs(real x) { return fabs(x); }
FS_FUNCTION real fs_sigmoid(real x) {
  const real e = fs_exp(-fs_abs(x));
  return (x < (real)0 ? e : (real)1) / ((real)1 + e);
}

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

constexpr int OPERANDS = 2, DIMS = 6, WIDTH = 2;

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

typedef real T;

static __device__ __forceinline__ T value(T x0) { return fs_sigmoid(x0); }

extern "C" __global__ void __launch_bounds__(256, 4) sigmoid_f64__pointwise__ptx(
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
  const Rows rows = rows_of(ndim, shape, strides, operands);
  const wide first = (wide)blockIdx.x * 256 + threadIdx.x, all = (wide)gridDim.x * 256;

  for (wide i = first; i < rows.count * rows.packs; i += all) {
    const Place place = place_of(rows, ndim, shape, strides, i, rows.packs, 0, WIDTH);
    Packed x[OPERANDS], y;
#pragma unroll
    for (int t = 1; t < OPERANDS; ++t) x[t] = load_pack(operands[t] + place.at[t], rows.step[t]);
#pragma unroll
    for (int v = 0; v < WIDTH; ++v) y.at[v] = store(value(load(x[1].at[v])));
    *(Packed*)(out + place.at[0]) = y;
  }

  const wide start = rows.packs * WIDTH, singles = rows.size - start;
  for (wide i = first; i < rows.count * singles; i += all) {
    const Place place = place_of(rows, ndim, shape, strides, i, singles, start, 1);
    out[place.at[0]] = store(value(load(operands[1][place.at[1]])));
  }
}
