// ct2d_dgrad_f16_nhwc_k4s2p1__head_o1t2_b16x8__ptx
//
// Specification: {"form":"contract","dtype":"float16","layout":"nhwc","variant":"head","tunables":{"tile":"o1t2","block":"b16x8"},"baked":{"r":4,"s":4,"stride":[2,2],"padding":[1,1],"dilation":[1,1],"groups":1,"bias":false,"activation":"none"}}
// Made by: fracstride render ct2d_dgrad_f16_nhwc_k4s2p1__head_o1t2_b16x8__ptx
//
// S[n,c,i,j] = bias[c] + sum over k, a, b of L[n,k,y,x] W[c,k mod Cl/G,a,b],   y = 2 i - 1 + 1 a
// For 1 output channels a group. A thread sums 2 neighbouring positions of a row, all residues and
// channels of them, over its share of the input channels, so that each input it reads is used for all it reaches.
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

constexpr int POSITIONS = 2, OUTPUTS = 1, GROUPS = 1, THREADS = 128;
// Threads along positions, threads that share the input channels, channels that a thread reads at once.
constexpr int LANES = 16, SPLITS = 8, VECTOR = 4;
constexpr int ROW_PHASES = 1, COLUMN_PHASES = 1, COLUMNS = POSITIONS * COLUMN_PHASES;
constexpr int ROW_STEP = 2, COLUMN_STEP = 2, FIRST = -1, SPAN = 6;
// Weights of a channel in shared memory: rows of taps, a row's taps and outputs in whole fours; VECTOR channels take STAGED.
constexpr int TAPS = 16, TAP_ROW = 4, CHANNEL = 4 * TAP_ROW, STAGED = 68, DEPTH = 224;
// Sums are stored in pieces of LENGTH neighbours in memory, PARTS of which are neighbours too.
constexpr int LENGTH = 2, PARTS = 1, RUN = 2, CELLS = ROW_PHASES * COLUMNS * OUTPUTS, PIECES = CELLS / LENGTH;

// Stores the first `there` of LENGTH neighbours, RUN at once where all are there and lie on a multiple of their size.
struct __align__(4) Run {
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
  read_channels<ALIGNED, 4>(values, row, exists, column_step, channels);
  read_channels<ALIGNED, 5>(values, row, exists, column_step, channels);
}

