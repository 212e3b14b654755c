/** Sums, maxima and batch normalisation against float64 references, and the same bits for any number of threads. */

import { expect } from 'chai';
import type { StorageType } from '../../codegen/operations.js';
import { native } from '../../src/native.js';
import { close, everywhere } from '../support/kernel_checks.js';
import {
  accumulatorOf,
  compute,
  FLOAT_TYPES,
  isas,
  type Numbers,
  noise,
  rounded,
  type Which,
} from '../support/kernels.js';

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
    scalars: { outer, reduced, inner, divisor: 1 },
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
    const got = compute({ operation: 'bn_forward', type, isa }, forwardArguments(type, x, planes));
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

/** Of a batch normalisation that finds its own statistics and keeps no averages. */
const FORWARD = { own: 1, eps: 1e-5, momentum: 0, unbias: 0, slope: 0, activation: 0 };
const NO_AVERAGES = { running_mean: null, running_var: null, tracked: null };

function forwardArguments(type: StorageType, x: Float64Array, planes: Planes) {
  const channels = { type: accumulatorOf(type), count: planes.c };
  return {
    inputs: { x: { type, values: x }, weight: null, bias: null, ...NO_AVERAGES },
    outputs: { mean: channels, var: channels, invstd: channels, out: { type, count: x.length } },
    scalars: { ...planes, ...FORWARD },
  };
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
  const stats = compute(which('bn_forward'), forwardArguments(type, x, planes));
  close(
    which('bn_forward'),
    stats.mean!,
    mean,
    mean.map(() => 1),
    units,
    acc,
  );
  close(
    which('bn_forward'),
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

  const given = rounded(acc, variance);
  for (const affine of [true, false]) {
    const scale = affine ? invstd.map((v, k) => v * weight[k]!) : invstd;
    const parameters = { weight: affine ? input(weight) : null, bias: affine ? input(bias) : null };
    const { out } = compute(which('bn_forward'), {
      inputs: { ...{ x: input(x), mean: channel(center), var: channel(given) }, ...parameters, ...NO_AVERAGES },
      outputs: { invstd: { type: acc, count: c }, out: { type, count } },
      scalars: { ...planes, ...FORWARD, own: 0 },
    });
    const shift = (i: number) => (affine ? at(bias, i) : 0);
    const exact = x.map((_, i) => deviation(i) * at(scale, i) + shift(i));
    close(
      which('bn_forward'),
      out!,
      exact,
      x.map((_, i) => 2 * Math.abs(deviation(i) * at(scale, i)) + Math.abs(shift(i))),
    );

    const sumGy = new Float64Array(c);
    const sumXhat = new Float64Array(c);
    gy.forEach((g, i) => {
      sumGy[channelOf(i, planes)]! += g;
      sumXhat[channelOf(i, planes)]! += g * deviation(i) * at(invstd, i);
    });
    const both = { gy: input(gy), x: input(x), mean: channel(center), invstd: channel(invstd), ...parameters };
    const sums = { type: acc, count: c };
    const back = compute(which('bn_backward'), {
      inputs: both,
      outputs: { sum_gy: sums, sum_gy_xhat: sums, gx: { type, count } },
      scalars: { ...planes, own: 1, slope: 0, activation: 0 },
    });
    for (const [got, wanted] of [
      [back.sum_gy!, sumGy],
      [back.sum_gy_xhat!, sumXhat],
    ] as const) {
      close(
        which('bn_backward'),
        got,
        wanted,
        wanted.map(() => m),
        type === 'f64' ? 8 : 1e-6,
        acc,
      );
    }

    const slope = (i: number) => (deviation(i) * at(invstd, i) * at(sumXhat, i)) / m;
    const gradient = gy.map((g, i) => at(scale, i) * (g - at(sumGy, i) / m - slope(i)));
    const size = gy.map(
      (g, i) => Math.abs(at(scale, i)) * (Math.abs(g) + Math.abs(at(sumGy, i) / m) + Math.abs(slope(i))),
    );
    close(which('bn_backward'), back.gx!, gradient, size, type === 'f64' ? units : undefined);
  }
}

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
        compute(which('bn_forward'), {
          inputs: { x: values, weight: null, bias: null, ...NO_AVERAGES },
          outputs: { mean: channels, var: channels, invstd: channels, out: { type: 'f32', count: 400_000 } },
          scalars: { ...planes, layout, ...FORWARD },
        }),
      ),
      compute(which('sgd_group'), {
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
