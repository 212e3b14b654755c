/** Losses and activations by their formulas and by differences; initialisation by its moments. */

import { expect } from 'chai';
import { manualSeed, nn, scope, type Tensor, tensor, zeros } from 'fracstride';
import {
  expectAlike,
  expectGradients,
  expectSecondGradients,
  pattern,
  toTensor,
} from '../support/finite_differences.js';
import { refusal } from '../support/refusal.js';

const data = (value: Tensor): number[] => Array.from(value.dataSync());

describe('losses and activations', () => {
  const x = pattern([2, 3], 0.3);
  const t = pattern([2, 3], 0.8);
  const elements: Record<
    string,
    [(a: Tensor, b: Tensor, o?: nn.functional.LossOptions) => Tensor, (a: number, b: number) => number]
  > = {
    mse: [nn.functional.mseLoss, (a, b) => (a - b) ** 2],
    l1: [nn.functional.l1Loss, (a, b) => Math.abs(a - b)],
    bce: [
      nn.functional.binaryCrossEntropyWithLogits,
      (a, b) => Math.max(a, 0) - a * b + Math.log1p(Math.exp(-Math.abs(a))),
    ],
  };
  for (const [name, [loss, formula]] of Object.entries(elements)) {
    it(`${name} has its formula, three reductions and gradients of both orders`, () => {
      scope(() => {
        const each = Array.from(x.data, (v, i) => formula(v, t.data[i]!));
        const sum = each.reduce((a, b) => a + b, 0);
        const got = (reduction?: nn.functional.Reduction): number[] =>
          data(loss(toTensor(x), toTensor(t), reduction && { reduction }));
        expectAlike(got('none'), each, 1e-15, 'none');
        expectAlike(got('sum'), [sum], 1e-15, 'sum');
        expectAlike(got(), [sum / 6], 1e-15, 'mean');
        expectGradients(([a, b]) => loss(a!, b!), [x, t]);
        expectSecondGradients(([a, b]) => loss(a!, b!), [x, t]);
      });
    });
  }

  it('bce takes weights of elements and of the positive term', () => {
    scope(() => {
      const weight = pattern([3], 0.1).data.map(Math.abs);
      const positive = Float64Array.of(2, 0.5, 3);
      const sigmoid = (v: number): number => 1 / (1 + Math.exp(-v));
      const want = Array.from(x.data, (v, i) => {
        const p = t.data[i]! * positive[i % 3]! * Math.log(sigmoid(v)) + (1 - t.data[i]!) * Math.log(1 - sigmoid(v));
        return -weight[i % 3]! * p;
      });
      const row = (values: Float64Array): Tensor => toTensor({ shape: [3], data: values });
      using criterion = new nn.BCEWithLogitsLoss({ weight: row(weight), posWeight: row(positive), reduction: 'none' });
      expectAlike(data(criterion.forward(toTensor(x), toTensor(t))), want, 1e-14, 'weighted');
      expect(Object.keys(criterion.stateDict())).to.deep.equal(['weight', 'pos_weight']);
      expectGradients(
        ([a, b]) => nn.functional.binaryCrossEntropyWithLogits(a!, b!, { posWeight: row(positive) }),
        [x, t],
      );
    });
  });

  it('are finite where a naive formula is not', () => {
    scope(() => {
      const logits = tensor([1000, -1000, 40], { requiresGrad: true });
      const loss = nn.functional.binaryCrossEntropyWithLogits(logits, tensor([0, 1, 1]), { reduction: 'sum' });
      expect(loss.item()).to.equal(2000);
      loss.backward();
      expect(data(logits.grad!)).to.deep.equal([1, -1, 0]);
    });
  });

  it('refuse targets of other sizes or types, and unknown reductions', () => {
    scope(() => {
      const [a, b] = [zeros([2, 3]), zeros([2, 1])];
      for (const Loss of [nn.MSELoss, nn.L1Loss, nn.BCEWithLogitsLoss]) {
        expect(refusal(() => new Loss().forward(a, b))).to.deep.equal([
          'ERR_SHAPE',
          refusal(() => new Loss().forward(a, b))[1],
        ]);
        expect(refusal(() => new Loss().forward(a, b))[1]).to.match(/target must be of the same size as the input/);
        expect(refusal(() => new Loss().forward(a, zeros([2, 3], { dtype: 'float64' })))[0]).to.equal('ERR_DTYPE');
        expect(refusal(() => new Loss({ reduction: 'avg' as never }))[1]).to.match(
          /reduction must be one of mean, sum, none/,
        );
      }
    });
  });

  it('activations are those of functional, with their defaults', () => {
    scope(() => {
      const v = tensor([-2, 0, 3], { dtype: 'float64' });
      expect(data(new nn.ReLU().forward(v))).to.deep.equal([0, 0, 3]);
      expect(data(new nn.LeakyReLU().forward(v))).to.deep.equal([-0.02, 0, 3]);
      expectAlike(data(new nn.Tanh().forward(v)), [-2, 0, 3].map(Math.tanh), 1e-15, 'tanh');
      expectAlike(
        data(new nn.Sigmoid().forward(v)),
        [-2, 0, 3].map((z) => 1 / (1 + Math.exp(-z))),
        1e-15,
        'sigmoid',
      );
      expect(refusal(() => new nn.ReLU({ inplace: true } as never))[1]).to.match(/inplace/);
      expect(refusal(() => new nn.LeakyReLU(Number.NaN))[1]).to.match(/negativeSlope/);
    });
  });
});

