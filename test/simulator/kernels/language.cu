// Parts of the language: a struct by value with an index not known before, constants, a switch, local arrays, calls,
// 64-bit division, generic pointers, counters that outlive a launch.
struct Table {
  const int* at[20];
  long long counts[20];
  int n;
};

__constant__ int weights[4] = {1, 10, 100, 1000};
__device__ unsigned int launches;

__device__ __noinline__ int choose(int which, int x) {
  switch (which) {
    case 0: return x + 1;
    case 1: return x * x;
    case 2: return -x;
    case 3: return x ^ 0x55;
    case 4: return x / 7;
    case 5: return x % 11;
    default: return 1234;
  }
}

__device__ __noinline__ void bump(int* place) { *place += 1; }

extern "C" __global__ void language(Table table, long long* out) {
  const int t = threadIdx.x;
  __shared__ int shared[64];
  int local[8];
  for (int i = 0; i < 8; i++) local[i] = choose(i, t - 16);
  shared[t] = local[t % 8];
  bump(&shared[t]);
  bump(&local[t % 5]);
  __syncthreads();
  long long sum = shared[63 - t];
  for (int i = 0; i < table.n; i++) sum += table.at[i][t] * table.counts[(i + t) % table.n];
  sum += weights[t % 4];
  sum += (sum * 1000003LL) / (t + 3) % 977;
  for (int i = 0; i < 8; i++) sum = sum * 3 + local[(i + t) & 7];
  out[t] = sum + __popcll((unsigned long long)t * 0x123456789abcULL) + __clz(t) + __ffs(t) + __brev(t);
  if (t == 0) atomicAdd(&launches, 1u);
}

extern "C" __global__ void told(unsigned int* out) { *out = launches; }
