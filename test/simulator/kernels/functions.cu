// What the compiler makes of mathematical functions: in[i] -> 16 results.
extern "C" __global__ void singles(const float* in, float* out, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const float x = in[i];
  float* to = out + 12 * i;
  to[0] = expf(x);
  to[1] = logf(fabsf(x) + 0.5f);
  to[2] = tanhf(x);
  to[3] = sqrtf(fabsf(x));
  to[4] = sinf(x);
  to[5] = cosf(x);
  to[6] = powf(fabsf(x) + 0.1f, 1.7f);
  to[7] = erff(x);
  to[8] = 1.0f / (1.0f + expf(-x));
  to[9] = log1pf(fabsf(x));
  to[10] = floorf(x) + fmodf(x, 3.0f);
  to[11] = x / 3.0f;
}

extern "C" __global__ void doubles(const double* in, double* out, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const double x = in[i];
  double* to = out + 10 * i;
  to[0] = exp(x);
  to[1] = log(fabs(x) + 0.5);
  to[2] = tanh(x);
  to[3] = sqrt(fabs(x));
  to[4] = sin(x * 1e6);  // the slow reduction of large arguments, a function of its own
  to[5] = cos(x);
  to[6] = pow(fabs(x) + 0.1, 1.7);
  to[7] = erf(x);
  to[8] = 1.0 / (x + 100.0);
  to[9] = rsqrt(fabs(x) + 1.0);
}
