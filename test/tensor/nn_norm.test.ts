/** BatchNorm2d: values by the formula, running averages, both modes, both memory layouts, gradients of both orders. */

import { expect } from 'chai';
import { FracstrideError, memory, nn, ones, randn, scope, type Tensor, zeros } from 'fracstride';
import {
  expectAlike,
  expectGradients,
  expectSecondGradients,
  type Point,
  pattern,
  toTensor,
} from '../support/finite_differences.js';

const data = (value: Tensor | null): number[] => Array.from(value!.dataSync());

interface Channel {
  readonly mean: number;
  readonly variance: number;
}

/** Mean and biased variance of each channel of (N, C, H, W). */
function channels(x: Point): Channel[] {
  const [n, c, h, w] = x.shape as [number, number, number, number];
  return Array.from({ length: c }, (_, k) => {
    const values = Array.from({ length: n }, (_, i) =>
      Array.from(x.data.slice((i * c + k) * h * w, (i * c + k + 1) * h * w)),
    ).flat();
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    return { mean, variance: values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length };
  });
}

function normalised(
  x: Point,
  stats: readonly Channel[],
  a: { eps: number; weight: number[]; bias: number[] },
): number[] {
  const [, c, h, w] = x.shape as [number, number, number, number];
  return Array.from(x.data, (v, i) => {
    const k = Math.floor(i / (h * w)) % c;
    return ((v - stats[k]!.mean) / Math.sqrt(stats[k]!.variance + a.eps)) * a.weight[k]! + a.bias[k]!;
  });
}

