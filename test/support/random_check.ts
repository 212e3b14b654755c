/**
 * One random problem against the oracle, in several places (an instruction set of the CPU; a variant of the CUDA kernels):
 * outputs, all gradients, the adjoint identity, the fused activation, guard words, poisoned buffers and the name of the
 * kernel that ran.
 */

import { expect } from 'chai';
import { grad, lastKernel, nn, scope, type Tensor } from 'fracstride';
import { contraction } from '../../codegen/problem.js';
import { DTYPE_TABLE, type Dtype } from '../../codegen/target.js';
import { ACTIVATE, DERIVATIVE, SLOPE } from '../../src/verify/activations.js';
import { elementBound, firstOutside } from '../../src/verify/bounds.js';
import { type Reference, reference } from '../../src/verify/reference.js';
import { UNIT_ROUNDOFF } from '../../src/verify/rounding.js';
import { generate, product } from './cases.js';
import { guarded } from './guards.js';
import type { RandomProblem } from './random_problems.js';
import { type Laid, lay, type View } from './views.js';

/** Where a problem runs: how to choose that place, and what the names of its kernels end in. */
export interface Place {
  readonly label: string;
  readonly within: <R>(problem: RandomProblem, fn: () => R) => R;
  /** Of the kernel's second and third zones. */
  readonly kernels: RegExp;
  /** Told every result. */
  readonly saw?: (values: Float64Array) => void;
}

/** The places of one device. */
export interface Places {
  readonly device: string;
  readonly places: readonly Place[];
}

/** The numbers of a problem, as the oracle sees them. */
interface Numbers {
  readonly x: Float64Array;
  readonly weight: Float64Array;
  readonly bias: Float64Array | undefined;
  readonly gy: Float64Array;
}

/** @throws Error that says where and how a result is wrong */
export function checkProblem(p: RandomProblem, { device, places }: Places): void {
  const ref = reference(p.call);
  const shapes = { x: p.call.x, weight: p.call.weight, bias: [biasLength(p)], gy: ref.shape };
  guarded(() =>
    scope(() => {
      const put = (name: keyof typeof shapes): Laid => {
        const bits = p.dtype === 'float16' || p.dtype === 'bfloat16' ? 8 : 24;
        const values = generate({ seed: p.seed, tag: name, count: product(shapes[name]), bits });
        return lay({ values, shape: shapes[name], view: p.views[name], dtype: p.dtype, device });
      };
      const laid = { x: put('x'), weight: put('weight'), bias: p.bias ? put('bias') : undefined, gy: put('gy') };
      const { x, weight, bias, gy } = laid;
      const numbers = { x: x.values, weight: weight.values, bias: bias?.values, gy: gy.values };
      const expected = expectations(ref, numbers);
      for (const place of places) place.within(p, () => checkIn(place, p, { laid, ref, expected, numbers }));
    }),
  );
}

const biasLength = (p: RandomProblem) =>
  p.call.op === 'convT2d' ? p.call.weight[1]! * p.call.groups : p.call.weight[0]!;

type Name = 'y' | 'gx' | 'gw' | 'gb';
/** Exact results, and the same sums over absolute values. */
type Expected = Record<Name, Sums>;
interface Sums {
  readonly exact: Float64Array;
  readonly magnitude: Float64Array;
  readonly length: number;
  /** What is stored, and so rounded, before the result is. */
  readonly rounded?: Float64Array;
}

function expectations(ref: Reference, v: Numbers): Expected {
  const abs = (a: Float64Array) => a.map(Math.abs);
  const a = { x: abs(v.x), weight: abs(v.weight), bias: v.bias && abs(v.bias), gy: abs(v.gy) };
  const g = ref.geometry;
  const taps = g.r * g.s;
  // the longest sum of each contraction: all channels of a group and all taps, or the whole batch and plane
  const channels = Math.max(g.cs, g.cl) / g.groups;
  const plane = g.n * Math.max(g.hs * g.ws, g.hl * g.wl);
  return {
    y: {
      exact: ref.fwd(v.x, v.weight, v.bias),
      magnitude: ref.fwd(a.x, a.weight, a.bias),
      length: channels * taps + 1,
    },
    gx: { exact: ref.dgrad(v.gy, v.weight), magnitude: ref.dgrad(a.gy, a.weight), length: channels * taps },
    gw: { exact: ref.wgrad(v.x, v.gy), magnitude: ref.wgrad(a.x, a.gy), length: plane },
    gb: { exact: ref.bgrad(v.gy), magnitude: ref.bgrad(a.gy), length: plane },
  };
}

