/** What every element-wise operation gives, in float64, and how near a kernel has to come to it. */

import type { PointwiseName } from '../../codegen/pointwise.js';
import type { Dtype } from '../../codegen/target.js';
import { LARGEST, roundTo, TINY, UNIT_ROUNDOFF } from './rounding.js';

interface Reference {
  readonly value: (x: readonly number[], s: readonly number[]) => number;
  /** What rounding errors are relative to, where that is not the result. */
  readonly size?: (x: readonly number[], s: readonly number[]) => number;
  readonly scalars?: readonly number[];
}

const sigmoid = (x: number) => (x < 0 ? Math.exp(x) / (1 + Math.exp(x)) : 1 / (1 + Math.exp(-x)));
const sign = (x: number) => (x > 0 ? 1 : x < 0 ? -1 : 0);
const clamp = (x: number, low: number, high: number) => (Number.isNaN(x) ? x : Math.min(Math.max(x, low), high));

export const POINTWISE_REFERENCES: Record<PointwiseName, Reference> = {
  copy: { value: ([x]) => x! },
  neg: { value: ([x]) => -x! },
  abs: { value: ([x]) => Math.abs(x!) },
  exp: { value: ([x]) => Math.exp(x!) },
  log: { value: ([x]) => Math.log(x!) },
  sqrt: { value: ([x]) => Math.sqrt(x!) },
  reciprocal: { value: ([x]) => 1 / x! },
  square: { value: ([x]) => x! * x! },
  sign: { value: ([x]) => sign(x!) },
  relu: { value: ([x]) => (x! < 0 ? 0 : x!) },
  tanh: { value: ([x]) => Math.tanh(x!) },
  sigmoid: { value: ([x]) => sigmoid(x!) },
  div_scalar: { value: ([x], [n]) => x! / n!, scalars: [3] },
  inverse_deviation: { value: ([x], [eps]) => 1 / Math.sqrt(x! + eps!), scalars: [0.125] },
  leaky_relu: { value: ([x], [slope]) => (x! > 0 ? x! : x! * slope!), scalars: [0.125] },
  pow_scalar: { value: ([x], [e]) => x! ** e!, scalars: [2.5] },
  clamp: { value: ([x], [low, high]) => clamp(x!, low!, high!), scalars: [-0.5, 0.75] },
  add: { value: ([a, b]) => a! + b!, size: ([a, b]) => Math.abs(a!) + Math.abs(b!) },
  sub: { value: ([a, b]) => a! - b!, size: ([a, b]) => Math.abs(a!) + Math.abs(b!) },
  mul: { value: ([a, b]) => a! * b! },
  div: { value: ([a, b]) => a! / b! },
  maximum: { value: ([a, b]) => Math.max(a!, b!) },
  minimum: { value: ([a, b]) => Math.min(a!, b!) },
  gt: { value: ([a, b]) => (a! > b! ? 1 : 0) },
  eq: { value: ([a, b]) => (a === b ? 1 : 0) },
  sq_diff: {
    value: ([a, b]) => (a! - b!) ** 2,
    size: ([a, b]) => (Math.abs(a!) + Math.abs(b!)) ** 2,
  },
  abs_diff: { value: ([a, b]) => Math.abs(a! - b!), size: ([a, b]) => Math.abs(a!) + Math.abs(b!) },
  relu_backward: { value: ([g, y]) => (y! <= 0 ? 0 : g!) },
  leaky_relu_backward: { value: ([g, y], [slope]) => (y! > 0 ? g! : g! * slope!), scalars: [0.125] },
  // Outputs of tanh and sigmoid lie in [-1, 1]; far beyond, squares overflow and nothing is promised.
  tanh_backward: {
    value: ([g, y]) => g! * (1 - y! * y!),
    size: ([g, y]) => (Math.abs(y!) > 1e6 ? Infinity : Math.abs(g!) * (1 + y! * y!)),
  },
  sigmoid_backward: {
    value: ([g, y]) => g! * y! * (1 - y!),
    size: ([g, y]) => (Math.abs(y!) > 1e6 ? Infinity : Math.abs(g! * y!) * (1 + Math.abs(y!))),
  },
  bce_logits: {
    value: ([x, t]) => Math.max(x!, 0) - x! * t! + Math.log1p(Math.exp(-Math.abs(x!))),
    size: ([x, t]) => Math.abs(x!) * (1 + Math.abs(t!)) + 1,
  },
  sq_diff_backward: {
    value: ([g, x, t], [n]) => (g! / n!) * 2 * (x! - t!),
    size: ([g, x, t], [n]) => Math.abs(g! / n!) * 2 * (Math.abs(x!) + Math.abs(t!)),
    scalars: [3],
  },
  abs_diff_backward: { value: ([g, x, t], [n]) => (g! / n!) * sign(x! - t!), scalars: [3] },
  bce_logits_backward: {
    value: ([g, x, t], [n]) => (g! / n!) * (sigmoid(x!) - t!),
    size: ([g, x, t], [n]) => Math.abs(g! / n!) * (sigmoid(x!) + Math.abs(t!)),
    scalars: [3],
  },
  where: { value: ([c, a, b]) => (c !== 0 ? a! : b!) },
};

/** Errors of a kernel's own arithmetic, in half units of the accumulator relative to `size`: the polynomials' bounds, with room for two roundings. */
const HALF_UNITS = 8;
/** Numbers with which something ends or begins: signs of zero, infinities, the ends of exp's range. */
export const SPECIAL = [
  0,
  -0,
  1,
  -1,
  Infinity,
  -Infinity,
  Number.NaN,
  0.5,
  -2,
  88.5,
  -88.5,
  104,
  -104,
  700,
  -745,
  1e-40,
  3e38,
];

/** The exact result for operands `x`, and the largest error that a kernel may make where it gives `got`. */
export function pointwiseExpectation(
  name: PointwiseName,
  dtype: Dtype,
  x: readonly number[],
  got: number,
): { exact: number; allowed: number } {
  const { value, size, scalars = [] } = POINTWISE_REFERENCES[name];
  const exact = value(x, scalars);
  const scale = size === undefined ? Math.abs(exact) : size(x, scalars);
  if (scale === Infinity && Number.isFinite(exact)) return { exact: got, allowed: Infinity };
  // Near the largest number either side of infinity is right; an infinite intermediate may only meet an infinite size.
  if (scale * (1 + UNIT_ROUNDOFF[dtype]) >= LARGEST[dtype] && !Number.isFinite(got))
    return { exact, allowed: Infinity };
  const arithmetic = HALF_UNITS * UNIT_ROUNDOFF[dtype === 'float64' ? 'float64' : 'float32'] * scale;
  const allowed = arithmetic + UNIT_ROUNDOFF[dtype] * (Math.abs(exact) + arithmetic) + TINY[dtype];
  return { exact: isSame(got, roundTo(dtype, exact)) ? got : exact, allowed };
}

const isSame = (a: number, b: number): boolean => a === b || Object.is(a, b);
