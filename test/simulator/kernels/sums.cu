// Sums of a block by shuffles and shared memory, then over blocks by an atomic on integers; and a scan.
extern __shared__ int dynamic[];

extern "C" __global__ void sums(const int* in, int* out, int n) {
  __shared__ int parts[32];
  int sum = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) sum += in[i];
  for (int d = 16; d > 0; d /= 2) sum += __shfl_down_sync(0xffffffff, sum, d);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x < 32) {
    sum = threadIdx.x < blockDim.x / 32 ? parts[threadIdx.x] : 0;
    for (int d = 16; d > 0; d /= 2) sum += __shfl_xor_sync(0xffffffff, sum, d);
    if (threadIdx.x == 0) atomicAdd(out, sum);
  }
}

extern "C" __global__ void scan(const int* in, int* out) {
  const int t = threadIdx.x;
  dynamic[t] = in[t];
  __syncthreads();
  for (unsigned d = 1; d < blockDim.x; d *= 2) {
    const int before = t >= (int)d ? dynamic[t - d] : 0;
    __syncthreads();
    dynamic[t] += before;
    __syncthreads();
  }
  out[t] = dynamic[t];
}
