// ct2d_fwd_f32_nchw_k4s2p1_bias_relu__igemm_m128n128k16_t8x8__sm90
//
// Specification: {"form":"expand","dtype":"float32","layout":"nchw","variant":"igemm","tunables":{"tile":"m128n128k16","thread":"t8x8"},"baked":{"r":4,"s":4,"stride":[2,2],"padding":[1,1],"dilation":[1,1],"groups":1,"bias":true,"activation":"relu"}}
// Made by: fracstride render ct2d_fwd_f32_nchw_k4s2p1_bias_relu__igemm_m128n128k16_t8x8__sm90
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

static __device__ __forceinline__ unsigned shared_address(const void* at) { return (unsigned)__cvta_generic_to_shared(at); }

// Copies from global to shared memory (by its 32-bit address) that end behind copies_landed; what `depth` says is not
// `left` any more becomes zeros.
static __device__ __forceinline__ void copy_4(unsigned to, const void* from, int depth, int left) {
  asm volatile("{ .reg .pred p; setp.le.s32 p, %2, %3; cp.async.ca.shared.global [%0], [%1], 4, p; }" ::"r"(to), "l"(from), "r"(left), "r"(depth) : "memory");
}
static __device__ __forceinline__ void copy_16(unsigned to, const void* from, int depth, int left) {
  asm volatile("{ .reg .pred p; setp.le.s32 p, %2, %3; cp.async.cg.shared.global [%0], [%1], 16, p; }" ::"r"(to), "l"(from), "r"(left), "r"(depth) : "memory");
}

// What was copied since the last call is a group; all but the newest `pending` groups have landed.
static __device__ __forceinline__ void close_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int PENDING>
static __device__ __forceinline__ void copies_landed() { asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory"); }

constexpr int TILE_M = 128, TILE_N = 128, TILE_K = 16, THREADS = 256;
// A thread has THREAD_M positions by THREAD_N channels of the tile in fours, a warp LANES_M by LANES_N threads.
constexpr int THREAD_M = 8, THREAD_N = 8, LANES_M = 8, LANES_N = 32 / LANES_M;
constexpr int WARP_M = LANES_M * THREAD_M, WARP_N = LANES_N * THREAD_N;
constexpr int STAGES = 3, A_PITCH = 128, A_SIZE = TILE_K * A_PITCH, STAGE = A_SIZE + TILE_K * TILE_N;
// A is read by A_LANES threads along k, each at A_ROWS positions; B by rows of TILE_N / 4 threads.
constexpr int A_LANES = 2, A_STEP = THREADS / A_LANES, A_ROWS = TILE_M / A_STEP, A_DEPTH = TILE_K / A_LANES;
constexpr int B_STEP = THREADS / (TILE_N / 4), B_DEPTH = TILE_K / B_STEP;

struct __align__(16) Four {
  real at[4];
};

// To shared memory at once: compilers take some of such stores apart, and threads would write their words one after the other to the same banks.
static __device__ __forceinline__ void store_four(real* to, const Four& four) {
  asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};"
               :: "r"((unsigned)__cvta_generic_to_shared(to)), "f"(four.at[0]), "f"(four.at[1]), "f"(four.at[2]), "f"(four.at[3]) : "memory");
}

static __device__ __forceinline__ real product(real x, real w) { return x * w; }

// L[n,k,y,x] = bias[k] + sum over c, a, b of S[n,c,i,j] W[c,k mod Cl/G,a,b],   y + 1 = 2 i + 1 a
// Outputs of one residue modulo the stride are reached by the same taps: a matrix product, all of them in one launch.

// Taps of the rows and of the columns, residue by residue, and how far from a position each of them reads.
static __constant__ const int ROW_START[] = {0, 2, 4};
static __constant__ const int ROW_TAP[] = {1, 3, 0, 2};
static __constant__ const int ROW_DELTA[] = {0, -1, 1, 0};
static __constant__ const int COLUMN_START[] = {0, 2, 4};
static __constant__ const int COLUMN_TAP[] = {1, 3, 0, 2};
static __constant__ const int COLUMN_DELTA[] = {0, -1, 1, 0};

// Taps whose channels are one list of k.
constexpr int FOLDED = 1;
constexpr int KERNEL_WIDTH = 4;
constexpr int TAPS = 16, GROUPS = 1, PHASES = 4, COLUMN_PHASES = 2;
constexpr int ROW_STEP = 2, COLUMN_STEP = 2;
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

