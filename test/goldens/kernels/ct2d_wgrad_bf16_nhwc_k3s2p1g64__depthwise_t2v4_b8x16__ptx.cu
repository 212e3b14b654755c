// ct2d_wgrad_bf16_nhwc_k3s2p1g64__depthwise_t2v4_b8x16__ptx
//
// Specification: {"form":"wgrad","dtype":"bfloat16","layout":"nhwc","variant":"depthwise","tunables":{"tile":"t2v4","block":"b8x16"},"baked":{"r":3,"s":3,"stride":[2,2],"padding":[1,1],"dilation":[1,1],"groups":64,"bias":false,"activation":"none"}}
// Made by: fracstride render ct2d_wgrad_bf16_nhwc_k3s2p1g64__depthwise_t2v4_b8x16__ptx
//
// W[c,o,a,b] = sum over n, i, j of S[n,c,i,j] L[n,o,y,x],   y = 2 i - 1 + 1 a,   x = 2 j - 1 + 1 b
// A thread has all taps of 4 neighbouring pairs: one channel c with neighbours o of its group (GROUPED), or as many, o = c.
// It takes 2 neighbouring positions q of a row at a time: all that lies there of L (outputs of every residue modulo the stride),
// read once, and what S they are made of. Threads along positions add up their sums by a tree of fixed shape, blocks along z
// leave those of their part in `parts`.
// Stored elements are `unsigned short`, sums are `float`. This text needs no header and no library.
typedef unsigned short stored;
typedef float real;

// The upper half of a float; to the nearest, ties to even, and no NaN becomes an infinity.
static __device__ __forceinline__ real load(stored half) { return __uint_as_float((unsigned)half << 16); }

static __device__ __forceinline__ stored store(real value) {
  const unsigned bits = __float_as_uint(value);
  const unsigned nearest = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return (stored)((bits & 0x7fffffffu) > 0x7f800000u ? bits >> 16 | 0x40u : nearest);
}

// `COUNT` neighbours in memory, read or written by accesses of up to 16 bytes.
template <class Element, int COUNT>
struct __align__(COUNT * sizeof(Element) < 16 ? COUNT * sizeof(Element) : 16) Pack {
  Element at[COUNT];
};

// PAIRS channels of the large side are with one of the small side's, or with as many (VECTOR).
constexpr int POSITIONS = 2, PAIRS = 4, VECTOR = 4, THREADS = 128, PIECE = 4, GROUPS = 64;
constexpr int ROW_PHASES = 2, COLUMN_PHASES = 2, COLUMNS = POSITIONS * COLUMN_PHASES;
constexpr int FIRST = 0, SPAN = 3, TAPS = 9, KERNEL_WIDTH = 3, CELLS = TAPS * PAIRS;
constexpr int LANES = 8, BLOCK_CHANNELS = 16, CHANNELS = BLOCK_CHANNELS * PAIRS;
constexpr bool GROUPED = false;

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
}

// The first `there` columns of a row of the large side; what does not exist is 0.
template <bool ALIGNED>
static __device__ __forceinline__ void read_large(real (&values)[PAIRS][COLUMNS], const stored* from, int there, int column_step, int plane, int channels) {
#pragma unroll
  for (int x = 0; x < COLUMNS; ++x)
#pragma unroll
    for (int first = 0; first < PAIRS; first += PIECE) {
      const stored* const row = from + x * column_step + first;
      Pack<stored, PIECE> some = {};
      if (ALIGNED) {
        if (x < there) some = *(const Pack<stored, PIECE>*)row;
      } else {
#pragma unroll
        for (int v = 0; v < PIECE; ++v)
          if (x < there && first + v < channels) some.at[v] = row[v];
      }
#pragma unroll
      for (int v = 0; v < PIECE; ++v) values[first + v][x] = load(some.at[v]);
    }
}

template <int TAP, int PHASE, int AT>
static __device__ __forceinline__ void add_tap(real (&sums)[CELLS], const real (&s)[VECTOR][SPAN], const real (&l)[PAIRS][COLUMNS]) {
#pragma unroll
  for (int t = 0; t < POSITIONS; ++t)
#pragma unroll
    for (int v = 0; v < PAIRS; ++v) sums[v * TAPS + TAP] += s[VECTOR == 1 ? 0 : v][t + AT] * l[v][t * COLUMN_PHASES + PHASE];
}

