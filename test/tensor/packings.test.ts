/** Weights as kernels re-order them: made once, made again when written to, given back. And plans that drivers keep. */

import { expect } from 'chai';
import { lastKernel, memory, nn, noGrad, optim, scope, type Tensor, tensor } from '../../src/index.js';
import { preferVariant } from '../../src/kernels.js';
import { native } from '../../src/native.js';
import { nextStamp } from '../../src/packings.js';

const { convTranspose2d, conv2d } = nn.functional;
const { live, cached } = { live: () => memory().cpu.live, cached: () => memory().cpu.cached };
const values = (count: number, seed: number) =>
  Float32Array.from({ length: count }, (_, i) => ((i * 7 + seed) % 11) - 5);
const make = (shape: readonly number[], seed: number): Tensor =>
  tensor(
    values(
      shape.reduce((a, b) => a * b, 1),
      seed,
    ),
    { shape },
  );

/** The same product with a weight that no kernel has seen. */
function fresh(x: Tensor, weight: Tensor): number[] {
  const copy = weight.clone();
  const y = convTranspose2d(x, copy, null, { stride: 2, padding: 1 });
  const result = Array.from(y.dataSync());
  for (const each of [copy, y]) each.dispose();
  return result;
}

function product(x: Tensor, weight: Tensor): number[] {
  const y = convTranspose2d(x, weight, null, { stride: 2, padding: 1 });
  const result = Array.from(y.dataSync());
  y.dispose();
  return result;
}

describe('packed weights', () => {
  const x = make([2, 16, 5, 6], 1);
  after(() => x.dispose());

  it('are cached bytes, no live ones, and go with the weight', () => {
    const before = [live(), native().memory(0).live];
    const weight = make([16, 24, 4, 4], 2);
    product(x, weight);
    expect(live() - before[0]!).to.equal(4 * 16 * 24 * 16);
    expect(native().memory(0).live - before[1]!).to.be.above(2 * 4 * 16 * 24 * 16 - 1);
    expect(cached()).to.be.at.least(4 * 16 * 24 * 16);
    weight.dispose();
    expect([live(), native().memory(0).live]).to.deep.equal(before);
  });

  it('are one for all batch sizes and map sizes of a kernel', () => {
    preferVariant('igemm');
    const weight = make([16, 24, 4, 4], 2);
    product(x, weight);
    const held = native().memory(0).live;
    for (const shape of [
      [1, 16, 5, 6],
      [2, 16, 6, 6],
      [3, 16, 5, 6],
    ] as const) {
      const other = make(shape, 3);
      product(other, weight);
      other.dispose();
    }
    expect(native().memory(0).live).to.equal(held);
    weight.dispose();
    preferVariant(null);
  });

  it('are made again after every way of writing to the weight', () => {
    const weight = make([16, 24, 4, 4], 2);
    weight.requiresGrad = true;
    const optimizer = new optim.SGD([weight], { lr: 0.125 });
    const writes: Record<string, () => void> = {
      nothing: () => {},
      'an optimiser': () => {
        weight.grad = make([16, 24, 4, 4], 5);
        optimizer.step();
      },
      copy_: () => noGrad(() => void weight.copy_(make([16, 24, 4, 4], 6))),
      'a view': () =>
        noGrad(
          () =>
            void weight
              .detach()
              .reshape([16, -1])
              .copy_(make([16, 24 * 16], 7)),
        ),
      initialisation: () => void nn.init.uniform_(weight, -2, 2),
    };
    product(x, weight);
    for (const [how, write] of Object.entries(writes)) {
      write();
      expect(product(x, weight), how).to.deep.equal(fresh(x, weight));
    }
    weight.dispose();
  });

  it('of both directions and of a part of the memory do not meet', () => {
    const both = make([32, 16, 3, 3], 2);
    const large = make([2, 16, 6, 6], 4);
    const part = both.narrow(0, 16, 16);
    for (let i = 0; i < 2; i++) {
      for (const weight of [part, both.narrow(0, 0, 16)]) {
        const copy = weight.clone();
        const ours = [convTranspose2d(x, weight), conv2d(large, weight)].map((y) => Array.from(y.dataSync()));
        const theirs = [convTranspose2d(x, copy), conv2d(large, copy)].map((y) => Array.from(y.dataSync()));
        expect(ours).to.deep.equal(theirs);
      }
    }
    for (const each of [both, large, part]) each.dispose();
  });

  it('go before an allocation fails', () => {
    const weight = make([16, 24, 4, 4], 2);
    const want = product(x, weight);
    const limit = native().memory(0).live + 1024;
    native().setMemoryLimit(0, limit);
    try {
      const more = make([16, 24, 4, 2], 3);
      expect(Array.from(more.dataSync())).to.deep.equal(Array.from(values(16 * 24 * 8, 3)));
      more.dispose();
    } finally {
      native().setMemoryLimit(0, 0);
    }
    expect(product(x, weight)).to.deep.equal(want);
    weight.dispose();
  });

  it('have names that do not come twice', () => {
    const stamps = Array.from({ length: 1000 }, nextStamp);
    expect(new Set(stamps).size).to.equal(1000);
    expect(stamps.every((stamp) => Number.isSafeInteger(stamp) && stamp !== 0)).to.equal(true);
  });
});

describe('plans that a driver keeps', () => {
  /** More problems than there is room for, with other tensors, biases and activations in each of two rounds. */
  function results(variant: string): number[][] {
    preferVariant(variant);
    const all: number[][] = [];
    for (const round of [0, 1]) for (let i = 0; i < 90; i++) scope(() => all.push(...both(variant, round, i)));
    preferVariant(null);
    return all;
  }

  function both(variant: string, round: number, i: number): number[][] {
    const [c, h, w] = [1 + (i % 5), 1 + (i % 3), 1 + Math.floor(i / 30)];
    const [x, weight, bias] = [make([1 + (i % 2), c, h, w], i), make([c, 2, 3, 4], i + round), make([2], i)];
    const settings = { stride: 2, activation: round === 0 ? ('none' as const) : ('relu' as const) };
    const large = convTranspose2d(x, weight, round === 0 ? bias : null, settings);
    const small = conv2d(large, weight, null, settings);
    expect(lastKernel()).to.contain(`__${variant}`);
    return [large, small].map((t) => Array.from(t.dataSync()));
  }

  it('belong to one problem each, and to no tensors', () => {
    expect(results('tapwise')).to.deep.equal(results('igemm'));
  });
});
