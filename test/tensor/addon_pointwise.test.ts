/** Every element-wise kernel, element type and instruction set against float64 references; strides; every 16-bit number. */

import { expect } from 'chai';
import type { StorageType } from '../../codegen/operations.js';
import { POINTWISE, type PointwiseName } from '../../codegen/pointwise.js';
import { native } from '../../src/native.js';
import {
  accumulatorOf,
  compute,
  decode16,
  dense,
  encode16,
  FLOAT_TYPES,
  isas,
  launch,
  Memory,
  noise,
  ROUNDOFF,
  rounded,
  strided,
  type Which,
} from '../support/kernels.js';

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
function operands(inputs: number, type: StorageType): Float64Array[] {
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

function check(name: PointwiseName, which: Which, x: readonly Float64Array[], got: Float64Array): void {
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

function scalarsOf(name: PointwiseName): Record<string, number> {
  const names = POINTWISE[name].scalars;
  return Object.fromEntries(names.map((scalar, i) => [scalar, REFERENCES[name].scalars![i]!]));
}

/** Runs an operation on contiguous operands. */
function apply(name: PointwiseName, which: Which, x: readonly Float64Array[]): Float64Array {
  const count = x[0]!.length;
  const inputs = x.map((values, i) => [`x${i}`, { type: which.type, values }] as const);
  const strides = Object.fromEntries(['out', ...inputs.map(([n]) => n)].map((n) => [n, [1]]));
  const result = compute(which, {
    inputs: Object.fromEntries(inputs),
    outputs: { out: { type: which.type, count } },
    scalars: { ...scalarsOf(name), ...strided([count], strides) },
  });
  return result.out!;
}

describe('addon: element-wise kernels', () => {
  for (const isa of isas()) {
    for (const type of FLOAT_TYPES) {
      it(`compute every operation of the table in ${type} on ${isa}`, () => {
        for (const [name, { inputs }] of Object.entries(POINTWISE)) {
          const which = { operation: name, type, isa };
          const x = operands(inputs, type);
          check(name as PointwiseName, which, x, apply(name as PointwiseName, which, x));
        }
      });
    }

    it(`follow strides, broadcasts and permutations in every operand on ${isa}`, () => {
      for (let seed = 1; seed <= 60; seed++) checkStrides(isa, seed);
    });

    it(`copy between layouts in tiles on ${isa}`, () => {
      for (const type of ['f64', 'f32', 'f16', 'i32'] as const) {
        for (const [n, c, hw] of [
          [2, 3, 35],
          [1, 64, 49],
          [3, 17, 16],
          [2, 33, 1024],
          [1, 1, 5],
        ] as const) {
          checkLayouts({ operation: 'copy', type, isa }, n, c, hw);
        }
      }
    });

    it(`read and write every 16-bit number on ${isa}`, () => {
      for (const type of ['f16', 'bf16'] as const) checkEvery16(type, isa);
    });
  }

  it('give the same bits with 1, 2 and 3 threads', () => {
    const usual = native().cpuInfo().threads;
    const x = [noise(200_000, 1), noise(200_000, 2)];
    for (const isa of isas()) {
      const results = [1, 2, 3].map((threads) => {
        native().setThreads(threads);
        return apply('bce_logits', { operation: 'bce_logits', type: 'f32', isa }, x);
      });
      expect(results[1]).to.deep.equal(results[0]);
      expect(results[2]).to.deep.equal(results[0]);
    }
    native().setThreads(usual);
  });
});

/** A random shape of up to six dimensions; operands broadcast, permuted or with gaps; the output permuted or with gaps. */
function checkStrides(isa: Which['isa'], seed: number): void {
  const random = noise(64, seed, 0, 1);
  let next = 0;
  const pick = (below: number) => Math.floor(random[next++ % 64]! * below);
  const type = (['f32', 'f64', 'f16'] as const)[pick(3)]!;
  const shape = Array.from({ length: 1 + pick(6) }, () => 1 + pick(seed % 3 === 0 ? 9 : 4));
  const stretch = () => {
    const order = shape.map((_, d) => d).sort((a, b) => random[(a * 7 + next) % 64]! - random[(b * 7 + next) % 64]!);
    next++;
    const strides = new Array<number>(shape.length).fill(0);
    let step = 1 + pick(2);
    for (const d of order) {
      strides[d] = step;
      step *= shape[d]! + pick(2);
    }
    return { strides, count: step };
  };
  const out = stretch();
  const inputs = [0, 1].map(() => {
    const layout = stretch();
    const dropped = pick(3) === 0 ? layout.strides.map((s) => (pick(2) === 0 ? 0 : s)) : layout.strides;
    return { strides: pick(6) === 0 ? shape.map(() => 0) : dropped, count: layout.count };
  });
  const values = inputs.map(({ count }, i) => rounded(type, noise(count, seed * 10 + i)));
  const target = Memory.of(type, new Float64Array(out.count).fill(7));
  const sources = values.map((v) => Memory.of(type, v));
  const scalars = strided(shape, { out: out.strides, x0: inputs[0]!.strides, x1: inputs[1]!.strides });
  launch({ operation: 'sub', type, isa }, { out: target, x0: sources[0]!, x1: sources[1]!, ...scalars });
  const expected = new Float64Array(out.count).fill(7);
  const at = (strides: readonly number[], index: readonly number[]) =>
    index.reduce((sum, v, d) => sum + v * strides[d]!, 0);
  for (let i = 0; i < shape.reduce((a, b) => a * b, 1); i++) {
    const steps = dense(shape);
    const index = shape.map((size, d) => Math.floor(i / steps[d]!) % size);
    const difference = values[0]![at(inputs[0]!.strides, index)]! - values[1]![at(inputs[1]!.strides, index)]!;
    expected[at(out.strides, index)] = rounded(type, [type === 'f64' ? difference : Math.fround(difference)])[0]!;
  }
  expect(target.read(), `seed ${seed} ${type} ${isa} ${shape}`).to.deep.equal(expected);
  for (const memory of [target, ...sources]) memory.free();
}

/** [n, c, hw] to [n, hw, c] and back. */
function checkLayouts(which: Which, n: number, c: number, hw: number): void {
  const values = rounded(which.type, noise(n * c * hw, 5, -1000, 1000));
  const shape = [n, hw, c];
  const first = { type: which.type, values };
  const planar = [c * hw, 1, hw];
  const forth = compute(which, {
    inputs: { x0: first },
    outputs: { out: { type: which.type, count: values.length } },
    scalars: strided(shape, { out: dense(shape), x0: planar }),
  }).out!;
  const expected = values.map(
    (_, i) => values[Math.floor(i / (c * hw)) * c * hw + (i % c) * hw + (Math.floor(i / c) % hw)]!,
  );
  expect(forth).to.deep.equal(expected);
  const back = compute(which, {
    inputs: { x0: { type: which.type, values: forth } },
    outputs: { out: { type: which.type, count: values.length } },
    scalars: strided([n, c, hw], { out: dense([n, c, hw]), x0: [c * hw, 1, c] }),
  }).out!;
  expect(back).to.deep.equal(values);
}

/** All 65,536 patterns up to float32, back down, and the ties and neighbours between them. */
function checkEvery16(type: 'f16' | 'bf16', isa: Which['isa']): void {
  const patterns = Uint16Array.from({ length: 65536 }, (_, i) => i);
  const source = new Memory(type, 65536);
  native().copyIn(0, source.handle, 0, patterns);
  const wide = new Memory('f32', 65536);
  launch({ operation: `cast_${type}`, type: 'f32', isa }, { out: wide, in: source, count: 65536 });
  const values = wide.read();
  const wrong = patterns.find((bits) => !Object.is(values[bits], decode16(type, bits)));
  expect(wrong, `${type} ${isa}`).to.equal(undefined);
  const between: number[] = [];
  values.forEach((v, bits) => {
    if ((bits & 0x7fff) === 0x7fff || !Number.isFinite(v)) return;
    const above = decode16(type, bits + 1);
    const tie = Number.isFinite(above) ? (v + above) / 2 : v + (v - decode16(type, bits - 1)) / 2;
    between.push(v, Math.fround(tie), nextFloat(tie, 1), nextFloat(tie, -1));
  });
  const floats = Memory.of('f32', between);
  const narrow = new Memory(type, between.length);
  launch({ operation: 'cast_f32', type, isa }, { out: narrow, in: floats, count: between.length });
  const bits = narrow.raw();
  const misrounded = between.find((v, i) => bits[i] !== encode16(type, v));
  expect(misrounded, `${type} ${isa}`).to.equal(undefined);
  for (const memory of [source, wide, floats, narrow]) memory.free();
}

/** The float32 after or before a number. */
function nextFloat(v: number, direction: 1 | -1): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setFloat32(0, v);
  view.setInt32(0, view.getInt32(0) + direction);
  return view.getFloat32(0);
}
