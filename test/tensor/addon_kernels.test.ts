/** Casts, fills, optimiser steps and random numbers against float64 references. */

import { expect } from 'chai';
import { STORAGE_TYPES } from '../../codegen/operations.js';
import { philox } from '../../src/verify/philox.js';
import { close, everywhere } from '../support/kernel_checks.js';
import { compute, FLOAT_TYPES, noise, rounded, type Which } from '../support/kernels.js';

describe('addon: casts and fills', () => {
  const hard = [
    0,
    -0,
    1,
    1 + 2 ** -11,
    1 + 2 ** -11 + 2 ** -40,
    1 + 2 ** -8 + 2 ** -30,
    65519.9,
    65520,
    2 ** -25,
    2 ** -25 * 1.0001,
    1e-45,
    1e300,
    -1e300,
  ];
  const more = [
    Infinity,
    -Infinity,
    Number.NaN,
    2147483647,
    -2147483648,
    2147483648,
    -2147483649.5,
    16777217,
    -0.9,
    2.5,
    -3.999,
  ];
  everywhere('convert every pair of types with one rounding', STORAGE_TYPES, (from, isa) => {
    const all = [...hard, ...more, ...noise(3000, 7, -70_000, 70_000), ...noise(3000, 8, -1, 1)];
    const values = rounded(from, all);
    for (const to of STORAGE_TYPES.filter((type) => type !== from)) {
      const which = { operation: `cast_${from}`, type: to, isa };
      const { out } = compute(which, {
        inputs: { in: { type: from, values } },
        outputs: { out: { type: to, count: values.length } },
        scalars: { count: values.length },
      });
      const exact = to === 'i32' ? values.map(toInteger) : rounded(to, values);
      const wrong = out!.findIndex((v, i) => v !== exact[i] && !(Number.isNaN(v) && Number.isNaN(exact[i])));
      expect(wrong, `${from} → ${to}: ${values[wrong]} became ${out![wrong]} instead of ${exact[wrong]}`).to.equal(-1);
    }
  });

  everywhere('fill and count', STORAGE_TYPES, (type, isa) => {
    const outputs = { out: { type, count: 70_001 } };
    const fill = compute(
      { operation: 'fill', type, isa },
      { inputs: {}, outputs, scalars: { count: 70_001, value: -3.7 } },
    );
    const [value] = type === 'i32' ? [-3] : rounded(type, [-3.7]);
    expect(fill.out!.every((v) => v === value)).to.equal(true);
    const scalars = { count: 70_001, start: -20, step: 0.5 };
    const range = compute({ operation: 'arange', type, isa }, { inputs: {}, outputs, scalars });
    const steps = Float64Array.from({ length: 70_001 }, (_, i) => -20 + i * 0.5);
    expect(range.out).to.deep.equal(type === 'i32' ? steps.map(toInteger) : rounded(type, steps));
  });
});

function toInteger(v: number): number {
  return Number.isNaN(v) ? 0 : Math.trunc(Math.min(Math.max(v, -2147483648), 2147483647)) + 0;
}

describe('addon: optimiser steps', () => {
  everywhere('follow SGD', FLOAT_TYPES, (type, isa) => {
    for (let variant = 0; variant < 32; variant++) {
      const flag = (bit: number) => (variant >> bit) & 1;
      const s = { lr: 0.1, momentum: flag(0) * 0.9, dampening: flag(1) * 0.3, weight_decay: flag(2) * 0.01 };
      const i = { nesterov: flag(3) & flag(0), maximize: flag(4), first: flag(1) };
      const [p, g, buf] = [1, 2, 3].map((seed) => rounded(type, noise(1003, seed)));
      const d = g!.map((v, k) => (i.maximize ? -v : v) + s.weight_decay * p![k]!);
      const next = d.map((v, k) => (i.first ? v : s.momentum * buf![k]! + (1 - s.dampening) * v));
      const step = d.map((v, k) => (s.momentum === 0 ? v : i.nesterov ? v + s.momentum * next[k]! : next[k]!));
      const which = { operation: 'sgd_group', type, isa };
      const input = (values: Float64Array) => ({ type, values });
      const inputs = { p: input(p!), g: input(g!), buf: s.momentum === 0 ? null : input(buf!) };
      const got = compute(which, { inputs, outputs: {}, scalars: { count: 1003, ...s, ...i } });
      close(
        which,
        got.p!,
        p!.map((v, k) => v - s.lr * step[k]!),
        p!.map(() => 3),
      );
      if (s.momentum !== 0)
        close(
          which,
          got.buf!,
          next,
          next.map(() => 3),
        );
    }
  });

  everywhere('follow Adam, AdamW and AMSGrad', FLOAT_TYPES, (type, isa) => {
    for (let variant = 0; variant < 16; variant++) {
      const flag = (bit: number) => (variant >> bit) & 1;
      const s = {
        lr: 0.01,
        beta1: 0.9,
        beta2: 0.99,
        eps: 1e-3,
        weight_decay: flag(0) * 0.1,
        correction1: 1 - 0.9 ** 3,
        correction2: 1 - 0.99 ** 3,
      };
      const i = { decoupled: flag(1), maximize: flag(2) };
      const [p, g, m] = [1, 2, 3].map((seed) => rounded(type, noise(1003, seed)));
      const [v, vmax] = [4, 5].map((seed) => rounded(type, noise(1003, seed, 0, 1)));
      const d = g!.map((x, k) => (i.maximize ? -x : x) + (i.decoupled ? 0 : s.weight_decay * p![k]!));
      const mean = d.map((x, k) => m![k]! + (1 - s.beta1) * (x - m![k]!));
      const square = d.map((x, k) => s.beta2 * v![k]! + (1 - s.beta2) * x * x);
      const top = square.map((x, k) => (flag(3) ? Math.max(x, vmax![k]!) : x));
      const kept = i.decoupled ? 1 - s.lr * s.weight_decay : 1;
      const exact = p!.map(
        (x, k) => x * kept - ((s.lr / s.correction1) * mean[k]!) / (Math.sqrt(top[k]! / s.correction2) + s.eps),
      );
      const which = { operation: 'adam_group', type, isa };
      const input = (values: Float64Array) => ({ type, values });
      const inputs = { p: input(p!), g: input(g!), m: input(m!), v: input(v!), vmax: flag(3) ? input(vmax!) : null };
      const got = compute(which, { inputs, outputs: {}, scalars: { count: 1003, ...s, ...i } });
      close(
        which,
        got.m!,
        mean,
        mean.map(() => 2),
      );
      close(
        which,
        got.v!,
        square,
        square.map(() => 2),
      );
      if (flag(3))
        close(
          which,
          got.vmax!,
          top,
          top.map(() => 2),
        );
      close(
        which,
        got.p!,
        exact,
        exact.map((x, k) => Math.abs(p![k]!) + 2 * Math.abs(x - p![k]!)),
        32,
      );
    }
  });
});

