// ct2d_fwd_f32_nchw_k4s2p1_bias_relu__phase_t4x8_b32x4__ptx
//
// Specification: {"form":"expand","dtype":"float32","layout":"nchw","variant":"phase","tunables":{"tile":"t4x8","block":"b32x4"},"baked":{"r":4,"s":4,"stride":[2,2],"padding":[1,1],"dilation":[1,1],"groups":1,"bias":true,"activation":"relu"}}
// Made by: fracstride render ct2d_fwd_f32_nchw_k4s2p1_bias_relu__phase_t4x8_b32x4__ptx
//
// L[n,k,y,x] = bias[k] + sum over c, a, b of S[n,c,i,j] W[c,k mod Cl/G,a,b],   y + 1 = 2 i + 1 a
// Outputs of one residue modulo the stride are reached by the same taps, listed here: a dense convolution with unit stride.
// A block has one residue of rows, 2 of columns, 128 positions by 32 channels; its weights are staged in shared memory.
// Stored elements are `float`, sums are `float`. This text needs no header and no library.
typedef float stored;
typedef float real;

static __device__ __forceinline__ real load(stored value) { return value; }
static __device__ __forceinline__ stored store(real value) { return value; }

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

constexpr int POSITIONS = 4, CHANNELS = 8;
constexpr int BLOCK_POSITIONS = 32, THREADS = 128, WIDTH = 32;
constexpr int TOGETHER = 2, COLUMN_GROUPS = 1, PHASES = 2;
constexpr int COLUMNS = 4, DEPTH = 32, TAPS = 16, KERNEL_WIDTH = 4, GROUPS = 1;
constexpr int RUN = 2, LENGTH = 2, ROW_STEP = 2, COLUMN_STEP = 2;

// Taps of the rows, residue by residue, and how far from a position each of them reads; taps of the columns.
static __constant__ const int ROW_START[] = {0, 2, 4};
static __constant__ const int ROW_TAP[] = {1, 3, 0, 2};
static __constant__ const int ROW_DELTA[] = {0, -1, 1, 0};
static __constant__ const int COLUMN_COUNT[] = {4};
static __constant__ const int COLUMN_TAP[][COLUMNS] = {{3, 1, 2, 0}};

template <int BIT>
static __device__ __forceinline__ void read(real (&values)[POSITIONS], const stored* source, const int (&at)[POSITIONS],
                                            const unsigned (&exists)[POSITIONS], int shift) {
#pragma unroll
  for (int t = 0; t < POSITIONS; ++t) values[t] = exists[t] >> BIT & 1u ? load(source[at[t] + shift]) : (real)0;
}

// A position that does not exist was read as 0, which an infinite weight would make NaN: GUARDED leaves it out.
template <bool GUARDED, int BIT>
static __device__ __forceinline__ void multiply(real (&sums)[POSITIONS][CHANNELS], const real (&values)[POSITIONS],
                                                const unsigned (&exists)[POSITIONS], const real* staged) {
  real factors[CHANNELS];
#pragma unroll
  for (int k = 0; k < CHANNELS; ++k) factors[k] = staged[k];
#pragma unroll
  for (int t = 0; t < POSITIONS; ++t) {
#pragma unroll
    for (int k = 0; k < CHANNELS; ++k)
      if (!GUARDED || exists[t] >> BIT & 1u) sums[t][k] += values[t] * factors[k];
  }
}

