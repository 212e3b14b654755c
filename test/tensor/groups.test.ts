/** Launches that take many tensors: the bits of one tensor at a time, and as few launches as their tables allow. */

import { expect } from 'chai';
import { nn, optim, randn, scope, type Tensor, tensor, zeros } from 'fracstride';
import { isaLevels, withIsa } from '../support/devices.js';
import { launchesDuring } from '../support/launches.js';

const device = 'cpu';
const DTYPES = ['float32', 'float64', 'float16', 'bfloat16'] as const;
const bits = (value: Tensor): number[] => Array.from(value.dataSync());
/** Nothing, less than a vector, more than a piece, and small ones that share a piece. */
const LENGTHS = [5, 0, 16_385, 1, 40_001, 300, 7];

const KINDS = {
  'SGD with momentum': (p: nn.Parameter[]) => new optim.SGD(p, { lr: 0.1, momentum: 0.9, weightDecay: 0.1 }),
  Adam: (p: nn.Parameter[]) => new optim.Adam(p, { lr: 0.05, weightDecay: 0.1 }),
  'AdamW with amsgrad': (p: nn.Parameter[]) => new optim.AdamW(p, { lr: 0.05, amsgrad: true, maximize: true }),
};

describe('optimiser steps over groups', () => {
  for (const [title, make] of Object.entries(KINDS)) {
    for (const dtype of DTYPES) {
      it(`${title}, ${dtype}: the bits of a parameter by itself`, () => {
        for (const isa of isaLevels()) withIsa(isa, () => scope(() => compare(dtype, make)));
      });
    }
  }

  function compare(dtype: (typeof DTYPES)[number], make: (p: nn.Parameter[]) => optim.Optimizer<object>): void {
    const together = LENGTHS.map((length) => nn.parameter(randn([length], { dtype, device })));
    const alone = together.map((p) => nn.parameter(p.detach().clone()));
    const optimizer = make(together);
    const optimizers = alone.map((p) => make([p]));
    for (let step = 0; step < 3; step++) {
      together.forEach((p, i) => {
        // one without a gradient now and then
        p.grad = (step + i) % 4 === 1 ? null : randn(p.shape, { dtype, device });
        alone[i]!.grad = p.grad?.clone() ?? null;
      });
      optimizer.step();
      for (const each of optimizers) each.step();
    }
    expect(together.map(bits)).to.deep.equal(alone.map(bits));
    for (const each of [optimizer, ...optimizers]) each.dispose();
  }

  it('are one launch a dtype for what a table holds', () => {
    scope(() => {
      const params = Array.from({ length: 70 }, (_, i) =>
        nn.parameter(zeros([3], { device, dtype: i < 66 ? 'float32' : 'float64' })),
      );
      for (const p of params) p.grad = p.detach().clone();
      using optimizer = new optim.Adam(params);
      optimizer.step();
      expect(launchesDuring(() => optimizer.step())).to.equal(3);
      expect(launchesDuring(() => optimizer.zeroGrad({ setToNone: false }))).to.equal(2);
    });
  });
});

describe('gradients added up', () => {
  const leaves = (shapes: readonly number[][]): Tensor[] =>
    shapes.map((shape) => randn(shape, { device, requiresGrad: true }));
  const pass = (values: readonly Tensor[]): void => {
    for (const value of values) value.mul(value).sum().backward();
  };
  const together = (values: readonly Tensor[]): void =>
    values
      .reduce((total: Tensor | null, v) => (total === null ? v.mul(v).sum() : total.add(v.mul(v).sum())), null)!
      .backward();

  it('are one launch a backward pass, and twice the first', () => {
    scope(() => {
      const values = leaves([[5], [40_001], [3, 7], [1]]);
      const first = launchesDuring(() => together(values));
      const once = values.map((value) => bits(value.grad!));
      expect(launchesDuring(() => together(values)) - first).to.equal(1);
      values.forEach((value, i) => {
        expect(bits(value.grad!)).to.deep.equal(once[i]!.map((v) => 2 * v));
      });
    });
  });

  it('whose memory is shared, or lies otherwise, are added in order', () => {
    scope(() => {
      const [a, b, c] = leaves([[4], [4], [2, 3]]) as [Tensor, Tensor, Tensor];
      const shared = zeros([4], { device });
      a.grad = shared;
      b.grad = shared;
      c.grad = zeros([3, 2], { device }).transpose(0, 1);
      together([a, b, c]);
      const sum = bits(a).map((v, i) => Math.fround(Math.fround(2 * bits(b)[i]!) + Math.fround(2 * v)));
      expect(bits(shared)).to.deep.equal(sum);
      expect(bits(c.grad)).to.deep.equal(bits(c).map((v) => Math.fround(2 * v)));
      // the gradient that arrives is what is added to
      const seed = tensor([1, 2, 3, 4], { device });
      a.grad = seed;
      b.grad = seed;
      a.add(b).backward(seed);
      expect(bits(seed)).to.deep.equal([4, 8, 12, 16]);
    });
  });

  it('of passes one by one are the same', () => {
    scope(() => {
      const values = leaves([[9], [2, 2]]);
      pass(values);
      pass(values);
      for (const value of values) expect(bits(value.grad!)).to.deep.equal(bits(value).map((v) => Math.fround(4 * v)));
    });
  });
});