interface Setting {
  readonly laid: { x: Laid; weight: Laid; bias: Laid | undefined; gy: Laid };
  readonly ref: Reference;
  readonly expected: Expected;
  readonly numbers: Numbers;
}

function checkIn(place: Place, p: RandomProblem, setting: Setting): void {
  const { x, weight, bias, gy } = setting.laid;
  const upstream = gy.tensor.detach();
  const forward = () => apply(p, x.tensor, weight.tensor, bias?.tensor ?? null);
  const y = forward();
  const s = { ...setting, expected: { ...setting.expected, y: storedBefore(setting) } };
  checkKernel(place, p, { pass: 'fwd', out: y, view: p.views.x });
  expect([...y.shape]).to.deep.equal([...s.ref.shape]);
  expect(y.dtype).to.equal(p.dtype);
  const bounds: Record<string, Sums> = { y: ofTiles(s.expected.y) };
  const got: Record<string, ArrayLike<number>> = { y: y.dataSync() };
  const gradientOf = (pass: 'dgrad' | 'wgrad' | 'bgrad', leaf: Laid, name: Name): ArrayLike<number> => {
    const [g] = grad([forward()], [leaf.tensor], { gradOutputs: [upstream] }) as [Tensor];
    checkKernel(place, p, { pass, out: g, view: null });
    bounds[name] = ofTiles(s.expected[name]);
    expect([...g.shape]).to.deep.equal([...leaf.tensor.shape]);
    expect(g.dtype).to.equal(p.dtype);
    return g.dataSync();
  };
  got.gx = gradientOf('dgrad', x, 'gx');
  got.gw = gradientOf('wgrad', weight, 'gw');
  if (bias) got.gb = gradientOf('bgrad', bias, 'gb');
  for (const [name, values] of Object.entries(got)) {
    place.saw?.(Float64Array.from(values));
    const outside = firstOutside({ dtype: p.dtype, got: values, ...bounds[name]! });
    if (outside) throw new Error(`${place.label} ${name}${outside}`);
  }
  checkAdjoint(p.dtype, got, s);
  checkActivation(p, s);
}

/** Sums for the kernel that ran last: Winograd's errors are those of the largest sums nearby, here of all. */
function ofTiles(sums: Sums): Sums {
  if (!lastKernel().includes('__winograd')) return sums;
  const most = sums.magnitude.reduce((a, b) => Math.max(a, b), 0);
  return { ...sums, magnitude: sums.magnitude.map(() => most) };
}

/** The forward sums; a library stores them before a bias is added, as PyTorch's results on it are. */
function storedBefore({ ref, expected: { y }, numbers }: Setting): Sums {
  const byLibrary = numbers.bias !== undefined && lastKernel().includes('__cudnn');
  return byLibrary ? { ...y, rounded: ref.fwd(numbers.x, numbers.weight) } : y;
}

/** The fused activation, and in float64, where these sums are exact, the gradients through it. */
function checkActivation(p: RandomProblem, s: Setting): void {
  const { x, weight, bias, gy } = s.laid;
  const fused = { activation: p.activation, negativeSlope: SLOPE };
  const y = apply(p, x.tensor, weight.tensor, bias?.tensor ?? null, fused);
  const { exact, magnitude, length, rounded } = ofTiles(s.expected.y);
  // On a library's result an activation is applied after all of it was stored.
  const before = lastKernel().includes('__cudnn') ? UNIT_ROUNDOFF[p.dtype] : 0;
  const values = y.dataSync();
  const accumulator = UNIT_ROUNDOFF[p.dtype === 'float64' ? 'float64' : 'float32'];
  exact.forEach((sum, i) => {
    const want = ACTIVATE[p.activation](sum);
    const once = elementBound({ dtype: p.dtype, length, magnitude: magnitude[i]!, exact: want }) + 8 * accumulator;
    const bound = once + before * (Math.abs(sum) + Math.abs(rounded?.[i] ?? 0));
    if (!(Math.abs(values[i]! - want) <= bound))
      throw new Error(`${p.activation} y[${i}] is ${values[i]} instead of ${want}`);
  });
  if (p.dtype !== 'float64') return;
  const through = s.numbers.gy.map((g, i) => g * DERIVATIVE[p.activation](exact[i]!));
  const [gx, gw] = grad([y], [x.tensor, weight.tensor], { gradOutputs: [gy.tensor.detach()] }) as [Tensor, Tensor];
  const wanted = { gx: s.ref.dgrad(through, s.numbers.weight), gw: s.ref.wgrad(s.numbers.x, through) };
  for (const [name, got] of Object.entries({ gx, gw })) {
    const { magnitude, length } = s.expected[name as 'gx' | 'gw'];
    const outside = firstOutside({
      dtype: p.dtype,
      length: length + 8,
      got: got.dataSync(),
      exact: wanted[name as 'gx'],
      magnitude,
    });
    if (outside) throw new Error(`${p.activation} ${name}${outside}`);
  }
}

