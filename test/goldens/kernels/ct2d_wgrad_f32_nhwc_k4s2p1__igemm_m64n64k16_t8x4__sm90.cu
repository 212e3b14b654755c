// ct2d_wgrad_f32_nhwc_k4s2p1__igemm_m64n64k16_t8x4__sm90
//
// Specification: {"form":"wgrad","dtype":"float32","layout":"nhwc","variant":"igemm","tunables":{"tile":"m64n64k16","thread":"t8x4"},"baked":{"r":4,"s":4,"stride":[2,2],"padding":[1,1],"dilation":[1,1],"groups":1,"bias":false,"activation":"none"}}
// Made by: fracstride render ct2d_wgrad_f32_nhwc_k4s2p1__igemm_m64n64k16_t8x4__sm90
//
// W[c,o,a,b] = sum over n, i, j of S[n,c,i,j] L[n,k,y,x],   y = 2 i - 1 + 1 a,   x = 2 j - 1 + 1 b
// C = A B with m the small side's channels of a group, n the pairs of a channel of the large side and a tap (columns), k
// the positions (n, i, j). A launch with several blocks along z has a part of the positions in each, and leaves the sums
// of all parts in `parts`, one behind the other, for another launch to add up; with one, they go to `weight`.
// Stored elements are `float`, sums are `float`. This text needs no header and no library.
typedef float stored;
typedef float real;

static __device__ __forceinline__ real load(stored value) { return value; }
static __device__ __forceinline__ stored store(real value) { return value; }

static __device__ __forceinline__ unsigned shared_address(const void* at) { return (unsigned)__cvta_generic_to_shared(at); }

// The same with zeros where `left_out`.
static __device__ __forceinline__ void copy_4_unless(unsigned left_out, unsigned to, const void* from) {
  asm volatile("{ .reg .pred p; setp.ne.u32 p, %2, 0; cp.async.ca.shared.global [%0], [%1], 4, p; }" ::"r"(to), "l"(from), "r"(left_out) : "memory");
}