// Adds the products of a row of S and a row of L: those of row ROW of the kernel.
template <int ROW>
static __device__ __forceinline__ void add_row(real (&sums)[CELLS], const real (&s)[VECTOR][SPAN], const real (&l)[PAIRS][COLUMNS]) {
  add_tap<ROW * KERNEL_WIDTH + 1, 0, 0>(sums, s, l);
  add_tap<ROW * KERNEL_WIDTH + 0, 1, 1>(sums, s, l);
  add_tap<ROW * KERNEL_WIDTH + 2, 1, 0>(sums, s, l);
}

// Where a group of positions begins, and what there is of both sides.
struct Item {
  const stored *small, *large;
  unsigned columns;
  int q_y, there;
};

template <bool ALIGNED>
static __device__ __forceinline__ void add_item(real (&sums)[CELLS], const Item& at, int hs, int hl, int row_step, int large_row_step,
                                                int column_step, int large_column_step, int plane, int channels) {
  real l[ROW_PHASES][PAIRS][COLUMNS], s[VECTOR][SPAN];
#pragma unroll
  for (int row = 0; row < ROW_PHASES; ++row)
    read_large<ALIGNED>(l[row], at.large + row * large_row_step, at.q_y * ROW_PHASES + row < hl ? at.there : 0, large_column_step, plane, channels);
  read_row<ALIGNED>(s, at.small + 0 * row_step, (unsigned)(at.q_y + 0) < (unsigned)hs ? at.columns : 0u, column_step, channels);
  add_row<1>(sums, s, l[0]);
  add_row<2>(sums, s, l[1]);
  read_row<ALIGNED>(s, at.small + 1 * row_step, (unsigned)(at.q_y + 1) < (unsigned)hs ? at.columns : 0u, column_step, channels);
  add_row<0>(sums, s, l[1]);
}

// The residue of a tap along one axis, and where S lies from a position q: o = q stride + residue, o + padding = i stride + tap dilation.
struct Reach {
  int residue, delta;
};
static __device__ __forceinline__ Reach reach_of(int tap, int stride, int padding, int dilation) {
  const int ahead = tap * dilation - padding, residue = (ahead % stride + stride) % stride;
  return {residue, (residue - ahead) / stride};
}

// The channels of a pair, which are in the weight's order: those of the small side, and in each the large side's of its group.
static __device__ __forceinline__ int small_of(int pair, int outputs) { return GROUPED ? pair / outputs : pair; }
static __device__ __forceinline__ int large_of(int pair, int inputs, int outputs) {
  return GROUPED ? pair / (outputs * inputs) * outputs + pair % outputs : pair;
}

// The sum of one tap over the positions of items [begin, end) that exist on both sides, one by one.
static __device__ real plain_sum(const stored* small, const stored* large, int tap, int begin, int end, int hs, int ws, int hl, int wl,
                                 int groups, int q_height, int image_step, int large_image_step, int column_step, int large_column_step) {
  const Reach rows = reach_of(tap / KERNEL_WIDTH, 2, 1, 1), columns = reach_of(tap % KERNEL_WIDTH, 2, 1, 1);
  real sum = 0;
  for (int item = begin; item < end; ++item) {
    const int q_y = item / groups % q_height, image = item / (groups * q_height);
    const int i = q_y + rows.delta, y = q_y * ROW_PHASES + rows.residue;
    if ((unsigned)i >= (unsigned)hs || y >= hl) continue;
    for (int t = 0; t < POSITIONS; ++t) {
      const int q_x = item % groups * POSITIONS + t, j = q_x + columns.delta, x = q_x * COLUMN_PHASES + columns.residue;
      if ((unsigned)j >= (unsigned)ws || x >= wl) continue;
      sum += load(small[image * image_step + (i * ws + j) * column_step]) * load(large[image * large_image_step + (y * wl + x) * large_column_step]);
    }
  }
  return sum;
}

