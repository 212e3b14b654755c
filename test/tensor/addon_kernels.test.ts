/** Casts, fills, reductions, batch normalisation, optimiser steps and random numbers against float64 references. */

import { expect } from 'chai';
import { STORAGE_TYPES, type StorageType } from '../../codegen/cpu_ops.js';
import { native } from '../../src/native.js';
import { accumulatorOf, compute, FLOAT_TYPES, isas, noise, ROUNDOFF, rounded, type Which } from '../support/kernels.js';
import { philox } from '../support/philox.js';

type Numbers = ArrayLike<number>;
const BOXES = [
  [1, 1, 1],
  [2, 0, 3],
  [3, 5, 1],
  [40, 70, 1],
  [1, 300_001, 1],
  [2, 70_000, 1],
  [2, 3, 7],
  [1, 100_003, 3],
  [4, 1000, 300],
  [1, 20_000, 16],
  [3, 17, 257],
] as const;
const PLANES = [
  [2, 3, 5],
  [4, 1, 9],
  [3, 16, 64],
  [2, 300, 7],
  [2, 40, 1],
  [2, 3, 40_000],
] as const;

/** |got − exact| ≤ roundoff of storage + `units` half units of the accumulator relative to `size`. */
function close(which: Which, got: Numbers, exact: Numbers, size: Numbers, units = 8, stored = which.type): void {
  expect(got.length).to.equal(exact.length);
  for (let i = 0; i < got.length; i++) {
    const arithmetic = units * ROUNDOFF[accumulatorOf(which.type)] * size[i]!;
    const bound = arithmetic + ROUNDOFF[stored] * Math.abs(exact[i]!) + (stored === 'f16' ? 2 ** -24 : 1e-38);
    const near = Math.abs(got[i]! - exact[i]!) <= bound;
    if (!near)
      expect.fail(
        `${which.operation} ${which.type} ${which.isa} [${i}] is ${got[i]} instead of ${exact[i]}, ± ${bound}`,
      );
  }
}

function everywhere(
  title: string,
  types: readonly StorageType[],
  body: (type: StorageType, isa: Which['isa']) => void,
): void {
  for (const isa of isas()) {
    it(`${title} on ${isa}`, () => {
      for (const type of types) body(type, isa);
    });
  }
}

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

describe('addon: reductions', () => {
  everywhere('sum and find the largest over any axis', FLOAT_TYPES, (type, isa) => {
    for (const [outer, reduced, inner] of BOXES) {
      if (type !== 'f32' && outer * reduced * inner > 200_000) continue;
      const values = rounded(type, noise(outer * reduced * inner, 11, -1, 2));
      const sums = new Float64Array(outer * inner);
      const sizes = new Float64Array(outer * inner);
      const largest = new Float64Array(outer * inner).fill(-Infinity);
      values.forEach((v, i) => {
        const o = Math.floor(i / (reduced * inner)) * inner + (i % inner);
        sums[o]! += v;
        sizes[o]! += Math.abs(v);
        largest[o] = Math.max(largest[o]!, v);
      });
      const run = (operation: string) => reduce({ operation, type, isa }, values, [outer, reduced, inner]);
      const sum = { operation: 'sum', type, isa };
      // Sums are in double: what is left is one rounding, and for f64 the sum's own.
      close(sum, run('sum'), sums, type === 'f64' ? sizes.map((v) => v * reduced) : sizes.map((v) => v * 1e-6), 2);
      expect(run('max')).to.deep.equal(largest);
    }
    const nan = reduce({ operation: 'max', type, isa }, [1, Number.NaN, 3, -1, -2, -3], [2, 3, 1]);
    expect(nan).to.deep.equal(Float64Array.of(Number.NaN, -1));
  });
});

function reduce(
  which: Which,
  values: Numbers,
  [outer, reduced, inner]: readonly [number, number, number],
): Float64Array {
  return compute(which, {
    inputs: { in: { type: which.type, values } },
    outputs: { out: { type: which.type, count: outer * inner } },
    scalars: { outer, reduced, inner },
  }).out!;
}

