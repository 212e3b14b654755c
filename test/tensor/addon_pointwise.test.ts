/** Every element-wise kernel, element type and instruction set against float64 references; strides; every 16-bit number. */

import { expect } from 'chai';
import { POINTWISE, type PointwiseName } from '../../codegen/pointwise.js';
import { native } from '../../src/native.js';
import {
  compute,
  decode16,
  dense,
  encode16,
  FLOAT_TYPES,
  isas,
  launch,
  Memory,
  noise,
  rounded,
  strided,
  type Which,
} from '../support/kernels.js';
import { checkPointwise, pointwiseOperands, pointwiseScalars } from '../support/pointwise_reference.js';

/** Runs an operation on contiguous operands. */
function apply(name: PointwiseName, which: Which, x: readonly Float64Array[]): Float64Array {
  const count = x[0]!.length;
  const inputs = x.map((values, i) => [`x${i}`, { type: which.type, values }] as const);
  const strides = Object.fromEntries(['out', ...inputs.map(([n]) => n)].map((n) => [n, [1]]));
  const result = compute(which, {
    inputs: Object.fromEntries(inputs),
    outputs: { out: { type: which.type, count } },
    scalars: { ...pointwiseScalars(name), ...strided([count], strides) },
  });
  return result.out!;
}

describe('addon: element-wise kernels', () => {
  for (const isa of isas()) {
    for (const type of FLOAT_TYPES) {
      it(`compute every operation of the table in ${type} on ${isa}`, () => {
        for (const [name, { inputs }] of Object.entries(POINTWISE)) {
          const which = { operation: name, type, isa };
          const x = pointwiseOperands(inputs, type);
          checkPointwise(name as PointwiseName, which, x, apply(name as PointwiseName, which, x));
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