// What was copied since the last call is a group; all but the newest `pending` groups have landed.
static __device__ __forceinline__ void close_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int PENDING>
static __device__ __forceinline__ void copies_landed() { asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory"); }

constexpr int TILE_M = 64, TILE_N = 64, TILE_K = 16, THREADS = 128;
// A thread has THREAD_M by THREAD_N of the tile in fours, a warp LANES_M by LANES_N threads.
constexpr int THREAD_M = 8, THREAD_N = 4, LANES_M = 8, LANES_N = 32 / LANES_M;
constexpr int WARP_M = LANES_M * THREAD_M, WARP_N = LANES_N * THREAD_N;
// One k of a stage has TILE_M of A and TILE_N of B. A thread copies at every DEPTH_LANES-th k, every COLUMN_LANES-th of each.
constexpr int STAGES = 2, PITCH = 132, STAGE = TILE_K * PITCH;
constexpr int DEPTH_LANES = 4, COLUMN_LANES = THREADS / DEPTH_LANES, DEPTH = TILE_K / DEPTH_LANES;
constexpr int A_COLUMNS = TILE_M / COLUMN_LANES, B_COLUMNS = TILE_N / COLUMN_LANES;
constexpr int KERNEL_HEIGHT = 4, KERNEL_WIDTH = 4, TAPS = KERNEL_HEIGHT * KERNEL_WIDTH, GROUPS = 1;
// Columns are in the weight's order, but 8 channels of the large side stand together, neighbours in memory.
constexpr int TOGETHER = 8, DIAGONAL = 1;
// Chunks of positions are worked out together, one a thread: dividing where they are read would cost more than the sums.
constexpr int CHUNK = THREADS, TABLE = 2 * CHUNK;

// How far apart neighbouring positions, and neighbouring channels, of each side lie.
struct Steps {
  int small, small_channel, large, large_channel;
};

static __device__ __forceinline__ int least(int a, int b) { return a < b ? a : b; }

// Where a position reads each side, the rows (low 16 bits) and columns of taps that lie outside the large one there, and
// whether it is behind the last.
struct __align__(16) Position {
  int small, large;
  unsigned outside;
  int past;
};

static __device__ __forceinline__ Position position_of(
    int position, int end, int height, int width, int large_height, int large_width, int small_channels, int large_channels, const Steps& steps) {
  if (position >= end) return {0, 0, ~0u, 1};
  const int j = position % width, i = position / width % height, image = position / (height * width);
  const int y = i * 2 - 1, x = j * 2 - 1;
  unsigned outside = 0;
#pragma unroll 1
  for (int a = 0; a < KERNEL_HEIGHT; ++a) outside |= (unsigned)(y + 1 * a) < (unsigned)large_height ? 0u : 1u << a;
#pragma unroll 1
  for (int b = 0; b < KERNEL_WIDTH; ++b) outside |= (unsigned)(x + 1 * b) < (unsigned)large_width ? 0u : 0x10000u << b;
  return {image * small_channels * height * width + (i * width + j) * steps.small,
          image * large_channels * large_height * large_width + (y * large_width + x) * steps.large, outside, 0};
}

// A column: the channel of the large side in its group, and the tap.
struct Column {
  int channel, row, column;
};

static __device__ __forceinline__ Column column_of(int column, int outputs) {
  const int first = column / (TAPS * TOGETHER) * TOGETHER, rest = column - first * TAPS, width = least(TOGETHER, outputs - first);
  const int tap = rest / width;
  return {first + rest - tap * width, tap / KERNEL_WIDTH, tap % KERNEL_WIDTH};
}

static __device__ __forceinline__ real product(real x, real y) { return x * y; }

// Where the columns that a thread copies lie, or their taps.
struct __align__(16) Words {
  unsigned word[B_COLUMNS];
};

// What a block computes, kept in shared memory: registers are for the sums.
struct Block {
  int group, first_m, first_n, begin, end, broken;
};
constexpr bool apart = false;

struct __align__(16) Four {
  real at[4];
};

// To shared memory at once: compilers take some of such stores apart, and threads would write their words one after the other to the same banks.
static __device__ __forceinline__ void store_four(real* to, const Four& four) {
  asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};"
               :: "r"((unsigned)__cvta_generic_to_shared(to)), "f"(four.at[0]), "f"(four.at[1]), "f"(four.at[2]), "f"(four.at[3]) : "memory");
}

