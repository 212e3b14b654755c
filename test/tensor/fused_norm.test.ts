/** Batch normalisation and the activation behind it in one launch: every bit that one after the other gives. */

import { expect } from 'chai';
import { lastKernel, nn, randn, scope, type Tensor } from 'fracstride';
import { FUSED_WITH_NORM, type StorageType } from '../../codegen/operations.js';
import { ACTIVATIONS } from '../../codegen/problem.js';
import { batchNormActivated } from '../../src/nn/batch_norm.js';
import { expectGradients, expectSecondGradients, pattern } from '../support/finite_differences.js';
import { everywhere } from '../support/kernel_checks.js';
import { accumulatorOf, compute, FLOAT_TYPES, type Numbers, noise, rounded, strided } from '../support/kernels.js';

/** Few elements; channels in blocks, one of them not full; few channels of many elements; planes longer than a piece. */
const PLANES = [
  [4, 3, 5],
  [3, 70, 40],
  [2, 3, 40_000],
  [1, 33, 17_000],
] as const;
const SLOPE = 0.2;

type Fused = (typeof FUSED_WITH_NORM)[number];
type Isa = Parameters<typeof compute>[0]['isa'];

interface Case {
  readonly type: StorageType;
  readonly isa: Isa;
  readonly planes: Readonly<Record<'n' | 'c' | 'hw' | 'layout', number>>;
  readonly activation: Fused;
}

describe('addon: normalisation and activation together', () => {
  everywhere('have the bits of one after the other', FLOAT_TYPES, (type, isa) => {
    for (const [n, c, hw] of PLANES) {
      if (type !== 'f32' && n * c * hw > 100_000) continue;
      for (const layout of [0, 1]) {
        for (const activation of FUSED_WITH_NORM) check({ type, isa, planes: { n, c, hw, layout }, activation });
      }
    }
  });
});

function check(a: Case): void {
  const { type, planes } = a;
  const count = planes.n * planes.c * planes.hw;
  const acc = accumulatorOf(type);
  const many = (values: Numbers) => ({ type, values });
  const few = (values: Numbers) => ({ type: acc, values });
  const run = (operation: string, inputs: Record<string, ReturnType<typeof many>>, outputs: string[], more = {}) => {
    const isLarge = (name: string) => name === 'out' || name === 'gx';
    const made = outputs.map(
      (name) => [name, isLarge(name) ? { type, count } : { type: acc, count: planes.c }] as const,
    );
    const scalars = { ...planes, ...more };
    return compute({ operation, type, isa: a.isa }, { inputs, outputs: Object.fromEntries(made), scalars });
  };
  const x = many(rounded(type, noise(count, 41, -2, 3)));
  const gy = many(rounded(type, noise(count, 42)));
  const affine = {
    weight: many(rounded(type, noise(planes.c, 43, -1.5, 1.5))),
    bias: many(rounded(type, noise(planes.c, 44))),
  };
  const outputs = ['mean', 'var', 'invstd', 'out'];
  const index = (name: Fused): number => ACTIVATIONS.indexOf(name);
  const none = { running_mean: null, running_var: null, tracked: null };
  const forward = (activation: Fused): Record<string, Float64Array> =>
    run('bn_forward', { x, ...affine, ...none } as never, outputs, {
      ...{ eps: 1e-5, momentum: 0, unbias: 0, own: 1, slope: SLOPE, activation: index(activation) },
    });
  const [together, plain] = [forward(a.activation), forward('none')];
  for (const name of ['mean', 'var', 'invstd']) expect(together[name]).to.deep.equal(plain[name]);
  const z = many(plain.out!);
  expect(together.out).to.deep.equal(activated(a, a.activation, [z]));

  const given = { x, mean: few(plain.mean!), invstd: few(plain.invstd!), ...affine };
  const back = (g: ReturnType<typeof many>, activation: Fused) => {
    const got = run('bn_backward', { gy: g, ...given }, ['sum_gy', 'sum_gy_xhat', 'gx'], {
      ...{ own: 1, slope: SLOPE, activation: index(activation) },
    });
    return [got.sum_gy, got.sum_gy_xhat, got.gx];
  };
  const g = many(activated(a, a.activation === 'none' ? 'none' : `${a.activation}_backward`, [gy, z]));
  expect(back(gy, a.activation)).to.deep.equal(back(g, 'none'));
}