extern "C" __global__ void __launch_bounds__(128, 3) ct2d_wgrad_bf16_nhwc_k3s2p1g64__depthwise_t2v4_b8x16__ptx(
    const stored* __restrict__ small, const stored* __restrict__ large, stored* __restrict__ weight, real* __restrict__ parts,
    int n, int cs, int hs, int ws, int cl, int hl, int wl) {
  __shared__ real memory[CELLS * THREADS / 2];
  const int inputs = cs / GROUPS, outputs = cl / GROUPS, pairs = GROUPED ? cs * outputs : cs, q_height = (hl + ROW_PHASES - 1) / ROW_PHASES;
  const int groups = ((wl + COLUMN_PHASES - 1) / COLUMN_PHASES + POSITIONS - 1) / POSITIONS;
  const int column_step = cs, large_column_step = cl, channel_step = 1, large_channel_step = 1;
  const int lane = threadIdx.x / BLOCK_CHANNELS, channel_lane = threadIdx.x % BLOCK_CHANNELS;
  const bool aligned = (cs | (int)((unsigned long long)small / sizeof(stored))) % VECTOR == 0 && (cl | (int)((unsigned long long)large / sizeof(stored))) % PIECE == 0;
  const int row_step = ws * column_step, large_row_step = wl * large_column_step, image_step = cs * hs * ws, large_image_step = cl * hl * wl;
  const int first_channel = blockIdx.x * CHANNELS, channel = first_channel + channel_lane * PAIRS, channels = pairs - channel;
  const int total = n * q_height * groups, share = ((total + LANES - 1) / LANES + gridDim.z - 1) / gridDim.z * LANES;
  const int begin = blockIdx.z * share, end = begin + share < total ? begin + share : total;
  const stored* const my_small = small + small_of(channel, outputs) * channel_step;
  const stored* const my_large = large + large_of(channel, inputs, outputs) * large_channel_step;
  real sums[CELLS] = {};
#pragma unroll 1
  for (int item = begin + lane; item < end && channels > 0; item += LANES) {
    const int q_x = item % groups * POSITIONS, q_y = item / groups % q_height, image = item / (groups * q_height);
    const stored *const from_small = my_small + image * image_step, *const from_large = my_large + image * large_image_step;
    unsigned columns = 0;
#pragma unroll
    for (int i = 0; i < SPAN; ++i) columns |= (unsigned)(q_x + FIRST + i) < (unsigned)ws ? 1u << i : 0u;
    const Item at = {from_small + q_y * row_step + q_x * column_step, from_large + q_y * ROW_PHASES * large_row_step + q_x * COLUMN_PHASES * large_column_step,
                     columns, q_y, wl - q_x * COLUMN_PHASES};
    if (aligned) add_item<true>(sums, at, hs, hl, row_step, large_row_step, column_step, large_column_step, large_channel_step, channels);
    else add_item<false>(sums, at, hs, hl, row_step, large_row_step, column_step, large_column_step, large_channel_step, channels);
  }

#pragma unroll 1
  for (int half = LANES / 2; half > 0; half /= 2) {
    real* const pair = memory + (lane % half) * BLOCK_CHANNELS + channel_lane;
    __syncthreads();
    if (lane >= half && lane < 2 * half) {
#pragma unroll
      for (int cell = 0; cell < CELLS; ++cell) pair[cell * half * BLOCK_CHANNELS] = sums[cell];
    }
    __syncthreads();
    if (lane < half) {
#pragma unroll
      for (int cell = 0; cell < CELLS; ++cell) sums[cell] += pair[cell * half * BLOCK_CHANNELS];
    }
  }
  // Once more through shared memory, so that neighbouring threads write neighbours; pitches are odd, for banks of their own.
  constexpr int PITCH = BLOCK_CHANNELS | 1;
  __syncthreads();
  if (lane == 0) {
#pragma unroll
    for (int cell = 0; cell < CELLS; ++cell) memory[cell * PITCH + channel_lane] = sums[cell];
  }
  __syncthreads();
  real* const sums_of_part = parts + (long long)blockIdx.z * pairs * TAPS;
  for (int at = threadIdx.x; at < CHANNELS * TAPS; at += THREADS) {
    const int tap = at % TAPS, member = at / TAPS, mine = first_channel + member;
    if (mine >= pairs) break;
    real sum = memory[(member % PAIRS * TAPS + tap) * PITCH + member / PAIRS];
    // What lies outside of one side was read as 0, which an infinity of the other makes NaN, and NaN stays: such sums are
    // done again over what exists.
    if (sum != sum) {
      const stored* const of_small = small + small_of(mine, outputs) * channel_step;
      const stored* const of_large = large + large_of(mine, inputs, outputs) * large_channel_step;
      sum = plain_sum(of_small, of_large, tap, begin, end, hs, ws, hl, wl, groups, q_height, image_step, large_image_step, column_step, large_column_step);
    }
    if (gridDim.z > 1) sums_of_part[first_channel * TAPS + at] = sum;
    else weight[first_channel * TAPS + at] = store(sum);
  }
}
