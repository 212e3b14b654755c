/** Random problems for fast-check: both operators, every argument, sizes from nothing to a few register tiles. */

import fc from 'fast-check';
import { ACTIVATIONS, type Activation } from '../../codegen/problem.js';
import { DTYPES, type Dtype } from '../../codegen/target.js';
import { type ConvCall, geometryOf, type IntOrPair } from '../../src/verify/reference.js';
import { VIEWS, type View } from './views.js';

export interface RandomProblem {
  readonly call: ConvCall;
  readonly dtype: Dtype;
  readonly bias: boolean;
  /** Fused into a forward of its own; the other passes run without. */
  readonly activation: Activation;
  readonly views: { readonly x: View; readonly weight: View; readonly bias: View; readonly gy: View };
  readonly threads: number;
  /** Of the numbers in the tensors. */
  readonly seed: number;
}

interface Draw {
  op: 'convT2d' | 'conv2d';
  unbatched: boolean;
  n: number;
  groups: number;
  inPerGroup: number;
  outPerGroup: number;
  size: [number, number];
  kernel: [number, number];
  stride: [number, number];
  dilation: [number, number];
  padding: [number, number];
  outputPadding: [number, number];
  words: 'numbers' | 'same' | 'valid';
}

const upTo = (max: number, min = 1) => fc.integer({ min, max });
const twice = (arbitrary: fc.Arbitrary<number>) => fc.tuple(arbitrary, arbitrary);
const mostly = <T>(a: fc.Arbitrary<T>, b: fc.Arbitrary<T>) =>
  fc.oneof({ arbitrary: a, weight: 3 }, { arbitrary: b, weight: 1 });

const draws: fc.Arbitrary<Draw> = fc.record({
  op: fc.constantFrom('convT2d' as const, 'conv2d' as const),
  unbatched: mostly(fc.constant(false), fc.constant(true)),
  n: mostly(upTo(3), fc.constant(0)),
  groups: mostly(upTo(2), upTo(5)),
  inPerGroup: mostly(upTo(4), upTo(18)),
  outPerGroup: mostly(upTo(4), upTo(35)),
  size: twice(mostly(upTo(8), upTo(33))),
  kernel: twice(mostly(upTo(4), upTo(7))),
  stride: twice(mostly(upTo(3), upTo(6))),
  dilation: twice(mostly(upTo(2), upTo(4))),
  padding: twice(mostly(upTo(2, 0), upTo(7, 0))),
  outputPadding: twice(upTo(5, 0)),
  words: fc.constantFrom('numbers' as const, 'numbers' as const, 'same' as const, 'valid' as const),
});

export const randomProblems: fc.Arbitrary<RandomProblem> = fc
  .record({
    call: draws.map(legal),
    dtype: fc.constantFrom(...DTYPES),
    bias: fc.boolean(),
    activation: fc.constantFrom(...ACTIVATIONS),
    views: fc.record({ x: view(), weight: view(), bias: view(), gy: view() }),
    threads: upTo(2),
    seed: upTo(0x7fffffff),
  })
  .filter((p) => multiplications(p.call) <= 400_000);

function view(): fc.Arbitrary<View> {
  return mostly(fc.constantFrom<View>('plain', 'nhwc'), fc.constantFrom(...VIEWS));
}

/** Products of one contraction. */
export function multiplications(call: ConvCall): number {
  const g = geometryOf(call);
  return (g.n * g.cs * g.hs * g.ws * g.cl * g.r * g.s) / g.groups;
}

/** Moves the arguments of a draw that PyTorch would refuse to the nearest it takes. */
function legal(d: Draw): ConvCall {
  const axes = [0, 1] as const;
  const reach = axes.map((i) => d.dilation[i] * (d.kernel[i] - 1) + 1) as [number, number];
  const channels = [d.groups * d.inPerGroup, d.groups * d.outPerGroup] as const;
  const common = { dilation: short(d.dilation), groups: d.groups };
  const shape = (size: readonly number[]) => [...(d.unbatched ? [] : [d.n]), channels[0], ...size];
  if (d.op === 'convT2d') {
    const outputPadding = axes.map((i) => d.outputPadding[i] % Math.max(d.stride[i], d.dilation[i])) as [
      number,
      number,
    ];
    const full = axes.map((i) => (d.size[i] - 1) * d.stride[i] + reach[i] + outputPadding[i]);
    const padding = axes.map((i) => Math.min(d.padding[i], Math.floor((full[i]! - 1) / 2))) as [number, number];
    const weight = [channels[0], d.outPerGroup, ...d.kernel];
    const sizes = { stride: short(d.stride), padding: short(padding), outputPadding: short(outputPadding) };
    return { op: d.op, x: shape(d.size), weight, ...sizes, ...common };
  }
  const same = d.words === 'same';
  const padding = d.words === 'numbers' ? short(d.padding) : d.words;
  const stride: IntOrPair = same ? 1 : short(d.stride);
  const around = (i: 0 | 1) => (same ? reach[i] - 1 : d.words === 'valid' ? 0 : 2 * d.padding[i]);
  const size = axes.map((i) => Math.max(d.size[i], reach[i] - around(i), 1));
  const weight = [channels[1], d.inPerGroup, ...d.kernel];
  return { op: d.op, x: shape(size), weight, stride, padding, outputPadding: 0, ...common };
}

/** Equal pairs as one number, so that both spellings are tried. */
function short(pair: readonly [number, number]): IntOrPair {
  return pair[0] === pair[1] ? pair[0] : [...pair];
}
