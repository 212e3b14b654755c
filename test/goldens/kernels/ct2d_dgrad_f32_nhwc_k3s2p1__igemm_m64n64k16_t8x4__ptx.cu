// ct2d_dgrad_f32_nhwc_k3s2p1__igemm_m64n64k16_t8x4__ptx
//
// Specification: {"form":"contract","dtype":"float32","layout":"nhwc","variant":"igemm","tunables":{"tile":"m64n64k16","thread":"t8x4"},"baked":{"r":3,"s":3,"stride":[2,2],"padding":[1,1],"dilation":[1,1],"groups":1,"bias":false,"activation":"none"}}
// Made by: fracstride render ct2d_dgrad_f32_nhwc_k3s2p1__igemm_m64n64k16_t8x4__ptx
//
// C = A B with m the positions (n, q, q') of a residue, n the output channels of a group, k the taps (innermost) and
// channels that are summed. A is gathered from the source, B is `packed`: [group][tap][input][output, 4 together].
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

constexpr int TILE_M = 64, TILE_N = 64, TILE_K = 16, THREADS = 128;
// A thread has THREAD_M positions by THREAD_N channels of the tile in fours, a warp LANES_M by LANES_N threads.
constexpr int THREAD_M = 8, THREAD_N = 4, LANES_M = 8, LANES_N = 32 / LANES_M;
constexpr int WARP_M = LANES_M * THREAD_M, WARP_N = LANES_N * THREAD_N;
constexpr int STAGES = 2, A_PITCH = 68, A_SIZE = TILE_K * A_PITCH, STAGE = A_SIZE + TILE_K * TILE_N;
// A is read by A_LANES threads along k, each at A_ROWS positions; B by rows of TILE_N / 4 threads.
constexpr int A_LANES = 8, A_STEP = THREADS / A_LANES, A_ROWS = TILE_M / A_STEP, A_DEPTH = TILE_K / A_LANES;
constexpr int B_STEP = THREADS / (TILE_N / 4), B_DEPTH = TILE_K / B_STEP;

struct __align__(16) Four {
  real at[4];
};

static __device__ __forceinline__ real product(real x, real w) { return x * w; }

// S[n,c,i,j] = bias[c] + sum over k, a, b of L[n,k,y,x] W[c,k mod Cl/G,a,b],   y = 2 i - 1 + 1 a

// Taps of the rows and of the columns, residue by residue, and how far from a position each of them reads.
static __constant__ const int ROW_START[] = {0, 3};
static __constant__ const int ROW_TAP[] = {0, 1, 2};
static __constant__ const int ROW_DELTA[] = {-1, 0, 1};
static __constant__ const int COLUMN_START[] = {0, 3};
static __constant__ const int COLUMN_TAP[] = {0, 1, 2};
static __constant__ const int COLUMN_DELTA[] = {-1, 0, 1};

// Taps whose channels are one list of k.
constexpr int FOLDED = 1;
constexpr int KERNEL_WIDTH = 3;
constexpr int TAPS = 9, GROUPS = 1, PHASES = 1, COLUMN_PHASES = 1;
constexpr int ROW_STEP = 1, COLUMN_STEP = 1;
// Of the outputs of one position: how many there are of a channel, and how far before the others the first lies.
constexpr int RESIDUES = 1, ROW_ORIGIN = 0, COLUMN_ORIGIN = 0;

// One tap: the bits of its row and column, where it reads from a position, where its weights begin, whether it is the last.
struct __align__(16) Tap {
  unsigned bits;
  int shift, weight, last;
};

// A position of the tile: where it reads, and the rows (low 16 bits) and columns of taps that lie outside the source there.
struct Place {
  int at;
  unsigned outside;
};

struct Phase {
  int first_row, rows, first_column, columns;
};

// What a block computes, kept in shared memory until the sums are there: registers are for them.
struct __align__(16) Block {
  Phase phase;
  int row_phase, column_phase;
  int group, first_channel, first_position;
  int broken;
};