describe('nn.BatchNorm2d', () => {
  it("has PyTorch's state names, values and text", () => {
    using m = new nn.BatchNorm2d(3);
    const state = m.stateDict();
    expect(Object.keys(state)).to.deep.equal(['weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked']);
    expect(Object.values(state).map(data)).to.deep.equal([[1, 1, 1], [0, 0, 0], [0, 0, 0], [1, 1, 1], [0]]);
    expect(m.parameters()).to.have.length(2);
    expect(state.num_batches_tracked!.dtype).to.equal('int32');
    expect(String(m)).to.equal('BatchNorm2d(3, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)');
    using bare = new nn.BatchNorm2d(3, { eps: 1e-3, momentum: null, affine: false, trackRunningStats: false });
    expect(Object.keys(bare.stateDict())).to.deep.equal([]);
    expect(String(bare)).to.equal('BatchNorm2d(3, eps=0.001, momentum=None, affine=False, track_running_stats=False)');
  });

  it('normalises by the batch, and follows it with an unbiased variance', () => {
    scope(() => {
      using m = new nn.BatchNorm2d(3, { momentum: 0.3, eps: 1e-3, dtype: 'float64' });
      const affine = { eps: 1e-3, weight: [0.5, 2, -1], bias: [1, 0, -0.25] };
      m.loadStateDict(
        {
          weight: toTensor({ shape: [3], data: Float64Array.from(affine.weight) }),
          bias: toTensor({ shape: [3], data: Float64Array.from(affine.bias) }),
        },
        { strict: false },
      );
      let running: Channel[] = [0, 1, 2].map(() => ({ mean: 0, variance: 1 }));
      for (const seed of [0.1, 0.2, 0.3]) {
        const x = pattern([2, 3, 3, 5], seed);
        const stats = channels(x);
        expectAlike(data(m.forward(toTensor(x))), normalised(x, stats, affine), 1e-13, 'training');
        running = running.map((r, k) => ({
          mean: 0.7 * r.mean + 0.3 * stats[k]!.mean,
          variance: 0.7 * r.variance + (0.3 * stats[k]!.variance * 30) / 29,
        }));
      }
      expectAlike(
        data(m.runningMean),
        running.map((r) => r.mean),
        1e-14,
        'running mean',
      );
      expectAlike(
        data(m.runningVar),
        running.map((r) => r.variance),
        1e-14,
        'running variance',
      );
      expect(m.numBatchesTracked!.item()).to.equal(3);
      const x = pattern([2, 3, 3, 5], 0.4);
      expectAlike(data(m.eval().forward(toTensor(x))), normalised(x, running, affine), 1e-13, 'evaluation');
      expect(m.numBatchesTracked!.item()).to.equal(3);
    });
  });

  it('counts all batches the same where momentum is null, also from a loaded count on', () => {
    scope(() => {
      using m = new nn.BatchNorm2d(2, { momentum: null, dtype: 'float64' });
      const batches = [0.1, 0.2, 0.3].map((seed) => pattern([2, 2, 2, 2], seed));
      for (const x of batches) m.forward(toTensor(x));
      const mean = (k: number): number => batches.reduce((sum, x) => sum + channels(x)[k]!.mean, 0) / 3;
      expectAlike(data(m.runningMean), [mean(0), mean(1)], 1e-14, 'average of three');
      using n = new nn.BatchNorm2d(2, { momentum: null, dtype: 'float64' });
      n.loadStateDict(m.stateDict());
      const last = pattern([2, 2, 2, 2], 0.4);
      n.forward(toTensor(last));
      expectAlike(
        data(n.runningMean),
        [0, 1].map((k) => (3 * mean(k) + channels(last)[k]!.mean) / 4),
        1e-14,
        'average of four',
      );
      expect(n.numBatchesTracked!.item()).to.equal(4);
    });
  });

  it('makes graphs that saved the running averages refuse to go on after a batch', () => {
    scope(() => {
      using m = new nn.BatchNorm2d(2);
      const y = m.eval().forward(randn([2, 2, 2, 2], { requiresGrad: true }));
      m.train().forward(randn([2, 2, 2, 2]));
      expect(() => y.sum().backward()).to.throw(FracstrideError, /must be unchanged since/);
    });
  });

  it('uses the batch in evaluation too where nothing is tracked', () => {
    scope(() => {
      using m = new nn.BatchNorm2d(2, { trackRunningStats: false, affine: false, dtype: 'float64' });
      const x = pattern([2, 2, 2, 2], 0.1);
      const want = normalised(x, channels(x), { eps: 1e-5, weight: [1, 1], bias: [0, 0] });
      expectAlike(data(m.eval().forward(toTensor(x))), want, 1e-13, 'untracked');
    });
  });

  const shape = [3, 2, 2, 3];
  const points = [pattern(shape, 0.2), pattern([2], 0.4), pattern([2], 0.6)];
  const running = (): [Tensor, Tensor] => [
    toTensor({ shape: [2], data: Float64Array.of(0.2, -0.1) }),
    toTensor({ shape: [2], data: Float64Array.of(0.7, 1.4) }),
  ];
  for (const training of [true, false]) {
    const name = training ? 'training' : 'evaluation';
    it(`has the gradients of differences, first and second, in ${name}`, () => {
      const fn = ([x, weight, bias]: Tensor[]): Tensor => {
        const [mean, variance] = running();
        return nn.functional.batchNorm(x!, mean, variance, { weight: weight!, bias: bias!, training, eps: 0.1 });
      };
      expectGradients(fn, points);
      expectSecondGradients(fn, points);
      const plain = ([x]: Tensor[]): Tensor => nn.functional.batchNorm(x!, ...running(), { training, eps: 0.1 });
      expectGradients(plain, points.slice(0, 1));
      expectSecondGradients(plain, points.slice(0, 1));
    });
  }

  it('gives the same numbers channels last, and keeps that layout', () => {
    scope(() => {
      using m = new nn.BatchNorm2d(5);
      const x = randn([2, 5, 3, 4], { requiresGrad: true });
      const g = randn([2, 5, 3, 4]);
      const run = (input: Tensor): number[][] => {
        m.resetRunningStats();
        m.zeroGrad();
        x.grad = null;
        const y = m.forward(input);
        y.backward(g);
        return [data(y), data(x.grad), data(m.weight!.grad), data(m.bias!.grad), data(m.runningVar)];
      };
      const rows = run(x);
      const last = x.to({ layout: 'nhwc' });
      expect(m.eval().train().forward(last).layout).to.equal('nhwc');
      run(last).forEach((values, i) => {
        expectAlike(values, rows[i]!, 1e-5, `result ${i}`);
      });
    });
  });

  it('works in 16 bits, with statistics in 32', () => {
    for (const [dtype, tolerance] of [
      ['float16', 2e-3],
      ['bfloat16', 1.6e-2],
    ] as const) {
      scope(() => {
        using m = new nn.BatchNorm2d(3, { dtype });
        const x = randn([4, 3, 5, 5], { dtype, requiresGrad: true });
        const y = m.forward(x);
        expect(y.dtype).to.equal(dtype);
        const point = { shape: [4, 3, 5, 5], data: Float64Array.from(data(x)) };
        const want = normalised(point, channels(point), { eps: 1e-5, weight: [1, 1, 1], bias: [0, 0, 0] });
        expectAlike(data(y), want, tolerance, dtype);
        y.backward(ones(y.shape, { dtype }));
        expect(Math.max(...data(x.grad).map(Math.abs))).to.be.below(tolerance);
      });
    }
  });

  it('takes an empty batch, which teaches it nothing', () => {
    scope(() => {
      using m = new nn.BatchNorm2d(3);
      const x = zeros([0, 3, 2, 2], { requiresGrad: true });
      const y = m.forward(x);
      expect(y.shape).to.deep.equal([0, 3, 2, 2]);
      y.sum().backward();
      expect(data(m.weight!.grad)).to.deep.equal([0, 0, 0]);
      expect(x.grad!.shape).to.deep.equal([0, 3, 2, 2]);
      expect(data(m.runningVar)).to.deep.equal([1, 1, 1]);
      m.forward(ones([2, 3, 2, 2]));
      const before = [data(m.runningMean), data(m.runningVar)];
      m.eval();
      m.forward(x);
      expect([data(m.runningMean), data(m.runningVar)]).to.deep.equal(before);
    });
  });

  it('refuses what PyTorch refuses', () => {
    scope(() => {
      using m = new nn.BatchNorm2d(3);
      expect(() => m.forward(zeros([3, 2, 2]))).to.throw(FracstrideError, /input must be 4D/);
      expect(() => m.forward(zeros([1, 3, 1, 1]))).to.throw(
        FracstrideError,
        /more than 1 value per channel when training/,
      );
      expect(() => m.forward(zeros([2, 4, 2, 2]))).to.throw(FracstrideError, /runningMean must be of 4 elements/);
      expect(() => m.forward(zeros([2, 3, 2, 2], { dtype: 'float64' }))).to.throw(FracstrideError, /dtype/);
      expect(m.numBatchesTracked!.item()).to.equal(0);
      expect(() => new nn.BatchNorm2d(-1)).to.throw(FracstrideError, /numFeatures/);
      expect(() => new nn.BatchNorm2d(2, { track_running_stats: false } as never)).to.throw(
        FracstrideError,
        /track_running_stats/,
      );
    });
  });

  it('leaves no memory behind', () => {
    const before = memory().cpu!.live;
    const m = new nn.BatchNorm2d(3);
    for (let i = 0; i < 3; i++) {
      scope(() => {
        const x = randn([2, 3, 4, 4], { requiresGrad: true });
        m.forward(x).sum().backward();
      });
    }
    m.zeroGrad();
    expect(memory().cpu!.live - before).to.equal(4 * 3 * 4 + 4);
    m.dispose();
    expect(memory().cpu!.live).to.equal(before);
  });
});
