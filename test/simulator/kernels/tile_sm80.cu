// A tile product as the convolution kernels do it: cp.async in two stages, ldmatrix, mma on bf16. c = a * b^T for a of
// 32 x 64, b of 16 x 64, both with k running fastest; one warp makes 16 rows.
typedef unsigned int u32;

__device__ u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }

extern "C" __global__ void tile(const unsigned short* a, const unsigned short* b, float* c) {
  __shared__ __align__(16) unsigned short as[2][32 * 16], bs[2][16 * 16];
  const int t = threadIdx.x, warp = t / 32, lane = t % 32;
  float sum[2][4] = {};
  auto fetch = [&](int stage, int k0) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(&as[stage][(t / 2) * 16 + (t % 2) * 8])), "l"(a + (t / 2) * 64 + k0 + (t % 2) * 8));
    if (t < 32)
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(&bs[stage][(t / 2) * 16 + (t % 2) * 8])), "l"(b + (t / 2) * 64 + k0 + (t % 2) * 8), "r"(16));
    asm volatile("cp.async.commit_group;");
  };
  fetch(0, 0);
  for (int s = 0; s < 4; s++) {
    if (s + 1 < 4) fetch((s + 1) % 2, 16 * (s + 1));
    else asm volatile("cp.async.commit_group;");
    asm volatile("cp.async.wait_group 1;");
    __syncthreads();
    u32 fa[4], fb[4];
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];" : "=r"(fa[0]), "=r"(fa[1]), "=r"(fa[2]), "=r"(fa[3]) : "r"(shared_address(&as[s % 2][(warp * 16 + (lane & 15)) * 16 + (lane >> 4) * 8])));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];" : "=r"(fb[0]), "=r"(fb[1]), "=r"(fb[2]), "=r"(fb[3]) : "r"(shared_address(&bs[s % 2][((lane & 7) + 8 * (lane >> 4)) * 16 + ((lane >> 3) & 1) * 8])));
    for (int n = 0; n < 2; n++)
      asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                   : "+f"(sum[n][0]), "+f"(sum[n][1]), "+f"(sum[n][2]), "+f"(sum[n][3]) : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[2 * n]), "r"(fb[2 * n + 1]));
    __syncthreads();
  }
  for (int n = 0; n < 2; n++)
    for (int r = 0; r < 4; r++) c[(warp * 16 + lane / 4 + 8 * (r / 2)) * 16 + n * 8 + 2 * (lane % 4) + r % 2] = sum[n][r];
}