describe('addon: batch normalisation', () => {
  everywhere('computes statistics, outputs and gradients in both layouts', FLOAT_TYPES, (type, isa) => {
    for (const [n, c, hw] of PLANES) {
      if (type !== 'f32' && n * c * hw > 100_000) continue;
      for (const layout of [0, 1]) checkNorm(type, isa, { n, c, hw, layout });
    }
  });

  everywhere('keeps its variance where the mean is large', ['f32'], (type, isa) => {
    const planes = { n: 4, c: 3, hw: 5000, layout: 0 };
    const x = rounded('f32', noise(60_000, 5, 4095, 4097));
    const { mean, variance } = statistics(x, planes);
    const got = compute({ operation: 'bn_stats', type, isa }, statsArguments(type, x, planes));
    for (let k = 0; k < 3; k++) {
      expect(got.var![k]! / variance[k]!).to.be.closeTo(1, 2e-7);
      expect(got.mean![k]! / mean[k]!).to.be.closeTo(1, 1e-7);
    }
  });
});

interface Planes extends Record<string, number> {
  readonly n: number;
  readonly c: number;
  readonly hw: number;
  readonly layout: number;
}

const channelOf = (i: number, { c, hw, layout }: Planes) => (layout === 1 ? i % c : Math.floor(i / hw) % c);

function statistics(x: Float64Array, planes: Planes): { mean: Float64Array; variance: Float64Array } {
  const m = planes.n * planes.hw;
  const mean = new Float64Array(planes.c);
  const variance = new Float64Array(planes.c);
  x.forEach((v, i) => {
    mean[channelOf(i, planes)]! += v / m;
  });
  x.forEach((v, i) => {
    variance[channelOf(i, planes)]! += (v - mean[channelOf(i, planes)]!) ** 2 / m;
  });
  return { mean, variance };
}

function statsArguments(type: StorageType, x: Float64Array, planes: Planes) {
  const channels = { type: accumulatorOf(type), count: planes.c };
  return { inputs: { x: { type, values: x } }, outputs: { mean: channels, var: channels }, scalars: planes };
}