/** An element-wise operation over dense operands; of `none` the first itself. */
function activated(a: Case, operation: string, operands: readonly { type: StorageType; values: Numbers }[]) {
  if (operation === 'none') return Float64Array.from(operands[0]!.values);
  const count = operands[0]!.values.length;
  const inputs = Object.fromEntries(operands.map((operand, i) => [`x${i}`, operand]));
  const strides = Object.fromEntries(['out', ...Object.keys(inputs)].map((name) => [name, [1]]));
  const slope = operation.startsWith('leaky') ? { slope: SLOPE } : {};
  const scalars = { ...slope, ...strided([count], strides) };
  const outputs = { out: { type: a.type, count } };
  return compute({ operation, type: a.type, isa: a.isa }, { inputs, outputs, scalars }).out!;
}

describe('nn.Sequential of a normalisation and an activation', () => {
  const bits = (value: Tensor | null): number[] => Array.from(value!.dataSync());

  /** Output and all gradients, of one module or one after the other. */
  function outcome(layers: nn.Module[], x: Tensor, together: boolean): number[][] {
    const [norm, act] = layers as [nn.BatchNorm2d, nn.ReLU];
    const leaf = x.detach();
    leaf.requiresGrad = true;
    norm.resetRunningStats();
    norm.zeroGrad();
    const y = together ? new nn.Sequential(norm, act).forward(leaf) : act.forward(norm.forward(leaf));
    y.backward(x);
    return [y, leaf.grad, norm.weight!.grad, norm.bias!.grad, norm.runningVar].map(bits);
  }

  for (const act of [new nn.ReLU(), new nn.LeakyReLU(SLOPE)]) {
    for (const dtype of ['float32', 'float64', 'float16', 'bfloat16'] as const) {
      it(`has the bits of one after the other: ${act.constructor.name}, ${dtype}`, () => {
        for (const training of [true, false]) {
          for (const layout of ['nchw', 'nhwc'] as const) {
            scope(() => {
              using norm = new nn.BatchNorm2d(6, { dtype, device: 'cpu' });
              nn.init.uniform_(norm.weight!, -1, 1);
              nn.init.uniform_(norm.bias!, -1, 1);
              norm.train(training);
              const x = randn([3, 6, 5, 4], { dtype, device: 'cpu' }).to({ layout });
              expect(outcome([norm, act], x, true)).to.deep.equal(outcome([norm, act], x, false));
            });
          }
        }
      });
    }
  }

  it('has the gradients of differences, first and second', () => {
    const points = [pattern([2, 3, 2, 2], 1), pattern([3], 2), pattern([3], 3)];
    const none = { runningMean: null, runningVar: null };
    for (const activation of ['relu', 'leaky_relu'] as const) {
      const fn = ([x, weight, bias]: Tensor[]): Tensor =>
        batchNormActivated(
          x!,
          none,
          { weight: weight!, bias: bias!, training: true, eps: 0.1 },
          { activation, slope: SLOPE },
        );
      expectGradients(fn, points);
      expectSecondGradients(fn, points);
    }
  });

  it('is one launch a direction', () => {
    const names: string[] = [];
    scope(() => {
      using model = new nn.Sequential(new nn.BatchNorm2d(2, { device: 'cpu' }), new nn.ReLU());
      const x = randn([2, 2, 3, 3], { device: 'cpu', requiresGrad: true });
      const y = model.forward(x);
      y.backward(x.detach());
      names.push(lastKernel());
    });
    expect(names[0]).to.match(/^bn_backward_f32__norm__/);
  });
});
