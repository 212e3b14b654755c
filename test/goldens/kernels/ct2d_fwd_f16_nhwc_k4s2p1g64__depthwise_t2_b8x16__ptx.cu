// ct2d_fwd_f16_nhwc_k4s2p1g64__depthwise_t2_b8x16__ptx
//
// Specification: {"form":"expand","dtype":"float16","layout":"nhwc","variant":"depthwise","tunables":{"tile":"t2","block":"b8x16"},"baked":{"r":4,"s":4,"stride":[2,2],"padding":[1,1],"dilation":[1,1],"groups":64,"bias":false,"activation":"none"}}
// Made by: fracstride render ct2d_fwd_f16_nhwc_k4s2p1g64__depthwise_t2_b8x16__ptx
//
// L[n,c,y,x] = bias[c] + sum over a, b of S[n,c,i,j] W[c,0,a,b],   y + 1 = 2 i + 1 a
// Outputs of one residue modulo the stride are reached by the same taps: a dense convolution with unit stride.
// Every channel is a group of its own. A thread sums 2 neighbouring positions of a row, all residues of them, of
// 8 neighbouring channels: memory, not arithmetic, takes the time.
// Stored elements are `unsigned short`, sums are `float`. This text needs no header and no library.
typedef unsigned short stored;
typedef float real;

// IEEE half: 1 sign, 5 exponent and 10 mantissa bits; to the nearest, ties to even.
static __device__ __forceinline__ real load(stored half) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(half));
  return value;
}

static __device__ __forceinline__ stored store(real value) {
  stored half;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(value));
  return half;
}

static __device__ __forceinline__ real tanh_of(real x) { return tanhf(x); }
static __device__ __forceinline__ real exp_of(real x) { return expf(x); }

// 0 none, 1 relu, 2 leaky_relu, 3 tanh, 4 sigmoid; comparisons are written so that NaN passes.
static __device__ __forceinline__ real activate(int activation, real x, real slope) {
  switch (activation) {
    case 1: return x < (real)0 ? (real)0 : x;
    case 2: return x < (real)0 ? x * slope : x;
    case 3: return tanh_of(x);
    case 4: return (real)1 / ((real)1 + exp_of(-x));
    default: return x;
  }
}

// `COUNT` neighbours in memory, read or written by accesses of up to 16 bytes.
template <class Element, int COUNT>
struct __align__(COUNT * sizeof(Element) < 16 ? COUNT * sizeof(Element) : 16) Pack {
  Element at[COUNT];
};

constexpr int POSITIONS = 2, VECTOR = 8, THREADS = 128;
constexpr int ROW_PHASES = 2, COLUMN_PHASES = 2, COLUMNS = POSITIONS * COLUMN_PHASES;
constexpr int ROW_STEP = 1, COLUMN_STEP = 1, FIRST = -1, SPAN = 4;
constexpr int TAPS = 16, KERNEL_WIDTH = 4;
// Threads along positions, channels of a block, and their weights in shared memory: tap by tap.
constexpr int LANES = 8, CHANNELS = 16 * VECTOR, WEIGHT_PITCH = CHANNELS + 4;
// Sums are stored in pieces of LENGTH neighbours in memory.
constexpr int LENGTH = 8, RUN = 8, CELLS = ROW_PHASES * COLUMNS * VECTOR, PIECES = CELLS / LENGTH;

// Stores the first `there` of LENGTH neighbours, RUN at once where all are there and lie on a multiple of their size.
struct __align__(16) Run {
  stored part[RUN];
};
static __device__ __forceinline__ void store_neighbours(stored* to, const real (&values)[LENGTH], int there) {
  if (RUN > 1 && there >= LENGTH && (unsigned long long)to % sizeof(Run) == 0) {
#pragma unroll
    for (int first = 0; first < LENGTH; first += RUN) {
      Run run;
#pragma unroll
      for (int i = 0; i < RUN; ++i) run.part[i] = store(values[first + i]);
      *(Run*)(to + first) = run;
    }
  } else {
#pragma unroll
    for (int i = 0; i < LENGTH; ++i)
      if (i < there) to[i] = store(values[i]);
  }
}

// Columns of one source row, by their place in a window that begins FIRST columns from the first position's; what does not
// exist is 0. ALIGNED: what is read at once lies on a multiple of its size, and exists as a whole or not at all.
typedef Pack<stored, VECTOR> Channels;

template <bool ALIGNED, int AT>
static __device__ __forceinline__ void read_channels(real (&values)[VECTOR][SPAN], const stored* row, unsigned exists,
                                                     int column_step, int channels) {
  const stored* const from = row + (FIRST + AT) * column_step;
  if (ALIGNED) {
    Channels there = {};
    if (exists >> AT & 1u) there = *(const Channels*)from;
#pragma unroll
    for (int v = 0; v < VECTOR; ++v) values[v][AT] = load(there.at[v]);
  } else {
#pragma unroll
    for (int v = 0; v < VECTOR; ++v) values[v][AT] = (exists >> AT & 1u) && v < channels ? load(from[v]) : (real)0;
  }
}

