// ct2d_fwd_bf16_nhwc_k4s2p1_bias_relu__mma_m128n128k32_w64x64_s3_c16__sm90
//
// Specification: {"form":"expand","dtype":"bfloat16","layout":"nhwc","variant":"mma","tunables":{"tile":"m128n128k32","warp":"w64x64","stages":"s3","read":"c16"},"baked":{"r":4,"s":4,"stride":[2,2],"padding":[1,1],"dilation":[1,1],"groups":1,"bias":true,"activation":"relu"}}
// Made by: fracstride render ct2d_fwd_bf16_nhwc_k4s2p1_bias_relu__mma_m128n128k32_w64x64_s3_c16__sm90
//
// C = A B on tensor cores, with m the positions (n, q, q') of a residue, n the output channels of a group, k the taps
// (innermost) and channels that are summed. A is gathered from the source, B is `packed`: [group][tap][output][input], the
// inputs followed by zeros up to a multiple of 16 bytes.
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
static __device__ __forceinline__ void copy_16(unsigned to, const void* from, int depth, int left) {
  asm volatile("{ .reg .pred p; setp.le.s32 p, %2, %3; cp.async.cg.shared.global [%0], [%1], 16, p; }" ::"r"(to), "l"(from), "r"(left), "r"(depth) : "memory");
}

// Zeros behind what is left, and where any bit of `absent` is set.
static __device__ __forceinline__ void copy_16_within_unless(unsigned absent, unsigned to, const void* from, int depth, int left) {
  asm volatile("{ .reg .pred p, q; setp.le.s32 q, %2, %3; setp.ne.or.u32 p, %4, 0, q; cp.async.cg.shared.global [%0], [%1], 16, p; }" ::"r"(to), "l"(from), "r"(left), "r"(depth), "r"(absent) : "memory");
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

// Four matrices of 8 by 16 bytes: lanes 8 j … 8 j + 7 tell where the rows of matrix j begin; a lane gets word t of row g.
static __device__ __forceinline__ void load_matrices(unsigned (&to)[4], unsigned at) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3]) : "r"(at) : "memory");
}

