/** What every element-wise operation gives, in float64, and how near a kernel has to come to it. */

import { expect } from 'chai';
import type { StorageType } from '../../codegen/operations.js';
import { POINTWISE, type PointwiseName } from '../../codegen/pointwise.js';
import { accumulatorOf, noise, ROUNDOFF, rounded } from './kernels.js';

/** Which kernel: its element type, and where it runs, for messages. */
interface Checked {
  readonly type: StorageType;
  readonly isa: string;
}

interface Reference {
  readonly value: (x: readonly number[], s: readonly number[]) => number;
  /** What rounding errors are relative to, where that is not the result. */
  readonly size?: (x: readonly number[], s: readonly number[]) => number;
  readonly scalars?: readonly number[];
}

const sigmoid = (x: number) => (x < 0 ? Math.exp(x) / (1 + Math.exp(x)) : 1 / (1 + Math.exp(-x)));
const sign = (x: number) => (x > 0 ? 1 : x < 0 ? -1 : 0);
const clamp = (x: number, low: number, high: number) => (Number.isNaN(x) ? x : Math.min(Math.max(x, low), high));

const REFERENCES: Record<PointwiseName, Reference> = {
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
  affine: {
    value: ([x], [a, b]) => a! * x! + b!,
    size: ([x], [a, b]) => Math.abs(a! * x!) + Math.abs(b!),
    scalars: [1.5, -0.25],
  },
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
  add_scaled: {
    value: ([a, b], [s]) => a! + s! * b!,
    size: ([a, b], [s]) => Math.abs(a!) + Math.abs(s! * b!),
    scalars: [-0.75],
  },
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
  abs_backward: { value: ([g, x]) => g! * sign(x!) },
  bce_logits: {
    value: ([x, t]) => Math.max(x!, 0) - x! * t! + Math.log1p(Math.exp(-Math.abs(x!))),
    size: ([x, t]) => Math.abs(x!) * (1 + Math.abs(t!)) + 1,
  },
  bce_logits_backward: {
    value: ([g, x, t]) => g! * (sigmoid(x!) - t!),
    size: ([g, x, t]) => Math.abs(g!) * (sigmoid(x!) + Math.abs(t!)),
  },
  where: { value: ([c, a, b]) => (c !== 0 ? a! : b!) },
  addcmul: {
    value: ([x, a, b], [s]) => x! + s! * a! * b!,
    size: ([x, a, b], [s]) => Math.abs(x!) + Math.abs(s! * a! * b!),
    scalars: [0.5],
  },
};

/** Errors of a kernel's own arithmetic, in half units of the accumulator relative to `size`: the polynomials' bounds, with room for two roundings. */
const HALF_UNITS = 8;
const SMALLEST = { f32: 2 ** -149, f64: 2 ** -1074, f16: 2 ** -24, bf16: 2 ** -133, i32: 0 } as const;
const SPECIAL = [
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

/** Operand columns: every pair (triple) of special numbers, then noise. */
export function pointwiseOperands(inputs: number, type: StorageType): Float64Array[] {
  const columns: number[][] = Array.from({ length: inputs }, () => []);
  const few = inputs === 3 ? SPECIAL.slice(0, 9) : SPECIAL;
  for (let i = 0; i < few.length ** inputs; i++) {
    for (let k = 0; k < inputs; k++) columns[k]!.push(few[Math.floor(i / few.length ** k) % few.length]!);
  }
  return columns.map((column, k) => {
    const random = noise(2000, 3 + k, -1, 1).map((v, i) => v * [1, 10, 100, 0.01][i % 4]!);
    return rounded(type, [...column, ...random]);
  });
}

/** Fails for the first element of `got` that is not f(x) within the rounding of the operation. */
export function checkPointwise(
  name: PointwiseName,
  which: Checked,
  x: readonly Float64Array[],
  got: Float64Array,
): void {
  const { value, size, scalars = [] } = REFERENCES[name];
  const { type } = which;
  const exact = got.map((_, i) => value(column(x, i), scalars));
  const nearest = rounded(type, exact);
  got.forEach((v, i) => {
    if (Object.is(v, nearest[i]) || v === nearest[i]) return;
    const scale = (size ?? (() => Math.abs(exact[i]!)))(column(x, i), scalars);
    const arithmetic = HALF_UNITS * ROUNDOFF[accumulatorOf(type)] * scale;
    const bound = arithmetic + ROUNDOFF[type] * (Math.abs(exact[i]!) + arithmetic) + SMALLEST[type];
    const near = Math.abs(v - exact[i]!) <= bound;
    // Near the largest number either side of infinity is right; an infinite intermediate may only meet an infinite size.
    const overflow = scale * (1 + ROUNDOFF[type]) >= rounded(type, [LARGEST[type]])[0]! && !Number.isFinite(v);
    expect(near || overflow, `${name} ${type} ${which.isa} of ${column(x, i)} is ${v} instead of ${exact[i]}`).to.equal(
      true,
    );
  });
}

const LARGEST = {
  f32: 3.4028234663852886e38,
  f64: Number.MAX_VALUE,
  f16: 65504,
  bf16: 3.3895313892515355e38,
  i32: 0,
} as const;
const column = (x: readonly Float64Array[], i: number) => x.map((values) => values[i]!);

/** The scalars that the references use, by name. */
export function pointwiseScalars(name: PointwiseName): Record<string, number> {
  const names = POINTWISE[name].scalars;
  return Object.fromEntries(names.map((scalar, i) => [scalar, REFERENCES[name].scalars![i]!]));
}
