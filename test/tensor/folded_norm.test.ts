/** A convolution with the normalisation behind it in evaluation mode: one kernel, and never of numbers that were. */

import { expect } from 'chai';
import { type Dtype, lastKernel, memory, nn, noGrad, randn, scope, type Tensor } from 'fracstride';
import { native } from '../../src/native.js';

/** rms difference, of values of about one. */
const TOLERANCE: Readonly<Record<Exclude<Dtype, 'int32'>, number>> = {
  float64: 1e-14,
  float32: 2e-6,
  float16: 4e-3,
  bfloat16: 3e-2,
};
const DTYPES = Object.keys(TOLERANCE) as Exclude<Dtype, 'int32'>[];
const SIZES = [8, 6, 3] as const;

type Conv = nn.ConvTranspose2d | nn.Conv2d;

/** A normalisation that has seen something. */
function normOf(channels: number, settings: nn.BatchNorm2dOptions): nn.BatchNorm2d {
  const norm = new nn.BatchNorm2d(channels, { device: 'cpu', ...settings });
  if (norm.runningMean !== null) nn.init.uniform_(norm.runningMean, -1, 1);
  if (norm.runningVar !== null) nn.init.uniform_(norm.runningVar, 0.25, 2);
  for (const value of norm.parameters()) nn.init.uniform_(value, -1.5, 1.5);
  norm.eval();
  return norm;
}

function difference(a: Tensor, b: Tensor): number {
  const wanted = b.dataSync();
  const squares = Array.from(a.dataSync(), (value, i) => (value - wanted[i]!) ** 2);
  return Math.sqrt(squares.reduce((sum, value) => sum + value, 0) / wanted.length);
}

function apart(layers: readonly nn.Module[], x: Tensor): Tensor {
  return layers.reduce((value, layer) => (layer as nn.ReLU).forward(value), x);
}

describe('nn.Sequential of a convolution and a normalisation in evaluation mode', () => {
  const kinds: Readonly<Record<string, (settings: object) => Conv>> = {
    ConvTranspose2d: (settings) => new nn.ConvTranspose2d(...SIZES, { stride: 2, padding: 1, ...settings }),
    Conv2d: (settings) => new nn.Conv2d(...SIZES, { padding: 1, ...settings }),
  };
  for (const [kind, make] of Object.entries(kinds)) {
    for (const dtype of DTYPES) {
      it(`gives what one after the other gives: ${kind}, ${dtype}`, () => {
        for (const [groups, bias, affine] of [
          [1, true, true],
          [2, true, true],
          [2, false, true],
          [1, true, false],
          [1, false, false],
        ] as const) {
          for (const act of [null, new nn.ReLU(), new nn.LeakyReLU(0.2), new nn.Tanh(), new nn.Sigmoid()]) {
            for (const layout of ['nchw', 'nhwc'] as const) {
              scope(() => {
                using conv = make({ groups, bias, dtype, device: 'cpu' });
                using norm = normOf(SIZES[1], { affine, dtype });
                const layers = act === null ? [conv, norm] : [conv, norm, act];
                const x = randn([2, 8, 5, 4], { dtype, device: 'cpu' }).to({ layout });
                const [together, wanted] = noGrad(() => [new nn.Sequential(...layers).forward(x), apart(layers, x)]);
                expect(together!.shape).to.deep.equal(wanted!.shape);
                expect(together!.layout).to.equal(wanted!.layout);
                expect(together!.dtype).to.equal(dtype);
                expect(difference(together!, wanted!)).to.be.below(TOLERANCE[dtype]);
              });
            }
          }
        }
      });
    }
  }

  interface Parts {
    readonly conv: nn.ConvTranspose2d;
    readonly norm: nn.BatchNorm2d;
    readonly model: nn.Sequential;
    readonly x: Tensor;
  }

  function withParts<R>(fn: (parts: Parts) => R): R {
    return scope(() => {
      using conv = new nn.ConvTranspose2d(...SIZES, { device: 'cpu' });
      using norm = normOf(SIZES[1], {});
      const model = new nn.Sequential(conv, norm, new nn.ReLU());
      return fn({ conv, norm, model, x: randn([1, 8, 4, 4], { device: 'cpu' }) });
    });
  }

  it('ends with the convolution', () => {
    withParts(({ model, x }) => {
      noGrad(() => model.forward(x));
      expect(lastKernel()).to.match(/^ct2d_fwd_/);
    });
  });

  it('is not folded while training, while something is recorded, without running averages or without eps', () => {
    const folds = (fn: () => Tensor): boolean => {
      fn();
      return !lastKernel().startsWith('bn_');
    };
    withParts(({ model, norm, x }) => {
      expect(folds(() => model.forward(x))).to.equal(false);
      model.requiresGrad_(false);
      expect(folds(() => model.forward(x))).to.equal(true);
      const leaf = x.detach();
      leaf.requiresGrad = true;
      expect(folds(() => model.forward(leaf))).to.equal(false);
      norm.train();
      expect(folds(() => model.forward(x))).to.equal(false);
    });
    for (const settings of [{ trackRunningStats: false }, { eps: 0 }]) {
      withParts(({ conv, x }) => {
        using norm = normOf(SIZES[1], settings);
        expect(folds(() => noGrad(() => new nn.Sequential(conv, norm).forward(x)))).to.equal(false);
      });
    }
  });

  it('follows every write to what it is made of', () => {
    withParts(({ conv, norm, model, x }) => {
      const sources = [conv.weight, conv.bias!, norm.weight!, norm.bias!, norm.runningMean!, norm.runningVar!];
      for (const source of sources) {
        noGrad(() => model.forward(x));
        nn.init.uniform_(source, 0.5, 1);
        const [together, wanted] = noGrad(() => [model.forward(x), apart([...model], x)]);
        expect(difference(together!, wanted!)).to.be.below(TOLERANCE.float32);
      }
      conv.bias = nn.parameter(randn([SIZES[1]], { device: 'cpu' }));
      const [together, wanted] = noGrad(() => [model.forward(x), apart([...model], x)]);
      expect(difference(together!, wanted!)).to.be.below(TOLERANCE.float32);
    });
  });

  it('keeps what it made as a cache: not live, and given back with the module', () => {
    const held = (): number[] => [memory().cpu.live, native().memory(0).live];
    const before = held();
    withParts(({ conv, model, x }) => {
      const [live, all] = held();
      noGrad(() => model.forward(x).dispose());
      expect(held()[0]).to.equal(live);
      expect(held()[1]! - all!).to.be.at.least(4 * (conv.weight.numel() + SIZES[1]));
    });
    expect(held()).to.deep.equal(before);
  });
});