// c += a b: 16 by 8 sums in float32, 32 bytes of k.
static __device__ __forceinline__ void multiply_add(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Only TF32 is rounded.
static __device__ __forceinline__ void round_fragment(unsigned (&)[4]) {}

static __device__ __forceinline__ float product(float x, float w) { return x * w; }

constexpr int TILE_M = 128, TILE_N = 128, TILE_K = 32, THREADS = 128;
constexpr int WARP_M = 64, WARP_N = 64, WARPS_M = TILE_M / WARP_M;
// A row of A or B is a position, or an output, with TILE_K elements in chunks of 16 bytes.
constexpr int CHUNK = 16 / sizeof(stored), ROW = TILE_K * sizeof(stored), CHUNKS = ROW / 16;
constexpr bool PLANES = false;
constexpr int STAGES = 3, A_SIZE = TILE_M * ROW, STAGE = A_SIZE + TILE_N * ROW;
// In NHWC threads read chunks of a row side by side, in NCHW LINE positions of one depth, then of the next of DEPTHS. Rows of
// A that a thread reads are A_STEP apart, those of B B_STEP.
constexpr int LINE = 8, DEPTHS = 4, UNIT = 1, B_STEP = THREADS / CHUNKS, A_STEP = PLANES ? THREADS / DEPTHS : B_STEP;
constexpr int A_ROWS = TILE_M / A_STEP, B_ROWS = TILE_N / B_STEP;

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

// The source is read PIECE neighbouring elements at a time.
constexpr int PIECE = 16 / sizeof(stored);

// Sums pass through shared memory, sixteen rows of a warp's tile at a time: where the chunk of four sums `chunk` of row
// `row` lies, in bytes. Lanes that write, or read, at the same time do so in different banks.
template <int ROW_BYTES>
static __device__ __forceinline__ int staged_at(int row, int chunk) {
  const int pair = chunk / 2, odd = chunk % 2, turn = row / 1 % 4;
  if constexpr (ROW_BYTES == 256) return row * 256 + odd * 128 + (pair ^ turn ^ odd * 4) * 16;
  if constexpr (ROW_BYTES == 128) return row * 128 + (pair ^ turn) * 16 + (odd ^ turn % 2) * 64;
  const int line = row / 2 % 2;
  return row / 2 * 128 + row % 2 * 64 + (odd ^ line) * 32 + (pair ^ line) * 16;
}

extern "C" __global__ void __launch_bounds__(128, 2) ct2d_fwd_bf16_nhwc_k4s2p1_bias_relu__mma_m128n128k32_w64x64_s3_c16__sm90(
    const stored* __restrict__ small, const stored* __restrict__ weight, const stored* __restrict__ bias, stored* __restrict__ large, const stored* __restrict__ packed,
    int n, int cs, int hs, int ws, int cl, int hl, int wl, double slope, long long packed_bytes, long long stamp) {
  extern __shared__ __align__(128) char memory[];
  Block& block = *(Block*)(memory + STAGES * STAGE);
  Tap* const taps_read = (Tap*)(memory + STAGES * STAGE + sizeof(Block));
  const int inputs = cs / GROUPS * FOLDED, outputs = cl / GROUPS * RESIDUES, pitch = (inputs + CHUNK - 1) / CHUNK * CHUNK;
  const int input_step = 1, output_step = pitch, tap_step = outputs * pitch;
  const int b_position = threadIdx.x / CHUNKS, b_depth = threadIdx.x % CHUNKS * CHUNK;
  const int a_position = PLANES ? threadIdx.x % LINE + threadIdx.x / (LINE * DEPTHS) * LINE : b_position;
  const int a_depth = PLANES ? threadIdx.x / LINE % DEPTHS * UNIT : b_depth;
  const int source_height = hs, source_width = ws, height = hl, width = wl;
  const int row_phase = blockIdx.x % PHASES / COLUMN_PHASES, column_phase = blockIdx.x % PHASES % COLUMN_PHASES;
  const int tiles = (outputs + TILE_N - 1) / TILE_N, group = blockIdx.y / tiles;
  const int first_channel = blockIdx.y % tiles * TILE_N, first_position = blockIdx.x / PHASES * TILE_M;
  const int column_step = cs, row_step = source_width * cs, channel_step = 1;
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
  const int b_rows = outputs - first_channel - b_position;
  const stored* source = small + (group * (inputs / FOLDED) + (FOLDED == 1 ? a_depth : 0)) * channel_step;
  const stored* weights = packed + (group * TAPS * outputs + first_channel + b_position) * pitch + b_depth;
  // Kept as they are: taken apart, each address would be two instructions.
  asm volatile("" : "+l"(source), "+l"(weights));
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
  // A source that does not lie on whole pieces is summed as what is done again, element by element.
  const bool apart = (unsigned long long)small % 16 != 0;
  if (apart) steps = 0;
  // Where a thread's first chunks of A and B go.
  const unsigned first = shared_address(memory) + swizzled<ROW>(a_position, a_depth / CHUNK) + a_depth % CHUNK * (int)sizeof(stored);
  const unsigned b_first = shared_address(memory) + swizzled<ROW>(b_position, b_depth / CHUNK) + A_SIZE;
  const auto read = [&](unsigned stage) {
    const Tap now = taps_read[tap];
    const int left = inputs - channel - a_depth, rows = inputs - channel - b_depth > 0 ? b_rows : 0;
#pragma unroll
    for (int i = 0; i < A_ROWS; ++i) {
      const stored* const from = source + (places[i].at + now.shift + source_depth);
      const unsigned absent = places[i].outside & now.bits;
#pragma unroll
      for (int v = 0; v < CHUNK; v += PIECE)
        copy_16_within_unless(absent, stage + i * A_STEP * ROW + v * (int)sizeof(stored), from + v, v, left);
    }
    const stored* const from = weights + (now.weight + weight_depth);
#pragma unroll
    for (int j = 0; j < B_ROWS; ++j)
      copy_16(stage + (b_first - first) + j * B_STEP * ROW, from + (long long)pitch * (j * B_STEP), j * B_STEP, rows);
    advance(now.last);
  };
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int warp_m = warp % WARPS_M * WARP_M, warp_n = warp / WARPS_M * WARP_N;
  const unsigned a_from = shared_address(memory) + swizzled<ROW>(warp_m + lane % 16, lane / 16);
  const unsigned b_from = shared_address(memory) + A_SIZE + swizzled<ROW>(warp_n + lane % 8 + lane / 16 * 8, lane / 8 % 2);
  float sums[WARP_M / 16][WARP_N / 8][4] = {};
  const auto multiply = [&](int stage) {
#pragma unroll
    for (int k = 0; k < ROW; k += 32) {
      unsigned a[WARP_M / 16][4], b[WARP_N / 16][4];
#pragma unroll
      for (int i = 0; i < WARP_M / 16; ++i) load_matrices(a[i], (a_from ^ k) + stage + i * 16 * ROW);
#pragma unroll
      for (int j = 0; j < WARP_N / 16; ++j) load_matrices(b[j], (b_from ^ k) + stage + j * 16 * ROW);
#pragma unroll
      for (int i = 0; i < WARP_M / 16; ++i) round_fragment(a[i]);
#pragma unroll
      for (int i = 0; i < WARP_M / 16; ++i)
#pragma unroll
        for (int j = 0; j < WARP_N / 8; ++j) multiply_add(sums[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
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

  // Where sums go, and what becomes of them there.
  const Block here = block;
  typedef stored result;
  result* const results = large;
  const auto addend_of = [&](int channel) { return true ? load(bias[channel]) : (real)0; };
  const auto finished = [&](real sum, real addend) { return store(activate(1, sum + addend, (real)slope)); };
  const auto value_of = [](stored element) { return load(element); };
  const int g = lane / 4, t = lane % 4;
  bool broke = false;
  // Neighbouring threads take neighbouring channels, 16 bytes each, sixteen positions at a time.
  constexpr int WIDE = 16 / sizeof(result), LANES = WARP_N / WIDE;
  char* const staged = memory + warp * (16 * WARP_N * 4);
  int* const pixels = (int*)(memory + THREADS / 32 * (16 * WARP_N * 4));
  __syncthreads();
  for (int m = threadIdx.x; m < TILE_M; m += THREADS) {
    const int position = here.first_position + m;
    const int x = position % q_width * COLUMN_STEP + here.column_phase, y = position / q_width % q_height * ROW_STEP + here.row_phase;
    const int pixel = (position / (q_height * q_width) * height + y) * width + x;
    pixels[m] = position < total && y < height && x < width ? pixel * cl + here.group * outputs : -1;
  }
  const int output = here.first_channel + warp_n + lane % LANES * WIDE;
  real addends[WIDE];
#pragma unroll
  for (int v = 0; v < WIDE; ++v) addends[v] = output + v < outputs ? addend_of(here.group * outputs + output + v) : (real)0;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < WARP_M / 16; ++i) {
#pragma unroll
    for (int j = 0; j < WARP_N / 8; ++j)
#pragma unroll
      for (int h = 0; h < 2; ++h)
        *(float2*)(staged + staged_at<WARP_N * 4>(h * 8 + g, j * 2 + t / 2) + t % 2 * 8) = {sums[i][j][h * 2], sums[i][j][h * 2 + 1]};
    __syncwarp();
#pragma unroll
    for (int row = lane / LANES; row < 16; row += 32 / LANES) {
      const int pixel = pixels[warp_m + i * 16 + row];
      if (pixel < 0) continue;
      struct __align__(16) Finished {
        result at[WIDE];
      } chunk;
#pragma unroll
      for (int part = 0; part < WIDE / 4; ++part) {
        const float4 four = *(const float4*)(staged + staged_at<WARP_N * 4>(row, lane % LANES * (WIDE / 4) + part));
        const real values[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
        for (int v = 0; v < 4; ++v) {
          broke = broke || values[v] != values[v];
          chunk.at[part * 4 + v] = finished(values[v], addends[part * 4 + v]);
        }
      }
      result* const at = results + pixel + output;
      if (outputs - output >= WIDE && (unsigned long long)at % 16 == 0) {
        *(Finished*)at = chunk;
      } else {
#pragma unroll
        for (int v = 0; v < WIDE; ++v)
          if (v < outputs - output) at[v] = chunk.at[v];
      }
    }
    __syncwarp();
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
    result* const at = results + ((image * height + y) * width + x) * cl + channel;
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
