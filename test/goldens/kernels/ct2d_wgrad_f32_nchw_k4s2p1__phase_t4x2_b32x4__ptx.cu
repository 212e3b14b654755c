// ct2d_wgrad_f32_nchw_k4s2p1__phase_t4x2_b32x4__ptx
//
// Specification: {"form":"wgrad","dtype":"float32","layout":"nchw","variant":"phase","tunables":{"tile":"t4x2","block":"b32x4"},"baked":{"r":4,"s":4,"stride":[2,2],"padding":[1,1],"dilation":[1,1],"groups":1,"bias":false,"activation":"none"}}
// Made by: fracstride render ct2d_wgrad_f32_nchw_k4s2p1__phase_t4x2_b32x4__ptx
//
// W[c,o,a,b] = sum over n, i, j of S[n,c,i,j] L[n,k,y,x],   y = 2 i - 1 + 1 a,   x = 2 j - 1 + 1 b
// A block has 4 by 8 channel pairs and 4 columns of one kernel row. A thread sums every 32th position in
// order, and a tree of fixed shape adds the threads' sums: the result does not depend on how blocks are scheduled.
// Stored elements are `float`, sums are `float`. This text needs no header and no library.
typedef float stored;
typedef float real;

static __device__ __forceinline__ real load(stored value) { return value; }
static __device__ __forceinline__ stored store(real value) { return value; }

constexpr int SMALL = 4, LARGE = 2, SEGMENT = 4, SEGMENTS = 1;
constexpr int BLOCK_POSITIONS = 32, BLOCK_CHANNELS = 4, THREADS = 128;
constexpr int KERNEL_HEIGHT = 4, KERNEL_WIDTH = 4, GROUPS = 1;
constexpr int CELLS = SMALL * LARGE * SEGMENT, CHANNELS = LARGE * BLOCK_CHANNELS;

extern "C" __global__ void __launch_bounds__(128, 3) ct2d_wgrad_f32_nchw_k4s2p1__phase_t4x2_b32x4__ptx(
    const stored* __restrict__ small, const stored* __restrict__ large, stored* __restrict__ weight,
    int n, int cs, int hs, int ws, int cl, int hl, int wl) {
  __shared__ real tree[CELLS][BLOCK_CHANNELS][BLOCK_POSITIONS];
  const int inputs = cs / GROUPS, outputs = cl / GROUPS;
  if (inputs == 0 || outputs == 0) return;
  const int position_lane = threadIdx.x % BLOCK_POSITIONS, channel_lane = threadIdx.x / BLOCK_POSITIONS;
  const int small_step = 1, small_channel = hs * ws, large_step = 1, large_channel = hl * wl;
  const int small_tiles = (inputs + SMALL - 1) / SMALL, large_tiles = (outputs + CHANNELS - 1) / CHANNELS;
  const int group = blockIdx.x / (small_tiles * large_tiles);
  const int first_input = blockIdx.x / large_tiles % small_tiles * SMALL;
  const int first_output = blockIdx.x % large_tiles * CHANNELS;
  const int a = blockIdx.y / SEGMENTS, first_column = blockIdx.y % SEGMENTS * SEGMENT;

  // Channels past the last one are read as the last one, and not stored.
  int small_at[SMALL], large_at[LARGE];
#pragma unroll
  for (int c = 0; c < SMALL; ++c) {
    const int input = first_input + c < inputs ? first_input + c : inputs - 1;
    small_at[c] = (group * inputs + input) * small_channel;
  }
#pragma unroll
  for (int k = 0; k < LARGE; ++k) {
    const int output = first_output + channel_lane * LARGE + k;
    large_at[k] = (group * outputs + (output < outputs ? output : outputs - 1)) * large_channel;
  }

  real sums[SMALL][LARGE][SEGMENT] = {};
  const int positions = n * hs * ws;
  // Steps of BLOCK_POSITIONS positions in mixed radix: no division in the loop.
  const int columns = positions > 0 ? ws : 1, rows = positions > 0 ? hs : 1;
  const int step_j = BLOCK_POSITIONS % columns, step_i = BLOCK_POSITIONS / columns % rows;
  const int step_image = BLOCK_POSITIONS / columns / rows;
  int j = position_lane % columns, i = position_lane / columns % rows, image = position_lane / columns / rows;
  for (int position = position_lane; position < positions; position += BLOCK_POSITIONS) {
    const int y = i * 2 + a * 1 - 1;
    if ((unsigned)y < (unsigned)hl) {
      const stored* const from_small = small + image * cs * hs * ws + (i * ws + j) * small_step;
      const stored* const from_large = large + image * cl * hl * wl + y * wl * large_step;
      real s[SMALL], l[LARGE][SEGMENT];
      bool exists[SEGMENT];
#pragma unroll
      for (int c = 0; c < SMALL; ++c) s[c] = load(from_small[small_at[c]]);
#pragma unroll
      for (int b = 0; b < SEGMENT; ++b) {
        const int x = j * 2 + (first_column + b) * 1 - 1;
        exists[b] = (unsigned)x < (unsigned)wl && first_column + b < KERNEL_WIDTH;
#pragma unroll
        for (int k = 0; k < LARGE; ++k) l[k][b] = exists[b] ? load(from_large[large_at[k] + x * large_step]) : (real)0;
      }
      // A position of L that does not exist must not meet an infinity of S.
#pragma unroll
      for (int b = 0; b < SEGMENT; ++b)
#pragma unroll
        for (int c = 0; c < SMALL; ++c)
#pragma unroll
          for (int k = 0; k < LARGE; ++k)
            if (exists[b]) sums[c][k][b] += s[c] * l[k][b];
    }
    j += step_j;
    i += step_i + (j >= columns);
    j -= j >= columns ? columns : 0;
    image += step_image + (i >= rows);
    i -= i >= rows ? rows : 0;
  }

#pragma unroll
  for (int cell = 0; cell < CELLS; ++cell)
    tree[cell][channel_lane][position_lane] = sums[cell / (LARGE * SEGMENT)][cell / SEGMENT % LARGE][cell % SEGMENT];
  for (int half = BLOCK_POSITIONS / 2; half > 0; half /= 2) {
    __syncthreads();
    for (int at = threadIdx.x; at < CELLS * BLOCK_CHANNELS * half; at += THREADS) {
      real* const pair = &tree[at / half / BLOCK_CHANNELS][at / half % BLOCK_CHANNELS][at % half];
      pair[0] += pair[half];
    }
  }
  __syncthreads();
  for (int at = threadIdx.x; at < CELLS * BLOCK_CHANNELS; at += THREADS) {
    const int b = first_column + at % SEGMENT, k = at / SEGMENT % CHANNELS, c = first_input + at / SEGMENT / CHANNELS;
    const int output = first_output + k, cell = (c - first_input) * (LARGE * SEGMENT) + k % LARGE * SEGMENT + at % SEGMENT;
    if (b < KERNEL_WIDTH && output < outputs && c < inputs)
      weight[(((group * inputs + c) * outputs + output) * KERNEL_HEIGHT + a) * KERNEL_WIDTH + b] = store(tree[cell][k / LARGE][0]);
  }
}