template <bool ALIGNED>
static __device__ __forceinline__ void read_row(real (&values)[VECTOR][SPAN], const stored* row, unsigned exists,
                                                int column_step, int channels) {
  read_channels<ALIGNED, 0>(values, row, exists, column_step, channels);
  read_channels<ALIGNED, 1>(values, row, exists, column_step, channels);
  read_channels<ALIGNED, 2>(values, row, exists, column_step, channels);
  read_channels<ALIGNED, 3>(values, row, exists, column_step, channels);
}

// Position in the source of a tap of output `at` along one axis, or -1 where there is none.
static __device__ __forceinline__ int reached(int at, int tap, int stride, int padding, int dilation, int size) {
  const int distance = at + padding - tap * dilation, position = distance / stride;
  return position * stride == distance && position < size ? position : -1;
}

// The sum of one output over the taps that exist, one by one: of an output whose fast sum took in a tap outside the source
// (as 0, which an infinite weight makes NaN). `first`: the group's first channel at (0, 0); `factors`: the output's weights.
static __device__ real plain_sum(const stored* first, const stored* factors, int y, int x, int inputs, int height, int width,
                                 int column_step, int channel_step, int weight_step) {
  real sum = 0;
  for (int a = 0; a < 4; ++a) {
    const int i = reached(y, a, 2, 1, 1, height);
    if (i < 0) continue;
    for (int b = 0; b < 4; ++b) {
      const int j = reached(x, b, 2, 1, 1, width);
      if (j < 0) continue;
      for (int c = 0; c < inputs; ++c)
        sum += load(first[(i * width + j) * column_step + c * channel_step]) * load(factors[c * weight_step + a * 4 + b]);
    }
  }
  return sum;
}

template <int PHASE, int AT>
static __device__ __forceinline__ void add_tap(real (&sums)[COLUMNS * VECTOR], const real (&values)[VECTOR][SPAN], const real (&factors)[VECTOR]) {
#pragma unroll
  for (int t = 0; t < POSITIONS; ++t)
#pragma unroll
    for (int v = 0; v < VECTOR; ++v)
      sums[(t * COLUMN_PHASES + PHASE) * VECTOR + v] += values[v][t * COLUMN_STEP + AT] * factors[v];
}

// The weights of one tap for a thread's channels.
template <int TAP, class Weights>
static __device__ __forceinline__ void read_factors(real (&factors)[VECTOR], const Weights* weights) {
  constexpr int PACK = VECTOR < 4 ? VECTOR : 4;
#pragma unroll
  for (int v = 0; v < VECTOR; v += PACK) {
    const Pack<real, PACK> some = *(const Pack<real, PACK>*)(weights + TAP * WEIGHT_PITCH + v);
#pragma unroll
    for (int i = 0; i < PACK; ++i) factors[v + i] = some.at[i];
  }
}

// Adds what a row of the source carries through row ROW of the kernel.
template <int ROW, class Weights>
static __device__ __forceinline__ void add_row(real (&sums)[COLUMNS * VECTOR], const real (&values)[VECTOR][SPAN], const Weights* weights) {
  real factors[VECTOR];
  read_factors<ROW * KERNEL_WIDTH + 1>(factors, weights);
  add_tap<0, 1>(sums, values, factors);
  read_factors<ROW * KERNEL_WIDTH + 3>(factors, weights);
  add_tap<0, 0>(sums, values, factors);
  read_factors<ROW * KERNEL_WIDTH + 0>(factors, weights);
  add_tap<1, 2>(sums, values, factors);
  read_factors<ROW * KERNEL_WIDTH + 2>(factors, weights);
  add_tap<1, 1>(sums, values, factors);
}

template <bool ALIGNED, class Weights>
static __device__ __forceinline__ void add_rows(real (&sums)[ROW_PHASES][COLUMNS * VECTOR], const stored* source, unsigned columns,
                                                int source_y, int source_height, int row_step, int column_step, int channels,
                                                const Weights* weights) {
  real values[VECTOR][SPAN];
  read_row<ALIGNED>(values, source + -1 * row_step,
                    (unsigned)(source_y + -1) < (unsigned)source_height ? columns : 0u, column_step, channels);
  add_row<3>(sums[0], values, weights);
  read_row<ALIGNED>(values, source + 0 * row_step,
                    (unsigned)(source_y + 0) < (unsigned)source_height ? columns : 0u, column_step, channels);
  add_row<1>(sums[0], values, weights);
  add_row<2>(sums[1], values, weights);
  read_row<ALIGNED>(values, source + 1 * row_step,
                    (unsigned)(source_y + 1) < (unsigned)source_height ? columns : 0u, column_step, channels);
  add_row<0>(sums[1], values, weights);
}