function checkNorm(type: StorageType, isa: Which['isa'], planes: Planes): void {
  const { n, c, hw } = planes;
  const acc = accumulatorOf(type);
  const count = n * c * hw;
  const m = n * hw;
  // The reference sums in float64 too, one after another.
  const units = type === 'f64' ? 4 + m : 4;
  const x = rounded(type, noise(count, 21, -2, 3));
  const gy = rounded(type, noise(count, 22));
  const weight = rounded(type, noise(c, 23, 0.5, 1.5));
  const bias = rounded(type, noise(c, 24));
  const { mean, variance } = statistics(x, planes);
  const which = (operation: string): Which => ({ operation, type, isa });
  const stats = compute(which('bn_stats'), statsArguments(type, x, planes));
  close(
    which('bn_stats'),
    stats.mean!,
    mean,
    mean.map(() => 1),
    units,
    acc,
  );
  close(
    which('bn_stats'),
    stats.var!,
    variance,
    variance.map((v) => v + 1e-6),
    units,
    acc,
  );

  const invstd = rounded(
    acc,
    variance.map((v) => 1 / Math.sqrt(v + 1e-5)),
  );
  const center = rounded(acc, mean);
  const input = (values: Numbers) => ({ type, values });
  const channel = (values: Numbers) => ({ type: acc, values });
  const deviation = (i: number) => x[i]! - center[channelOf(i, planes)]!;
  const at = (values: Float64Array, i: number) => values[channelOf(i, planes)]!;

  for (const affine of [true, false]) {
    const scale = affine ? invstd.map((v, k) => v * weight[k]!) : invstd;
    const { out } = compute(which('bn_apply'), {
      inputs: {
        x: input(x),
        mean: channel(center),
        invstd: channel(invstd),
        weight: affine ? input(weight) : null,
        bias: affine ? input(bias) : null,
      },
      outputs: { out: { type, count } },
      scalars: planes,
    });
    const shift = (i: number) => (affine ? at(bias, i) : 0);
    const exact = x.map((_, i) => deviation(i) * at(scale, i) + shift(i));
    close(
      which('bn_apply'),
      out!,
      exact,
      x.map((_, i) => Math.abs(deviation(i) * at(scale, i)) + Math.abs(shift(i))),
    );

    const sumGy = new Float64Array(c);
    const sumXhat = new Float64Array(c);
    gy.forEach((g, i) => {
      sumGy[channelOf(i, planes)]! += g;
      sumXhat[channelOf(i, planes)]! += g * deviation(i) * at(invstd, i);
    });
    const both = { gy: input(gy), x: input(x), mean: channel(center), invstd: channel(invstd) };
    const sums = { type: acc, count: c };
    const back = compute(which('bn_backward_stats'), {
      inputs: both,
      outputs: { sum_gy: sums, sum_gy_xhat: sums },
      scalars: planes,
    });
    close(
      which('bn_backward_stats'),
      back.sum_gy!,
      sumGy,
      sumGy.map(() => m),
      type === 'f64' ? 8 : 1e-6,
      acc,
    );
    close(
      which('bn_backward_stats'),
      back.sum_gy_xhat!,
      sumXhat,
      sumXhat.map(() => m),
      type === 'f64' ? 8 : 1e-6,
      acc,
    );

    const [a, b] = [rounded(acc, sumGy), rounded(acc, sumXhat)];
    const { gx } = compute(which('bn_backward_input'), {
      inputs: { ...both, weight: affine ? input(weight) : null, sum_gy: channel(a), sum_gy_xhat: channel(b) },
      outputs: { gx: { type, count } },
      scalars: planes,
    });
    const slope = (i: number) => (deviation(i) * at(invstd, i) * at(b, i)) / m;
    const gradient = gy.map((g, i) => at(scale, i) * (g - at(a, i) / m - slope(i)));
    const size = gy.map((g, i) => Math.abs(at(scale, i)) * (Math.abs(g) + Math.abs(at(a, i) / m) + Math.abs(slope(i))));
    close(which('bn_backward_input'), gx!, gradient, size);
  }
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
      const which = { operation: 'sgd', type, isa };
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
      const which = { operation: 'adam', type, isa };
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

describe('addon: threads', () => {
  it('change no bit of a reduction, a normalisation, an optimiser step or a random number', () => {
    const usual = native().cpuInfo().threads;
    const x = noise(400_000, 31);
    const values = { type: 'f32', values: x } as const;
    const isa = isas()[0]!;
    const which = (operation: string): Which => ({ operation, type: 'f32', isa });
    const planes = { n: 4, c: 2, hw: 50_000 };
    const channels = { type: 'f32', count: 2 } as const;
    const work = () => [
      ...[
        [1, 400_000, 1],
        [2, 200_000, 1],
        [1, 100_000, 4],
        [100, 40, 100],
      ].map((box) => reduce(which('sum'), x, box as [number, number, number])),
      ...[0, 1].map((layout) =>
        compute(which('bn_stats'), {
          inputs: { x: values },
          outputs: { mean: channels, var: channels },
          scalars: { ...planes, layout },
        }),
      ),
      compute(which('sgd'), {
        inputs: { p: values, g: values, buf: null },
        outputs: {},
        scalars: {
          count: 400_000,
          lr: 0.1,
          momentum: 0,
          dampening: 0,
          weight_decay: 0.1,
          nesterov: 0,
          maximize: 0,
          first: 1,
        },
      }),
      compute(which('normal'), {
        inputs: {},
        outputs: { out: { type: 'f32', count: 100_003 } },
        scalars: { count: 100_003, seed: 1, offset: 2, a: 0, b: 1 },
      }),
    ];
    const results = [1, 2, 3, 7].map((threads) => {
      native().setThreads(threads);
      return work();
    });
    native().setThreads(usual);
    for (const result of results.slice(1)) expect(result).to.deep.equal(results[0]);
  });
});
