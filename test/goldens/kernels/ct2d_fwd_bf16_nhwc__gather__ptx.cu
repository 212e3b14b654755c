// ct2d_fwd_bf16_nhwc__gather__ptx
//
// Specification: {"form":"expand","dtype":"bfloat16","layout":"nhwc","variant":"gather","tunables":{},"baked":null}
// Made by: fracstride render ct2d_fwd_bf16_nhwc__gather__ptx
//
// One thread an output, which gathers what reaches it; takes any sizes, with 64-bit indices.
//   expand:   L[n,k,y,x] = bias[k] + sum over c of k's group, a, b of S[n,c,i,j] W[c,k mod Cl/G,a,b],   y + ph = i sh + a dh
//   contract: S[n,c,i,j] = bias[c] + sum over k of c's group, a, b of L[n,k,y,x] W[c,k mod Cl/G,a,b],   y = i sh - ph + a dh
// This is expand.
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

typedef long long wide;

// Position in the source of tap `tap` of output `at` along one axis, or -1 where there is none.
static __device__ __forceinline__ wide reached(wide at, wide tap, wide stride, wide padding, wide dilation, wide size) {
  const wide distance = at + padding - tap * dilation;
  const wide position = distance / stride;
  return position * stride == distance && position < size ? position : -1;
}

extern "C" __global__ void __launch_bounds__(256, 3) ct2d_fwd_bf16_nhwc__gather__ptx(
    const stored* __restrict__ small, const stored* __restrict__ weight, const stored* __restrict__ bias, stored* __restrict__ large,
    int n, int cs, int hs, int ws, int cl, int hl, int wl, int r, int s, int sh, int sw, int ph, int pw, int dh, int dw, int groups, int activation, double slope) {
  const wide planes = cl, height = hl, width = wl;
  const wide inputs = cs / groups, outputs = planes / groups;
  const wide source_plane = (wide)hs * ws;
  const wide column_step = cs, channel_step = 1;
  const wide total = (wide)n * planes * height * width;
  const wide taps = (wide)r * s;
  for (wide at = (wide)blockIdx.x * 256 + threadIdx.x; at < total; at += (wide)gridDim.x * 256) {
    const wide channel = at % planes, x = at / planes % width, y = at / (planes * width) % height;
    const wide image = at / (planes * height * width), group = channel / outputs;
    const stored* const first = small + image * cs * source_plane + group * inputs * channel_step;
    const stored* const factors = weight + (group * inputs * outputs + channel % outputs) * taps;
    const wide weight_step = outputs * taps;
    real sum = 0;
    for (wide a = 0; a < r; ++a) {
      const wide i = reached(y, a, sh, ph, dh, hs);
      if (i < 0) continue;
      for (wide b = 0; b < s; ++b) {
        const wide j = reached(x, b, sw, pw, dw, ws);
        if (j < 0) continue;
        const stored* from = first + (i * ws + j) * column_step;
        const stored* factor = factors + a * s + b;
        for (wide c = 0; c < inputs; ++c, from += channel_step, factor += weight_step) sum += load(*from) * load(*factor);
      }
    }
    if (bias) sum += load(bias[channel]);
    large[at] = store(activate(activation, sum, (real)slope));
  }
}