// Position in the source of a tap of output `at` along one axis, or -1 where there is none.
static __device__ __forceinline__ int reached(int at, int tap, int stride, int padding, int dilation, int size) {
  const int position = at * stride - padding + tap * dilation;
  return position < size ? position : -1;
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

// Where the sum of a row's residue, a column of the row and a channel stands: neighbours in memory are neighbours.
static __device__ __forceinline__ constexpr int cell(int row, int column, int k) {
  return (row * COLUMNS + column) * OUTPUTS + k;
}

template <int PHASE, int AT, int TAP, int ROW>
static __device__ __forceinline__ void add_tap(real (&sums)[CELLS], const real (&values)[SPAN], const real (&factors)[TAP_ROW]) {
#pragma unroll
  for (int t = 0; t < POSITIONS; ++t)
#pragma unroll
    for (int k = 0; k < OUTPUTS; ++k)
      sums[cell(ROW, t * COLUMN_PHASES + PHASE, k)] += values[t * COLUMN_STEP + AT] * factors[TAP * OUTPUTS + k];
}

// Adds what a row of the source carries through one row of the kernel.
template <int ROW>
static __device__ __forceinline__ void add_row(real (&sums)[CELLS], const real (&values)[SPAN], const real* staged) {
  real factors[TAP_ROW];
#pragma unroll
  for (int i = 0; i < TAP_ROW; i += 4) {
    const Pack<real, 4> four = *(const Pack<real, 4>*)(staged + i);
#pragma unroll
    for (int j = 0; j < 4; ++j) factors[i + j] = four.at[j];
  }
  add_tap<0, 0, 0, ROW>(sums, values, factors);
  add_tap<0, 1, 1, ROW>(sums, values, factors);
  add_tap<0, 2, 2, ROW>(sums, values, factors);
  add_tap<0, 3, 3, ROW>(sums, values, factors);
}

template <bool ALIGNED>
static __device__ __forceinline__ void add_channels(real (&sums)[CELLS], const stored* source, const unsigned (&exists)[4],
                                                    int split, int count, int row_step, int column_step, int channel_step, const real* staged) {
#pragma unroll 1
  for (int depth = split * VECTOR; depth < count; depth += SPLITS * VECTOR) {
    const stored* const at = source + depth * channel_step;
    real values[VECTOR][SPAN];
    read_row<ALIGNED>(values, at + -1 * row_step, exists[0], column_step, count - depth);
#pragma unroll
    for (int v = 0; v < VECTOR; ++v) {
      const real* const factors = staged + depth / VECTOR * STAGED + v * CHANNEL;
      add_row<0>(sums, values[v], factors + 0 * TAP_ROW);
    }
    read_row<ALIGNED>(values, at + 0 * row_step, exists[1], column_step, count - depth);
#pragma unroll
    for (int v = 0; v < VECTOR; ++v) {
      const real* const factors = staged + depth / VECTOR * STAGED + v * CHANNEL;
      add_row<0>(sums, values[v], factors + 1 * TAP_ROW);
    }
    read_row<ALIGNED>(values, at + 1 * row_step, exists[2], column_step, count - depth);
#pragma unroll
    for (int v = 0; v < VECTOR; ++v) {
      const real* const factors = staged + depth / VECTOR * STAGED + v * CHANNEL;
      add_row<0>(sums, values[v], factors + 2 * TAP_ROW);
    }
    read_row<ALIGNED>(values, at + 2 * row_step, exists[3], column_step, count - depth);
#pragma unroll
    for (int v = 0; v < VECTOR; ++v) {
      const real* const factors = staged + depth / VECTOR * STAGED + v * CHANNEL;
      add_row<0>(sums, values[v], factors + 3 * TAP_ROW);
    }
  }
}

// Groups of positions of the whole output, from which an item of a block's lanes is found.
struct Items {
  int width, height, total;
};

extern "C" __global__ void __launch_bounds__(128, 2) ct2d_dgrad_f16_nhwc_k4s2p1__head_o1t2_b16x8__ptx(
    const stored* __restrict__ large, const stored* __restrict__ weight, const stored* __restrict__ bias, stored* __restrict__ small,
    int n, int cs, int hs, int ws, int cl, int hl, int wl, double slope) {
  __shared__ __align__(16) real memory[3808];
  const int inputs = cl / GROUPS, group = blockIdx.y;
  const int source_height = hl, source_width = wl, height = hs, width = ws;
  const int column_step = cl, channel_step = 1;
  const int lane = threadIdx.x / SPLITS, split = threadIdx.x % SPLITS;
  const bool aligned = (cl | inputs | (int)((unsigned long long)large / sizeof(stored))) % 4 == 0;
  const int row_step = source_width * column_step;
  const int q_width = (width + COLUMN_PHASES - 1) / COLUMN_PHASES, q_height = (height + ROW_PHASES - 1) / ROW_PHASES;
  const Items items = {(q_width + POSITIONS - 1) / POSITIONS, q_height, n * q_height * ((q_width + POSITIONS - 1) / POSITIONS)};
  const int item = blockIdx.x * LANES + lane;
  const int source_x = item % items.width * (POSITIONS * COLUMN_STEP), source_y = item / items.width % items.height * ROW_STEP;
  const stored* source = large + item / (items.width * items.height) * cl * source_height * source_width +
                         group * inputs * channel_step + source_y * row_step + source_x * column_step;
  unsigned columns = 0, exists[4];
  if (item < items.total)
    for (int i = 0; i < SPAN; ++i) columns |= (unsigned)(source_x + FIRST + i) < (unsigned)source_width ? 1u << i : 0u;
  exists[0] = (unsigned)(source_y + -1) < (unsigned)source_height ? columns : 0u;
  exists[1] = (unsigned)(source_y + 0) < (unsigned)source_height ? columns : 0u;
  exists[2] = (unsigned)(source_y + 1) < (unsigned)source_height ? columns : 0u;
  exists[3] = (unsigned)(source_y + 2) < (unsigned)source_height ? columns : 0u;

  real sums[CELLS] = {};
  for (int base = 0; base < inputs; base += DEPTH, source += (long long)DEPTH * channel_step) {
    const int count = inputs - base < DEPTH ? inputs - base : DEPTH;
    __syncthreads();
    // Behind the last channel there are zeros: what a thread reads at once may end later.
    const int staged = (count + VECTOR - 1) / VECTOR * VECTOR * TAPS;
#pragma unroll 1
    for (int k = 0; k < OUTPUTS; ++k)
      for (int at = threadIdx.x; at < staged; at += THREADS) {
        const int depth = at / TAPS, tap = at % TAPS;
        const int pair = (group * OUTPUTS + k) * inputs + base + depth;
        const int place = depth / VECTOR * STAGED + depth % VECTOR * CHANNEL + tap / 4 * TAP_ROW;
        memory[place + tap % 4 * OUTPUTS + k] = depth < count ? load(weight[pair * TAPS + tap]) : (real)0;
      }
    __syncthreads();
    if (aligned) add_channels<true>(sums, source, exists, split, count, row_step, column_step, channel_step, memory);
    else add_channels<false>(sums, source, exists, split, count, row_step, column_step, channel_step, memory);
  }

  // Where piece `piece` of a lane's sums begins, how many of it exist, and of which output its first is.
  struct Place {
    int at, there, y, x, k, image;
  };
  const auto place_of = [&](int lane, int piece) -> Place {
    const int which = blockIdx.x * LANES + lane, first = piece * LENGTH;
    const int image = which / (items.width * items.height), x0 = which % items.width * COLUMNS;
    const int row = first / (COLUMNS * OUTPUTS), k = first % OUTPUTS, x = x0 + first / OUTPUTS % COLUMNS;
    const int y = which / items.width % items.height * ROW_PHASES + row;
    const bool is = which < items.total && y < height && x < width;
    const int at = ((image * height + y) * width + x) * cs + group * OUTPUTS + k, there = (width - x) * OUTPUTS - k;
    return {at, is ? there : 0, y, x, k, image};
  };
  // The channel of the i-th of a piece, and its column from the first.
  const auto channel_at = [](const Place& place, int i) { return (place.k + i) % OUTPUTS; };
  const auto column_at = [](const Place& place, int i) { return (place.k + i) / OUTPUTS; };
  // The lane and the piece of the at-th in the order of memory.
  const auto lane_of = [](int at) { return at / PARTS % LANES; };
  const auto piece_of = [](int at) { return at / (PARTS * LANES) * PARTS + at % PARTS; };
  bool broken = false;
  const auto finish = [&](const Place& place, real (&values)[LENGTH]) {
    if (place.there <= 0) return;
#pragma unroll
    for (int i = 0; i < LENGTH; ++i) {
      broken = broken || values[i] != values[i];
      const real addend = false ? load(bias[group * OUTPUTS + channel_at(place, i)]) : (real)0;
      values[i] = activate(0, values[i] + addend, (real)slope);
    }
    store_neighbours(small + place.at, values, place.there);
  };
  // The threads of a lane have summed its channels in turn; pieces are summed and stored by as many threads as there are.
  constexpr int SPLIT_PITCH = 20, CELL_PITCH = 168;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < CELLS; ++i) memory[i * CELL_PITCH + split * SPLIT_PITCH + lane] = sums[i];
  __syncthreads();
  for (int at = threadIdx.x; at < LANES * PIECES; at += THREADS) {
    real values[LENGTH];
#pragma unroll
    for (int i = 0; i < LENGTH; ++i) {
      const real* const from = memory + (piece_of(at) * LENGTH + i) * CELL_PITCH + lane_of(at);
      values[i] = from[0];
#pragma unroll
      for (int j = 1; j < SPLITS; ++j) values[i] += from[j * SPLIT_PITCH];
    }
    finish(place_of(lane_of(at), piece_of(at)), values);
  }
  // A tap outside the source was read as 0, which an infinite weight makes NaN, and NaN stays: such outputs are done again.
  if (!broken) return;
  for (int at = threadIdx.x; at < LANES * PIECES; at += THREADS) {
    const Place place = place_of(lane_of(at), piece_of(at));
    for (int i = 0; i < LENGTH && i < place.there; ++i) {
      stored* const result = small + place.at + i;
      if (load(*result) == load(*result)) continue;
      const int k = channel_at(place, i);
      const stored* const factors = weight + (group * OUTPUTS + k) * inputs * TAPS;
      const int weight_step = TAPS;
      const stored* const first = large + place.image * cl * source_height * source_width + group * inputs * channel_step;
      const real sum = plain_sum(first, factors, place.y, place.x + column_at(place, i), inputs, source_height, source_width, column_step, channel_step, weight_step);
      *result = store(activate(0, sum + (false ? load(bias[group * OUTPUTS + k]) : (real)0), (real)slope));
    }
  }
}