static __device__ __forceinline__ unsigned outside_of(const Phase& phase, int y, int x, int height, int width) {
  unsigned bits = 0;
  for (int a = 0; a < phase.rows; ++a)
    bits |= (unsigned)(y + ROW_DELTA[phase.first_row + a]) < (unsigned)height ? 0u : 1u << a;
  for (int b = 0; b < phase.columns; ++b)
    bits |= (unsigned)(x + COLUMN_DELTA[phase.first_column + b]) < (unsigned)width ? 0u : 0x10000u << b;
  return bits;
}

// The first `there` of four channels; at once where all are there and lie on a multiple of 16 bytes.
static __device__ __forceinline__ void store_channels(real* to, const Four& values, int there) {
  if (there >= 4 && (unsigned long long)to % 16 == 0) {
    *(Four*)to = values;
  } else {
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (j < there) to[j] = values.at[j];
  }
}

extern "C" __global__ void __launch_bounds__(128, 2) ct2d_dgrad_f32_nhwc_k3s2p1__igemm_m64n64k16_t8x4__ptx(
    const stored* __restrict__ large, const stored* __restrict__ weight, const stored* __restrict__ bias, stored* __restrict__ small, const stored* __restrict__ packed,
    int n, int cs, int hs, int ws, int cl, int hl, int wl, double slope, long long packed_bytes, long long stamp) {
  extern __shared__ __align__(16) real memory[];
  __shared__ Block block;
  Tap* const taps_read = (Tap*)(memory + STAGES * STAGE);
  const int inputs = cl / GROUPS * FOLDED, outputs = cs / GROUPS * RESIDUES, pitch = (outputs + 3) / 4 * 4;
  const int input_step = pitch, output_step = 1, tap_step = inputs * pitch;
  const int a_position = threadIdx.x / A_LANES, a_depth = threadIdx.x % A_LANES;
  const int source_height = hl, source_width = wl, height = hs, width = ws;
  const int row_phase = blockIdx.x % PHASES / COLUMN_PHASES, column_phase = blockIdx.x % PHASES % COLUMN_PHASES;
  const int tiles = (outputs + TILE_N - 1) / TILE_N, group = blockIdx.y / tiles;
  const int first_channel = blockIdx.y % tiles * TILE_N, first_position = blockIdx.x / PHASES * TILE_M;
  const int column_step = cl, row_step = source_width * cl, channel_step = 1;
  const Phase phase = {ROW_START[row_phase], ROW_START[row_phase + 1] - ROW_START[row_phase],
                       COLUMN_START[column_phase], COLUMN_START[column_phase + 1] - COLUMN_START[column_phase]};
  int q_height = (height + ROW_ORIGIN + ROW_STEP - 1) / ROW_STEP, q_width = (width + COLUMN_ORIGIN + COLUMN_STEP - 1) / COLUMN_STEP;
  int total = n * q_height * q_width;

  if (threadIdx.x == 0) block = {phase, row_phase, column_phase, group, first_channel, first_position, 0};
  const int taps = phase.rows * phase.columns;
  for (int t = threadIdx.x; t < taps; t += THREADS) {
    const int a = t / phase.columns, b = t % phase.columns, row = phase.first_row + a, column = phase.first_column + b;
    const int tap = ROW_TAP[row] * KERNEL_WIDTH + COLUMN_TAP[column];
    const int shift = ROW_DELTA[row] * row_step + COLUMN_DELTA[column] * column_step;
    taps_read[t] = {1u << a | 0x10000u << b, shift, tap * tap_step, t == taps - 1};
  }
  Place places[A_ROWS];
#pragma unroll
  for (int i = 0; i < A_ROWS; ++i) {
    const int position = first_position + a_position + i * A_STEP;
    const int x = position % q_width * 2, y = position / q_width % q_height * 2;
    const int image = position / (q_height * q_width);
    places[i].at = image * cl * source_height * source_width + y * row_step + x * column_step;
    places[i].outside = position < total ? outside_of(phase, y, x, source_height, source_width) : ~0u;
  }
  const int b_column = threadIdx.x % (TILE_N / 4) * 4, b_depth = threadIdx.x / (TILE_N / 4);
  const int b_inputs = first_channel + b_column < pitch ? inputs - b_depth : 0;
  const stored* const source = large + (group * (inputs / FOLDED) + (FOLDED == 1 ? a_depth : 0)) * channel_step;
  const stored* const weights = packed + (group * TAPS * inputs + b_depth) * pitch + first_channel + b_column;
  __syncthreads();
  // Reads k = `channel` … of tap `tap`, then goes on to the next tap, behind the last to the next channels, which lie
  // `source_depth` and `weight_depth` elements behind the first.
  int tap = 0, channel = 0, source_depth = 0, weight_depth = 0;
  int steps = taps * ((inputs + TILE_K - 1) / TILE_K);  // left
  const auto advance = [&](int last) {
    ++tap;
    if (!last) return;
    tap = 0;
    channel += TILE_K;
    source_depth += TILE_K * channel_step;
    weight_depth += TILE_K * input_step;
  };
  constexpr int first = 0;
  real a_read[A_ROWS][A_DEPTH];
  Four b_read[B_DEPTH];
  const auto read = [&](int) {
    const Tap now = taps_read[tap];
    const int left = inputs - channel - a_depth;
#pragma unroll
    for (int i = 0; i < A_ROWS; ++i) {
      const stored* const from = source + (places[i].at + now.shift + source_depth);
      const int there = places[i].outside & now.bits ? 0 : left;
#pragma unroll
      for (int j = 0; j < A_DEPTH; ++j)
        a_read[i][j] = j * A_LANES < there ? from[(long long)channel_step * (j * A_LANES)] : (real)0;
    }
    const stored* const from = weights + (now.weight + weight_depth);
#pragma unroll
    for (int j = 0; j < B_DEPTH; ++j)
      b_read[j] = j * B_STEP < b_inputs - channel ? *(const Four*)(from + (long long)pitch * (j * B_STEP)) : Four{};
    advance(now.last);
  };
  const auto write = [&](int stage) {
    real* const a = memory + stage + a_depth * A_PITCH + a_position;
#pragma unroll
    for (int i = 0; i < A_ROWS; ++i)
#pragma unroll
      for (int j = 0; j < A_DEPTH; ++j) a[i * A_STEP + j * A_LANES * A_PITCH] = a_read[i][j];
#pragma unroll
    for (int j = 0; j < B_DEPTH; ++j)
      *(Four*)(memory + stage + A_SIZE + (b_depth + j * B_STEP) * TILE_N + b_column) = b_read[j];
  };

  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int warp_m = warp % (TILE_M / WARP_M) * WARP_M, warp_n = warp / (TILE_M / WARP_M) * WARP_N;
  const int m = lane % LANES_M * 4, n4 = lane / LANES_M * 4;
  real sums[THREAD_M][THREAD_N] = {};
  const auto multiply = [&](int stage) {
    const real* const a = memory + stage + warp_m + m;
    const real* const b = memory + stage + A_SIZE + warp_n + n4;
#pragma unroll
    for (int k = 0; k < TILE_K; ++k) {
      Four x[THREAD_M / 4], w[THREAD_N / 4];
#pragma unroll
      for (int i = 0; i < THREAD_M / 4; ++i) x[i] = *(const Four*)(a + k * A_PITCH + i * (4 * LANES_M));
#pragma unroll
      for (int j = 0; j < THREAD_N / 4; ++j) w[j] = *(const Four*)(b + k * TILE_N + j * (4 * LANES_N));
#pragma unroll
      for (int i = 0; i < THREAD_M; ++i)
#pragma unroll
        for (int j = 0; j < THREAD_N; ++j) sums[i][j] += x[i / 4].at[i % 4] * w[j / 4].at[j % 4];
    }
  };
  int used = 0;
  if (steps > 0) {
    read(first);
    write(0);
  }
  for (; steps > 0; --steps) {
    __syncthreads();
    const bool more = steps > 1;
    if (more) read(first + STAGE - used);
    multiply(used);
    used = STAGE - used;
    if (more) write(used);
  }
  constexpr bool apart = false;

  // Where sums go, and what becomes of them there.
  const Block here = block;
  typedef stored result;
  result* const results = small;
  const auto addend_of = [&](int channel) { return false ? load(bias[channel]) : (real)0; };
  const auto finished = [&](real sum, real addend) { return store(activate(0, sum + addend, (real)slope)); };
  const auto value_of = [](stored element) { return load(element); };
  bool broke = false;
#pragma unroll
  for (int i = 0; i < THREAD_M; ++i) {
    const int position = here.first_position + warp_m + i / 4 * (4 * LANES_M) + m + i % 4;
    const int x = position % q_width * COLUMN_STEP + here.column_phase, y = position / q_width % q_height * ROW_STEP + here.row_phase;
    if (position >= total || y >= height || x >= width) continue;
    result* const pixel = results + ((position / (q_height * q_width) * height + y) * width + x) * cs + here.group * outputs;
#pragma unroll
    for (int part = 0; part < THREAD_N / 4; ++part) {
      const int output = here.first_channel + warp_n + part * (4 * LANES_N) + n4;
      Four four;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const real sum = sums[i][part * 4 + j];
        broke = broke || (sum != sum && output + j < outputs);
        four.at[j] = finished(sum, output + j < outputs ? addend_of(here.group * outputs + output + j) : (real)0);
      }
      store_channels(pixel + output, four, outputs - output);
    }
  }

  // A tap outside the source was read as 0, which an infinite weight makes NaN, and NaN stays: such outputs are done again.
  // So are those that a zero beside a diagonal of groups made NaN, over the channels of their own.
  if (broke || apart) block.broken = 1;
  __syncthreads();
  if (!block.broken) return;
  constexpr int DIAGONAL = 1;
  for (int item = threadIdx.x; item < TILE_M * TILE_N; item += THREADS) {
    const int position = here.first_position + item % TILE_M, output = here.first_channel + item / TILE_M;
    const int qx = position % q_width, qy = position / q_width % q_height, image = position / (q_height * q_width);
    const int x = qx * COLUMN_STEP + here.column_phase, y = qy * ROW_STEP + here.row_phase, channel = here.group * outputs + output;
    if (position >= total || y >= height || x >= width || output >= outputs) continue;
    const int source_y = qy * 2, source_x = qx * 2;
    const unsigned outside = outside_of(here.phase, source_y, source_x, source_height, source_width);
    result* const at = results + ((image * height + y) * width + x) * cs + channel;
    const real before = value_of(*at);
    if (!apart && ((DIAGONAL == 1 && outside == 0) || before == before)) continue;
    const stored* const first = large + image * cl * source_height * source_width + source_y * row_step +
                                source_x * column_step + here.group * (inputs / FOLDED) * channel_step;
    const stored* const weights_of = packed + here.group * TAPS * tap_step + output * output_step;
    real sum = 0;
    const int own = DIAGONAL == 1 ? 0 : output / (outputs / DIAGONAL) * (inputs / DIAGONAL);
    for (int c = own; c < own + inputs / DIAGONAL; ++c)
      for (int t = 0; t < here.phase.rows * here.phase.columns; ++t) {
        const Tap now = taps_read[t];
        if (outside & now.bits) continue;
        sum += product(load(first[now.shift + c * channel_step]), load(weights_of[now.weight + c * input_step]));
      }
    *at = finished(sum, addend_of(channel));
  }
}
