/**
 * The oracle: the bilinear form of codegen/problem.ts by direct loops over its definition, in float64,
 *
 *   B(S, L, W) = Σ S[n, c, i, j] · L[n, k, i·sh − ph + a·dh, j·sw − pw + b·dw] · W[c, k mod (Cl/G), a, b]
 *
 * for every n, every pair (c, k) of one group, every i j a b whose position in L exists. Everything is contiguous NCHW.
 * Nothing is skipped but positions that do not exist: 0 · ∞ is NaN here as in the kernels.
 */

import type { Geometry } from '../../codegen/problem.js';

type Visit = (small: number, large: number, weight: number) => void;

/** Calls `visit` with the flat indices of the three factors of every term of the form. */
export function forEachTerm(g: Geometry, visit: Visit): void {
  const [cg, kg] = [g.cs / g.groups, g.cl / g.groups];
  for (let n = 0; n < g.n; n++)
    for (let c = 0; c < g.cs; c++)
      for (let o = 0; o < kg; o++) {
        const k = Math.floor(c / cg) * kg + o;
        const [small, large, weight] = [(n * g.cs + c) * g.hs * g.ws, (n * g.cl + k) * g.hl * g.wl, c * kg + o];
        forEachTermOfPlanes(g, (s, l, w) => visit(small + s, large + l, weight * g.r * g.s + w));
      }
}

function forEachTermOfPlanes(g: Geometry, visit: Visit): void {
  for (let i = 0; i < g.hs; i++)
    for (let a = 0; a < g.r; a++) {
      const y = i * g.stride[0] - g.padding[0] + a * g.dilation[0];
      if (y < 0 || y >= g.hl) continue;
      for (let j = 0; j < g.ws; j++)
        for (let b = 0; b < g.s; b++) {
          const x = j * g.stride[1] - g.padding[1] + b * g.dilation[1];
          if (x >= 0 && x < g.wl) visit(i * g.ws + j, y * g.wl + x, a * g.s + b);
        }
    }
}

/** L from S and W (convT2d fwd, conv2d dgrad), plus a bias for each channel of L. */
export function expand(g: Geometry, small: Float64Array, weight: Float64Array, bias?: Float64Array): Float64Array {
  const large = biased(g.n, g.cl, g.hl * g.wl, bias);
  forEachTerm(g, (s, l, w) => {
    large[l]! += small[s]! * weight[w]!;
  });
  return large;
}

/** S from L and W (convT2d dgrad, conv2d fwd), plus a bias for each channel of S. */
export function contract(g: Geometry, large: Float64Array, weight: Float64Array, bias?: Float64Array): Float64Array {
  const small = biased(g.n, g.cs, g.hs * g.ws, bias);
  forEachTerm(g, (s, l, w) => {
    small[s]! += large[l]! * weight[w]!;
  });
  return small;
}

/** Gradient of the weight from S and L. */
export function wgrad(g: Geometry, small: Float64Array, large: Float64Array): Float64Array {
  const weight = new Float64Array((g.cs * g.cl * g.r * g.s) / g.groups);
  forEachTerm(g, (s, l, w) => {
    weight[w]! += small[s]! * large[l]!;
  });
  return weight;
}

/** Gradient of the bias: the gradient [n, c, hw] summed over n and hw. */
export function bgrad(n: number, c: number, hw: number, grad: Float64Array): Float64Array {
  const bias = new Float64Array(c);
  for (let i = 0; i < n * c * hw; i++) bias[Math.floor(i / hw) % c]! += grad[i]!;
  return bias;
}

function biased(n: number, c: number, hw: number, bias?: Float64Array): Float64Array {
  return Float64Array.from({ length: n * c * hw }, (_, i) => bias?.[Math.floor(i / hw) % c] ?? 0);
}
