/**
 * Both operators and their gradients on contiguous NCHW float64 arrays, as the oracle's contractions:
 *
 *              fwd        dgrad      wgrad            f(x, w) is bilinear, so with upstream gy and directions vx, vw, vb
 *   convT2d    expand     contract   wgrad(x, gy)       ggy = f(vx, w) + f(x, vw) + vb
 *   conv2d     contract   expand     wgrad(gy, x)       ggx = dgrad(gy, vw)      ggw = wgrad(vx, gy)
 */

import { convolvedOutputSize, type Geometry, type Op, transposedOutputSize } from '../../codegen/problem.js';
import { bgrad, contract, expand, wgrad } from './oracle.js';

export type IntOrPair = number | readonly number[];

/** What a caller passes; shapes are [N,C,H,W] or [C,H,W] and the operator's own weight shape. */
export interface ConvCall {
  readonly op: Op;
  readonly x: readonly number[];
  readonly weight: readonly number[];
  readonly stride: IntOrPair;
  readonly padding: IntOrPair | 'same' | 'valid';
  readonly outputPadding: IntOrPair;
  readonly dilation: IntOrPair;
  readonly groups: number;
}

export interface Reference {
  readonly geometry: Geometry;
  /** Shape of the output; three sizes when the input is unbatched. */
  readonly shape: readonly number[];
  fwd(x: Float64Array, weight: Float64Array, bias?: Float64Array): Float64Array;
  dgrad(gy: Float64Array, weight: Float64Array): Float64Array;
  wgrad(x: Float64Array, gy: Float64Array): Float64Array;
  bgrad(gy: Float64Array): Float64Array;
}

export function reference(call: ConvCall): Reference {
  const geometry = geometryOf(call);
  const g = geometry;
  const transposed = call.op === 'convT2d';
  const out = transposed ? [g.n, g.cl, g.hl, g.wl] : [g.n, g.cs, g.hs, g.ws];
  const hw = out[2]! * out[3]!;
  return {
    geometry,
    shape: call.x.length === 3 ? out.slice(1) : out,
    fwd: (x, w, b) => (transposed ? expand : contract)(g, x, w, b),
    dgrad: (gy, w) => (transposed ? contract : expand)(g, gy, w),
    wgrad: (x, gy) => (transposed ? wgrad(g, x, gy) : wgrad(g, gy, x)),
    bgrad: (gy) => bgrad(g.n, out[1]!, hw, gy),
  };
}

export function pair(v: IntOrPair): [number, number] {
  return typeof v === 'number' ? [v, v] : [v[0]!, v[1] ?? v[0]!];
}

/** The bilinear form's sizes for a call whose arguments are known to be right. */
export function geometryOf(call: ConvCall): Geometry {
  const [n, c, h, w] = call.x.length === 3 ? [1, ...call.x] : [...call.x];
  const [w0, w1, r, s] = call.weight;
  const [stride, dilation] = [pair(call.stride), pair(call.dilation)];
  const common = { n: n!, r: r!, s: s!, stride, dilation, groups: call.groups };
  const axes = [0, 1] as const;
  const size = [h!, w!] as const;
  const kernel = [r!, s!] as const;
  if (call.op === 'convT2d') {
    const padding = pair(call.padding as IntOrPair);
    const op = pair(call.outputPadding);
    const [hl, wl] = axes.map((d) =>
      transposedOutputSize({
        size: size[d],
        kernel: kernel[d],
        stride: stride[d],
        padding: padding[d],
        outputPadding: op[d],
        dilation: dilation[d],
      }),
    );
    return { ...common, cs: c!, hs: h!, ws: w!, cl: w1! * call.groups, hl: hl!, wl: wl!, padding };
  }
  const total = axes.map((d) => {
    if (call.padding === 'same') return dilation[d] * (kernel[d] - 1);
    return call.padding === 'valid' ? 0 : 2 * pair(call.padding)[d];
  });
  const padding: [number, number] = [Math.floor(total[0]! / 2), Math.floor(total[1]! / 2)];
  const [hs, ws] = axes.map((d) =>
    convolvedOutputSize({
      size: size[d],
      kernel: kernel[d],
      stride: stride[d],
      padding: total[d]!,
      dilation: dilation[d],
    }),
  );
  return { ...common, cs: w0!, hs: hs!, ws: ws!, cl: c!, hl: h!, wl: w!, padding };
}