describe('nn.init', () => {
  it('computes fans and gains as PyTorch does', () => {
    scope(() => {
      expect(nn.init.calculateFanInAndFanOut(zeros([12, 6, 3, 5]))).to.deep.equal([90, 180]);
      expect(refusal(() => nn.init.calculateFanInAndFanOut(zeros([3])))[0]).to.equal('ERR_SHAPE');
      expect(nn.init.calculateGain('relu')).to.equal(Math.SQRT2);
      expect(nn.init.calculateGain('tanh')).to.equal(5 / 3);
      expect(nn.init.calculateGain('leakyRelu', 0.2)).to.equal(Math.sqrt(2 / 1.04));
    });
  });

  const moments = (values: number[]): { mean: number; deviation: number; largest: number } => {
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    const deviation = Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length);
    return { mean, deviation, largest: Math.max(...values.map(Math.abs)) };
  };

  const cases: [string, (t: Tensor) => Tensor, { deviation: number; bound?: number }][] = [
    ['uniform_', (t) => nn.init.uniform_(t, -2, 2), { deviation: 4 / Math.sqrt(12), bound: 2 }],
    ['normal_', (t) => nn.init.normal_(t, 0, 3), { deviation: 3 }],
    [
      'xavierUniform_',
      (t) => nn.init.xavierUniform_(t, 2),
      { deviation: 2 * Math.sqrt(2 / (90 + 180)), bound: 2 * Math.sqrt(6 / 270) },
    ],
    ['xavierNormal_', (t) => nn.init.xavierNormal_(t), { deviation: Math.sqrt(2 / 270) }],
    [
      'kaimingUniform_',
      (t) => nn.init.kaimingUniform_(t, { mode: 'fanOut', nonlinearity: 'relu' }),
      { deviation: Math.sqrt(2 / 180), bound: Math.sqrt(6 / 180) },
    ],
    ['kaimingNormal_', (t) => nn.init.kaimingNormal_(t, { a: 1 }), { deviation: 1 / Math.sqrt(90) }],
  ];
  for (const [name, fill, want] of cases) {
    it(`${name} has its deviation and bound`, () => {
      scope(() => {
        manualSeed(2);
        const value = zeros([12, 6, 3, 5]);
        expect(fill(value)).to.equal(value);
        const { mean, deviation, largest } = moments(data(value));
        expect(mean / want.deviation).to.be.within(-0.1, 0.1);
        expect(deviation / want.deviation).to.be.within(0.95, 1.05);
        if (want.bound !== undefined) expect(largest / want.bound).to.be.within(0.98, 1 + 1e-6);
      });
    });
  }

  it('writes through views, and is noticed by graphs that saved what was there', () => {
    scope(() => {
      const value = zeros([4, 4]);
      nn.init.ones_(value.transpose().narrow(0, 1, 2));
      expect(data(value.sum({ dim: 0 }))).to.deep.equal([0, 4, 4, 0]);
      const weight = tensor([2], { requiresGrad: true });
      const y = weight.square();
      nn.init.constant_(weight, 3);
      expect(refusal(() => y.backward())[1]).to.match(/must be unchanged since/);
    });
  });
});