extern "C" __global__ void __launch_bounds__(256, 2) ct2d_fwd_f32_nchw_k4s2p1_bias_relu__igemm_m128n128k16_t8x8__sm90(
    const stored* __restrict__ small, const stored* __restrict__ weight, const stored* __restrict__ bias, stored* __restrict__ large, const stored* __restrict__ packed,
    int n, int cs, int hs, int ws, int cl, int hl, int wl, double slope, long long packed_bytes, long long stamp) {
  extern __shared__ __align__(16) real memory[];
  __shared__ Block block;
  Tap* const taps_read = (Tap*)(memory + STAGES * STAGE);
  const int inputs = cs / GROUPS * FOLDED, outputs = cl / GROUPS * RESIDUES, pitch = (outputs + 3) / 4 * 4;
  const int input_step = pitch, output_step = 1, tap_step = inputs * pitch;
  const int a_position = threadIdx.x % A_STEP, a_depth = threadIdx.x / A_STEP;
  const int source_height = hs, source_width = ws, height = hl, width = wl;
  const int row_phase = blockIdx.x % PHASES / COLUMN_PHASES, column_phase = blockIdx.x % PHASES % COLUMN_PHASES;
  const int tiles = (outputs + TILE_N - 1) / TILE_N, group = blockIdx.y / tiles;
  const int first_channel = blockIdx.y % tiles * TILE_N, first_position = blockIdx.x / PHASES * TILE_M;
  const int column_step = 1, row_step = source_width, channel_step = source_height * source_width;
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
    const int x = position % q_width * 1, y = position / q_width % q_height * 1;
    const int image = position / (q_height * q_width);
    places[i].at = image * cs * source_height * source_width + y * row_step + x * column_step;
    places[i].outside = position < total ? outside_of(phase, y, x, source_height, source_width) : ~0u;
  }
  const int b_column = threadIdx.x % (TILE_N / 4) * 4, b_depth = threadIdx.x / (TILE_N / 4);
  const int b_inputs = first_channel + b_column < pitch ? inputs - b_depth : 0;
  const stored* const source = small + (group * (inputs / FOLDED) + (FOLDED == 1 ? a_depth : 0)) * channel_step;
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
  const unsigned a_to = shared_address(memory + a_depth * A_PITCH + a_position);
  const unsigned b_to = shared_address(memory + A_SIZE + b_depth * TILE_N + b_column);
  const auto read = [&](int stage) {
    const Tap now = taps_read[tap];
    const int left = inputs - channel - a_depth;
    const unsigned offset = stage * (int)sizeof(real);
#pragma unroll
    for (int i = 0; i < A_ROWS; ++i) {
      const stored* const from = source + (places[i].at + now.shift + source_depth);
      const int there = places[i].outside & now.bits ? 0 : left;
#pragma unroll
      for (int j = 0; j < A_DEPTH; ++j)
        copy_4(a_to + offset + (i * A_STEP + j * A_LANES * A_PITCH) * (int)sizeof(real), from + (long long)channel_step * (j * A_LANES), j * A_LANES, there);
    }
    const stored* const from = weights + (now.weight + weight_depth);
#pragma unroll
    for (int j = 0; j < B_DEPTH; ++j)
      copy_16(b_to + offset + j * B_STEP * TILE_N * (int)sizeof(real), from + (long long)pitch * (j * B_STEP), j * B_STEP, b_inputs - channel);
    advance(now.last);
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
#pragma unroll
  for (int stage = 0; stage < STAGES - 1; ++stage) {
    if (stage < steps) read(first + stage * STAGE);
    close_group();
  }
  int filled = first + (STAGES - 1) * STAGE;  // next
  for (; steps > 0; --steps) {
    copies_landed<STAGES - 2>();
    __syncthreads();
    if (steps > STAGES - 1) read(filled);
    close_group();
    filled += used == 0 ? -(STAGES - 1) * STAGE : STAGE;
    multiply(used);
    used = used == (STAGES - 1) * STAGE ? 0 : used + STAGE;
  }
  copies_landed<0>();
  constexpr bool apart = false;

  // Where sums go, and what becomes of them there.
  const Block here = block;
  typedef stored result;
  result* const results = large;
  const auto addend_of = [&](int channel) { return true ? load(bias[channel]) : (real)0; };
  const auto finished = [&](real sum, real addend) { return store(activate(1, sum + addend, (real)slope)); };
  const auto value_of = [](stored element) { return load(element); };
  bool broke = false;
  // Neighbouring threads take neighbouring positions: RUN_N channels of the warp's tile at a time pass through shared memory.
  constexpr int RUN_N = 4 * LANES_N;
  real* const turned = memory + warp * (RUN_N * WARP_M);
  // Eight threads have eight fours of a channel, or four of two channels: of every second four channels the halves change places.
  const auto turned_at = [](int channel, int position) {
    return channel * WARP_M + (LANES_M < 8 ? position ^ channel / 4 % 2 * 16 : position);
  };
  int to[WARP_M / 32];
#pragma unroll
  for (int i = 0; i < WARP_M / 32; ++i) {
    const int position = here.first_position + warp_m + i * 32 + lane;
    const int x = position % q_width * COLUMN_STEP + here.column_phase, y = position / q_width % q_height * ROW_STEP + here.row_phase;
    const int image = position / (q_height * q_width);
    to[i] = position < total && y < height && x < width
                ? ((image * cl + here.group * outputs) * height + y) * width + x
                : -1;
  }
#pragma unroll
  for (int part = 0; part < THREAD_N / 4; ++part) {
    __syncthreads();
#pragma unroll
    for (int j = 0; j < 4; ++j)
#pragma unroll
      for (int i = 0; i < THREAD_M / 4; ++i) {
        Four four;
#pragma unroll
        for (int v = 0; v < 4; ++v) four.at[v] = sums[i * 4 + v][part * 4 + j];
        store_four(turned + turned_at(n4 + j, i * (4 * LANES_M) + m), four);
      }
    __syncthreads();
#pragma unroll 4
    for (int k = 0; k < RUN_N; ++k) {
      const int output = here.first_channel + warp_n + part * RUN_N + k;
      if (output >= outputs) break;
      const real addend = addend_of(here.group * outputs + output);
#pragma unroll
      for (int i = 0; i < WARP_M / 32; ++i) {
        const real sum = turned[turned_at(k, i * 32 + lane)];
        if (to[i] < 0) continue;
        broke = broke || sum != sum;
        results[to[i] + output * height * width] = finished(sum, addend);
      }
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
    const int source_y = qy * 1, source_x = qx * 1;
    const unsigned outside = outside_of(here.phase, source_y, source_x, source_height, source_width);
    result* const at = results + ((image * cl + channel) * height + y) * width + x;
    const real before = value_of(*at);
    if (!apart && ((DIAGONAL == 1 && outside == 0) || before == before)) continue;
    const stored* const first = small + image * cs * source_height * source_width + source_y * row_step +
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
