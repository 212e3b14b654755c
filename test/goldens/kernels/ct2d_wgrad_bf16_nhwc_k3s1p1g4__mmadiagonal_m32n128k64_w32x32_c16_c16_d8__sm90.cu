// ct2d_wgrad_bf16_nhwc_k3s1p1g4__mmadiagonal_m32n128k64_w32x32_c16_c16_d8__sm90
//
// Specification: {"form":"wgrad","dtype":"bfloat16","layout":"nhwc","variant":"mmadiagonal","tunables":{"tile":"m32n128k64","warp":"w32x32","small":"c16","large":"c16","diagonal":"d8"},"baked":{"r":3,"s":3,"stride":[1,1],"padding":[1,1],"dilation":[1,1],"groups":4,"bias":false,"activation":"none"}}
// Made by: fracstride render ct2d_wgrad_bf16_nhwc_k3s1p1g4__mmadiagonal_m32n128k64_w32x32_c16_c16_d8__sm90
//
// W[c,o,a,b] = sum over n, i, j of S[n,c,i,j] L[n,k,y,x],   y = 1 i - 1 + 1 a,   x = 1 j - 1 + 1 b
// C = A B on tensor cores, with m the small side's channels of a group, n the pairs of a channel of the large side and a tap
// (columns), k the positions (n, i, j). A launch with several blocks along z has a part of the positions in each, and leaves
// the sums of all parts in `parts`, one behind the other, for another launch to add up; with one, they go to `weight`.
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

static __device__ __forceinline__ unsigned shared_address(const void* at) { return (unsigned)__cvta_generic_to_shared(at); }

// The same with zeros where `left_out`.
static __device__ __forceinline__ void copy_16_unless(unsigned left_out, unsigned to, const void* from) {
  asm volatile("{ .reg .pred p; setp.ne.u32 p, %2, 0; cp.async.cg.shared.global [%0], [%1], 16, p; }" ::"r"(to), "l"(from), "r"(left_out) : "memory");
}

// What was copied since the last call is a group; all but the newest `pending` groups have landed.
static __device__ __forceinline__ void close_group() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int PENDING>
static __device__ __forceinline__ void copies_landed() { asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory"); }

// Fragments of tensor-core products. With lane = 4 g + t: registers of A hold rows g, g + 8 of the first half of k, then of
// the second; of B columns g of either half; of C row g, columns 2 t and 2 t + 1, then row g + 8.

// Where 16-byte chunk `chunk` of row `row` lies, in bytes: eight rows of a chunk lie in different banks, and so do eight
// chunks of neighbouring rows.
template <int ROW_BYTES>
static __device__ __forceinline__ int swizzled(int row, int chunk) {
  constexpr int CHUNKS = ROW_BYTES / 16, TOGETHER = CHUNKS < 8 ? 8 / CHUNKS : 1;
  return row * ROW_BYTES + (chunk ^ row / TOGETHER % (CHUNKS < 8 ? CHUNKS : 8)) * 16;
}

// The same, but a lane gets 16-bit elements g of rows 2 t and 2 t + 1.
static __device__ __forceinline__ void load_transposed(unsigned (&to)[4], unsigned at) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(at) : "memory");
}