extern "C" __global__ void __launch_bounds__(128, 2) ct2d_fwd_f16_nhwc_k4s2p1g64__depthwise_t2_b8x16__ptx(
    const stored* __restrict__ small, const stored* __restrict__ weight, const stored* __restrict__ bias, stored* __restrict__ large,
    int n, int cs, int hs, int ws, int cl, int hl, int wl, double slope) {
  const int planes = cs;
  const int source_height = hs, source_width = ws, height = hl, width = wl;
  const int q_height = (height + ROW_PHASES - 1) / ROW_PHASES;
  const int groups = ((width + COLUMN_PHASES - 1) / COLUMN_PHASES + POSITIONS - 1) / POSITIONS;
  __shared__ __align__(16) real staged[TAPS * WEIGHT_PITCH];
  const int column_step = planes, channel_step = 1, row_step = source_width * planes;
  const bool aligned = (planes | (int)((unsigned long long)small / sizeof(stored))) % VECTOR == 0;
  const int first_channel = blockIdx.y * CHANNELS, member = threadIdx.x % (CHANNELS / VECTOR) * VECTOR;
  for (int at = threadIdx.x; at < CHANNELS * TAPS; at += THREADS) {
    const int channel = at / TAPS, tap = at % TAPS;
    staged[tap * WEIGHT_PITCH + channel] = first_channel + channel < planes ? load(weight[(first_channel + channel) * TAPS + tap]) : (real)0;
  }
  __syncthreads();
  const int channel = first_channel + member, channels = planes - channel;
  if (channels <= 0) return;
  // Blocks take neighbouring positions in turn: rows that two of them read are read at about the same time.
  const int total = n * q_height * groups, share = ((total + LANES - 1) / LANES + gridDim.x - 1) / gridDim.x * LANES;
  const int first = blockIdx.x * share + threadIdx.x / (CHANNELS / VECTOR), end = (blockIdx.x + 1) * share, last = end < total ? end : total, step = LANES;
#pragma unroll 1
  for (int item = first; item < last; item += step) {
    const int q_x = item % groups * POSITIONS, q_y = item / groups % q_height;
    const int source_x = q_x * COLUMN_STEP, source_y = q_y * ROW_STEP;
    const int image = item / (groups * q_height);
    const real* const weights = staged + member;
    const stored* const origin = small + image * source_height * row_step + channel;
    unsigned columns = 0;
#pragma unroll
    for (int i = 0; i < SPAN; ++i) columns |= (unsigned)(source_x + FIRST + i) < (unsigned)source_width ? 1u << i : 0u;
    const stored* const source = origin + source_y * row_step + source_x * column_step;
    real sums[ROW_PHASES][COLUMNS * VECTOR] = {};
    if (aligned) add_rows<true>(sums, source, columns, source_y, source_height, row_step, column_step, channels, weights);
    else add_rows<false>(sums, source, columns, source_y, source_height, row_step, column_step, channels, weights);

    bool broken = false;
#pragma unroll
    for (int row = 0; row < ROW_PHASES; ++row) {
      const int y = q_y * ROW_PHASES + row, x0 = q_x * COLUMN_PHASES;
      if (y >= height) break;
#pragma unroll
      for (int piece = 0; piece < PIECES / ROW_PHASES; ++piece) {
        real values[LENGTH];
        const int x = x0 + piece, there = x < width ? channels : 0;
        stored* const to = large + ((image * height + y) * width + x) * planes + channel;
        if (there <= 0) continue;
#pragma unroll
        for (int i = 0; i < LENGTH; ++i) {
          const real sum = sums[row][piece * LENGTH + i];
          broken = broken || sum != sum;
          const real addend = false && i < channels ? load(bias[channel + i]) : (real)0;
          values[i] = activate(0, sum + addend, (real)slope);
        }
        store_neighbours(to, values, there);
      }
    }
    // A tap outside the source was read as 0, which an infinite weight makes NaN, and NaN stays: such outputs are done again.
    if (!broken) continue;
    for (int at = 0; at < CELLS; ++at) {
      const int member_of = at % VECTOR, x = q_x * COLUMN_PHASES + at / VECTOR % COLUMNS, y = q_y * ROW_PHASES + at / (VECTOR * COLUMNS);
      if (y >= height || x >= width || member_of >= channels) continue;
      stored* const result = large + ((image * height + y) * width + x) * planes + channel + member_of;
      if (load(*result) == load(*result)) continue;
      const stored* const factors = weight + (channel + member_of) * TAPS;
      const real sum = plain_sum(origin + member_of, factors, y, x, 1, source_height, source_width, column_step, channel_step, TAPS);
      *result = store(activate(0, sum + (false ? load(bias[channel + member_of]) : (real)0), (real)slope));
    }
  }
}