describe('addon: random numbers', () => {
  const draw = (which: Which, count: number, scalars: { seed: number; offset: number; a: number; b: number }) =>
    compute(which, { inputs: {}, outputs: { out: { type: which.type, count } }, scalars: { count, ...scalars } }).out!;
  const seed = 0x1_2345_6789_abc;
  const offset = 2 ** 32 - 3;

  everywhere('are the words of Philox4x32-10', FLOAT_TYPES, (type, isa) => {
    const got = draw({ operation: 'uniform', type, isa }, 1003, { seed, offset, a: 0, b: 1 });
    const exact = got.map((_, i) => {
      const [high, low] = [0, 1].map((third) => philox(seed, offset + Math.floor(i / 4), third)[i % 4]!);
      if (type === 'f64') return high! * 2 ** -32 + Math.floor(low! / 2 ** 11) * 2 ** -53;
      const bits = type === 'f32' ? 24 : type === 'f16' ? 11 : 8;
      return Math.floor(high! / 2 ** (32 - bits)) * 2 ** -bits;
    });
    expect(got).to.deep.equal(exact);
  });

  everywhere('stay inside their range', FLOAT_TYPES, (type, isa) => {
    for (const [a, b] of [
      [0, 1],
      [-3, 5],
      [0.1, 0.7],
      [-2, -1],
    ] as const) {
      const got = draw({ operation: 'uniform', type, isa }, 20_000, { seed: 9, offset: 0, a, b });
      expect(got.every((v) => v >= rounded(type, [a])[0]! && v < b)).to.equal(true);
      expect(got.reduce((sum, v) => sum + v / got.length, 0)).to.be.closeTo((a + b) / 2, (b - a) * 0.02);
    }
  });

  everywhere('are normal by the method of Box and Muller', FLOAT_TYPES, (type, isa) => {
    const which = { operation: 'normal', type, isa };
    const got = draw(which, 1001, { seed, offset, a: 2, b: 3 });
    const exact = got.map((_, i) => {
      const unit = (word: number) => {
        const [high, low] = [0, 1].map((third) => philox(seed, offset + Math.floor(i / 4), third)[word]!);
        return type === 'f64'
          ? (high! * 2 ** 21 + Math.floor(low! / 2 ** 11) + 0.5) * 2 ** -53
          : (high! + 0.5) * 2 ** -32;
      };
      const pair = (i % 4) - (i % 2);
      const angle = 2 * Math.PI * unit(pair + 1);
      return 2 + 3 * Math.sqrt(-2 * Math.log(unit(pair))) * (i % 2 === 0 ? Math.cos(angle) : Math.sin(angle));
    });
    close(
      which,
      got,
      exact,
      exact.map(() => 20),
    );
    const many = draw(which, 100_000, { seed: 3, offset: 0, a: 0, b: 1 });
    const moment = (power: number) => many.reduce((sum, v) => sum + v ** power / many.length, 0);
    expect(moment(1)).to.be.closeTo(0, 0.01);
    expect(moment(2)).to.be.closeTo(1, 0.02);
    expect(moment(4)).to.be.closeTo(3, 0.15);
  });
});