// c += a b: 16 by 8 sums in float32, 32 bytes of k.
static __device__ __forceinline__ void multiply_add(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

static __device__ __forceinline__ float product(float x, float w) { return x * w; }

constexpr int TILE_M = 32, TILE_N = 128, TILE_K = 64, THREADS = 128;
constexpr int WARP_M = 32, WARP_N = 32, WARPS_M = TILE_M / WARP_M;
constexpr int SIZE = sizeof(stored), STAGES = 3;
constexpr bool PLANES = false;
constexpr int KERNEL_HEIGHT = 3, KERNEL_WIDTH = 3, TAPS = KERNEL_HEIGHT * KERNEL_WIDTH, GROUPS = 4;
// Columns are in the weight's order, but 16 channels of the large side stand together, neighbours in memory.
constexpr int TOGETHER = 16;
// Groups of the weight that are one group here: only products of a group with itself are stored.
constexpr int DIAGONAL = 8;
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
  const int y = i * 1 - 1, x = j * 1 - 1;
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

// A row is a position, with TILE_M channels of A or TILE_N columns of B in chunks of 16 bytes.
constexpr int PER_CHUNK = 16 / SIZE, A_ROW = TILE_M * SIZE, B_ROW = TILE_N * SIZE;
constexpr int A_BYTES = TILE_K * A_ROW, STAGE = A_BYTES + TILE_K * B_ROW;
// A thread reads one piece of a row of A, and of every A_STEP-th one behind it; B likewise.
constexpr int A_PIECE = 16 / SIZE, A_LANES = TILE_M / A_PIECE, A_STEP = THREADS / A_LANES, A_ROWS = TILE_K / A_STEP;
constexpr int B_PIECE = 16 / SIZE, B_LANES = TILE_N / B_PIECE, B_STEP = THREADS / B_LANES, B_ROWS = TILE_K / B_STEP;

// Where what lies at `at`, in a row before row `rows`, which is a power of two or a multiple of one, lies that many rows on.
template <int ROW_BYTES>
static __device__ __forceinline__ int further(int at, int rows) {
  return (at ^ swizzled<ROW_BYTES>(rows, 0) % ROW_BYTES) + rows * ROW_BYTES;
}

// What a block computes.
struct Block {
  int group, first_m, first_n, begin, end, broken;
};

extern "C" __global__ void __launch_bounds__(128, 3) ct2d_wgrad_bf16_nhwc_k3s1p1g4__mmadiagonal_m32n128k64_w32x32_c16_c16_d8__sm90(
    const stored* __restrict__ small, const stored* __restrict__ large, stored* __restrict__ weight, real* __restrict__ parts,
    int n, int cs, int hs, int ws, int cl, int hl, int wl) {
  extern __shared__ __align__(128) char memory[];
  __shared__ Block block;
  Position* const table = (Position*)(memory + STAGES * STAGE);
  const int inputs = cs / GROUPS, outputs = cl / GROUPS, columns = outputs * TAPS;
  const int m_tiles = (inputs + TILE_M - 1) / TILE_M, group = blockIdx.y / m_tiles;
  const int first_m = blockIdx.y % m_tiles * TILE_M, first_n = blockIdx.x * TILE_N;
  const int positions = n * hs * ws, part = ((positions + TILE_K - 1) / TILE_K + gridDim.z - 1) / gridDim.z * TILE_K;
  const Steps steps = PLANES ? Steps{1, hs * ws, 1, hl * wl} : Steps{cs, 1, cl, 1};
  // Operands that do not lie on whole pieces are summed as what is done again, element by element.
  const bool apart = (unsigned long long)small % 16 + (unsigned long long)large % 16 != 0;
  const int begin = least(positions, (int)blockIdx.z * part), end = least(positions, begin + part);
  if (threadIdx.x == 0) block = {group, first_m, first_n, begin, end, 0};
  __syncthreads();
  // What is behind the last channel or column is read as the last ones, and not stored.
  const int a_row = threadIdx.x / A_LANES, a_column = threadIdx.x % A_LANES * A_PIECE;
  const int b_row = threadIdx.x / B_LANES, b_column = threadIdx.x % B_LANES * B_PIECE;
  const stored* a_source = small + group * inputs + least(first_m + a_column, inputs - A_PIECE);
  const Column b_at = column_of(least(first_n + b_column, columns - B_PIECE), outputs);
  const stored* b_source = large + (group * outputs + b_at.channel) + (long long)(b_at.row * 1 * wl + b_at.column * 1) * cl;
  const unsigned b_tap = 1u << b_at.row | 0x10000u << b_at.column;
  // Kept as they are: taken apart, each address would be two instructions.
  asm volatile("" : "+l"(a_source), "+l"(b_source));
  const int a_to = swizzled<A_ROW>(a_row, a_column / PER_CHUNK) + a_column % PER_CHUNK * SIZE;
  const int b_to = swizzled<B_ROW>(b_row, b_column / PER_CHUNK) + b_column % PER_CHUNK * SIZE + A_BYTES;
  const unsigned base = shared_address(memory);
  const auto move_a = [&](const Position& now, int i, int stage) {
    copy_16_unless(now.past, base + stage + further<A_ROW>(a_to, i * A_STEP), a_source + now.small);
  };
  const auto move_b = [&](const Position& now, int i, int stage) {
    copy_16_unless(now.outside & b_tap, base + stage + further<B_ROW>(b_to, i * B_STEP), b_source + now.large);
  };
  // Reads the next TILE_K positions; positions behind the last, and taps outside of the large side, are zero.
  const auto slot_of = [](int position) { return position; };
  int read_at = 0;
  const auto read = [&](int stage) {
    constexpr bool ALIKE = A_LANES == B_LANES;
#pragma unroll
    for (int i = 0; i < B_ROWS; ++i) {
      const Position now = table[read_at + b_row + i * B_STEP];
      if (ALIKE) move_a(now, i, stage);
      move_b(now, i, stage);
    }
#pragma unroll
    for (int i = 0; i < (ALIKE ? 0 : A_ROWS); ++i) move_a(table[read_at + a_row + i * A_STEP], i, stage);
    read_at = (read_at + TILE_K) % TABLE;
  };
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int warp_m = warp % WARPS_M * WARP_M, warp_n = warp / WARPS_M * WARP_N;
  const unsigned a_from = shared_address(memory) + swizzled<A_ROW>(lane % 8 + lane / 16 * 8, warp_m / 8 + lane / 8 % 2);
  const unsigned b_from = shared_address(memory) + A_BYTES + swizzled<B_ROW>(lane % 16, warp_n / 8 + lane / 16);
  float sums[WARP_M / 16][WARP_N / 8][4] = {};
  const auto multiply = [&](int stage) {
#pragma unroll
    for (int k = 0; k < TILE_K; k += 16) {
      unsigned a[WARP_M / 16][4], b[WARP_N / 16][4];
#pragma unroll
      for (int i = 0; i < WARP_M / 16; ++i) load_transposed(a[i], (a_from ^ i * 32) + stage + k * A_ROW);
#pragma unroll
      for (int j = 0; j < WARP_N / 16; ++j) load_transposed(b[j], (b_from ^ j * 32) + stage + k * B_ROW);
#pragma unroll
      for (int i = 0; i < WARP_M / 16; ++i)
#pragma unroll
        for (int j = 0; j < WARP_N / 8; ++j) multiply_add(sums[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
    }
  };
  if (!apart) {
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
  }
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
  // Half a warp writes four rows at a time: eight words apart, or three times as many, they lie in different banks.
  constexpr int C_PITCH = C_WIDTH + (40 - C_WIDTH % 32) % 32;
  const float* const staged = (const float*)memory + spread(n_mine);
#pragma unroll
  for (int i = 0; i < WARP_M / 16; ++i) {
    __syncthreads();
    float* const mine_of_warp = (float*)memory + (warp_m / WARP_M * 16 + lane / 4) * C_PITCH;
#pragma unroll
    for (int j = 0; j < WARP_N / 8; ++j)
#pragma unroll
      for (int h = 0; h < 2; ++h)
        *(float2*)(mine_of_warp + h * 8 * C_PITCH + spread(warp_n + j * 8 + lane % 4 * 2)) = {sums[i][j][h * 2], sums[i][j][h * 2 + 1]};
    __syncthreads();
#pragma unroll
    for (int w = 0; w < WARPS_M; ++w)
#pragma unroll 4
      for (int row = threadIdx.x / TILE_N; row < 16; row += C_STEP) give(w * WARP_M + i * 16 + row, staged[(w * 16 + row) * C_PITCH]);
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