// Stores the first `there` of LENGTH neighbours, RUN at once where all are there and lie on a multiple of their size.
struct __align__(8) Run {
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

// Columns of residues 0, 1: reads each source column once and adds what it carries to every sum it reaches.
template <bool GUARDED>
static __device__ __forceinline__ void add_columns_0(
    real (&sums)[TOGETHER][POSITIONS][CHANNELS], const stored* source, const int (&at)[POSITIONS],
    const unsigned (&exists)[POSITIONS], int column_step, const real* factors) {
  [[maybe_unused]] real values[POSITIONS]; // of residues that no tap reaches
  read<0>(values, source, at, exists, -1 * column_step);
  multiply<GUARDED, 0>(sums[0], values, exists, factors + 0 * WIDTH);
  read<1>(values, source, at, exists, 0 * column_step);
  multiply<GUARDED, 1>(sums[0], values, exists, factors + 1 * WIDTH);
  multiply<GUARDED, 1>(sums[1], values, exists, factors + 2 * WIDTH);
  read<2>(values, source, at, exists, 1 * column_step);
  multiply<GUARDED, 2>(sums[1], values, exists, factors + 3 * WIDTH);
}

// Which of those columns exist for a position: bit by bit in the order of the reads.
static __device__ __forceinline__ unsigned existing_columns_0(int x, int width) {
  unsigned bits = 0;
  bits |= (unsigned)(x + -1) < (unsigned)width ? 1u << 0 : 0u;
  bits |= (unsigned)(x + 0) < (unsigned)width ? 1u << 1 : 0u;
  bits |= (unsigned)(x + 1) < (unsigned)width ? 1u << 2 : 0u;
  return bits;
}

extern "C" __global__ void __launch_bounds__(128, 3) ct2d_fwd_f32_nchw_k4s2p1_bias_relu__phase_t4x8_b32x4__ptx(
    const stored* __restrict__ small, const stored* __restrict__ weight, const stored* __restrict__ bias, stored* __restrict__ large,
    int n, int cs, int hs, int ws, int cl, int hl, int wl, double slope) {
  __shared__ __align__(16) real staged[DEPTH * COLUMNS * WIDTH];
  __shared__ int infinite;
  const int inputs = cs / GROUPS, outputs = cl / GROUPS;
  const int height = hl, width = wl;
  if (outputs == 0) return;
  const int phase = blockIdx.x % PHASES, tile = blockIdx.x / PHASES;
  const int row_phase = phase / COLUMN_GROUPS, column_group = phase % COLUMN_GROUPS;
  const int tiles = (outputs + WIDTH - 1) / WIDTH, group = blockIdx.y / tiles;
  const int first_channel = blockIdx.y % tiles * WIDTH;
  const int position_lane = threadIdx.x % BLOCK_POSITIONS, channel_lane = threadIdx.x / BLOCK_POSITIONS * CHANNELS;
  const int column_step = 1, row_step = ws, channel_step = hs * ws;
  const int first_row = ROW_START[row_phase], rows = ROW_START[row_phase + 1] - first_row;
  const int q_height = (height + ROW_STEP - 1) / ROW_STEP, q_width = (width + COLUMN_STEP - 1) / COLUMN_STEP;
  const int total = n * q_height * q_width, first_position = tile * (POSITIONS * BLOCK_POSITIONS) + position_lane;

  int source_at[POSITIONS];
  unsigned existing_rows[POSITIONS], existing_columns[POSITIONS];
#pragma unroll
  for (int t = 0; t < POSITIONS; ++t) {
    const int position = first_position + t * BLOCK_POSITIONS;
    const int x = position % q_width * 1, y = position / q_width % q_height * 1;
    const int image = position / (q_height * q_width);
    source_at[t] = image * cs * hs * ws + group * inputs * channel_step + y * row_step + x * column_step;
    existing_rows[t] = existing_columns[t] = 0;
    if (position >= total) continue;
    for (int row = 0; row < rows; ++row)
      existing_rows[t] |= (unsigned)(y + ROW_DELTA[first_row + row]) < (unsigned)hs ? 1u << row : 0u;
    if (column_group == 0) existing_columns[t] = existing_columns_0(x, ws);
  }

  real sums[TOGETHER][POSITIONS][CHANNELS] = {};
  if (threadIdx.x == 0) infinite = 0;
  const int terms = inputs * rows;
  for (int base = 0; base < terms; base += DEPTH) {
    const int count = terms - base < DEPTH ? terms - base : DEPTH;
    __syncthreads();
    for (int at = threadIdx.x; at < count * (COLUMNS * WIDTH); at += THREADS) {
      const int column = at % COLUMNS, k = at / COLUMNS % WIDTH, depth = at / (COLUMNS * WIDTH);
      const int c = (base + depth) / rows, row = first_row + (base + depth) % rows, channel = first_channel + k;
      real factor = 0;
      if (column < COLUMN_COUNT[column_group] && channel < outputs) {
        const int pair = (group * inputs + c) * outputs + channel;
        factor = load(weight[pair * TAPS + ROW_TAP[row] * KERNEL_WIDTH + COLUMN_TAP[column_group][column]]);
      }
      staged[(depth * COLUMNS + column) * WIDTH + k] = factor;
      if (!(factor - factor == 0)) infinite = 1;
    }
    __syncthreads();
    const bool guarded = infinite != 0;
    int c = base / rows, row = base % rows;
    for (int depth = 0; depth < count; ++depth) {
      const int shift = c * channel_step + ROW_DELTA[first_row + row] * row_step;
      const real* const factors = staged + depth * (COLUMNS * WIDTH) + channel_lane;
      int at[POSITIONS];
      unsigned exists[POSITIONS];
#pragma unroll
      for (int t = 0; t < POSITIONS; ++t) {
        at[t] = source_at[t] + shift;
        exists[t] = existing_rows[t] >> row & 1u ? existing_columns[t] : 0u;
      }
      if (column_group == 0 && guarded) add_columns_0<true>(sums, small, at, exists, column_step, factors);
      if (column_group == 0 && !guarded) add_columns_0<false>(sums, small, at, exists, column_step, factors);
      c += row + 1 == rows;
      row = row + 1 == rows ? 0 : row + 1;
    }
  }

  real biases[CHANNELS];
#pragma unroll
  for (int k = 0; k < CHANNELS; ++k) {
    const int channel = first_channel + channel_lane + k;
    biases[k] = true && channel < outputs ? load(bias[group * outputs + channel]) : (real)0;
  }
#pragma unroll
  for (int t = 0; t < POSITIONS; ++t) {
    const int position = first_position + t * BLOCK_POSITIONS;
    const int x = position % q_width * COLUMN_STEP + column_group * TOGETHER;
    const int y = position / q_width % q_height * ROW_STEP + row_phase, image = position / (q_height * q_width);
    if (position >= total || y >= height) continue;
#pragma unroll
    for (int k = 0; k < CHANNELS; ++k) {
      const int channel = first_channel + channel_lane + k;
      if (channel >= outputs) continue;
      real values[LENGTH];
#pragma unroll
      for (int j = 0; j < LENGTH; ++j) values[j] = activate(1, sums[j][t][k] + biases[k], (real)slope);
      const int plane = image * cl + group * outputs + channel;
      store_neighbours(large + (plane * height + y) * width + x, values, width - x);
    }
  }
}