extern "C" __global__ void __launch_bounds__(128, 4) ct2d_wgrad_f32_nhwc_k4s2p1__igemm_m64n64k16_t8x4__sm90(
    const stored* __restrict__ small, const stored* __restrict__ large, stored* __restrict__ weight, real* __restrict__ parts,
    int n, int cs, int hs, int ws, int cl, int hl, int wl) {
  extern __shared__ __align__(16) real memory[];
  __shared__ Block block;
  __shared__ Words b_at[COLUMN_LANES], b_tap[COLUMN_LANES];
  Position* const table = (Position*)(memory + STAGES * STAGE);
  const int inputs = cs / GROUPS, outputs = cl / GROUPS, columns = outputs * TAPS;
  const int m_tiles = (inputs + TILE_M - 1) / TILE_M, group = blockIdx.y / m_tiles;
  const int first_m = blockIdx.y % m_tiles * TILE_M, first_n = blockIdx.x * TILE_N;
  const int positions = n * hs * ws, part = ((positions + TILE_K - 1) / TILE_K + gridDim.z - 1) / gridDim.z * TILE_K;
  const int begin = least(positions, (int)blockIdx.z * part), end = least(positions, begin + part);
  if (threadIdx.x == 0) block = {group, first_m, first_n, begin, end, 0};
  const Steps steps = {cs, 1, cl, 1};
  const int depth = threadIdx.x / COLUMN_LANES, column = threadIdx.x % COLUMN_LANES;
  // What is behind the last channel or column is read as the last one, and not stored.
  int a_at[A_COLUMNS];
#pragma unroll
  for (int c = 0; c < A_COLUMNS; ++c)
    a_at[c] = (group * inputs + least(first_m + column + c * COLUMN_LANES, inputs - 1)) * steps.small_channel;
  for (int c = depth; c < B_COLUMNS; c += DEPTH_LANES) {
    const Column at = column_of(least(first_n + column + c * COLUMN_LANES, columns - 1), outputs);
    b_at[column].word[c] = (group * outputs + at.channel) * steps.large_channel + (at.row * 1 * wl + at.column * 1) * steps.large;
    b_tap[column].word[c] = 1u << at.row | 0x10000u << at.column;
  }
  // Reads the next TILE_K positions; positions behind the last, and taps outside of the large side, are zero.
  const auto slot_of = [](int position) { return position; };
  int read_at = depth;
  const unsigned to = shared_address(memory + depth * PITCH + column);
  const auto read = [&](int stage) {
    const unsigned offset = to + stage * (int)sizeof(real);
    const Words at = b_at[column], tap = b_tap[column];
#pragma unroll
    for (int d = 0; d < DEPTH; ++d) {
      const Position now = table[read_at + d * DEPTH_LANES];
#pragma unroll
      for (int c = 0; c < A_COLUMNS; ++c)
        copy_4_unless(now.past, offset + (d * DEPTH_LANES * PITCH + c * COLUMN_LANES) * (int)sizeof(real), small + (now.small + a_at[c]));
#pragma unroll
      for (int c = 0; c < B_COLUMNS; ++c)
        copy_4_unless(now.outside & tap.word[c], offset + (d * DEPTH_LANES * PITCH + TILE_M + c * COLUMN_LANES) * (int)sizeof(real), large + (now.large + (int)at.word[c]));
    }
    read_at = (read_at + TILE_K) % TABLE;
  };
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int warp_m = warp % (TILE_M / WARP_M) * WARP_M, warp_n = warp / (TILE_M / WARP_M) * WARP_N;
  const int m = warp_m + lane % LANES_M * 4, n4 = warp_n + lane / LANES_M * 4;
  real sums[THREAD_M][THREAD_N] = {};
  const auto multiply = [&](int stage) {
    const real* const a = memory + stage + m;
    const real* const b = memory + stage + TILE_M + n4;
#pragma unroll
    for (int k = 0; k < TILE_K; ++k) {
      Four s[THREAD_M / 4], l[THREAD_N / 4];
#pragma unroll
      for (int i = 0; i < THREAD_M / 4; ++i) s[i] = *(const Four*)(a + k * PITCH + i * (4 * LANES_M));
#pragma unroll
      for (int j = 0; j < THREAD_N / 4; ++j) l[j] = *(const Four*)(b + k * PITCH + j * (4 * LANES_N));
#pragma unroll
      for (int i = 0; i < THREAD_M; ++i)
#pragma unroll
        for (int j = 0; j < THREAD_N; ++j) sums[i][j] += s[i / 4].at[i % 4] * l[j / 4].at[j % 4];
    }
  };
  // The table has two chunks of positions: one is read from while the next is made.
  int at = begin, used = 0;
  const auto locate = [&](int position) {
    table[slot_of(position - block.begin) % TABLE] = position_of(position, block.end, hs, ws, hl, wl, cs, cl, steps);
  };
  __syncthreads();
  locate(at + threadIdx.x);
  __syncthreads();
#pragma unroll
  for (int stage = 0; stage < STAGES - 1; ++stage) {
    read(stage * STAGE);
    close_group();
  }
  while (at < block.end) {
    locate(at + CHUNK + threadIdx.x);
    for (const int stop = least(at + CHUNK, block.end); at < stop; at += TILE_K) {
      copies_landed<STAGES - 2>();
      __syncthreads();
      read(used == 0 ? (STAGES - 1) * STAGE : used - STAGE);
      close_group();
      multiply(used);
      used = used == (STAGES - 1) * STAGE ? 0 : used + STAGE;
    }
  }
  copies_landed<0>();
  // Rows of sums pass through shared memory, some at a time, so that neighbouring threads write neighbours: RUN taps of a
  // channel. Every 32 columns there are SPREAD words apart from the others, for banks of their own.
  constexpr int RUN = TOGETHER * 8 > TILE_N ? TILE_N / TOGETHER : 8, SPREAD = 32 / RUN;
  constexpr int C_WIDTH = TILE_N + TILE_N / 32 * SPREAD, C_STEP = THREADS / TILE_N;
  const Block here = block;
  const int mine = threadIdx.x % TILE_N;
  const int n_mine = TOGETHER == 1 ? mine : (mine / (TOGETHER * RUN) * RUN + mine % RUN) * TOGETHER + mine / RUN % TOGETHER;
  const Column pair = column_of(least(here.first_n + n_mine, columns - 1), outputs);
  const auto spread = [](int column) { return column + column / 32 * SPREAD; };
  const bool several = gridDim.z > 1;
  // A column has results in the rows of its own group; the weight has the columns of one group for each row.
  const int pitch = columns / DIAGONAL, group_inputs = inputs / DIAGONAL, group_outputs = outputs / DIAGONAL;
  real* const sums_of_part = parts + (long long)blockIdx.z * cs * pitch;
  const int own = DIAGONAL == 1 ? 0 : pair.channel / group_outputs, first_row = own * group_inputs - here.first_m;
  const int first_result = (here.group * inputs + here.first_m) * pitch + ((pair.channel - own * group_outputs) * KERNEL_HEIGHT + pair.row) * KERNEL_WIDTH + pair.column;
  const int rows_there = here.first_n + n_mine < columns ? group_inputs : 0;
  const auto exists = [&](int row) { return (unsigned)(row - first_row) < (unsigned)rows_there; };
  bool broke = false;
  const auto give = [&](int row, real sum) {
    if (!exists(row)) return;
    broke = broke || sum != sum;
    if (several)
      sums_of_part[first_result + row * pitch] = sum;
    else
      weight[first_result + row * pitch] = store(sum);
  };
  constexpr int C_PITCH = C_WIDTH + (SPREAD < 8 ? 4 : 8);
  constexpr int C_ROWS = TILE_M / THREAD_M;
  const real* const rows = memory;
#pragma unroll
  for (int i = 0; i < THREAD_M; ++i) {
    __syncthreads();
#pragma unroll
    for (int j = 0; j < THREAD_N / 4; ++j) {
      Four four;
#pragma unroll
      for (int v = 0; v < 4; ++v) four.at[v] = sums[i][j * 4 + v];
      store_four(memory + (warp_m / WARP_M * LANES_M + lane % LANES_M) * C_PITCH + spread(n4 + j * (4 * LANES_N)), four);
    }
    __syncthreads();
    for (int row = threadIdx.x / TILE_N; row < C_ROWS; row += C_STEP)
      give(row / LANES_M * WARP_M + i / 4 * (4 * LANES_M) + row % LANES_M * 4 + i % 4, rows[row * C_PITCH + spread(n_mine)]);
  }
  // What lies outside of the large side was read as 0, which an infinity of the small side makes NaN, and NaN stays: such
  // sums are done again over what exists.
  if (broke || apart) block.broken = 1;
  __syncthreads();
  if (!block.broken) return;
  for (int row = threadIdx.x / TILE_N; row < TILE_M; row += C_STEP) {
    if (!exists(row)) continue;
    const int result = first_result + row * pitch;
    const real before = several ? sums_of_part[result] : load(weight[result]);
    if (!apart && before == before) continue;
    const stored* const from_small = small + (here.group * inputs + here.first_m + row) * steps.small_channel;
    const stored* const from_large = large + (here.group * outputs + pair.channel) * steps.large_channel +
                                     (pair.row * 1 * wl + pair.column * 1) * steps.large;
    const unsigned tap = 1u << pair.row | 0x10000u << pair.column;
    real sum = 0;
    for (int position = here.begin; position < here.end; ++position) {
      const Position now = position_of(position, here.end, hs, ws, hl, wl, cs, cl, steps);
      if (!(now.outside & tap)) sum += product(load(from_small[now.small]), load(from_large[now.large]));
    }
    if (several)
      sums_of_part[result] = sum;
    else
      weight[result] = store(sum);
  }
}