function apply(p: RandomProblem, x: Tensor, weight: Tensor, bias: Tensor | null, fused = {}): Tensor {
  const { stride, padding, outputPadding, dilation, groups } = p.call;
  if (p.call.op === 'conv2d')
    return nn.functional.conv2d(x, weight, bias, { stride, padding, dilation, groups, ...fused } as never);
  return nn.functional.convTranspose2d(x, weight, bias, {
    stride,
    padding,
    outputPadding,
    dilation,
    groups,
    ...fused,
  } as never);
}

/** The kernel that ran last is the pass's own, for this type and place; in channels-last where x is. */
function checkKernel(
  place: Place,
  p: RandomProblem,
  a: { pass: 'fwd' | 'dgrad' | 'wgrad' | 'bgrad'; out: Tensor; view: View | null },
): void {
  if (product(p.call.x) === 0 || a.out.numel() === 0) return;
  const form = { expand: 'fwd', contract: 'dgrad', wgrad: 'wgrad', bgrad: 'bgrad' }[contraction(p.call.op, a.pass)];
  const name = lastKernel();
  expect(name).to.match(new RegExp(`^ct2d_${form}_${DTYPE_TABLE[p.dtype].short}_(nchw|nhwc)(_[^_].*)?__.*$`));
  expect(name.slice(name.indexOf('__') + 2)).to.match(place.kernels);
  const [, channels, height, width] = p.call.x;
  const distinct = p.call.x.length === 4 && channels! > 1 && height! * width! > 1;
  if (a.view === 'nhwc' && distinct) expect(name).to.include('_nhwc_');
}

/** ⟨gy, F(x, w)⟩ = ⟨dgrad(gy, w), x⟩ = ⟨wgrad(x, gy), w⟩, within the bounds of the elements. */
function checkAdjoint(dtype: Dtype, got: Record<string, ArrayLike<number>>, s: Setting): void {
  const { x, weight, bias, gy } = s.numbers;
  const plane = product(s.ref.shape.slice(-2));
  const value = (i: number) => got.y![i]! - (bias ? bias[Math.floor(i / plane) % bias.length]! : 0);
  const sides = [
    inner(dtype, gy, s.expected.y, value),
    inner(dtype, x, s.expected.gx, (i) => got.gx![i]!),
    inner(dtype, weight, s.expected.gw, (i) => got.gw![i]!),
  ] as const;
  for (const side of [1, 2] as const) {
    const difference = Math.abs(sides[0].sum - sides[side].sum);
    const allowed = sides[0].bound + sides[side].bound;
    if (!(difference <= allowed)) {
      throw new Error(
        `adjoint identity ${side}: ${sides[0].sum} and ${sides[side].sum} differ by more than ${allowed}`,
      );
    }
  }
}

function inner(dtype: Dtype, weights: Float64Array, e: Expected[Name], value: (i: number) => number) {
  let [sum, bound] = [0, 0];
  for (let i = 0; i < weights.length; i++) {
    const also = UNIT_ROUNDOFF[dtype] * Math.abs(e.rounded?.[i] ?? 0);
    const one = elementBound({ dtype, length: e.length, magnitude: e.magnitude[i]!, exact: e.exact[i]! }) + also;
    sum += weights[i]! * value(i);
    bound += Math.abs(weights[i]!) * (one + weights.length * 2 ** -52 * e.magnitude[i]!);
  }
  return { sum, bound };
}
